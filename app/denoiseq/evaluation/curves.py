"""What figures of an evaluation are drawn from: plain lists of at most POINTS numbers a curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from denoiseq.evaluation.calibration import Reliability
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.scored import Core

POINTS = 200
PROFILE_BP = 1_000
PROFILE_STEP_BP = 20
DISTANCE_STEP_BP, DISTANCE_MOST_BP = 10, 500


def precision_recall(scores: TrackMetrics) -> dict[str, list[float]]:
    """Precision by recall of the bases called at falling thresholds; empty with no true peak."""
    hits, misses = (np.cumsum(part[::-1]) for part in (scores.positives, scores.negatives))
    if not hits[-1]:
        return {"recall": [], "precision": []}
    recall, precision = hits / hits[-1], hits / np.maximum(hits + misses, 1)
    chosen = _spread(recall)
    return {"recall": _short(recall[chosen]), "precision": _short(precision[chosen])}


def roc(scores: TrackMetrics) -> dict[str, list[float]]:
    """True by false positive rate of the same; empty with one class."""
    hits, misses = (np.cumsum(part[::-1]) for part in (scores.positives, scores.negatives))
    if not (hits[-1] and misses[-1]):
        return {"fpr": [], "tpr": []}
    tpr, fpr = hits / hits[-1], misses / misses[-1]
    chosen = _spread((tpr + fpr) / 2)  # it is steep at one end and flat at the other
    return {
        "fpr": [0.0, *_short(fpr[chosen])],
        "tpr": [0.0, *_short(tpr[chosen])],
    }


def reliability_curve(found: Reliability) -> dict[str, list[float]]:
    """Probability against the share of bases in true peaks, by group of bases."""
    parts = asdict(found)
    return {
        "predicted": _short(parts["probability"]),
        "observed": _short(parts["observed"]),
        "bases": parts["bases"],
    }


def distance_histogram(distances: np.ndarray) -> dict[str, list[int]]:
    """Counts of distances in bp by edges; the last bin holds all beyond, too."""
    edges = np.arange(0, DISTANCE_MOST_BP + 1, DISTANCE_STEP_BP)
    counts, _ = np.histogram(np.minimum(distances, DISTANCE_MOST_BP), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


class Profile:
    """Mean of each track around given positions, streaming.

    Parameters
    ----------
    centres : chromosome -> ascending positions.
    """

    def __init__(self, centres: Mapping[str, np.ndarray]):
        self.centres = centres
        self.bases = np.zeros(2 * PROFILE_BP + 1)
        self.sums: dict[str, np.ndarray] = {}

    def add(self, core: Core) -> None:
        """Take a core; bases of the blacklist do not count."""
        size, positions = len(core.mask), self.centres[core.chrom]
        first, last = core.start - PROFILE_BP, core.start + size + PROFILE_BP
        near = positions[slice(*np.searchsorted(positions, [first, last]))] - PROFILE_BP
        tracks = {name: track for name, (track, _) in core.tracks.items() if track is not None}
        tracks["clean"] = core.coverage
        for name in tracks:
            self.sums.setdefault(name, np.zeros(len(self.bases)))
        for start in (near - core.start).tolist():  # of the profile, in the core
            here = slice(max(start, 0), min(start + len(self.bases), size))
            there = slice(here.start - start, here.stop - start)
            counted = core.mask[here]
            self.bases[there] += counted
            for name, track in tracks.items():
                self.sums[name][there] += np.where(counted, track[here], 0)

    def curves(self, scale: Mapping[str, float]) -> dict[str, list[float]]:
        """offset_bp, and each track's mean there times its scale."""
        offsets = np.arange(-PROFILE_BP, PROFILE_BP + 1)
        chosen = np.flatnonzero((offsets % PROFILE_STEP_BP == 0) & (self.bases > 0))
        found: dict[str, list[float]] = {"offset_bp": offsets[chosen].tolist()}
        for name, sums in self.sums.items():
            a = np.nan_to_num(scale.get(name, 1.0))
            found[name] = _short(a * sums[chosen] / self.bases[chosen])
        return found


def _spread(rising: np.ndarray) -> np.ndarray:
    """Indices of at most POINTS - 1 values of a rising curve up to 1, evenly spread, 0 left out."""
    wanted = np.linspace(0, 1, POINTS - 1)
    wanted[0] = np.finfo(np.float64).tiny
    return np.unique(np.minimum(np.searchsorted(rising, wanted), len(rising) - 1))


def _short(values: Any) -> list[float]:
    """As floats of six digits."""
    return [float(f"{value:.6g}") for value in np.asarray(values, dtype=np.float64)]
