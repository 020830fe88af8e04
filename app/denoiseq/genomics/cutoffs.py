"""How many peaks each of many thresholds would give: the table of MACS3's `--cutoff-analysis`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from denoiseq.atomic import write_text
from denoiseq.genomics.peaks import allowed, joined

# Rows that wait to be counted at all thresholds together.
_WAITING = 1 << 16


def cutoff_grid(threshold: float, probability: bool) -> np.ndarray:
    """Thresholds to count at, around and with `threshold`: float32 (K,), ascending.

    Probabilities are 0.02, 0.04, ..., 0.98; coverages go from a 16th of `threshold` to 16 times
    it, six steps to a doubling.
    """
    grid = np.arange(1, 50) / 50 if probability else threshold * 2 ** (np.arange(-24, 25) / 6)
    return np.unique(np.append(grid, threshold).astype(np.float32))


class CutoffCounter:
    """Peaks and their bases at each of many thresholds, of the consecutive chunks of chromosomes.

    The thresholds, float32 (K,), ascend; lengths and gaps are as in `peaks`. Memory holds one
    chunk, and some stretches between two of the thresholds.
    """

    def __init__(self, thresholds: np.ndarray, min_length_bp: int, max_gap_bp: int) -> None:
        self._thresholds = thresholds
        self._min_length_bp, self._max_gap_bp = min_length_bp, max_gap_bp
        # Barred bases, and ends of chromosomes, move all that follows so far on that no gap closes
        # over them.
        self._moved, self._reached = 0, 0
        self._waiting: list[np.ndarray] = []
        self._open = [np.zeros((2, 0), dtype=np.int64)] * len(self._thresholds)
        self._counts = np.zeros((len(self._thresholds), 2), dtype=np.int64)

    def add(self, start: int, score: np.ndarray) -> None:
        """Take the scores (n,) of the bases from `start` on, which must follow the last chunk.

        Those from 0 on begin another chromosome.
        """
        if start == 0:
            self._moved += self._reached + self._max_gap_bp + 1
            self._reached = 0
        for first, last in allowed(score):
            if start + first != self._reached:
                self._moved += self._max_gap_bp + 1
            self._reached = start + last
            columns = self._stretches(score[first:last])
            columns[:2] += start + first + self._moved
            self._waiting.append(columns)
        if sum(columns.shape[1] for columns in self._waiting) > _WAITING:
            self._count()

    def finish(self) -> np.ndarray:
        """Peaks and their bases at each threshold: int64 (K, 2); call it after the last chunk."""
        self._count()
        for k, (starts, ends) in enumerate(self._open):
            if len(starts):
                self._add(k, ends - starts)
        return self._counts

    def _stretches(self, score: np.ndarray) -> np.ndarray:
        """Bases in a row that reach equally many thresholds (not 0): (3, M) start, end, number."""
        bases = np.flatnonzero(score >= self._thresholds[0])
        reached = np.searchsorted(self._thresholds, score[bases], side="right")
        breaks = np.flatnonzero((bases[1:] - bases[:-1] > 1) | (reached[1:] != reached[:-1]))
        opens = np.append(np.arange(min(1, len(bases))), breaks + 1)
        closes = np.append(breaks, np.arange(len(bases))[-1:])
        return np.stack([bases[opens], bases[closes] + 1, reached[opens]])

    def _count(self) -> None:
        """Count what is closed by now at each threshold; its last run may still grow."""
        nothing = np.zeros((3, 0), dtype=np.int64)
        starts, ends, reached = np.concatenate([nothing, *self._waiting], axis=1)
        self._waiting = []
        for k, (open_start, open_end) in enumerate(self._open):
            kept = np.flatnonzero(reached > k)
            starts, ends, reached = starts[kept], ends[kept], reached[kept]
            if len(starts) == len(open_start) == 0:  # as on most contigs at most thresholds
                continue
            runs = np.stack(
                joined(np.append(open_start, starts), np.append(open_end, ends), self._max_gap_bp)
            )
            self._add(k, runs[1, :-1] - runs[0, :-1])
            self._open[k] = runs[:, -1:]

    def _add(self, k: int, lengths: np.ndarray) -> None:
        lengths = lengths[lengths >= self._min_length_bp]
        self._counts[k] += len(lengths), lengths.sum()


def write_cutoffs(path: str | Path, thresholds: np.ndarray, counts: np.ndarray) -> None:
    """Write the table, the strictest threshold first, under MACS3's names; `counts` (K, 2) of all.

    Columns: score (the threshold), npeaks, lpeaks (bases in peaks), avelpeak (their mean length).
    """
    lines = ["score\tnpeaks\tlpeaks\tavelpeak\n"]
    for threshold, (peaks, bases) in zip(thresholds[::-1], counts[::-1].tolist(), strict=True):
        lines.append(f"{threshold:.6g}\t{peaks}\t{bases}\t{bases / max(peaks, 1):.2f}\n")
    write_text(path, "".join(lines))
