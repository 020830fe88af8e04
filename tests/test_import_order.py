"""Imports run one way: reads every import statement of the two packages, nested ones included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
    for root in (ROOT / "app", ROOT / "kernels")
    for package in ("denoiseq", "dilconv")
    for path in (root / package).rglob("*.py")
}


def imported(module: str, source: str, is_package: bool) -> set[str]:
    """Dotted names that `source`, the text of `module`, imports; `from a import b` gives a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *filter(None, [node.module])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


IMPORTS = {
    module: imported(module, path.read_text(encoding="utf-8"), path.name == "__init__.py")
    for module, path in SOURCES.items()
}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def offenders(where, what) -> list[str]:
    """Imports in the modules that `where` accepts that `what` accepts, as 'module imports name'."""
    return [
        f"{module} imports {name}"
        for module, names in sorted(IMPORTS.items())
        if where(module)
        for name in sorted(names)
        if what(name)
    ]


# What each part of denoiseq may import of the others: the pipeline, downwards only. A room's `run`
# is what its command does; `cli` calls it, and `training.run` goes on to the further stages.
GROUND = {"settings", "atomic", "errors", "inputs", "distributed", "workers", "logs"}
GROUND |= {"provenance", "interrupt", "rank_watch", "cores"}
MAY_IMPORT = {
    "settings": {"errors"},
    "atomic": {"errors"},
    "errors": set(),
    "inputs": {"atomic", "errors"},
    "cores": set(),
    "workers": {"cores", "errors", "interrupt"},
    "logs": set(),
    "distributed": {"cores", "errors", "interrupt", "rank_watch"},
    "interrupt": set(),
    "rank_watch": {"errors", "interrupt"},
    "provenance": {"inputs"},
    "genomics": GROUND,
    "report": GROUND,
    "store": {"genomics", *GROUND},
    "prepare": {"store", "genomics", *GROUND},
    "windows": {"prepare", "store", "genomics", *GROUND},
    "models": {"store", "genomics", *GROUND},
    "evaluation": {"windows", "models", "prepare", "store", "genomics", "report", *GROUND},
    "prediction": {"evaluation", "models", "prepare", "store", "genomics", "report", *GROUND},
    "training": {"evaluation", "windows", "models", "store", "genomics", "report", *GROUND},
    "doctor": {"training", "evaluation", "windows", "models", *GROUND},
    "command_line": {"settings", "errors"},
    "cli": {"prepare", "training", "evaluation", "prediction", "doctor", "command_line", *GROUND},
}
FURTHER_STAGES = {"denoiseq.training.run imports denoiseq.prediction.run"}
WITHOUT_TORCH = ("settings", "atomic", "errors", "inputs", "workers", "logs", "genomics", "store")
WITHOUT_TORCH += ("prepare", "command_line", "interrupt", "rank_watch", "cores")


def room(name: str) -> str:
    """The part of denoiseq that a dotted name lies in; empty for denoiseq itself and for others."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == "denoiseq" else ""


def test_the_sources_were_found():
    assert {room(module) for module in SOURCES} - {"", "__init__"} == set(MAY_IMPORT)
    assert "hydra" in IMPORTS["denoiseq.cli"]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_run_downwards(part):
    allowed = {part, "", "__version__", *MAY_IMPORT[part]}
    upwards = offenders(lambda m: room(m) == part, lambda n: room(n) not in allowed)
    assert not set(upwards) - FURTHER_STAGES


def test_commands_meet_at_the_top_alone():
    """No room but cli imports another's `run`."""
    found = offenders(
        lambda m: m != "denoiseq.cli" and not m.endswith(".run"),
        lambda n: within(
            n, *(f"denoiseq.{r}.run" for r in ("training", "evaluation", "prediction"))
        ),
    )
    assert not [text for text in found if not text.startswith("denoiseq.doctor")]


def test_only_cli_imports_hydra():
    assert not offenders(lambda m: m != "denoiseq.cli", lambda n: within(n, "hydra"))


def test_configs_are_read_in_settings_alone():
    allowed = ("denoiseq.cli", "denoiseq.settings")
    assert not offenders(lambda m: not within(m, *allowed), lambda n: within(n, "omegaconf"))


def test_the_lower_rooms_know_no_torch():
    found = offenders(lambda m: room(m) in WITHOUT_TORCH, lambda n: within(n, "torch", "dilconv"))
    assert not found


def test_file_formats_are_read_in_genomics_and_store_alone():
    readers = ("genomics", "store", "prepare")
    found = offenders(
        lambda m: within(m, "denoiseq") and room(m) not in readers,
        lambda n: within(n, "pysam", "pyBigWig", "h5py"),
    )
    assert not found


def test_the_choice_of_convolution_is_made_in_one_file():
    allowed = ("denoiseq.models.layers", "denoiseq.provenance", "denoiseq.doctor", "denoiseq.cli")
    assert not offenders(
        lambda m: within(m, "denoiseq") and not within(m, *allowed), lambda n: within(n, "dilconv")
    )


def test_dilconv_does_not_import_denoiseq():
    assert not offenders(lambda m: within(m, "dilconv"), lambda n: within(n, "denoiseq"))


def test_the_planner_asks_the_library_alone():
    upper = ("dilconv.ops", "dilconv.conv")
    assert not offenders(lambda m: m == "dilconv.planner", lambda n: within(n, *upper))


def test_no_cycles():
    def target(name):
        while name and name not in SOURCES:
            name = name.rpartition(".")[0]
        return name

    def ancestors(module):
        # importing a.b runs a first in any case: `import a` inside a.b adds no order
        return {module[:i] for i, c in enumerate(module + ".") if c == "."}

    graph = {m: {target(n) for n in names} - ancestors(m) - {""} for m, names in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_reading_of_relative_imports():
    assert imported("a.b.c", "from . import d\nfrom ..e import f", False) == {"a.b.d", "a.e.f"}
    assert imported("a.b", "from .c import d", True) == {"a.b.c.d"}
