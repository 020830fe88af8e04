"""Every ISA's kernels in one static program, on this CPU and on emulated ones that have the ISA.

An emulated run takes about 10 s; without the emulator its tests are skipped and checked nothing.
"""

import fcntl
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ISAS_OF = {
    "sapphire_rapids": {"generic", "avx2", "avx512"},
    "corei7_icelake_u": {"generic", "avx2", "avx512"},
    "corei7_haswell_4770": {"generic", "avx2"},
}

pytestmark = pytest.mark.slow


def run(*command) -> tuple[int, str]:
    """Exit status and output, both streams together."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="session")
def program(static_build) -> Path:
    return static_build / "kernels_check"


@pytest.fixture(scope="session")
def emulated():
    """`emulated(cpu, program, *arguments)`: exit status and output of a run on an emulated CPU."""
    folder = ROOT / "build" / "emulator"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, says = run("timeout", "120", "bash", HERE / "setup.sh", folder)
    if status:
        pytest.skip(f"EMULATED CHECKS SKIPPED, no emulator here: {says.strip()[:300]}")
    return lambda cpu, *command: run("bash", HERE / "run.sh", folder, cpu, *command)


def supported(listing: str) -> set[str]:
    return {line.split()[0] for line in listing.splitlines() if line.endswith(" 1")}


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512"])
def test_on_this_cpu(program, isa):
    if isa not in supported(run(program)[1]):
        pytest.skip(f"this CPU cannot run {isa}")
    status, says = run(program, isa)
    assert status == 0 and f"{isa}: 0 failures" in says, says


@pytest.mark.parametrize(
    ("cpu", "isa"),
    [
        ("sapphire_rapids", "avx512"),
        ("corei7_icelake_u", "avx512"),
        ("corei7_haswell_4770", "avx2"),
    ],
)
def test_on_an_emulated_cpu(emulated, program, cpu, isa):
    status, says = emulated(cpu, program, isa)
    assert status == 0 and f"{isa}: 0 failures" in says, says


@pytest.mark.parametrize("cpu", ISAS_OF)
def test_dispatch_knows_the_cpu(emulated, program, cpu):
    status, listing = emulated(cpu, program)
    assert status == 0 and supported(listing) == ISAS_OF[cpu], listing


def test_calls_are_refused_where_the_cpu_lacks_the_isa(emulated, program):
    status, says = emulated("corei7_haswell_4770", program, "avx512")
    assert status == 3 and "cannot run that instruction set" in says, says


FAULTS = {
    "residual lost at a ragged end": ("direct", "direct.cpp", "sum += residual[i];", ";"),
    "only the last block of dw": (
        "direct",
        "backward_weight.h",
        "dw_stride + j] +=",
        "dw_stride + j] =",
    ),
    "wrong sign in a product": (
        "spectral",
        "products.h",
        "mirror[c].re - mirror[c].im}",
        "mirror[c].re + mirror[c].im}",
    ),
    "wrong sign in dw": ("spectral", "products.h", "im[i] - r;", "im[i] + r;"),
}


def plant(fault, isa, build, folder) -> Path:
    """kernels_check with one line of the kernels changed."""
    source, name, right, wrong = FAULTS[fault]
    original, copy = ROOT / "kernels" / "csrc", folder / "csrc"
    shutil.copytree(original, copy)
    text = (copy / name).read_text()
    assert text.count(right) == 1, f"{name} has changed: plant another fault than {right!r}"
    (copy / name).write_text(text.replace(right, wrong))
    target = f"{source}_{isa}.dir"
    (entry,) = (
        entry
        for entry in json.loads((build / "compile_commands.json").read_text())
        if target in entry["output"]
    )
    faulty = folder / "faulty.o"
    command = shlex.split(entry["command"].replace(str(original), str(copy)))
    command[command.index("-o") + 1] = faulty
    status, says = run(*command)
    assert status == 0, says
    objects = [path for path in build.rglob("*.cpp.o") if target not in str(path)]
    program = folder / "faulty"
    status, says = run(command[0], "-static", "-no-pie", "-o", program, faulty, *objects)
    assert status == 0, says
    return program


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(static_build, tmp_path, fault):
    isa = "avx2" if "avx2" in supported(run(static_build / "kernels_check")[1]) else "generic"
    status, says = run(plant(fault, isa, static_build, tmp_path), isa)
    assert status == 1 and "FAIL" in says, says


def test_a_planted_fault_is_found_under_emulation(emulated, static_build, tmp_path):
    program = plant("wrong sign in a product", "avx512", static_build, tmp_path)
    status, says = emulated("sapphire_rapids", program, "avx512")
    assert status == 1 and "FAIL" in says, says
