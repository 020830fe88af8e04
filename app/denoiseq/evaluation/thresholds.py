"""What is chosen on the validation split and kept in the checkpoint: bandwidth, thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from denoiseq.errors import UserError
from denoiseq.evaluation.calibration import calibrate
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
        """What a checkpoint's validation chose at the depth that stands for all; None where its
        training ended before that.
        """
        chosen = choices(payload)
        return chosen[payload.get("nominal", 0)].tuned if chosen else None


@dataclass(frozen=True)
class Choice:
    """What was chosen on validation at one depth of the input, in cut sites per Mb.

    temperature, calibration and operating_points are of the denoised track's peak logits; scale
    fits the denoised track to the truth.
    """

    cuts_per_mb: float
    tuned: Tuned
    temperature: float = 1.0
    calibration: dict[str, Any] | None = None
    operating_points: dict[str, list[float]] | None = None
    scale: float | None = None

    def with_denoised(self, scores: TrackMetrics) -> Choice:
        """Choose by a validation's scores, which are of logits without temperature."""
        calibration = calibrate(scores)
        temperature = calibration.temperature if calibration else 1.0
        return Choice(
            self.cuts_per_mb,
            self.tuned.with_denoised(scores, temperature),
            temperature,
            asdict(calibration) if calibration else None,
            operating_points(scores, temperature),
            scores.scale,
        )

    def keys(self) -> dict[str, Any]:
        """As a checkpoint stores it; `_choice` reads it back."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "tuned"}
        threshold = self.tuned.thresholds.get("denoised")
        return values | {"peak_threshold": threshold, **asdict(self.tuned)}

    @property
    def peak_threshold(self) -> float | None:
        """The threshold of the best F1; None where validation had no true peak to choose by."""
        threshold = self.tuned.thresholds.get("denoised", math.nan)
        return None if math.isnan(threshold) else threshold


# The keys of a checkpoint whose training has not chosen yet.
NOTHING_CHOSEN = {
    **{f.name: None for f in (*fields(Choice), *fields(Tuned)) if f.name != "tuned"},
    "temperature": 1.0,
    "peak_threshold": None,
}


def choices(payload: Mapping[str, Any]) -> list[Choice]:
    """What a checkpoint's validation chose, depth by depth in ascending order; empty where its
    training ended before that.
    """
    if payload.get("by_depth"):
        return [_choice(keys) for keys in payload["by_depth"]]
    if payload.get("thresholds") is None and payload.get("peak_threshold") is None:
        return []
    return [_choice({**payload, "cuts_per_mb": payload.get("trained_cuts_per_mb", 0.0)})]


def _choice(keys: Mapping[str, Any]) -> Choice:
    """The choice of a depth as `Choice.keys` stores it, or an older checkpoint's only one."""
    linear, thresholds = keys.get("linear"), dict(keys.get("thresholds") or {})
    weights = linear and LinearWeights(tuple(linear["taps"]), linear["intercept"])
    if keys.get("peak_threshold") is not None:
        thresholds.setdefault("denoised", keys["peak_threshold"])
    # The first releases stored 0.5 for denoised where validation had no true peak.
    if math.isnan(thresholds.get("noisy", 0.0)) and "denoised" in thresholds:
        thresholds["denoised"] = math.nan
    sigma = keys.get("gaussian_sigma_bp")
    tuned = Tuned(math.nan if sigma is None else sigma, thresholds, weights)
    known = {f.name: keys[f.name] for f in fields(Choice) if f.name in keys}
    return Choice(**known, tuned=tuned)


def choice_at(chosen: Sequence[Choice], cuts_per_mb: float) -> Choice:
    """What holds at a depth: interpolated over its logarithm between the neighbours, and that of
    the nearest beyond the ends. Calibration and operating points are the nearest's, and so is the
    linear filter, its taps in proportion to the depth, with its threshold. Thresholds of the noisy
    and the smoothed coverage follow a power of the depth.
    """
    if len(chosen) == 1:
        return chosen[0]
    nearest = min(chosen, key=lambda choice: abs(math.log(choice.cuts_per_mb / cuts_per_mb)))
    depths = [choice.cuts_per_mb for choice in chosen]

    def between(values: Sequence[float]) -> float:
        return float(np.interp(math.log(cuts_per_mb), np.log(depths), values))

    thresholds = {}
    for name, threshold in nearest.tuned.thresholds.items():
        values = [choice.tuned.thresholds.get(name, math.nan) for choice in chosen]
        if name == "linear":
            thresholds[name] = threshold
        elif name == "denoised" or min(values) <= 0:
            thresholds[name] = between(values)
        else:  # counts, which grow with the depth; exactly the nearest's at its own
            growth = between([math.log(value / threshold) for value in values])
            thresholds[name] = threshold * math.exp(growth)
    sigma = between([choice.tuned.gaussian_sigma_bp for choice in chosen])
    linear, times = nearest.tuned.linear, nearest.cuts_per_mb / cuts_per_mb
    if linear is not None:
        linear = replace(linear, taps=tuple(times * tap for tap in linear.taps))
    return replace(
        nearest,
        cuts_per_mb=cuts_per_mb,
        temperature=between([choice.temperature for choice in chosen]),
        tuned=Tuned(sigma, thresholds, linear),
    )


def threshold_of_precision_at(
    chosen: Sequence[Choice], cuts_per_mb: float, precision: float
) -> float:
    """The threshold of the most recall that reaches a precision at a depth, interpolated as in
    `choice_at`; UserError where none does at one of the neighbouring depths, or none was kept.
    """
    depths = [choice.cuts_per_mb for choice in chosen]
    right = min(int(np.searchsorted(depths, cuts_per_mb)), len(depths) - 1)
    left = max(right - 1, 0) if cuts_per_mb < depths[right] else right
    near, thresholds = chosen[left : right + 1], []
    for choice in near:
        if choice.operating_points is None:
            raise UserError(
                "the checkpoint is of a training that kept no operating points, which "
                "peak_precision= needs: give peak_threshold="
            )
        thresholds.append(threshold_of_precision(choice.operating_points, precision))
    if len(near) == 1:
        return thresholds[0]
    places = np.log([choice.cuts_per_mb for choice in near])
    return float(np.interp(math.log(cuts_per_mb), places, thresholds))


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
