"""Whole peaks against true ones and those of a second draw: agreement, distance of the summits, cut
sites inside.

Peaks are int64 (M, 2) a chromosome, sorted and disjoint.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from denoiseq.evaluation.bootstrap import GROUP, Blocks
from denoiseq.evaluation.metrics import ratio
from denoiseq.genomics.intervals import mask
from denoiseq.genomics.peaks import Peak, PeakCaller
from denoiseq.store.store import Store
from denoiseq.store.thinning import Thinning
from denoiseq.windows.dataset import WindowDataset

Peaks = Mapping[str, np.ndarray]
NONE = np.zeros((0, 2), dtype=np.int64)
COUNTS = ("called", "right", "true", "met", "called_bp", "true_bp", "shared_bp")
CHUNK_BP = 1 << 20


def true_peaks(data: WindowDataset) -> dict[str, list[Peak]]:
    """True peaks by chromosome, blacklisted bases cut out, with summits of the clean coverage."""
    peaks = {}
    for chrom in data.chroms:
        caller = PeakCaller(chrom, 0.5, 1, 0)
        size = data.store.chroms[chrom]
        for start in range(0, size, CHUNK_BP):
            chunk = chrom, start, min(start + CHUNK_BP, size)
            inside = mask(data.truth, *chunk) & ~mask(data.store.blacklist, *chunk)
            caller.add(start, inside.astype(np.float32), data.clean(*chunk))
        peaks[chrom] = caller.finish()
    return peaks


def signal_in_peaks(
    store: Store, chrom: str, peaks: Peaks, thinning: Thinning | None = None
) -> tuple[float, dict[str, np.ndarray]]:
    """Cut sites of a chromosome (or its coverage summed over bases), and by name of a set of peaks
    those in each peak, float64 (M,); `thinning` is a draw of fragments, None: all.
    """
    size, total = store.chroms[chrom], 0.0
    inside = {name: np.zeros(len(intervals)) for name, intervals in peaks.items()}
    for start in range(0, size, CHUNK_BP):
        end = min(start + CHUNK_BP, size)
        positions, weights = store.signal(chrom, start, end, thinning)
        summed = np.concatenate([[0.0], np.cumsum(weights)])
        total += float(summed[-1])
        for name, intervals in peaks.items():
            bounds = np.searchsorted(positions, np.clip(intervals, start, end))  # (M, 2)
            inside[name] += summed[bounds[:, 1]] - summed[bounds[:, 0]]
    return total, inside


def rows(peaks: Mapping[str, list[Peak]]) -> dict[str, np.ndarray]:
    """chromosome -> int64 (M, 2) of peaks."""
    return {chrom: _with_summits(of_chrom)[:, :2] for chrom, of_chrom in peaks.items()}


def peak_counts(called: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The COUNTS of one chromosome: int64 (called, 7) and (true, 7), a row a peak.

    A called peak is right if it shares a base with a true one, which is then met.
    """
    shared, back = _shared_bp(called, truth), _shared_bp(truth, called)
    of_called = np.zeros((len(called), len(COUNTS)), dtype=np.int64)
    of_called[:, 0] = 1
    of_called[:, [1, 4, 6]] = np.stack([shared > 0, called[:, 1] - called[:, 0], shared], axis=1)
    of_truth = np.zeros((len(truth), len(COUNTS)), dtype=np.int64)
    of_truth[:, 2] = 1
    of_truth[:, [3, 5]] = np.stack([back > 0, truth[:, 1] - truth[:, 0]], axis=1)
    return of_called, of_truth


def agreement(counts: np.ndarray) -> dict[str, np.ndarray]:
    """precision, recall, f1 (overlap >= 1 bp) and iou_bp from COUNTS (..., 7).

    precision is nan when nothing is called, recall when nothing is true; f1 is 0 when only one of
    them is empty; iou_bp is intersection over union in bases.
    """
    called, right, true, met, called_bp, true_bp, shared = np.moveaxis(counts, -1, 0)
    precision, recall = ratio(right, called), ratio(met, true)
    f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return {
        "precision": precision,
        "recall": recall,
        "f1": np.where(called + true > 0, f1, np.nan),
        "iou_bp": ratio(shared, called_bp + true_bp - shared),
    }


def without_cuts(counts: np.ndarray, empty: np.ndarray) -> dict[str, np.ndarray]:
    """The share of called peaks that hold no cut site of the input, and of those the share that is
    right: nan where there are none. COUNTS (..., 7) of all called peaks and of those without.
    """
    called, (without, right) = counts[..., 0], np.moveaxis(empty[..., :2], -1, 0)
    return {
        "without_cuts": ratio(without, called),
        "without_cuts_precision": ratio(right, without),
    }


def reproducibility(counts: np.ndarray) -> dict[str, np.ndarray]:
    """How far the peaks of two draws agree, from COUNTS (..., 7) that take one draw's as true.

    The share of peaks that overlap one of the other draw, mean of both draws, nan unless both have
    peaks; and intersection over union in bases.
    """
    agreed = agreement(counts)
    shared = (agreed["precision"] + agreed["recall"]) / 2
    return {"reproducibility": shared, "reproducibility_iou_bp": agreed["iou_bp"]}


def base_agreement(counts: np.ndarray) -> dict[str, np.ndarray]:
    """precision, recall and f1 of the bases in peaks, from COUNTS (..., 7)."""
    *_, called_bp, true_bp, shared = np.moveaxis(counts, -1, 0)
    return {
        "precision": ratio(shared, called_bp),
        "recall": ratio(shared, true_bp),
        "f1": ratio(2 * shared, called_bp + true_bp),
    }


def total_counts(called: Peaks, truth: Peaks) -> np.ndarray:
    """COUNTS (7,) over all chromosomes."""
    total = np.zeros(len(COUNTS), dtype=np.int64)
    for chrom in sorted(set(called) | set(truth)):
        for counts in peak_counts(called.get(chrom, NONE), truth.get(chrom, NONE)):
            total += counts.sum(0)
    return total


def replicated_counts(
    called: Peaks, truth: Peaks, blocks: Blocks, plain: Mapping[str, str]
) -> np.ndarray:
    """COUNTS (draws, 7) of every replicate; a peak is counted with the block of its centre.

    plain : chromosome -> the name under which its blocks are drawn.
    """
    total = np.zeros((blocks.draws, len(COUNTS)))
    for chrom in sorted(set(called) | set(truth)):
        peaks = called.get(chrom, NONE), truth.get(chrom, NONE)
        counts = np.concatenate(peak_counts(*peaks))
        number = np.concatenate(peaks).sum(1) // 2 // blocks.size_bp
        kept, row = np.unique(number, return_inverse=True)
        by_block = np.zeros((len(kept), len(COUNTS)))
        np.add.at(by_block, row, counts)
        for first in range(0, len(kept), GROUP):
            group = slice(first, first + GROUP)
            keys = [(plain[chrom], block) for block in kept[group].tolist()]
            total += blocks.weights(keys)[1:] @ by_block[group]
    return total


def summit_distances(
    called: Mapping[str, list[Peak]], truth: Mapping[str, list[Peak]]
) -> np.ndarray:
    """bp between the summits of each called peak and of the true one that it shares most with, if
    it overlaps any: int64 (M,).
    """
    distances = []
    for chrom, peaks in called.items():
        starts, ends, summits = _with_summits(truth.get(chrom, [])).T
        for start, end, summit in _with_summits(peaks):
            near = slice(np.searchsorted(ends, start, "right"), np.searchsorted(starts, end))
            shared = np.minimum(ends[near], end) - np.maximum(starts[near], start)
            if len(shared):
                distances.append(abs(summit - summits[near][np.argmax(shared)]))
    return np.array(distances, dtype=np.int64)


def _with_summits(peaks: list[Peak]) -> np.ndarray:
    """start, end and summit of peaks: int64 (M, 3)."""
    return np.array([(p.start, p.end, p.summit) for p in peaks], dtype=np.int64).reshape(-1, 3)


def quartiles(distances: np.ndarray) -> dict[str, float]:
    """median, q1 and q3 of distances in bp, and how many there are."""
    q1, median, q3 = np.quantile(distances, [0.25, 0.5, 0.75]) if len(distances) else [np.nan] * 3
    return {"median": float(median), "q1": float(q1), "q3": float(q3), "peaks": len(distances)}


def _shared_bp(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bases of each interval of a (M, 2) that lie in b (sorted, disjoint): int64 (M,)."""
    if not len(b):
        return np.zeros(len(a), dtype=np.int64)
    # Bases of b below a position rise by 1 a base within b and are level between: exact in float64.
    below = np.cumsum(np.diff(b.ravel(), prepend=b[0, 0]) * (np.arange(2 * len(b)) % 2))
    return np.diff(np.interp(a, b.ravel(), below), axis=1)[:, 0].astype(np.int64)
