"""Write docs/configuration.md and the comments in configs/ from the settings classes.

    python scripts/make_reference.py                # both, in place
    python scripts/make_reference.py --check        # exit 1 if a file is not what the settings give

What a setting does is said once, beside its default, in app/denoiseq/settings. In the YAML files
values and headers are left as they are; only the comment behind each key is replaced.
"""

import re

from bench.command import ROOT, parser, script, settle
from denoiseq import settings
from denoiseq.settings.help import about, entries, groups, shown
from results.rows import table

CONFIGS, PAGE = ROOT / "configs", ROOT / "docs" / "configuration.md"
# The YAML files that list every key of a class; all others are deltas on these.
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

Every setting of every command. `python scripts/make_reference.py` makes this page from the classes
in `app/denoiseq/settings`; `denoiseq COMMAND --help` says the same on the terminal, with the values
of its command line. Experiments, sweeps and completion by the tab key are in the
[guide](guide.md#settings).

Lengths that end in `_bp` are in base pairs. Null means: none, or what the last column says. A key
without a default must be given.
"""
VALUES_HEAD = """\
## How values are written

A setting is given by its flag, `--min-mapq 20`, or by its key, `min_mapq=20`. Both forms mix in any
order. Of a setting that is given twice the last value counts; only the flag of a single path
refuses a second one.
"""
VALUES_COLUMNS = ["value", "flag: dashes for underscores", "key: as Hydra and YAML have it"]
VALUES = [
    (
        "text, path",
        "`--out 'run 1 (a).h5'`: every character that the shell hands over",
        "`'out=run 1 (a).h5'`: the same, but `null` is none, and quotes around the whole value "
        "are taken off: `'out=\"run 1 (a).h5\"'`",
    ),
    (
        "several",
        "the flag repeated: `--bam a.bam --bam b.bam`; the empty list is `--exclude=`",
        "`'bam=[a.bam,b.bam]'`, `exclude=[]`; an item with a comma in quotes: "
        "`'bam=[\"a,b.bam\",c.bam]'`",
    ),
    ("several numbers", "`--data.thin-range 0.01,0.5`", "`'data.thin_range=[0.01,0.5]'`"),
    ("true or false", "`--progress`, `--no-progress`, `--progress=false`", "`progress=false`"),
    ("begins with a dash", "`--out=-x`; negative numbers need no `=`", "`out=-x`"),
    ("null", "numbers alone: `--tile-bp null`", "`fasta=null`"),
    ("config group", "`--model unet`, `--experiment smoke`", "`model=unet`, `+experiment=smoke`"),
    ("sweep, with `-m`", "one value for all runs", "`seed=1,2`, `name=a,b`, `'name=choice(a,b)'`"),
]
VALUES_RULES = """\
- Nothing is read into text and paths: `1_1`, `1e3`, `1.10`, `2024`, `true`, `a,b.bam` and
  `a${b}.bam` stay what they are. So they do in YAML files, where only `${…}` is filled in and null
  is none.
- Three texts are not literal behind `key=`: `null`, a value in quotes, and, where a setting takes a
  list, a value in brackets. With `-m`, commas and Hydra's functions make a sweep. A flag takes any
  text.
- `~` and `~user` at the beginning of a path are home folders, in every form. A file whose own name
  begins so is written `./~name`.
- Commas within the numbers of a region belong to it: `'regions=[chr1:1,000-2,000]'` is one region.
- The flags of `trainer.` do without that name: `--no-progress`, `--threads 4`.
- Settings of Hydra itself (`hydra.…`) and its signs (`~key`, `+key=…`, `++key=…`) have no flags.
"""


def commented(text, kind):
    """The YAML `text` with the comments of `kind` behind its keys of the first level."""
    words = {entry.name: entry.brief() for entry in entries(kind)}
    words |= {name: doc for name, (_, doc) in groups(kind).items()}
    lines = []
    for line in text.splitlines():
        match = SETTING.fullmatch(line)
        if match and match[1] in words:
            setting = f"{match[1]}:{match[2] or ''}".rstrip()
            line = f"{setting:<24} # {words[match[1]]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def setting_table(kind, prefix=""):
    lines = []
    for entry in entries(kind):
        default = "" if entry.default == "???" else f"`{shown(entry.default)}`"
        allowed = ", ".join(entry.allowed.choices) or entry.allowed.words
        cells = (f"`{prefix}{entry.name}`", entry.kind, default, allowed, entry.doc)
        lines.append(cell.replace("|", r"\|") for cell in cells)
    return table(["key", "type", "default", "may be", "what"], lines)


def remark(path):
    """The comment at the head of a YAML file, in one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line[2:] for line in lines if line.startswith("# ") and "@package" not in line]
    return " ".join(f"`{line.strip()}`" if line.startswith(" ") else line for line in head)


def choices(group):
    paths = sorted((CONFIGS / group).glob("*.yaml"))
    return "\n".join(f"- `--{group} {path.stem}`: {remark(path)}" for path in paths)


def command_section(name, kind):
    first, examples = about(kind)
    parts = [f"## {name}", first, "```\n" + "\n".join(examples) + "\n```", setting_table(kind)]
    links = [f"[{group}](#{group})" for group in groups(kind) if group != "data" or name == "train"]
    if links:
        parts.append(f"Groups: {', '.join(links)}.")
    if name == "evaluate":
        parts += ["### evaluate's data", about(settings.DataOverrides)[0]]
        parts.append(setting_table(settings.DataOverrides, "data."))
    return parts


def group_section(name, kind):
    parts = [f"### {name}", about(kind)[0], choices(name)]
    if name == "model":
        for choice, model in settings.MODELS.items():
            parts += [f"#### {choice}", about(model)[0], setting_table(model, "model.")]
    else:
        parts.append(setting_table(kind, f"{name}."))
    if name == "data":
        parts.append(
            "`data.prepare.*` are the keys of [prepare](#prepare); there `out` is `data.store`."
        )
    return parts


def page():
    parts = [HEAD.rstrip(), VALUES_HEAD.rstrip(), table(VALUES_COLUMNS, VALUES)]
    parts.append(VALUES_RULES.rstrip())
    for name, kind in settings.COMMANDS.items():
        parts += command_section(name, kind)
    parts += [
        "## Groups",
        "`--GROUP CHOICE` takes a file of `configs/GROUP`, `--GROUP.KEY VALUE` changes a setting.",
    ]
    for name, (kind, _) in groups(settings.Train).items():
        parts += group_section(name, kind)
    parts += [
        "### experiment",
        "Settings of a whole training, on top of all groups; as `key=value` with a plus sign.",
    ]
    parts.append(choices("experiment"))
    return "\n\n".join(parts) + "\n"


@script
def main():
    made = parser(__doc__)
    made.add_argument("--check", action="store_true", help="compare, write nothing")
    check = made.parse_args().check
    paths = {CONFIGS / name: kind for name, kind in COMPLETE.items()}
    texts = {p: commented(p.read_text(encoding="utf-8"), kind) for p, kind in paths.items()}
    return settle({**texts, PAGE: page()}, check, "the settings give")
