"""The network: its architecture, and how it is computed."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from denoiseq.settings.setting import PATH, at_least, check, check_settings, one_of, setting

TASKS = ("both", "regression", "classification")


@dataclass
class Model:
    """What all networks have; the class of `name` adds its own sizes."""

    name: str = setting(MISSING, "the architecture, chosen by model=NAME")
    task: str = setting(
        "both",
        "heads for the denoised coverage (regression), the peaks (classification), or both",
        one_of(*TASKS),
    )
    input_transform: str = setting(
        "none", "the scale on which the network sees coverage", one_of("none", "log1p", "sqrt")
    )
    both_strands: bool = setting(
        False, "validation and prediction average the answers to both strands; twice the work"
    )
    pretrained: str | None = setting(
        None, "weights to start from: a best.pt, or a checkpoint of AtacWorks", kind=PATH
    )

    def __post_init__(self) -> None:
        check_settings(self, "model.")


@dataclass
class DenoisingResNet(Model):
    """The residual network of AtacWorks; the defaults are its 219,706 parameters."""

    name: str = setting("denoising_resnet", "the architecture, chosen by model=NAME")
    channels: int = setting(15, "filters of every layer", at_least(1))
    kernel_size: int = setting(51, "taps of a filter", at_least(1))
    dilation: int = setting(8, "bp between taps", at_least(1))
    blocks: int = setting(5, "residual blocks of the first trunk, 3 layers each", at_least(1))
    peak_blocks: int = setting(2, "of the peak trunk, which task=both alone has", at_least(1))
    peak_kernel_size: int = setting(51, "of the peak trunk", at_least(1))
    peak_dilation: int = setting(8, "of the peak trunk", at_least(1))
    stem_kernel_size: int = setting(
        0, "taps of a dense convolution in front; 0 = none, as AtacWorks", at_least(0)
    )
    bias: bool = setting(False, "biases in the first trunk")
    peak_input: str = setting(
        "track",
        "what the peak trunk reads; features = with the track, the first trunk's",
        one_of("track", "features"),
    )
    add_input: bool = setting(
        False, "the track is the noisy input plus what the network adds; for thinnings"
    )
    batch_norm: bool = setting(False, "BatchNorm behind every convolution")
    activation: str = setting("relu", "between layers", one_of("relu", "prelu"))


@dataclass
class UNet(Model):
    """AtacWorks' U-Net: a level halves the width."""

    name: str = setting("unet", "the architecture, chosen by model=NAME")
    channels: list[int] = setting([16, 32, 64, 128, 256], "of each level, the bottleneck last")
    kernel_sizes: list[int] = setting([5, 5, 25, 25, 250], "taps of each level")
    up_kernel_size: int = setting(5, "taps on the way back up", at_least(1))
    batch_norm: bool = setting(False, "BatchNorm behind every convolution")
    activation: str = setting("relu", "between layers", one_of("relu", "prelu"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check(not self.both_strands, "model.both_strands=true is of no use to a U-Net: it pools")
        check(
            len(self.channels) == len(self.kernel_sizes) >= 2,
            f"model.channels is {self.channels} and model.kernel_sizes {self.kernel_sizes}, "
            "expected a number a level each, 2 levels or more",
        )
        for name in ("channels", "kernel_sizes"):
            value = getattr(self, name)
            check(min(value) >= 1, f"model.{name} is {value}, expected 1 or more")


@dataclass
class Linear(Model):
    """Linear regression of the coverage, or logistic regression of the peaks: one convolution."""

    name: str = setting("linear", "the architecture, chosen by model=NAME")
    field: int = setting(8401, "taps, bp; task=both reads twice as far", at_least(1))


MODELS: dict[str, type[Model]] = {
    "denoising_resnet": DenoisingResNet,
    "unet": UNet,
    "linear": Linear,
}
