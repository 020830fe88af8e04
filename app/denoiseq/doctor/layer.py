"""Measurements of this machine: multiply-add peak, memory bandwidth, and AtacWorks' layer.

Measures, judges nothing. torch and dilconv are imported where they are used: `denoiseq doctor` also
runs where they do not load.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from denoiseq.errors import UserError

COPIED_BYTES = 256 * 2**20
PEAK_ROUNDS = 3
LAYER = ("AtacWorks", 1, 15, 15, 51, 8, 60_000)  # name, N, C, K, S, d, W
CONTENDERS = ("torch-padded", "torch-phases", "torch-conv2d", "direct", "spectral", "auto")


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Peak, bandwidth, and the AtacWorks layer; seconds in all. `say` tells what is under way.

    Returns
    -------
    dict
        peak_gflops : float32 multiply-adds of one core, and of all threads together
        bandwidth_gb_s : reading and writing in a large copy, all threads
        layer : rows of `dilconv.bench`, forward and backward, all threads, both dtypes
    """
    import torch
    from dilconv import active_isa
    from dilconv.bench import Layer, bench_layer

    threads = torch.get_num_threads()
    say("measuring the peak and the memory")
    isa = active_isa()
    peak = {"one core": peak_gflops(isa, 1), "together": peak_gflops(isa, threads)}
    bandwidth = copy_gb_s()
    say("measuring the AtacWorks layer, each result verified first")
    timed = partial(bench_layer, Layer(*LAYER), threads=threads, rounds=7, seconds=1)
    rows = timed(list(CONTENDERS), dtype=torch.float32) + timed(["auto"], dtype=torch.bfloat16)
    both = [row for row in rows if row["pass"] == "forward_backward"]
    return {"peak_gflops": peak, "bandwidth_gb_s": bandwidth, "layer": both}


def peak_gflops(isa: str, threads: int) -> float:
    """float32 multiply-adds of so many threads at once, in GFLOP/s: the best round."""
    from dilconv.bench import measure_peak

    with ThreadPoolExecutor(threads) as pool:
        rounds = [
            sum(pool.map(lambda _: measure_peak(isa), range(threads))) for _ in range(PEAK_ROUNDS)
        ]
    return round(max(rounds), 1)


def copy_gb_s() -> float:
    """GB read and written a second by a copy that no cache holds, the best of five."""
    import torch

    source = torch.ones(COPIED_BYTES // 4)
    target, seconds = torch.empty_like(source), []
    for _ in range(6):
        began = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - began)
    return round(2 * COPIED_BYTES / min(seconds[1:]) / 1e9, 1)


def layer_ms(measured: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of the layer's forward and backward by contender."""
    suffixes = {"float32": "", "bfloat16": ", bfloat16"}
    return {
        row["contender"] + suffixes[row["dtype"]]: row["median_ms"] for row in measured["layer"]
    }


def bench(threads: int, batch: int, rounds: int) -> list[dict[str, Any]]:
    """Times of the AtacWorks layer, a row a pass and contender."""
    try:
        from dilconv.bench import CONTENDERS, Layer, bench_layer
    except (ImportError, OSError) as error:
        raise UserError(f"the benchmark needs dilconv, which does not load: {error}") from error
    layer = replace(Layer(*LAYER), N=batch)
    return bench_layer(layer, list(CONTENDERS), threads=threads, rounds=max(rounds, 2))
