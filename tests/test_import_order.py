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


# Ground floor that every layer may stand on.
SERVICES = ("denoiseq.atomic", "denoiseq.processes")
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


def test_the_sources_were_found():
    assert {"denoiseq", "denoiseq.cli", "denoiseq.schema", "denoiseq.genomics"} <= set(SOURCES)
    assert "hydra" in IMPORTS["denoiseq.cli"]


def test_only_cli_imports_hydra():
    assert not offenders(lambda m: m != "denoiseq.cli", lambda n: within(n, "hydra"))


def test_configs_stop_at_the_door():
    allowed = ("denoiseq.cli", "denoiseq.schema")
    assert not offenders(lambda m: not within(m, *allowed), lambda n: within(n, "omegaconf"))


def test_ground_floor_imports_nothing_of_ours():
    def foreign(name):
        return within(name, "denoiseq", "dilconv") and not within(name, "denoiseq.schema")

    ground = ("denoiseq.atomic", "denoiseq.processes", "denoiseq.schema")
    assert not offenders(lambda m: within(m, *ground), foreign)


def test_genomics_knows_neither_torch_nor_learning():
    def forbidden(name):
        ours = within(name, "denoiseq") and not within(
            name, "denoiseq.genomics", *SERVICES, "denoiseq.__version__"
        )
        return ours or within(name, "torch", "dilconv")

    assert not offenders(lambda m: within(m, "denoiseq.genomics"), forbidden)


def test_learning_knows_windows_and_no_file_format():
    names = ("store", "samples", "coverage", "sequence", "intervals", "peaks", "frip")
    allowed = [f"denoiseq.genomics.{name}" for name in names]

    def forbidden(name):
        ours = within(name, "denoiseq") and not within(
            name, "denoiseq.learning", *SERVICES, "denoiseq.__version__", *allowed
        )
        return ours or within(name, "pysam", "pyBigWig", "h5py")

    assert not offenders(lambda m: within(m, "denoiseq.learning"), forbidden)


def test_the_choice_of_convolution_is_made_in_one_file():
    allowed = {"denoiseq.learning.layers", "denoiseq.machine", "denoiseq.doctor", "denoiseq.cli"}
    assert not offenders(
        lambda m: within(m, "denoiseq") and m not in allowed, lambda n: within(n, "dilconv")
    )


def test_dilconv_does_not_import_denoiseq():
    assert not offenders(lambda m: within(m, "dilconv"), lambda n: within(n, "denoiseq"))


def test_the_planner_asks_the_library_alone():
    upper = ("dilconv.ops", "dilconv.conv")
    assert not offenders(lambda m: m == "dilconv.planner", lambda n: within(n, *upper))


def test_loop_and_denoise_take_objects_never_configs():
    objects = {"denoiseq.learning.loop", "denoiseq.denoise"}
    forbidden = ("denoiseq.schema", "denoiseq.build", "denoiseq.cli", "denoiseq.commands")
    assert not offenders(lambda m: m in objects, lambda n: within(n, *forbidden))


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
