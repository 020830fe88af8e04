"""What a training minimizes: a weight for each term. A new term is a field here, made with
`weight`, and its function in `training/losses.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from denoiseq.settings.setting import Allowed, at_least, check_settings, setting


def weight(default: float, doc: str, head: str) -> Any:
    """The weight of a term that is computed from one head: "track" or "peaks"."""
    return setting(default, f"weight of {doc}", at_least(0), head=head)


def _is_positive_weight(value: Any) -> bool:
    return value == "balanced" if isinstance(value, str) else value > 0


@dataclass
class Loss:
    """Weights of the terms; 0 leaves one out."""

    mse: float = weight(0.0005, "the mean squared error", "track")
    pearson: float = weight(1.0, "1 - Pearson's correlation over the batch", "track")
    bce: float = weight(1.0, "the binary cross-entropy of the peaks", "peaks")
    log1p_mse: float = weight(
        0.0, "the mean squared error of log1p(coverage); not in AtacWorks", "track"
    )
    poisson: float = weight(0.0, "half the Poisson deviance; not in AtacWorks", "track")
    bce_positive_weight: int | float | str = setting(
        1.0,
        "weight of a base inside a peak relative to one outside; balanced = both classes count "
        "equally",
        Allowed("more than 0, or balanced", _is_positive_weight),
        kind="number, or balanced",
    )

    def __post_init__(self) -> None:
        check_settings(self, "loss.")


# Term -> the head that it is computed from.
TERMS: dict[str, str] = {
    item.name: item.metadata["head"] for item in fields(Loss) if "head" in item.metadata
}
