"""The precision of a network's activations."""

from __future__ import annotations

from dataclasses import dataclass

from denoiseq.settings.setting import check_settings, one_of, setting


@dataclass
class Precision:
    """Precision of the activations; weights, sums, heads, losses and metrics stay float32."""

    name: str = setting(
        "fp32", "float32, or bfloat16, which takes half the memory", one_of("fp32", "bf16")
    )

    def __post_init__(self) -> None:
        check_settings(self, "precision.")
