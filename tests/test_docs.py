"""The documentation is true: its commands, Python, links, settings and error sentences.

Every line of a shell block falls into one of the classes of `kind_of`, or fails. Commands of
denoiseq are composed and checked as they stand; those that this file can make small (`small`) are
run as well: on the synthetic genome, with the smoke experiment's sizes, paths taken by their key.
"""

import argparse
import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from denoiseq import schema
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("README.md", "docs/**/*.md", "data/**/README.md", "kernels/README.md")
    for path in ROOT.glob(pattern)
    if "work" not in path.parts[-2:]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Programs that are not ours: their lines must be good shell, no more can be said here.
FOREIGN = {"curl", "gunzip", "bowtie2-build", "bowtie2", "fastp", "samtools", "tensorboard", "head"}
SHELL = {"for", "done", "export", "eval", "mkdir", "cd", "#!/bin/bash", "work", "head", "scontrol"}
SHELL |= {"md5sum", "sha256sum", "source", "git"}


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text("utf-8")) if kind in languages]


def lines_of(block: str) -> list[str]:
    """The logical lines: continuations joined, comments and loops' `do` taken off."""
    joined = re.sub(r"(\\|(?<=\|))\n\s*", " ", block)
    lines = (re.sub(r"^\(|\)$|(^|\s+)#(?!!).*$", "", line.strip()) for line in joined.splitlines())
    return [line for line in lines if line]


SHELL_LINES = [
    pytest.param(page, line, id=f"{page.relative_to(ROOT)}:{line[:60]}")
    for page in PAGES
    for block in blocks(page, "", "bash", "sh")
    for line in lines_of(block)
]


def words_of(line: str) -> list[str]:
    """Without variables in front, launchers and the interpreter: what is run, and with what."""
    words = shlex.split(line)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if words[:1] in (["srun"], ["torchrun"]):
        ours = [i for i, word in enumerate(words) if re.fullmatch(r"app/\w+\.py", word)]
        return words[ours[0] :] if ours else words
    if words and Path(words[0]).name == "python":
        words.pop(0)
    return words


def kind_of(words: list[str]) -> str:
    """The class of a command: what can be checked of it."""
    program = words[0]
    if re.fullmatch(r"app/\w+\.py", program) or Path(program).name == "denoiseq":
        return "denoiseq"
    if re.fullmatch(r"(scripts|data)/\w+\.py", program):
        return "script"
    if program == "bash":
        return "shell script"
    if program == "pip" or words[:2] == ["-m", "pip"]:
        return "installation"
    if (ROOT / program).exists():
        return "path"
    if program.split("=")[0] in SHELL | FOREIGN:
        return "shell"
    return "unknown"


def denoiseq_of(words: list[str]) -> tuple[str, list[str]]:
    """Command and arguments, of `denoiseq train …` and `app/train.py …` alike."""
    if words[0].startswith("app/"):
        return Path(words[0]).stem, words[1:]
    return words[1], words[2:]


@pytest.mark.parametrize(("page", "line"), SHELL_LINES)
def test_every_command_is_one_that_would_run(page, line, monkeypatch):
    words = words_of(line)
    kind = kind_of(words)
    assert kind != "unknown", f"{line!r} is no known command; what is none wants ```text"
    if kind == "denoiseq":
        composes(*denoiseq_of(words))
    elif kind == "script":
        parses(words, monkeypatch)
    elif kind == "shell script":
        subprocess.run(["bash", "-n", ROOT / words[1]], check=True)
    elif kind == "installation":
        extras = re.search(r"\[(\w+)\]", line)
        text = (ROOT / "pyproject.toml").read_text()
        assert extras is None or f"\n{extras[1]} = [" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_shell_block_is_good_shell(page):
    for block in blocks(page, "", "bash", "sh"):
        if not (ROOT / block.split()[0]).exists():  # a listing of folders
            done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
            assert not done.stderr, block


def composes(command: str, arguments: list[str]) -> None:
    """Hydra composes it and the schema takes it; `x=…` stands for anything."""
    if command in ("doctor", "bench", "-sc", "COMMAND"):
        return
    assert command in schema.COMMANDS
    given = [word for word in arguments if "=" in word and word != "key=value …"]
    assert not [
        word
        for word in arguments
        if word not in given and word not in ("-m", "--cfg", "job", "…", "--help")
    ]
    Plugins.instance()
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "configs")):
        plain = [
            word for word in given if not word.startswith("hydra") and "," not in word.split("=")[1]
        ]
        config = compose(
            config_name=command, overrides=[w.replace("…", "x") for w in plain if w[-1] != "="]
        )
    if command != "train" or config.data.get("store", "???") != "???":
        schema.parse(schema.COMMANDS[command], config)


class Parsed(Exception):
    pass


def parses(words: list[str], monkeypatch) -> None:
    """The script's own parser takes the arguments, and its help explains every option."""
    real = argparse.ArgumentParser.parse_args

    def parse_args(self, *given):
        real(self, [word.rstrip(".") or "x" for word in words[1:]])
        unexplained = [a.dest for a in self._actions if not a.help]
        assert not unexplained, f"{words[0]} --help says nothing of {unexplained}"
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", words)
    spec = importlib.util.spec_from_file_location("documented", ROOT / words[0])
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "documented", module)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec.loader.exec_module(module)
    with pytest.raises(Parsed):
        module.main()


@pytest.fixture(scope="session")
def files(genome, workplace, tmp_path_factory) -> dict[str, str]:
    """What stands for a documented path, by the key that it is given to."""
    folder = tmp_path_factory.mktemp("documented")
    rng = np.random.default_rng(0)
    with (folder / "fragments.tsv").open("w") as file:
        for start in np.sort(rng.integers(0, 90_000, 500)):
            file.write(f"chr1\t{start}\t{start + 120}\tcell{start % 3}\t1\n")
    (folder / "groups.tsv").write_text("cell0\tA\ncell1\tB\ncell2\tA\n")
    with pyBigWig.open(str(folder / "track.bw"), "w") as track:
        track.addHeader([("chr1", 200_000)])
        track.addEntries(["chr1"], [0], ends=[200_000], values=[2.0])
    bam, checkpoints = genome["bam"], workplace / "run" / "checkpoints"
    return {
        "bam": str(bam),
        "fasta": str(genome["fasta"]),
        "blacklist": str(genome["blacklist"]),
        "fragments": str(folder / "fragments.tsv"),
        "groups": str(folder / "groups.tsv"),
        "bigwig": str(folder / "track.bw"),
        "checkpoint": str(checkpoints / "best.pt"),
        "store": str(workplace / "cuts.h5"),
    }


# Settings of a documented command that are the smoke experiment's or the test's instead.
OURS = (
    "data.",
    "model.",
    "+experiment",
    "include",
    "name",
    "out",
    "resume",
    "optim.",
    "replicates",
)


def small(command: str, arguments: list[str], files: dict[str, str]) -> list[str] | None:
    """The command on the fixtures; None for one that is composed alone."""
    if command not in ("prepare", "evaluate", "predict") or "--cfg" in arguments:
        return None
    kept = []
    for key, _, value in (word.partition("=") for word in arguments):
        if key in files:
            kept.append(f"{key}={files[key]}")
        elif not key.startswith(OURS):
            kept.append(f"{key}={value}")
    return [command, *sorted(kept), *(["loci=1", "random_loci=0"] if command != "prepare" else [])]


def test_what_can_be_made_small_runs(denoiseq, files, tmp_path):
    """One test: commands that are the same when they are small are run once."""
    commands: dict[tuple[str, ...], str] = {}
    for parameters in SHELL_LINES:
        words = words_of(parameters.values[1])
        if kind_of(words) == "denoiseq" and "[" not in " ".join(words).partition("bam=")[2][:1]:
            shrunk = small(*denoiseq_of(words), files)
            if shrunk and not any("x" == word or "…" in word for word in shrunk):
                commands.setdefault(tuple(shrunk), parameters.values[1])
    assert {command[0] for command in commands} == {"prepare", "evaluate", "predict"}
    for number, (command, line) in enumerate(commands.items()):
        suffix = "store.h5" if command[0] == "prepare" else "folder"
        outcome = denoiseq(*command, f"out={tmp_path / str(number) / suffix}")
        assert outcome.code == 0, f"{line}\n{outcome.err}"
        assert list((tmp_path / str(number)).iterdir())


def test_the_python_runs(workplace):
    """Every page's blocks in order, in one process, each page in a namespace of its own."""
    pages = {str(page.relative_to(ROOT)): "\n".join(blocks(page, "python")) for page in PAGES}
    best = str(workplace / "run" / "checkpoints" / "best.pt")
    pages = {name: re.sub(r'"[^"]*best\.pt"', repr(best), code) for name, code in pages.items()}
    runner = "import json, sys\nfor name, code in json.load(sys.stdin).items():\n"
    runner += "    exec(compile(code, name, 'exec'), {'__name__': 'page'})\n"
    import json

    given = json.dumps({name: code for name, code in pages.items() if code})
    done = subprocess.run(
        [sys.executable, "-c", runner], input=given, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives a page's headings."""
    text = FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, fragment = target.partition("#")
        if re.match(r"\w+:", path):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not fragment or fragment in anchors(there), f"{page.name} links to {target}"


KEYS = {key for command in schema.COMMANDS.values() for key in schema.keys(command)}
GROUPS = {key.split(".")[0] for key in KEYS if "." in key}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_named_exist(page):
    text = FENCE.sub("", page.read_text("utf-8"))
    named = re.findall(rf"`'?((?:{'|'.join(sorted(GROUPS))})\.[a-z_0-9.]+)\b(?!\*)", text)
    unknown = {key for key in named if key not in KEYS and not key.endswith((".py", "_"))}
    assert not unknown


def spoken() -> list[str]:
    """Every string of the program, with … for what is filled in."""

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return re.sub(r"%(\.\d)?[sdgf]", "…", str(node.value))
        return "".join(text(v) if isinstance(v, ast.Constant) else "…" for v in node.values)

    found = [(ROOT / "scripts" / "install.sh").read_text()]
    for folder in ("app", "kernels/dilconv"):
        for path in (ROOT / folder).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text("utf-8")))
            found += [text(n) for n in nodes if isinstance(n, ast.Constant | ast.JoinedStr)]
    return found


def test_the_program_still_says_what_troubleshooting_quotes():
    text = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    said = text.partition("## What the program does not say")[0]
    quotes = re.findall(r"^\| `([^`]+)` \|", said, re.MULTILINE)
    assert len(quotes) > 60 and len(set(quotes)) == len(quotes)
    strings = spoken()
    for quote in quotes:
        parts = map(re.escape, quote.replace("%d", "…").split("…"))
        pattern = re.compile(".*".join(parts), re.DOTALL)
        assert any(pattern.search(string) for string in strings), quote


def test_reference_and_comments_are_what_the_schemas_give():
    script = [sys.executable, str(ROOT / "scripts" / "make_reference.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
