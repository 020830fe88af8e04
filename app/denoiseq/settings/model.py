"""The networks: their sizes, and what they all share. A new network is a subclass of `Model` here
that names its class, that class in `models/`, and a YAML file in configs/model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from omegaconf import MISSING

from denoiseq.settings.setting import at_least, check, check_settings, one_of, path, setting

MOST_LEVELS = 16  # of a U-Net, whose bottleneck then sees one position in 32,768


@dataclass
class Model:
    """What all networks share; the class of `name` adds its own sizes."""

    # The network's class, which `models.build` imports and calls with these settings.
    network: ClassVar[str]

    name: str = setting(MISSING, "the architecture, chosen with model=NAME")
    task: str = setting(
        "both",
        "which heads: regression = denoised coverage, classification = peaks",
        one_of("both", "regression", "classification"),
    )
    input_transform: str = setting(
        "none",
        "scale on which the network reads and denoises coverage",
        one_of("none", "log1p", "sqrt"),
    )
    both_strands: bool = setting(
        False, "average the answers to both strands in validation and prediction; twice the work"
    )
    pretrained: str | None = path("weights to start from: a best.pt, or a checkpoint of AtacWorks")

    def __post_init__(self) -> None:
        check_settings(self, "model.")


@dataclass
class DenoisingResNet(Model):
    """The residual network of AtacWorks; the defaults are its 219,706 parameters."""

    network = "denoiseq.models.resnet.DenoisingResNet"

    name: str = setting("denoising_resnet", "the architecture, chosen with model=NAME")
    channels: int = setting(15, "filters of every layer", at_least(1))
    kernel_size: int = setting(51, "taps of a filter", at_least(1))
    dilation: int = setting(8, "distance between taps, bp", at_least(1))
    blocks: int = setting(5, "residual blocks of the first trunk, 3 layers each", at_least(1))
    peak_blocks: int = setting(
        2, "residual blocks of the peak trunk, which only task=both has", at_least(1)
    )
    peak_kernel_size: int = setting(51, "taps of a filter of the peak trunk", at_least(1))
    peak_dilation: int = setting(8, "distance between taps in the peak trunk, bp", at_least(1))
    stem_kernel_size: int = setting(
        0, "taps of a dense convolution before the first trunk; 0 = none, as in AtacWorks",
        at_least(0),
    )  # fmt: skip
    bias: bool = setting(False, "whether the first trunk has biases")
    peak_input: str = setting(
        "track",
        "what the peak trunk reads: the denoised track, or the first trunk's features as well",
        one_of("track", "features"),
    )
    add_input: bool = setting(
        False, "add the noisy input to the denoised track; for input that is a thinning"
    )
    batch_norm: bool = setting(False, "BatchNorm after every convolution")
    activation: str = setting("relu", "activation between layers", one_of("relu", "prelu"))


@dataclass
class UNet(Model):
    """AtacWorks' U-Net: each level halves the width."""

    network = "denoiseq.models.unet.UNet"

    name: str = setting("unet", "the architecture, chosen with model=NAME")
    channels: list[int] = setting([16, 32, 64, 128, 256], "filters of each level, bottleneck last")
    kernel_sizes: list[int] = setting([5, 5, 25, 25, 250], "taps of a filter of each level")
    up_kernel_size: int = setting(5, "taps of a filter on the way up", at_least(1))
    batch_norm: bool = setting(False, "BatchNorm after every convolution")
    activation: str = setting("relu", "activation between layers", one_of("relu", "prelu"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            not self.both_strands,
            "model.both_strands=true: a U-Net cannot read both strands, because reversed it would "
            "pool over other bases; train it with data.reverse_complement=true instead",
        )
        check(
            2 <= len(self.channels) == len(self.kernel_sizes) <= MOST_LEVELS,
            f"model.channels={self.channels} and model.kernel_sizes={self.kernel_sizes} must be "
            f"equally long, 2 to {MOST_LEVELS}: one number a level, the bottleneck last",
        )
        for name in ("channels", "kernel_sizes"):
            value = getattr(self, name)
            check(min(value) >= 1, f"model.{name} is {value}, expected 1 or more")


@dataclass
class Linear(Model):
    """Linear regression of the coverage, or logistic regression of the peaks: one convolution."""

    network = "denoiseq.models.linear.Linear"

    name: str = setting("linear", "the architecture, chosen with model=NAME")
    field: int = setting(8401, "taps of the filter, bp; task=both sees twice as far", at_least(1))


MODELS: dict[str, type[Model]] = {kind.name: kind for kind in Model.__subclasses__()}
