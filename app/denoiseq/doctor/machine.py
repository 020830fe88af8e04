"""What this machine and this installation are, in values that JSON can hold; measures nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from denoiseq.cores import affinity, quota
from denoiseq.provenance import dilconv_state, versions

# How the names of OpenMP's shared libraries begin: GNU's, Intel's and LLVM's.
OPENMP = ("libgomp", "libiomp", "libomp")
# What decides threads and instructions.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "DILCONV_ISA", "DILCONV_YIELD", "GOMP_SPINCOUNT")
FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


def examine() -> dict[str, Any]:
    """All facts."""
    packages = versions()
    return {
        "denoiseq": packages.pop("denoiseq"),
        "python": packages.pop("python"),
        "platform": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "cpu": cpu(),
        "memory_gib": memory_gib(),
        "load": round(os.getloadavg()[0], 1),
        "threads": threads(),
        "packages": packages,
        "dilconv": dilconv_state(),
    }


def cpu() -> dict[str, Any]:
    """Model name, cores by affinity and by quota, and the vector features the kernel reports."""
    lines = _colon_separated(Path("/proc/cpuinfo"))
    flags = set(lines.get("flags", "").split())
    return {
        "model": lines.get("model name") or platform.processor() or platform.machine(),
        "cores": affinity(),
        "quota": quota(),
        "features": [name for name in FEATURES if name in flags],
    }


def memory_gib() -> dict[str, float]:
    """Memory of the machine, and what of it a program could have now."""
    lines = _colon_separated(Path("/proc/meminfo"))
    return {
        name.removeprefix("Mem").lower(): round(int(lines[name].split()[0]) / 2**20, 1)
        for name in ("MemTotal", "MemAvailable")
        if name in lines
    }


def _colon_separated(path: Path) -> dict[str, str]:
    """The lines `name: value` of a file of /proc, the first of each name; {} without the file."""
    lines: dict[str, str] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        name, _, value = line.partition(":")
        lines.setdefault(name.strip(), value.strip())
    return lines


def threads() -> dict[str, Any]:
    """The threads of a run (None with a "reason" where torch does not load), OpenMP, variables."""
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    try:
        from denoiseq.distributed import use_threads
    except (ImportError, OSError) as error:
        facts: dict[str, Any] = {"torch": None, "reason": " ".join(str(error).split())}
    else:
        facts = {"torch": use_threads(None), "openmp": openmp_runtimes()}
    return {**facts, "environment": environment}


def openmp_runtimes(maps: Path = Path("/proc/self/maps")) -> list[str]:
    """Paths of the OpenMP runtimes in this process, those of torch and dilconv if they load."""
    dilconv_state()
    lines = maps.read_text("utf-8", "replace").splitlines() if maps.is_file() else []
    paths = {line.split(None, 5)[5] for line in lines if line.count("/")}
    return sorted(path for path in paths if Path(path).name.startswith(OPENMP))
