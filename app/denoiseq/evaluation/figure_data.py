"""What figures of an evaluation are drawn from: plain lists of at most POINTS numbers a curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from denoiseq.evaluation.calibration import Reliability
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.scored import Scored

POINTS = 200
PROFILE_BP = 1_000
PROFILE_STEP_BP = 20
DISTANCE_STEP_BP, DISTANCE_MOST_BP = 10, 500


def precision_recall(scores: TrackMetrics) -> dict[str, list[float]]:
    """Precision by recall of the bases called at falling thresholds; empty with no true peak."""
    sweep = scores.sweep()
    if not sweep.hits[-1]:
        return {"recall": [], "precision": []}
    recall = sweep.recall()
    chosen = _spread(recall)
    return {"recall": _short(recall[chosen]), "precision": _short(sweep.precision()[chosen])}


def roc(scores: TrackMetrics) -> dict[str, list[float]]:
    """True by false positive rate of the same; empty with one class."""
    sweep = scores.sweep()
    if not (sweep.hits[-1] and sweep.misses[-1]):
        return {"fpr": [], "tpr": []}
    tpr, fpr = sweep.recall(), sweep.false_positive_rate()
    chosen = _spread((tpr + fpr) / 2)  # it is steep at one end and flat at the other
    return {"fpr": [0.0, *_short(fpr[chosen])], "tpr": [0.0, *_short(tpr[chosen])]}


def reliability_curve(reliability: Reliability) -> dict[str, list[Any]]:
    """Probability against the share of bases in true peaks, by group of bases."""
    return {
        "predicted": _short(reliability.probability),
        "observed": _short(reliability.observed),
        "bases": reliability.bases,
    }


def distance_histogram(distances: np.ndarray) -> dict[str, list[int]]:
    """Counts of distances in bp by edges; the last bin holds all longer ones too."""
    edges = np.arange(0, DISTANCE_MOST_BP + 1, DISTANCE_STEP_BP)
    counts, _ = np.histogram(np.minimum(distances, DISTANCE_MOST_BP), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


class Profile:
    """Mean of each track around the centres, ascending positions by chromosome; streaming."""

    def __init__(self, centres: Mapping[str, np.ndarray]):
        self.centres = centres
        self.bases = np.zeros(2 * PROFILE_BP + 1)
        self.sums: dict[str, np.ndarray] = {}

    def add(self, part: Scored) -> None:
        """Take a scored part; bases of the blacklist do not count."""
        size, positions = len(part.mask), self.centres[part.chrom]
        first, last = part.start - PROFILE_BP, part.start + size + PROFILE_BP
        near = positions[slice(*np.searchsorted(positions, [first, last]))] - PROFILE_BP
        tracks = {name: track for name, (track, _) in part.tracks.items() if track is not None}
        tracks["clean"] = part.coverage
        for name in tracks:
            self.sums.setdefault(name, np.zeros(len(self.bases)))
        for start in (near - part.start).tolist():  # of the profile, in the part
            bases = slice(max(start, 0), min(start + len(self.bases), size))
            offsets = slice(bases.start - start, bases.stop - start)
            counted = part.mask[bases]
            self.bases[offsets] += counted
            for name, track in tracks.items():
                self.sums[name][offsets] += np.where(counted, track[bases], 0)

    def curves(self, scale: Mapping[str, float]) -> dict[str, list[float]]:
        """offset_bp, and each track's mean there times its scale."""
        offsets = np.arange(-PROFILE_BP, PROFILE_BP + 1)
        chosen = np.flatnonzero((offsets % PROFILE_STEP_BP == 0) & (self.bases > 0))
        means: dict[str, list[float]] = {"offset_bp": offsets[chosen].tolist()}
        for name, sums in self.sums.items():
            a = np.nan_to_num(scale.get(name, 1.0))
            means[name] = _short(a * sums[chosen] / self.bases[chosen])
        return means


def _spread(rising: np.ndarray) -> np.ndarray:
    """Indices of at most POINTS - 1 values of a rising curve up to 1, evenly spread, 0 left out."""
    heights = np.linspace(0, 1, POINTS - 1)
    heights[0] = np.finfo(np.float64).tiny
    return np.unique(np.minimum(np.searchsorted(rising, heights), len(rising) - 1))


def _short(values: Any) -> list[float]:
    """As floats of six digits."""
    return [float(f"{value:.6g}") for value in np.asarray(values, dtype=np.float64)]
