"""Clocks: time on the wall, and the time in which this process had a CPU.

On a machine that others use too, compare by the latter.
"""

import statistics
import time
from collections.abc import Callable, Iterable


def wall_and_cpu(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and those in which this process had a CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def medians(times: Iterable[tuple[float, ...]]) -> list[float]:
    """The median of every column."""
    return [statistics.median(column) for column in zip(*times, strict=True)]
