"""Clocks: time on the wall, and the time in which this process had a CPU."""

import statistics
import time
from collections.abc import Callable, Iterable


def wall_and_cpu(work: Callable, *arguments: object) -> tuple[float, float]:
    """Seconds on the clock, and those of CPU: compare by these on a machine that others use too."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return time.perf_counter() - wall, time.process_time() - cpu


def medians(times: Iterable[tuple[float, ...]]) -> list[float]:
    """The median of every column."""
    return [statistics.median(column) for column in zip(*times, strict=True)]
