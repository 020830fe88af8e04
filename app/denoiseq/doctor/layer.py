"""Measurements of this machine: multiply-add peak, memory bandwidth, and AtacWorks' layer.

Imports torch and dilconv where it uses them: `denoiseq doctor` also runs where they do not load.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from timeit import repeat
from typing import Any

COPIED_BYTES = 256 * 2**20
PEAK_ROUNDS = 3
LAYER = ("AtacWorks", 1, 15, 15, 51, 8, 60_000)  # name, N, C, K, S, d, W
CONTENDERS = ("torch-padded", "torch-phases", "torch-conv2d", "direct", "spectral", "auto")


def measure() -> dict[str, Any]:
    """`peak_and_bandwidth` and the AtacWorks layer, in seconds; stderr tells what is under way.

    layer : rows of `dilconv.bench`, forward and backward, all threads, both dtypes
    """
    import torch
    from dilconv.bench import Layer, bench_layer

    say = partial(print, file=sys.stderr, flush=True)
    say("measuring the peak and the memory …")
    measured = peak_and_bandwidth()
    say("measuring the AtacWorks layer, each result verified first …")
    threads = torch.get_num_threads()
    timed = partial(bench_layer, Layer(*LAYER), threads=threads, rounds=7, seconds=1)
    rows = timed(list(CONTENDERS), dtype=torch.float32) + timed(["auto"], dtype=torch.bfloat16)
    return {**measured, "layer": [row for row in rows if row["pass"] == "forward_backward"]}


def peak_and_bandwidth() -> dict[str, Any]:
    """The peak and the memory.

    peak_gflops : float32 multiply-adds of one core, and of all threads together
    bandwidth_gb_s : reading and writing in a large copy, all threads; the best of five
    """
    import torch

    peak = {"one core": _peak_gflops(1), "together": _peak_gflops(torch.get_num_threads())}
    source = torch.ones(COPIED_BYTES // 4)
    target = torch.empty_like(source)
    _, *seconds = repeat(lambda: target.copy_(source), number=1, repeat=6)
    bandwidth = round(2 * COPIED_BYTES / min(seconds) / 1e9, 1)
    return {"peak_gflops": peak, "bandwidth_gb_s": bandwidth}


def _peak_gflops(threads: int) -> float:
    """GFLOP/s of so many threads at once: the best round."""
    from dilconv import active_isa
    from dilconv.bench import measure_peak

    with ThreadPoolExecutor(threads) as pool:
        rounds = [sum(pool.map(measure_peak, [active_isa()] * threads)) for _ in range(PEAK_ROUNDS)]
    return round(max(rounds), 1)


def layer_ms(measured: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of the layer's forward and backward by contender."""
    suffixes = {"float32": "", "bfloat16": ", bfloat16"}
    rows = measured["layer"]
    return {row["contender"] + suffixes[row["dtype"]]: row["median_ms"] for row in rows}
