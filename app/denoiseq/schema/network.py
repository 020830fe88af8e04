"""The network: its architecture, and how it is computed."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from denoiseq.schema.checks import check, one_of

TASKS = ("both", "regression", "classification")


@dataclass
class Model:
    """What all networks have; the class of `name` adds its own sizes.

    `task` says which heads there are, `both_strands` whether validation and prediction average the
    answers to both strands (training reads one), `pretrained` is a checkpoint of ours or of
    AtacWorks whose weights a training starts from.
    """

    name: str = MISSING
    task: str = "both"
    input_transform: str = "none"
    both_strands: bool = False
    pretrained: str | None = None

    def __post_init__(self) -> None:
        one_of("model.task", self.task, TASKS)
        one_of("model.input_transform", self.input_transform, ("none", "log1p", "sqrt"))


@dataclass
class DenoisingResNet(Model):
    """The defaults are AtacWorks' 219,706 parameters. Taps and dilations in bp.

    Beyond it: `stem_kernel_size` taps of a dense convolution in front (0: none), `bias` in the
    regression trunk, `peak_input` (what the peak trunk reads), `add_input` (the track is the noisy
    input plus what the trunk adds).
    """

    name: str = "denoising_resnet"
    channels: int = 15
    kernel_size: int = 51
    dilation: int = 8
    blocks: int = 5
    peak_blocks: int = 2
    peak_kernel_size: int = 51
    peak_dilation: int = 8
    stem_kernel_size: int = 0
    bias: bool = False
    peak_input: str = "track"
    add_input: bool = False
    batch_norm: bool = False
    activation: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("model.activation", self.activation, ("relu", "prelu"))
        one_of("model.peak_input", self.peak_input, ("track", "features"))
        stem = self.stem_kernel_size
        check(stem >= 0, f"model.stem_kernel_size is {stem}, expected 0 (none) or more")
        trunks = ("kernel_size", "dilation", "blocks")
        for name in ("channels", *trunks, *(f"peak_{name}" for name in trunks)):
            value = getattr(self, name)
            check(value >= 1, f"model.{name} is {value}, expected 1 or more")


@dataclass
class UNet(Model):
    """Channels and taps of each level, the bottleneck last; a level halves the width."""

    name: str = "unet"
    channels: list[int] = field(default_factory=lambda: [16, 32, 64, 128, 256])
    kernel_sizes: list[int] = field(default_factory=lambda: [5, 5, 25, 25, 250])
    up_kernel_size: int = 5
    batch_norm: bool = False
    activation: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("model.activation", self.activation, ("relu", "prelu"))
        check(not self.both_strands, "model.both_strands=true is of no use to a U-Net: it pools")
        check(
            len(self.channels) == len(self.kernel_sizes) >= 2,
            f"model.channels is {self.channels} and model.kernel_sizes {self.kernel_sizes}, "
            "expected a number a level each, 2 levels or more",
        )
        for name in ("channels", "kernel_sizes", "up_kernel_size"):
            value = getattr(self, name)
            least = value if name == "up_kernel_size" else min(value)
            check(least >= 1, f"model.{name} is {value}, expected 1 or more")


@dataclass
class Linear(Model):
    """Linear and logistic regression; `field` is the taps of a convolution in bp."""

    name: str = "linear"
    field: int = 8401

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.field >= 1, f"model.field is {self.field}, expected 1 or more")


MODELS: dict[str, type[Model]] = {
    "denoising_resnet": DenoisingResNet,
    "unet": UNet,
    "linear": Linear,
}


@dataclass
class Conv:
    """Which convolution the layers call: ours or torch's. Same weights, same results.

    `algorithm` is dilconv's: auto takes the faster one for each layer, direct errs as plain sums
    do, spectral is fast for long filters, winograd for filters of 2 to 5 taps.
    """

    backend: str = "dilconv"
    algorithm: str = "auto"

    def __post_init__(self) -> None:
        one_of("conv.backend", self.backend, ("dilconv", "torch"))
        one_of("conv.algorithm", self.algorithm, ("auto", "direct", "spectral", "winograd"))
        check(
            self.backend == "dilconv" or self.algorithm == "auto",
            f"conv.algorithm is {self.algorithm!r}, which only conv.backend=dilconv knows",
        )


@dataclass
class Precision:
    """fp32, or bf16: activations in bfloat16; weights, sums, heads, losses and metrics float32."""

    name: str = "fp32"

    def __post_init__(self) -> None:
        one_of("precision.name", self.name, ("fp32", "bf16"))
