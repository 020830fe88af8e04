"""What this machine and this installation can do: CPU, threads, versions, instruction sets.

`examine` looks up and measures nothing; `bench` measures the AtacWorks layer, verified first.
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from denoiseq import __version__

FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")
PACKAGES = ("torch", "numpy", "pysam", "h5py", "hydra-core", "pyBigWig", "matplotlib")


def examine() -> dict[str, Any]:
    """Collect the facts, as plain JSON-able values."""
    return {
        "denoiseq": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "threads": threads(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "dilconv": dilconv_state(),
    }


def cpu() -> dict[str, Any]:
    """Model name, cores this process may use, and the vector features the kernel reports."""
    lines: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            lines.setdefault(key.strip(), value.strip())
    flags = set(lines.get("flags", "").split())
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "model": lines.get("model name") or platform.processor() or platform.machine(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "features": [name for name in FEATURES if name in flags],
    }


def threads() -> dict[str, Any]:
    """torch's intra-op threads and the variables that set them."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "DILCONV_ISA")
    settings = {name: os.environ[name] for name in names if name in os.environ}
    try:
        import torch
    except ImportError:
        return {"torch": None, "environment": settings}
    return {"torch": torch.get_num_threads(), "environment": settings}


def package_version(name: str) -> str | None:
    """The installed version of a distribution, None where it is absent."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def dilconv_state() -> dict[str, Any]:
    """Instruction sets of the compiled kernels here and the one in use, or why they do not load."""
    try:
        import dilconv
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return {"loaded": False, "reason": " ".join(str(error).split())}
    return {
        "loaded": True,
        "isas": list(dilconv.available_isas()),
        "active": dilconv.active_isa(),
        "active_bf16": dilconv.active_isa(torch.bfloat16),
    }


def render(facts: dict[str, Any], indent: str = "") -> str:
    """Facts as aligned text, nested groups indented."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", render(value, indent + "  ")] if value else []
            continue
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        lines.append(f"{indent}{key:<12} {'-' if shown in (None, '') else shown}")
    return "\n".join(lines)


def bench(threads: int, batch: int, rounds: int) -> list[dict[str, Any]]:
    """Times of the AtacWorks layer (C=K=15, S=51, d=8, W=60,000), a row a pass and contender."""
    try:
        from dilconv import bench as layers
    except (ImportError, OSError) as error:
        raise ValueError(f"the benchmark needs dilconv, which does not load: {error}") from error
    layer = layers.Layer("AtacWorks", batch, 15, 15, 51, 8, 60_000)
    contenders = list(layers.CONTENDERS)
    return layers.bench_layer(layer, contenders, threads=threads, rounds=max(rounds, 2))


def render_bench(rows: list[dict[str, Any]]) -> str:
    """The rows of `bench` for a terminal; ratios are to the fastest of torch's forms."""
    first = rows[0]
    lines = [
        "N={N} C={C} K={K} S={S} d={d} W={W}, {threads} thread(s), {isa}, {cpu}".format(**first),
        f"{'pass':<18}{'contender':<14}{'ms':>10}{'GFLOP/s':>10}{'of peak':>9}{'x torch':>9}",
    ]
    for row in rows:
        lines.append(
            f"{row['pass']:<18}{row['contender']:<14}{row['median_ms']:>10.2f}"
            f"{row['gflops']:>10.1f}{row['fraction_of_peak']:>9.2f}"
            f"{row['speedup_over_torch']:>9.2f}"
        )
    return "\n".join(lines)
