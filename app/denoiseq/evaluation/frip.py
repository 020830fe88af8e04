"""Fraction of reads in peaks: how much of a sample's signal lies in given intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from denoiseq.store.coverage_store import CoverageStore
from denoiseq.store.cut_store import Store
from denoiseq.store.samples import Samples

CHUNK_BP = 1 << 20


def signal_in_peaks(
    store: Store | Samples, chrom: str, peaks: Mapping[str, np.ndarray]
) -> tuple[float, dict[str, float]]:
    """Cut sites of a chromosome (coverage summed over bases, for a coverage store), and those in
    each set of peaks.

    peaks : name -> int64 (M, 2), sorted and disjoint. Streams: memory does not grow with reads.
    """
    size, plain = store.chroms[chrom], chrom
    if isinstance(store, Samples):
        store, plain = store.home(chrom)
    total, inside = 0.0, dict.fromkeys(peaks, 0.0)
    for start in range(0, size, CHUNK_BP):
        end = min(start + CHUNK_BP, size)
        positions, weights = _signal(store, plain, start, end)
        summed = np.concatenate([[0.0], np.cumsum(weights)])
        total += summed[-1]
        for name, rows in peaks.items():
            bounds = np.searchsorted(positions, np.clip(rows, start, end))  # (M, 2)
            inside[name] += float((summed[bounds[:, 1]] - summed[bounds[:, 0]]).sum())
    return float(total), inside


def _signal(store: Store, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Ascending positions in [start, end) and what each counts: (M,) both."""
    if isinstance(store, CoverageStore):
        return np.arange(start, end), store.coverage(chrom, start, end).astype(np.float64)
    cuts, _ = store.cuts(chrom, start, end)
    return cuts, np.ones(len(cuts))
