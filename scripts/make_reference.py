#!/usr/bin/env python
"""Write docs/configuration.md and the comments in configs/ from the schemas.

    python scripts/make_reference.py                # both, in place
    python scripts/make_reference.py --check        # exit 1 if a file is not what the schemas give

What a setting does is said once, beside its default, in app/denoiseq/schema. In the YAML files
values and headers are left as they are; only the comment behind each key is replaced.
"""

import argparse
import re
import sys
from pathlib import Path

from denoiseq import settings
from denoiseq.atomic import write_text
from denoiseq.settings.help import about, entries, groups, shown

ROOT = Path(__file__).resolve().parents[1]
CONFIGS, PAGE = ROOT / "configs", ROOT / "docs" / "configuration.md"
# The YAML files that list every key of a schema; all others are deltas on these.
COMPLETE = {
    **{f"{name}.yaml": kind for name, kind in settings.COMMANDS.items()},
    **{f"model/{name}.yaml": kind for name, kind in settings.MODELS.items()},
    "data/default.yaml": settings.Data,
    "conv/dilconv.yaml": settings.Conv,
    "precision/fp32.yaml": settings.Precision,
    "loss/atacworks.yaml": settings.Loss,
    "optim/adam.yaml": settings.Optim,
    "trainer/default.yaml": settings.Trainer,
}
SETTING = re.compile(r"(\w+):(\s.*?)?(\s+# .*)?")
HEAD = """\
# Configuration

Every setting of every command. `python scripts/make_reference.py` makes this page from the schemas
in `app/denoiseq/schema`; `denoiseq COMMAND --help` says the same on the terminal, with the values
of its command line. How settings are given is in the [guide](guide.md#settings).

Lengths that end in `_bp` are in base pairs. Null means: none, or what the last column says. A key
without a default must be given.
"""


def commented(text, kind):
    """The YAML `text` with the comments of `kind` behind its keys of the first level."""
    words = {entry.name: entry.brief() for entry in entries(kind)}
    words |= {name: doc for name, (_, doc) in groups(kind).items()}
    lines = []
    for line in text.splitlines():
        found = SETTING.fullmatch(line)
        if found and found[1] in words:
            setting = f"{found[1]}:{found[2] or ''}".rstrip()
            line = f"{setting:<24} # {words[found[1]]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def table(kind, prefix=""):
    """A row for every setting of `kind`."""
    rows = ["| key | type | default | may be | what |", "|---|---|---|---|---|"]
    for entry in entries(kind):
        default = "" if entry.default == "???" else f"`{shown(entry.default)}`"
        allowed = ", ".join(entry.choices) or entry.allowed
        cells = (f"`{prefix}{entry.name}`", entry.kind, default, allowed, entry.doc)
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


def remark(path):
    """The comment at the head of a YAML file, in one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line[2:] for line in lines if line.startswith("# ") and "@package" not in line]
    return " ".join(f"`{line.strip()}`" if line.startswith(" ") else line for line in head)


def choices(group):
    """The files of a config group, a line each."""
    paths = sorted((CONFIGS / group).glob("*.yaml"))
    return "\n".join(f"- `{group}={path.stem}`: {remark(path)}" for path in paths)


def command_section(name, kind):
    """A command with its own settings, and links to its groups."""
    first, examples = about(kind)
    parts = [f"## {name}", first, "```\n" + "\n".join(examples) + "\n```", table(kind)]
    links = [f"[{group}](#{group})" for group in groups(kind) if group != "data" or name == "train"]
    if links:
        parts.append(f"Groups: {', '.join(links)}.")
    if name == "evaluate":
        parts += ["### evaluate's data", about(settings.DataOverrides)[0]]
        parts.append(table(settings.DataOverrides, "data."))
    return parts


def group_section(name, kind):
    """A config group: what it is, its files, and its settings."""
    parts = [f"### {name}", about(kind)[0], choices(name)]
    if name == "model":
        for choice, model in settings.MODELS.items():
            parts += [f"#### {choice}", about(model)[0], table(model, "model.")]
    else:
        parts.append(table(kind, f"{name}."))
    if name == "data":
        parts.append(
            "`data.prepare.*` are the keys of [prepare](#prepare); there `out` is `data.store`."
        )
    return parts


def page():
    """The whole of docs/configuration.md."""
    parts = [HEAD.rstrip()]
    for name, kind in settings.COMMANDS.items():
        parts += command_section(name, kind)
    parts += [
        "## Groups",
        "`GROUP=CHOICE` takes a file of `configs/GROUP`, `GROUP.KEY=VALUE` changes a setting.",
    ]
    for name, (kind, _) in groups(settings.Train).items():
        parts += group_section(name, kind)
    parts += [
        "### experiment",
        "Settings of a whole training, on top of all groups, taken with a plus sign.",
    ]
    parts.append(choices("experiment").replace("`experiment=", "`+experiment="))
    return "\n\n".join(parts) + "\n"


def wanted():
    """Every file that the schemas say something in, with the text that it should have."""
    texts = {CONFIGS / name: kind for name, kind in COMPLETE.items()}
    made = {p: commented(p.read_text(encoding="utf-8"), kind) for p, kind in texts.items()}
    return made | {PAGE: page()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    files = wanted()
    stale = [p for p, text in files.items() if not p.is_file() or p.read_text("utf-8") != text]
    for path in stale:
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} is not what the schemas give", file=sys.stderr)
        else:
            write_text(path, files[path])
            print(f"{name}: written")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
