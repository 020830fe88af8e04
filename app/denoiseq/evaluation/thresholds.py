"""What is chosen on the validation split and travels in the checkpoint: bandwidth, thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from denoiseq.errors import UserError
from denoiseq.evaluation.metrics import BINS, TrackMetrics, bin_floor

# Rows of the operating points: one each time that the recall has risen by a two-hundredth.
RECALL_STEPS = 200


@dataclass(frozen=True)
class LinearWeights:
    """A filter from noisy to clean coverage: a weight for each of its taps, and what is added."""

    taps: tuple[float, ...]
    intercept: float


@dataclass(frozen=True)
class Tuned:
    """What was chosen on validation: the baseline's bandwidth and each score's peak threshold.

    The linear filter, where there is one, is of the training chromosomes. Thresholds are coverages
    for noisy, gaussian and linear, and for denoised where the model has no peak head, else a
    calibrated probability; a score equal to its threshold is inside a peak.
    """

    gaussian_sigma_bp: float
    thresholds: dict[str, float] = field(default_factory=dict)
    linear: LinearWeights | None = None

    def with_denoised(self, scores: TrackMetrics, temperature: float = 1.0) -> Tuned:
        """Add the denoised score's best threshold, rounded as the model's probabilities are.

        `temperature` is what the model's logits are to be divided by where it is used; `scores`
        are of the logits without it. Where there was no true peak to choose the threshold on: a
        probability of 0.5, a coverage of nan.
        """
        threshold = as_score(scores, scores.best_threshold(), temperature)
        if scores.logits and np.isnan(threshold):
            threshold = 0.5
        return replace(self, thresholds={**self.thresholds, "denoised": threshold})

    @classmethod
    def from_checkpoint(cls, payload: dict[str, Any]) -> Tuned | None:
        """The choices stored in a checkpoint; None where its training ended before making them."""
        if payload.get("thresholds") is None or payload.get("gaussian_sigma_bp") is None:
            return None
        linear = payload.get("linear")
        weights = linear and LinearWeights(tuple(linear["taps"]), linear["intercept"])
        return cls(payload["gaussian_sigma_bp"], dict(payload["thresholds"]), weights)


def as_score(scores: TrackMetrics, value: float, temperature: float) -> float:
    """A logit as the probability that the model gives for it, float32; a coverage as it is."""
    if not scores.logits:
        return value
    return float(torch.sigmoid(torch.tensor(value, dtype=torch.float32) / temperature))


def operating_points(scores: TrackMetrics, temperature: float = 1.0) -> dict[str, list[float]]:
    """What calling bases at or above a threshold gave, from the strictest threshold on.

    Returns
    -------
    threshold, precision, recall, f1 : lists of equal length, at most 202, per base; the recall
        rises from row to row. One row has the best F1. Empty lists where no base is in a peak.
    """
    columns: dict[str, list[float]] = {n: [] for n in ("threshold", "precision", "recall", "f1")}
    n_true = int(scores.positives.sum())
    if not n_true:
        return columns
    hits = np.cumsum(scores.positives[::-1])
    called = hits + np.cumsum(scores.negatives[::-1])
    f1 = 2 * hits / (called + n_true)
    wanted = np.arange(1, RECALL_STEPS + 1) * n_true / RECALL_STEPS
    rows = np.unique([*np.searchsorted(hits, wanted), np.argmax(f1)])
    for i in rows[hits[rows] > 0].tolist():
        columns["threshold"].append(as_score(scores, bin_floor(BINS - 1 - i), temperature))
        columns["precision"].append(float(hits[i] / called[i]))
        columns["recall"].append(float(hits[i] / n_true))
        columns["f1"].append(float(f1[i]))
    return columns


def threshold_of_precision(points: dict[str, list[float]], precision: float) -> float:
    """The threshold of the most recall among the operating points of at least a precision.

    Raises
    ------
    ValueError
        If none has it, naming the highest that was reached.
    """
    reached = np.array(points["precision"])
    enough = np.flatnonzero(reached >= precision)
    if not len(enough):
        highest = np.floor(1000 * reached.max(initial=0)) / 1000
        raise UserError(
            f"peak_precision={precision:g} was not reached on the validation chromosomes, the "
            f"highest was {highest:g}: ask for less, or give peak_threshold="
        )
    return points["threshold"][enough[-1]]
