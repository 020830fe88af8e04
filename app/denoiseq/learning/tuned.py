"""What is chosen on the validation split and travels in the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from denoiseq.learning.metrics import TrackMetrics


@dataclass(frozen=True)
class Tuned:
    """What was chosen on validation: the baseline's bandwidth and each score's peak threshold.

    Thresholds are coverages for noisy and gaussian, and for denoised where the model has no peak
    head, else a probability; a score equal to its threshold is inside a peak.
    """

    gaussian_sigma_bp: float
    thresholds: dict[str, float] = field(default_factory=dict)

    def with_denoised(self, scores: TrackMetrics) -> Tuned:
        """Add the denoised score's best threshold, rounded as the model's probabilities are.

        Where there was no true peak to choose it on: a probability of 0.5, a coverage of nan.
        """
        threshold = scores.best_threshold()
        if scores.logits:
            logit = torch.tensor(threshold, dtype=torch.float32)
            threshold = 0.5 if logit.isnan() else float(torch.sigmoid(logit))
        return Tuned(self.gaussian_sigma_bp, {**self.thresholds, "denoised": threshold})

    @classmethod
    def from_checkpoint(cls, payload: dict[str, Any]) -> Tuned | None:
        """The choices stored in a checkpoint; None where its training ended before making them."""
        if payload.get("thresholds") is None or payload.get("gaussian_sigma_bp") is None:
            return None
        return cls(payload["gaussian_sigma_bp"], dict(payload["thresholds"]))
