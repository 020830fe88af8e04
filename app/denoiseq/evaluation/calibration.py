"""Calibrated probabilities: a temperature for peak logits (Guo et al., 2017, "On calibration of
modern neural networks"), and reliability curves, from the counts per bin of `TrackMetrics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from denoiseq.evaluation.metrics import TrackMetrics, bin_middles

CURVE_BINS = 20
LEAST, MOST = 0.02, 50.0  # temperatures beyond say that logits and truth do not belong together
_HALVINGS = 60


@dataclass(frozen=True)
class Reliability:
    """How probabilities meet the truth, over bases grouped by probability in equal steps."""

    probability: list[float]  # a group's mean; empty groups are left out
    observed: list[float]  # the share of its bases inside true peaks
    bases: list[int]
    ece: float  # expected calibration error: the mean of |probability - observed| over all bases
    cross_entropy: float  # in nats per base


@dataclass(frozen=True)
class Calibration:
    """The temperature that logits are divided by, and the reliability without and with it."""

    temperature: float
    before: Reliability
    after: Reliability


def calibrate(scores: TrackMetrics) -> Calibration | None:
    """The temperature of least cross-entropy, where it lowers both that and the ECE; else 1.

    `scores` are of peak logits without a temperature, on validation. None where there is nothing to
    learn from: scores that are not logits, or bases of one class only.
    """
    if not (scores.logits and scores.positives.any() and scores.negatives.any()):
        return None
    temperature = _best_temperature(*_counted(scores))
    before, after = reliability(scores), reliability(scores, temperature)
    if after.cross_entropy < before.cross_entropy and after.ece < before.ece:
        return Calibration(temperature, before, after)
    return Calibration(1.0, before, before)


@contextmanager
def at_temperature(model: Any, temperature: float) -> Iterator[None]:
    """The network divides its peak logits by `temperature` until the block ends."""
    before = getattr(model, "temperature", 1.0)
    model.temperature = temperature
    try:
        yield
    finally:
        model.temperature = before


def reliability(scores: TrackMetrics, temperature: float = 1.0) -> Reliability:
    """How the probabilities of logits, divided by `temperature`, meet the truth."""
    logits, positives, negatives = _counted(scores)
    logits, bases = logits / temperature, positives + negatives
    cross_entropy = positives @ np.logaddexp(0, -logits) + negatives @ np.logaddexp(0, logits)
    probability = _probability(logits)
    group = np.minimum((CURVE_BINS * probability).astype(np.int64), CURVE_BINS - 1)
    sums = np.stack(
        [np.bincount(group, w, CURVE_BINS) for w in (bases * probability, positives, bases)]
    )
    expected, true, n = sums[:, sums[2] > 0]
    return Reliability(
        probability=(expected / n).tolist(),
        observed=(true / n).tolist(),
        bases=n.astype(np.int64).tolist(),
        ece=float(np.abs(expected - true).sum() / max(n.sum(), 1)),
        cross_entropy=float(cross_entropy / max(bases.sum(), 1)),
    )


def _probability(logits: np.ndarray) -> np.ndarray:
    """In float64, without overflow."""
    return 0.5 * (1 + np.tanh(logits / 2))


def _counted(scores: TrackMetrics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that occurred, and how many bases of true peaks and of none had each: (M,) each."""
    bins = np.flatnonzero(scores.positives + scores.negatives)
    return bin_middles(bins), scores.positives[bins], scores.negatives[bins]


def _best_temperature(logits: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> float:
    """Of least cross-entropy, which is convex in 1/T: its slope in 1/T is bisected to 0."""
    bases = positives + negatives
    low, high = np.log(1 / MOST), np.log(1 / LEAST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if logits @ (bases * _probability(np.exp(middle) * logits) - positives) > 0:
            high = middle
        else:
            low = middle
    return float(np.exp(-(low + high) / 2))
