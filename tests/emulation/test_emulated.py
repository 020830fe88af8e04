"""Every ISA's kernels in one static program, on this CPU and on emulated ones that have the ISA.

An emulated run takes up to half a minute; without the emulator its tests are skipped: they
checked nothing.
"""

import fcntl
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ISAS_OF = {
    "sapphire_rapids": {"generic", "avx2", "avx512", "avx512bf16", "amx"},
    "corei7_icelake_u": {"generic", "avx2", "avx512"},
    "corei7_haswell_4770": {"generic", "avx2"},
}

DTYPES = ("float32", "bfloat16")

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


# The last two ISAs have kernels of their own for bfloat16 alone.
CHECKS = [(isa, dtype) for isa in ("generic", "avx2", "avx512") for dtype in DTYPES]
CHECKS += [("avx512bf16", "bfloat16"), ("amx", "bfloat16")]
# Each on the least CPU that has it.
EMULATED = [
    *(("sapphire_rapids", *check) for check in CHECKS[-2:]),
    *(("corei7_icelake_u", "avx512", dtype) for dtype in DTYPES),
    *(("corei7_haswell_4770", "avx2", dtype) for dtype in DTYPES),
]


@pytest.mark.parametrize(("isa", "dtype"), CHECKS)
def test_on_this_cpu(program, isa, dtype):
    if isa not in supported(run(program)[1]):
        pytest.skip(f"this CPU cannot run {isa}")
    status, says = run(program, isa, dtype)
    assert status == 0 and f"{isa} {dtype}: 0 failures" in says, says


@pytest.mark.parametrize(("cpu", "isa", "dtype"), EMULATED)
def test_on_an_emulated_cpu(emulated, program, cpu, isa, dtype):
    status, says = emulated(cpu, program, isa, dtype)
    assert status == 0 and f"{isa} {dtype}: 0 failures" in says, says


@pytest.mark.parametrize("cpu", ISAS_OF)
def test_dispatch_knows_the_cpu(emulated, program, cpu):
    status, listing = emulated(cpu, program)
    assert status == 0 and supported(listing) == ISAS_OF[cpu], listing


@pytest.mark.parametrize(
    ("cpu", "isa"), [("corei7_haswell_4770", "avx512"), ("corei7_icelake_u", "amx")]
)
def test_calls_are_refused_where_the_cpu_lacks_the_isa(emulated, program, cpu, isa):
    status, says = emulated(cpu, program, isa, "bfloat16")
    assert status == 3 and "cannot run that instruction set" in says, says


class Fault(NamedTuple):
    """One line of the kernels changed, in the object of one ISA ("": this CPU's own)."""

    isa: str
    dtype: str
    source: str  # of the object
    file: str
    right: str
    wrong: str


FAULTS = {
    "residual lost at a ragged end": Fault(
        *("", "float32", "direct", "output.h", "sum += get(residual + i);", ";")
    ),
    "only the last block of dw": Fault(
        *("", "float32", "direct", "backward_weight.h", "dw_stride + j] +=", "dw_stride + j] =")
    ),
    "wrong sign in a product": Fault(
        *("", "float32", "spectral", "products.h"),
        *("mirror[c].re - mirror[c].im}", "mirror[c].re + mirror[c].im}"),
    ),
    "wrong sign in dw": Fault(
        *("", "float32", "spectral", "products.h", "im[i] - r;", "im[i] + r;")
    ),
    "a value at the wrong point": Fault(
        *("", "float32", "winograd", "winograd.cpp", "plane + c, t - u);", "plane + c, t + u);")
    ),
    "only the last unit's dw": Fault(
        *("", "float32", "winograd", "winograd.cpp", "if (kAdd) acc[i][0]", "if (false) acc[i][0]")
    ),
    "bfloat16 cut off": Fault(
        *("", "bfloat16", "direct", "vec.h"),
        *("nearest = bits + (0x7fff + (bits >> 16 & 1));", "nearest = bits;"),
    ),
    "the first of two blocks of rows forgotten": Fault(
        *(
            "",
            "bfloat16",
            "direct",
            "output.h",
            "sum[v] += load(sums +",
            "sum[v] += 0 * load(sums +",
        )
    ),
    "a channel with itself": Fault(
        *("avx512bf16", "bfloat16", "direct", "pairs.h", "p, c + 1, at", "p, c, at")
    ),
    "the last taps forgotten": Fault(
        *("amx", "bfloat16", "amx", "amx.cpp"),
        *("if (steps.full < steps.total)\n          add_steps", "if (false)\n          add_steps"),
    ),
    "data where the filter has no tap": Fault(
        *("amx", "bfloat16", "amx", "pairs.h", " || tap + moved >= p.taps) {", ") {")
    ),
    "the sums of a tile forgotten": Fault(
        *("amx", "bfloat16", "amx", "amx.cpp", "_tile_dpbf16ps(3, 4, 7);", ";")
    ),
}


def plant(fault: Fault, isa, build, folder) -> Path:
    """kernels_check with the fault."""
    original, copy = ROOT / "kernels" / "csrc", folder / "csrc"
    shutil.copytree(original, copy)
    text = (copy / fault.file).read_text()
    missing = f"{fault.file} has changed: plant another fault than {fault.right!r}"
    assert text.count(fault.right) == 1, missing
    (copy / fault.file).write_text(text.replace(fault.right, fault.wrong))
    target = f"{fault.source}_{isa}.dir"
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


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found(static_build, request, tmp_path, name):
    fault = FAULTS[name]
    here = supported(run(static_build / "kernels_check")[1])
    isa = fault.isa or ("avx2" if "avx2" in here else "generic")
    program = plant(fault, isa, static_build, tmp_path)
    if isa in here:
        status, says = run(program, isa, fault.dtype)
    else:
        emulated = request.getfixturevalue("emulated")
        status, says = emulated("sapphire_rapids", program, isa, fault.dtype)
    assert status == 1 and "FAIL" in says, says
