"""What each object file holds: no object may smuggle in code that only a better CPU can run.

The linker keeps one copy of a weak (inline, template) function of a name, from whichever object:
one compiled for AVX-512 would then run on every CPU.
"""

import re
import subprocess
from pathlib import Path

import pytest

KERNEL_TARGET = re.compile(r"(direct|spectral|winograd|amx)_(\w+)\.dir")
WEAK = re.compile(r"^\S* *([WVuwv]) (\S+)$", re.MULTILINE)
# Every instruction of AVX and later starts with v (verr and verw aside), or is on mask registers.
AVX = re.compile(r"\tv(?!er[rw]\b)\w+|%[yz]mm\d+|%k[0-7]\b")
AVX512 = re.compile(r"%zmm\d+|%[xy]mm(?:1[6-9]|2\d|3[01])\b|%k[0-7]\b")


def weak_symbols(path: Path) -> list[str]:
    listing = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    return [name for _, name in WEAK.findall(listing)]


def instructions(path: Path, pattern: re.Pattern) -> set[str]:
    """What `pattern` finds in the disassembly."""
    command = ["objdump", "-d", "--no-show-raw-insn", path]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "ret" in listing
    return set(pattern.findall(listing))


@pytest.fixture(scope="module")
def objects(static_build) -> dict[str, list[Path]]:
    """Object files by ISA; those of no ISA under "baseline"."""
    found = {}
    for path in sorted((static_build / "kernels").rglob("*.cpp.o")):
        target = KERNEL_TARGET.search(str(path))
        found.setdefault(target[2] if target else "baseline", []).append(path)
    return found


def test_every_object_was_found(objects):
    names = {isa: {path.name for path in paths} for isa, paths in objects.items()}
    baseline = {"arena.cpp.o", "dispatch.cpp.o", "driver.cpp.o", "fft_tables.cpp.o"}
    baseline |= {"plan.cpp.o", "plan_winograd.cpp.o", "run_direct.cpp.o", "run_units.cpp.o"}
    assert baseline <= names.pop("baseline")
    assert names.pop("avx512bf16") == {"direct.cpp.o"}
    assert names.pop("amx") == {"amx.cpp.o"}
    assert {"generic", "avx2", "avx512"} <= names.keys()
    assert all(
        each == {"direct.cpp.o", "spectral.cpp.o", "winograd.cpp.o"} for each in names.values()
    )


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512", "avx512bf16", "amx"])
def test_kernel_objects_have_no_weak_symbols(objects, isa):
    assert not {path.name: weak for path in objects[isa] if (weak := weak_symbols(path))}


@pytest.mark.parametrize(
    ("isa", "instruction"), [("avx512bf16", "vdpbf16ps"), ("amx", "tdpbf16ps")]
)
def test_bf16_instructions_are_where_they_belong(objects, isa, instruction):
    pattern = re.compile(rf"\b{instruction}\b")
    holders = {each for each, paths in objects.items() for p in paths if instructions(p, pattern)}
    assert isa in holders <= {"avx512bf16", "amx"}


@pytest.mark.parametrize("isa", ["baseline", "generic"])
def test_baseline_objects_run_on_any_x86_64(objects, isa):
    assert not {path.name: found for path in objects[isa] if (found := instructions(path, AVX))}


def test_avx2_objects_have_no_avx512(objects):
    assert not set().union(*(instructions(path, AVX512) for path in objects["avx2"]))


def test_the_checks_can_fail(objects, tmp_path):
    assert all({"%ymm0"} <= instructions(path, AVX) for path in objects["avx2"])
    assert all({"%zmm0"} <= instructions(path, AVX512) for path in objects["avx512"])
    source = tmp_path / "weak.cpp"
    source.write_text("inline int shared() { return 1; }\nint (*address)() = shared;\n")
    subprocess.run(["c++", "-c", source, "-o", tmp_path / "weak.o"], check=True)
    assert weak_symbols(tmp_path / "weak.o") == ["_Z6sharedv"]
