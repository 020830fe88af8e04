"""Peaks called from a track, whole or streamed, and narrowPeak files.

A run is a stretch of bases at or above a threshold; runs at most `max_gap_bp` apart join, and
what is then at least `min_length_bp` long is a peak (the rule of MACS `bdgpeakcall`). A base whose
score is -inf is barred: no peak holds one, so none joins over one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from denoiseq.atomic import write_text
from denoiseq.errors import UserError

# -log10 of the least expected share of false peaks that is told apart from none.
HIGHEST_Q = 10.0


@dataclass(frozen=True)
class Peak:
    """A called peak: [start, end), 0-based; `summit` is a position on the chromosome.

    score : 0 to 1000, for display; of a called probability, 1000 times its highest value.
    signal : height at the summit. The -log10 values are -1 where unknown, as the format says.
    """

    chrom: str
    start: int
    end: int
    name: str
    score: float
    signal: float
    neglog10_p: float = -1.0
    neglog10_q: float = -1.0
    summit: int | None = None


def runs_above(
    track: np.ndarray, threshold: float, min_length_bp: int, max_gap_bp: int
) -> np.ndarray:
    """Peaks of one whole track (W,): int64 (M, 2) of [start, end), by the rule of this module."""
    peaks = [np.zeros((0, 2), dtype=np.int64)]
    for first, last in allowed(track):
        runs = first + _runs(track[first:last] >= threshold)
        starts, ends = joined(runs[:, 0], runs[:, 1], max_gap_bp)
        long = ends - starts >= min_length_bp
        peaks.append(np.stack([starts[long], ends[long]], axis=1))
    return np.concatenate(peaks)


def joined(starts: np.ndarray, ends: np.ndarray, max_gap_bp: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends (M,) of ascending runs, those at most `max_gap_bp` apart made one."""
    far = np.flatnonzero(starts[1:] - ends[:-1] > max_gap_bp)
    return np.append(starts[:1], starts[far + 1]), np.append(ends[far], ends[-1:])


def allowed(score: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of bases (W,) that are not barred."""
    free = score > -np.inf
    return [(0, len(free))] if free.all() else [(a, b) for a, b in _runs(free).tolist()]


def _runs(above: np.ndarray) -> np.ndarray:
    """Stretches of True in (W,): int64 (M, 2)."""
    edges = np.flatnonzero(np.diff(above, prepend=False, append=False))
    return edges.reshape(-1, 2).astype(np.int64)


@dataclass
class _Open:
    """The peak that a later chunk may still lengthen.

    top_start, top_end : the first stretch of bases that are as high as the highest called one.
    """

    start: int
    end: int
    score: float
    signal: float
    top_start: int
    top_end: int

    def extend(self, run: _Open) -> None:
        """Take in a run that follows."""
        if run.signal > self.signal:
            self.signal, self.top_start, self.top_end = run.signal, run.top_start, run.top_end
        elif run.signal == self.signal and run.top_start == self.top_end:  # a chunk's edge cut it
            self.top_end = run.top_end
        self.end, self.score = run.end, max(self.score, run.score)


class PeakCaller:
    """Calls peaks of one chromosome from consecutive chunks; no chunk's edge cuts a peak."""

    def __init__(self, chrom: str, threshold: float, min_length_bp: int, max_gap_bp: int) -> None:
        self._chrom, self._threshold = chrom, threshold
        self._min_length_bp, self._max_gap_bp = min_length_bp, max_gap_bp
        self._next: int | None = None
        self._reached = 0
        self._open: _Open | None = None
        self._peaks: list[Peak] = []

    def add(self, start: int, score: np.ndarray, signal: np.ndarray | None = None) -> None:
        """Take the bases from `start` on, which must follow the last chunk.

        score : (n,), compared with the threshold; a probability becomes the peak's score.
        signal : (n,), the track whose highest called base is the summit, the middle one of the
            first such where neighbours are equal; absent: the score.
        """
        if self._next is not None and start != self._next:
            raise UserError(f"{self._chrom}: a chunk at {self._next} was due, got {start}.")
        self._next = start + len(score)
        signal = score if signal is None else signal
        for first, last in allowed(score):
            if start + first != self._reached:  # barred bases lie between
                self._close()
            self._reached = start + last
            for a, b in (first + _runs(score[first:last] >= self._threshold)).tolist():
                self._extend(_open(start + a, score[a:b], signal[a:b]))

    def finish(self) -> list[Peak]:
        """All peaks of the chromosome, in order; call it after the last chunk."""
        self._close()
        return self._peaks

    def _extend(self, run: _Open) -> None:
        if self._open is None or run.start - self._open.end > self._max_gap_bp:
            self._close()
            self._open = run
        else:
            self._open.extend(run)

    def _close(self) -> None:
        peak, self._open = self._open, None
        if peak is None or peak.end - peak.start < self._min_length_bp:
            return
        name = f"{self._chrom}_peak_{len(self._peaks) + 1}"
        score = min(1000.0, max(0.0, 1000 * peak.score))
        summit = (peak.top_start + peak.top_end - 1) // 2
        self._peaks.append(
            Peak(self._chrom, peak.start, peak.end, name, score, peak.signal, summit=summit)
        )


def _open(start: int, score: np.ndarray, signal: np.ndarray) -> _Open:
    """A run of called bases, (n,) each, as a peak."""
    first = int(np.argmax(signal))
    lower = signal[first:] < signal[first]
    end = first + int(np.argmax(lower)) if lower.any() else len(signal)
    top = float(signal[first])
    return _Open(start, start + len(score), float(score.max()), top, start + first, start + end)


def with_q_values(peaks: list[Peak]) -> list[Peak]:
    """Add q-values: -log10 of the expected share of false peaks among those ranked as high.

    For peaks that were called from probabilities: the chance that a peak is false is taken as 1
    minus its highest probability, and the share is the mean of that over all peaks ranked at least
    as high. It holds as far as the probabilities are calibrated. At most HIGHEST_Q.
    """
    if not peaks:
        return []
    scores = np.array([peak.score for peak in peaks])
    ranked = np.sort(scores)[::-1]
    share = np.cumsum(1 - ranked / 1000) / np.arange(1, len(ranked) + 1)
    rank = np.searchsorted(-ranked, -scores, side="right") - 1  # the last of equal ones
    q = -np.log10(np.maximum(share[rank], 10.0**-HIGHEST_Q))
    return [replace(peak, neglog10_q=float(v)) for peak, v in zip(peaks, q, strict=True)]


def scored_by_height(peaks: list[Peak]) -> list[Peak]:
    """The peaks with scores of up to 1000, in proportion to their signal; all 0 without any."""
    highest = max((peak.signal for peak in peaks), default=0.0)
    scores = [1000 * peak.signal / highest if highest > 0 else 0.0 for peak in peaks]
    return [replace(peak, score=score) for peak, score in zip(peaks, scores, strict=True)]


def write_narrowpeak(path: str | Path, peaks: Iterable[Peak]) -> None:
    """Write peaks as narrowPeak (BED6+4) without a header, in the order given, atomically."""
    write_text(path, "".join(map(_line, peaks)))


def _line(peak: Peak) -> str:
    score = round(min(max(peak.score, 0.0), 1000.0))
    summit = -1 if peak.summit is None else peak.summit - peak.start
    numbers = (f"{value:.6g}" for value in (peak.signal, peak.neglog10_p, peak.neglog10_q))
    fields = (peak.chrom, peak.start, peak.end, peak.name, score, ".", *numbers, summit)
    return "\t".join(map(str, fields)) + "\n"
