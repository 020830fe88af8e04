"""What is chosen on the validation split and kept in the checkpoint: bandwidth, thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from denoiseq.errors import UserError
from denoiseq.evaluation.metrics import BINS, TrackMetrics, bin_floor

# Operating points: one each time that the recall has risen by a two-hundredth.
RECALL_STEPS = 200


@dataclass(frozen=True)
class LinearWeights:
    """A filter from noisy to clean coverage: the weights of its taps, and its intercept."""

    taps: tuple[float, ...]
    intercept: float


@dataclass(frozen=True)
class Tuned:
    """What was chosen on validation.

    Thresholds are coverages; that of denoised is a calibrated probability where the model has a
    peak head. A base whose score equals the threshold is called.
    """

    gaussian_sigma_bp: float
    thresholds: dict[str, float] = field(default_factory=dict)
    linear: LinearWeights | None = None  # fitted on the training chromosomes

    def with_denoised(self, scores: TrackMetrics, temperature: float = 1.0) -> Tuned:
        """Add the denoised score's best threshold, rounded as the model's probabilities are.

        `temperature` is what the model's logits will be divided by; `scores` are those of logits
        without it. It is nan without a true peak to choose by: nothing is called then.
        """
        threshold = _as_score(scores, scores.best_threshold(), temperature)
        return replace(self, thresholds={**self.thresholds, "denoised": threshold})

    @classmethod
    def from_checkpoint(cls, payload: Mapping[str, Any]) -> Tuned | None:
        """The choices stored in a checkpoint; None where its training ended before making them."""
        if payload.get("thresholds") is None or payload.get("gaussian_sigma_bp") is None:
            return None
        linear = payload.get("linear")
        weights = linear and LinearWeights(tuple(linear["taps"]), linear["intercept"])
        thresholds = dict(payload["thresholds"])
        if _untuned(thresholds) and "denoised" in thresholds:
            thresholds["denoised"] = math.nan
        return cls(payload["gaussian_sigma_bp"], thresholds, weights)


def _untuned(thresholds: Mapping[str, float] | None) -> bool:
    """Whether validation had no true peak; the first releases then stored 0.5 for denoised."""
    return math.isnan((thresholds or {}).get("noisy", 0.0))


def tuned_peak_threshold(payload: Mapping[str, Any]) -> float | None:
    """The threshold of the best F1 on validation that a checkpoint stores; None without one."""
    threshold = payload["peak_threshold"]
    if threshold is None or math.isnan(threshold) or _untuned(payload.get("thresholds")):
        return None
    return float(threshold)


def probability(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """The probabilities that a model gives for logits, by its own float32 arithmetic."""
    return torch.sigmoid(torch.from_numpy(logits) / temperature).numpy()


def _as_score(scores: TrackMetrics, value: float, temperature: float) -> float:
    """A logit as the probability that the model gives for it, float32; a coverage as it is."""
    if not scores.logits:
        return value
    return float(probability(np.array([value], dtype=np.float32), temperature)[0])


def operating_points(scores: TrackMetrics, temperature: float = 1.0) -> dict[str, list[float]]:
    """threshold, precision, recall and f1 of bases, from the strictest threshold on.

    Lists of equal length, at most 202; the recall rises from row to row, and one row has the best
    F1. Empty lists where no base is in a peak.
    """
    sweep = scores.sweep()
    hits, f1 = sweep.hits, sweep.f1()
    steps = np.arange(1, RECALL_STEPS + 1) * int(hits[-1]) / RECALL_STEPS
    rows = np.unique([*np.searchsorted(hits, steps), np.argmax(f1)])
    rows = rows[hits[rows] > 0]
    thresholds = [bin_floor(BINS - 1 - i) for i in rows.tolist()]
    return {
        "threshold": [_as_score(scores, value, temperature) for value in thresholds],
        "precision": sweep.precision()[rows].tolist(),
        "recall": sweep.recall()[rows].tolist(),
        "f1": f1[rows].tolist(),
    }


def threshold_of_precision(points: dict[str, list[float]], precision: float) -> float:
    """The threshold of the most recall that reaches a precision; UserError if none does."""
    reached = np.array(points["precision"])
    enough = np.flatnonzero(reached >= precision)
    if not len(enough):
        highest = np.floor(1000 * reached.max(initial=0)) / 1000
        raise UserError(
            f"peak_precision={precision:g} was not reached on the validation chromosomes, the "
            f"highest was {highest:g}: ask for less, or give peak_threshold="
        )
    return points["threshold"][enough[-1]]
