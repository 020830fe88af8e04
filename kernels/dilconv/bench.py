"""Contenders verified, then timed interleaved on the same tensors.

Rates count 2*N*C*K*S*Q operations a pass, whatever the algorithm does, and are related to the
machine's own FMA peak, measured in several rounds of the same run.
"""

from __future__ import annotations

import logging
import os
import platform
import random
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dilconv import _native
from dilconv.contenders import CONTENDERS, RESULTS, Layer, Runner, Tensors
from dilconv.memory import keep_freed_memory
from dilconv.verification import check_contenders

PEAK_SAMPLES = 7
SLOW_SECONDS, SLOW_RATIO = 2.0, 20.0
WARM_BELOW = 0.25  # seconds; what the caches hold at the start matters to shorter runs only

_log = logging.getLogger(__name__)


def stride(one_run: float, rounds: int, seconds: float) -> int:
    """A contender of `one_run` seconds a run takes part in every stride-th of the rounds.

    seconds : about what it may take in one pass; it runs in at least two rounds, three where a run
        takes less than five seconds
    """
    least = 3 if one_run < 5 else 2
    turns = min(rounds, max(least, int(min(seconds / one_run, rounds))))
    return -(-rounds // turns)


def verify(layer: Layer, names: Iterable[str], dtype: torch.dtype) -> dict[str, set[str]]:
    """Check every contender; {pass: names worth timing}.

    Some libraries fall back to scalar code: one that would take over two seconds a run and 20 times
    the fastest form of torch is left out, with a warning.
    """
    seconds = check_contenders(layer, names, dtype)
    worth: dict[str, set[str]] = {}
    for pass_name in RESULTS:
        one_run = {n: s[pass_name] for n, s in seconds.items() if pass_name in s}
        of_torch = [s for n, s in one_run.items() if n.startswith("torch")]
        most = max(SLOW_SECONDS, SLOW_RATIO * min(of_torch, default=float("inf")))
        worth[pass_name] = {name for name, s in one_run.items() if s <= most}
        for name in sorted(set(one_run) - worth[pass_name]):
            where = f"{layer.name}: {name} is left out of {pass_name}"
            _log.warning("%s, about %.0f s a run", where, one_run[name])
    return worth


def measure_peak(isa: str, seconds: float = 0.02) -> float:
    """FMA peak of one core in GFLOP/s, best of three."""
    flops = _native.peak_flops(isa, 100_000) / 100_000  # of a round
    one_run = _seconds(lambda: _native.peak_flops(isa, 100_000))
    rounds = max(1, int(100_000 * seconds / one_run))
    fastest = min(_seconds(lambda: _native.peak_flops(isa, rounds)) for _ in range(3))
    return flops * rounds / fastest / 1e9


@dataclass
class Times:
    """Seconds of one runner's turns: right behind another runner, and right behind itself.

    A run of WARM_BELOW seconds or more is not repeated and counts as both.
    """

    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)

    def take_turn(self, run: Runner) -> None:
        first = _seconds(run)
        self.cold.append(first)
        self.warm.append(_seconds(run) if first < WARM_BELOW else first)

    def ratio(self, other: Times) -> float:
        """These times over the other's in the same rounds, the median."""
        return statistics.median(a / b for a, b in zip(self.warm, other.warm, strict=True))


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def _turn_seconds(run: Runner) -> float:
    """About what a turn takes; a first run warms up, so it is believed only where it is long."""
    first = _seconds(run)
    one_run = first if first > 2 else _seconds(run)
    return one_run if one_run >= WARM_BELOW else 2 * one_run


def time_interleaved(
    runners: dict[str, Runner], isa: str, rounds: int, seconds: float, *, paired: bool = False
) -> tuple[dict[str, Times], list[float]]:
    """Times of every runner, in turn and in an order shuffled each round; the peaks between.

    In a fixed order each runner would always find the caches as the same neighbour leaves them.
    With `paired`, the n-th times of any two runners are of the same round. See `stride`.
    """
    strides = {name: stride(_turn_seconds(run), rounds, seconds) for name, run in runners.items()}
    if paired:
        strides = dict.fromkeys(runners, max(strides.values()))
    times = {name: Times() for name in runners}
    peaks, order, shuffle = [], list(runners), random.Random(0)
    for turn in range(rounds):
        if turn % max(1, rounds // PEAK_SAMPLES) == 0:
            peaks.append(measure_peak(isa))
        for name in order:
            if turn % strides[name] == 0:
                times[name].take_turn(runners[name])
        shuffle.shuffle(order)
    return times, peaks


def machine(dtype: torch.dtype = torch.float32) -> dict[str, str]:
    """What every row carries: CPU, ISA, torch, the limit on its oneDNN if there is one, commit."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name[^:]*: *(.*\S)", cpuinfo.read_text() if cpuinfo.exists() else "")
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "isa": _native.active_isa(dtype),
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "onednn_isa": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        "commit": commit.stdout.strip() or "unknown",
    }


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """So many threads of torch inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bench_layer(
    layer: Layer,
    contenders: list[str],
    *,
    threads: int,
    rounds: int,
    seconds: float = float("inf"),
    dtype: torch.dtype = torch.float32,
) -> list[dict]:
    """Rows (one a contender and pass) of one layer, verified before it is timed.

    Freed memory is kept, so that no contender is timed for the kernel's paging. See also `stride`.
    """
    keep_freed_memory()
    with torch_threads(threads):
        worth = verify(layer, contenders, dtype)
        tensors = Tensors.of(layer, dtype)
        made = {name: CONTENDERS[name](tensors) for name in contenders}
        isa, facts, rows = _native.active_isa(), machine(dtype), []
        for pass_name, names in worth.items():
            passes = {n: c.passes for n, c in made.items() if n in names}
            runners = {n: runs[pass_name] for n, runs in passes.items() if pass_name in runs}
            times, peaks = time_interleaved(runners, isa, rounds, seconds)
            peak = statistics.median(peaks) * threads  # float32's, whatever the dtype
            rows += [
                {**layer.columns, "pass": pass_name, **columns, **facts}
                for columns in _columns(times, layer.flops(pass_name), peak)
            ]
    return rows


def _columns(times: dict[str, Times], flops: int, peak: float) -> Iterator[dict]:
    """Times and rates of each contender; peak : FMA peak of all threads in GFLOP/s."""
    of_torch = [statistics.median(t.warm) for n, t in times.items() if n.startswith("torch")]
    fastest_torch = min(of_torch, default=float("nan"))
    for name, taken in times.items():
        low, median, high = statistics.quantiles(taken.warm, n=4)
        rate = flops / median / 1e9
        yield {
            "contender": name,
            "threads": torch.get_num_threads(),
            "median_ms": round(median * 1e3, 4),
            "iqr_ms": round((high - low) * 1e3, 4),
            "cold_ms": round(statistics.median(taken.cold) * 1e3, 4),
            "gflops": round(rate, 2),
            "fraction_of_peak": round(rate / peak, 4),
            "speedup_over_torch": round(fastest_torch / median, 3),
            "peak_gflops": round(peak, 2),
        }
