"""The documentation is true: its commands, Python, links, settings and error sentences.

Every line of a shell block (a bare fence, or bash) falls into a class of `kind_of`, or fails:
- denoiseq, app/X.py: Hydra composes it as it stands and the schema takes it; `prepare`, `evaluate`
  and `predict` are run too, made `small`: on the synthetic genome, files taken by their key.
- scripts/X.py, data/X.py: their own parser takes the arguments, their help explains every option.
- shell scripts, other programs, a listing of folders: good shell, and paths that are there.
Blocks of text, diff and yaml are not looked at.
"""

import argparse
import ast
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from denoiseq import cli, settings
from denoiseq.command_line.arguments import read
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("README.md", "docs/**/*.md", "data/**/README.md", "kernels/README.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What is no program of ours: such lines must be good shell, no more can be said here.
SHELL = {"source", "for", "done", "export", "eval", "mkdir", "cd", "#!/bin/bash", "work", "head"}
SHELL |= {"curl", "gunzip", "sha256sum", "bowtie2-build", "bowtie2", "fastp", "samtools"}


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
    words = line.split() if line.split()[0].startswith("app/denoiseq") else shlex.split(line)
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
    if re.fullmatch(r"app/\w+\.py", program) or program in ("denoiseq", ".venv/bin/denoiseq"):
        return "denoiseq"
    if re.fullmatch(r"(scripts|data)/\w+\.py", program):
        return "script"
    if program == "bash":
        return "shell script"
    if program == "pip" or words[:2] == ["-m", "pip"]:
        return "installation"
    if (ROOT / program).exists():
        return "listing"
    if program.split("=")[0] in SHELL:
        return "shell"
    return "unknown"


def denoiseq_of(words: list[str]) -> tuple[str, list[str]]:
    """Command and arguments, of `denoiseq train …` and `app/train.py …` alike."""
    if words[0].startswith("app/"):
        return Path(words[0]).stem, words[1:]
    return words[1], words[2:]


@pytest.mark.parametrize(("page", "line"), SHELL_LINES)
def test_every_command_is_one_that_would_run(page, line, parser_of):
    words = words_of(line)
    kind = kind_of(words)
    assert kind != "unknown", f"{line!r} is no known command; what is none wants ```text"
    if kind == "denoiseq":
        composes(*denoiseq_of(words))
    elif kind == "script":
        parser_of(ROOT / words[0], [word.replace("…", "x") for word in words[1:]])
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


def overrides_of(command: str, arguments: list[str]) -> list[str]:
    """What Hydra is given; none where completion is installed."""
    if "-sc" in arguments:
        return []
    words = [word.replace("…", "x") for word in arguments]
    return read(words, *cli._vocabulary(command)).overrides


def composes(command: str, arguments: list[str]) -> None:
    """Hydra composes it and the schema takes it; … stands for anything."""
    if command not in settings.COMMANDS:
        assert command in cli.COMMANDS or command in cli.COMPLETION
        return
    overrides = overrides_of(command, arguments)
    if "-m" in arguments:  # of a sweep the first job; the launcher's own settings are Hydra's
        overrides = [re.sub(r",.*", "", w) for w in overrides if not w.startswith("hydra")]
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "configs")):
        config = compose(config_name=command, overrides=overrides)
    settings.parse(settings.COMMANDS[command], config)


class Parsed(Exception):
    """Raised in place of what a script would do."""


@pytest.fixture
def parser_of(monkeypatch):
    """`parser_of(script, arguments)`: the script's parser, once it has taken the arguments."""

    def find(script: Path, arguments: list[str]) -> argparse.ArgumentParser:
        found = []

        def parse_args(self, *given):
            real(self, arguments)
            found.append(self)
            raise Parsed

        real = argparse.ArgumentParser.parse_args
        spec = importlib.util.spec_from_file_location("documented", script)
        module = importlib.util.module_from_spec(spec)
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
            patch.setitem(sys.modules, "documented", module)
            patch.syspath_prepend(str(script.parent))
            spec.loader.exec_module(module)
            with pytest.raises(Parsed):
                module.main()
        return found[0]

    return find


SCRIPTS = [p for p in sorted(ROOT.glob("scripts/*.py")) if "bench.command" in p.read_text("utf-8")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_help_of_a_script_explains_every_option(script, parser_of):
    source = script.read_text("utf-8")
    needs = ["a.pt", "b.pt"] if 'add_argument("checkpoint"' in source else []
    parser = parser_of(script, needs)
    assert [a.dest for a in parser._actions if not a.help] == []
    assert f"python scripts/{script.name}" in parser.description


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
    for suffix in ("", ".bai"):
        shutil.copy(f"{bam}{suffix}", folder / f"replicate.bam{suffix}")
    return {
        "bam": str(bam),
        "replicate": str(folder / "replicate.bam"),
        "fasta": str(genome["fasta"]),
        "blacklist": str(genome["blacklist"]),
        "fragments": str(folder / "fragments.tsv"),
        "groups": str(folder / "groups.tsv"),
        "bigwig": str(folder / "track.bw"),
        "checkpoint": str(checkpoints / "best.pt"),
        "store": str(workplace / "cuts.h5"),
    }


def small(command: str, arguments: list[str], files: dict[str, str]) -> tuple[str, ...] | None:
    """A documented command on the fixtures: given files by their key, settings that belong to
    other files left out. None for one that is composed alone.
    """
    if command not in ("prepare", "evaluate", "predict"):
        return None
    given = dict(override.split("=", 1) for override in overrides_of(command, arguments))
    replaced = {key: files.get(key, value) for key, value in given.items()}
    if given.get("bam", "").startswith("["):
        replaced["bam"] = f"[{files['bam']},{files['replicate']}]"
    for key in ("include", "out"):
        replaced.pop(key, None)
    if command != "prepare":
        replaced |= {"loci": "0", "random_loci": "0"}
    return (command, *sorted(f"{key}={value}" for key, value in replaced.items()))


def test_what_can_be_made_small_runs(denoiseq, files, tmp_path):
    """One test: commands that are the same when they are small are run once."""
    commands = {}
    for _, line in (parameters.values for parameters in SHELL_LINES):
        words = words_of(line)
        if kind_of(words) == "denoiseq":
            commands.setdefault(small(*denoiseq_of(words), files), line)
    del commands[None]
    assert {command[0] for command in commands} == {"prepare", "evaluate", "predict"}
    for number, (command, line) in enumerate(commands.items()):
        out = tmp_path / str(number) / ("store.h5" if command[0] == "prepare" else "folder")
        outcome = denoiseq(*command, f"out={out}")
        assert outcome.code == 0, f"{line}\n{outcome.err}"
        assert list(out.parent.iterdir())


def test_the_python_runs(workplace):
    """Every page's blocks in order, in one process, each page in a namespace of its own.

    Those of kernels/README.md run in tests/kernels.
    """
    own = [page for page in PAGES if page.parent.name != "kernels"]
    pages = {str(page.relative_to(ROOT)): "\n".join(blocks(page, "python")) for page in own}
    best = str(workplace / "run" / "checkpoints" / "best.pt")
    pages = {name: re.sub(r'"[^"]*best\.pt"', repr(best), code) for name, code in pages.items()}
    runner = "import json, sys\nfor name, code in json.load(sys.stdin).items():\n"
    runner += "    exec(compile(code, name, 'exec'), {'__name__': 'page'})\n"
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


KEYS = {key for command in settings.COMMANDS.values() for key in settings.keys(command)}
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
