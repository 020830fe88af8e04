"""Fraction of reads in peaks: how much of a sample's signal lies in given intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from denoiseq.store.store import Store

CHUNK_BP = 1 << 20


def signal_in_peaks(
    store: Store, chrom: str, peaks: Mapping[str, np.ndarray]
) -> tuple[float, dict[str, float]]:
    """Cut sites of a chromosome (coverage summed over bases, for a coverage store), and those in
    each set of peaks.

    peaks : name -> int64 (M, 2), sorted and disjoint. Streams: memory does not grow with reads.
    """
    size = store.chroms[chrom]
    total, inside = 0.0, dict.fromkeys(peaks, 0.0)
    for start in range(0, size, CHUNK_BP):
        end = min(start + CHUNK_BP, size)
        positions, weights = store.signal(chrom, start, end)
        summed = np.concatenate([[0.0], np.cumsum(weights)])
        total += summed[-1]
        for name, rows in peaks.items():
            bounds = np.searchsorted(positions, np.clip(rows, start, end))  # (M, 2)
            inside[name] += float((summed[bounds[:, 1]] - summed[bounds[:, 0]]).sum())
    return float(total), inside
