"""The peaks that a network learns: Poisson calls of the clean coverage."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import mask, unmasked_bp
from denoiseq.genomics.peaks import PeakCaller
from denoiseq.settings import Data
from denoiseq.store.store import Store

_CHUNK_BP = 1 << 20


def poisson_threshold(mean: float, neglog10_p: float) -> int:
    """Least coverage k >= 1 whose Poisson p-value P(X > k) is at most 10^-neglog10_p.

    P(X > k), not P(X >= k), is the p-value of MACS `bdgcmp -m ppois`. Summed as logarithms, so
    that it is right far below the least float. A mean of 0 gives 1: any coverage is surprising.
    """
    if mean < 0 or not math.isfinite(mean):
        raise UserError(f"a mean coverage is finite and not negative, got {mean}.")
    if mean == 0:
        return 1
    low, high = 0, 1
    while _neglog10_upper(high, mean) < neglog10_p:
        low, high = high, 2 * high
    # P(X > low) is too large (or low is 0), P(X > high) is small enough.
    between = range(low + 1, high)
    return low + 1 + bisect_left(between, neglog10_p, key=lambda k: _neglog10_upper(k, mean))


def _neglog10_upper(k: int, mean: float) -> float:
    """-log10 P(X > k) for X ~ Poisson(mean)."""
    log_first = (k + 1) * math.log(mean) - mean - math.lgamma(k + 2)  # log P(X = k + 1)
    terms = max(0, math.ceil(mean) - k) + math.ceil(12 * math.sqrt(mean + k + 1)) + 60
    steps = np.log(mean) - np.log(np.arange(k + 2, k + 2 + terms))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    top = logs.max()
    return -(log_first + top + math.log(np.exp(logs - top).sum())) / math.log(10)


def poisson_peaks(store: Store, settings: Data) -> dict[str, np.ndarray]:
    """Peaks of the full coverage against each chromosome's own mean outside the blacklist.

    Bases in the blacklist count as coverage 0. Returns chrom -> int64 (M, 2) for every chromosome
    of the store; the track is streamed, so memory does not grow with the chromosome.
    """
    h, rule = settings.half_window_bp, (settings.label_min_length_bp, settings.label_max_gap_bp)
    peaks = {}
    for chrom in store.chroms:
        total = sum(float(track.sum()) for _, track in _tracks(store, chrom, h))
        bases = unmasked_bp(store.chroms, store.blacklist, chrom)
        mean = total / bases if bases else 0.0
        threshold = poisson_threshold(mean, settings.label_neglog10_p)
        caller = PeakCaller(chrom, threshold, *rule)
        for start, track in _tracks(store, chrom, h):
            caller.add(start, track)
        rows = [(peak.start, peak.end) for peak in caller.finish()]
        peaks[chrom] = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return peaks


def _tracks(store: Store, chrom: str, half_window_bp: int) -> Iterator[tuple[int, np.ndarray]]:
    size = store.chroms[chrom]
    for start in range(0, size, _CHUNK_BP):
        end = min(start + _CHUNK_BP, size)
        track = store.coverage(chrom, start, end, half_window_bp)
        track[mask(store.blacklist, chrom, start, end)] = 0
        yield start, track
