"""Which convolution the networks run on."""

from __future__ import annotations

from dataclasses import dataclass

from denoiseq.settings.setting import check, check_settings, one_of, setting


@dataclass
class Conv:
    """Which convolution the layers call; weights and results are the same."""

    backend: str = setting("dilconv", "our convolution, or PyTorch's", one_of("dilconv", "torch"))
    algorithm: str = setting(
        "auto",
        "how dilconv computes; auto = the fastest way for each layer",
        one_of("auto", "direct", "spectral", "winograd"),
    )

    def __post_init__(self) -> None:
        check_settings(self, "conv.")
        check(
            self.backend == "dilconv" or self.algorithm == "auto",
            f"conv.algorithm is {self.algorithm!r}, which only conv.backend=dilconv has",
        )
