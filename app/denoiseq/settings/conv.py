"""Which convolution computes a network."""

from __future__ import annotations

from dataclasses import dataclass

from denoiseq.settings.setting import check, check_settings, one_of, setting


@dataclass
class Conv:
    """Which convolution the layers call: same weights, same results."""

    backend: str = setting("dilconv", "ours, or PyTorch's", one_of("dilconv", "torch"))
    algorithm: str = setting(
        "auto",
        "of dilconv; auto = the fastest one for each layer",
        one_of("auto", "direct", "spectral", "winograd"),
    )

    def __post_init__(self) -> None:
        check_settings(self, "conv.")
        check(
            self.backend == "dilconv" or self.algorithm == "auto",
            f"conv.algorithm is {self.algorithm!r}, which only conv.backend=dilconv knows",
        )
