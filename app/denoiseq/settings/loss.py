"""What a training minimizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from denoiseq.settings.setting import (
    Allowed,
    at_least,
    check_settings,
    setting,
)


def _weighs(value: Any) -> bool:
    return value == "balanced" if isinstance(value, str) else value > 0


@dataclass
class Loss:
    """Weights of the terms; 0 leaves one out."""

    mse: float = setting(0.0005, "weight of the mean squared error", at_least(0))
    pearson: float = setting(1.0, "weight of 1 - Pearson's correlation over the batch", at_least(0))
    bce: float = setting(1.0, "weight of the peaks' binary cross-entropy", at_least(0))
    log1p_mse: float = setting(
        0.0, "weight of the mean squared error of log1p(coverage); not AtacWorks'", at_least(0)
    )
    poisson: float = setting(
        0.0, "weight of half the Poisson deviance; not AtacWorks'", at_least(0)
    )
    bce_positive_weight: int | float | str = setting(
        1.0,
        "a base in a peak weighs as much as so many outside; balanced = both classes equal",
        Allowed("more than 0, or balanced", _weighs),
        kind="number, or balanced",
    )

    def __post_init__(self) -> None:
        check_settings(self, "loss.")
