"""Networks from a noisy coverage track to a denoised one and to peak logits.

Pure architecture: no losses, no thresholds, no data. Published sizes follow AtacWorks
(Lal et al., Nat. Commun. 12:1507, 2021).
"""

from contextlib import nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from denoiseq.learning.layers import ResBlock, SameConv1d

TRANSFORMS = ("none", "log1p", "sqrt")
PRECISIONS = ("fp32", "bf16")
# expm1 of anything larger is no coverage: exp(16) is 8.9 million cuts over one base.
LOG1P_LIMIT = 16.0
# Anscombe's: sqrt(count + 3/8) has nearly the same variance whatever the expected count.
SQRT_OFFSET = 0.375


class Prediction(NamedTuple):
    """What every model returns, float32 whatever the autocast.

    coverage (N, L) : denoised coverage, >= 0, in the units of the input track.
    peak_logits (N, L) : log-odds that a base lies in a peak.

    None stands for a head that the model's task does without.
    """

    coverage: Tensor | None
    peak_logits: Tensor | None


class DenoisingResNet(nn.Module):
    """The AtacWorks residual network: a regression trunk, then a peak trunk on its output.

    219,706 parameters at the defaults. With one input channel the first block of each trunk has a
    1x1 skip convolution.

    Parameters
    ----------
    channels, kernel_size, dilation, blocks : int
        Regression trunk; its convolutions carry no bias.
    peak_blocks, peak_kernel_size, peak_dilation : int
        Peak trunk, `channels` wide, with bias.
    batch_norm : bool
    activation : {"relu", "prelu"}
    conv : {"dilconv", "torch"}
    algorithm : {"auto", "direct", "spectral"}
        Of dilconv; nothing to torch.
    in_channels : int
        1, or 5 with the sequence: the coverage, then A, C, G and T.
    precision : {"fp32", "bf16"}
        bf16 is autocast inside `forward`: activations are bfloat16; weights, their gradients, sums,
        heads and predictions stay float32, so state dicts do not depend on it.
    input_transform : {"none", "log1p", "sqrt"}
        log1p and sqrt compress the input coverage first; the regression head then lives on that
        scale, which the peak trunk reads, and `Prediction.coverage` is brought back by expm1 or
        square.
        sqrt is sqrt(x + 3/8): noise is level on it, and k times the coverage stays a factor, so
        spikes neither rule the gradients, as with none, nor blow up on the way back.
    """

    def __init__(
        self,
        channels: int = 15,
        kernel_size: int = 51,
        dilation: int = 8,
        blocks: int = 5,
        peak_blocks: int = 2,
        peak_kernel_size: int = 51,
        peak_dilation: int = 8,
        batch_norm: bool = False,
        activation: str = "relu",
        conv: str = "dilconv",
        input_transform: str = "none",
        algorithm: str = "auto",
        precision: str = "fp32",
        in_channels: int = 1,
    ):
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision={precision!r} is unknown: {' or '.join(PRECISIONS)}.")
        if input_transform not in TRANSFORMS:
            raise ValueError(
                f"input_transform={input_transform!r} is unknown: one of {', '.join(TRANSFORMS)}."
            )
        self.conv = conv
        self.precision = precision
        self.input_transform = input_transform
        backend: dict[str, Any] = {"conv": conv, "algorithm": algorithm}
        common = {"batch_norm": batch_norm, "activation": activation, **backend}
        trunk = {**common, "dilation": dilation, "bias": False}
        self.res_blocks = _trunk(blocks, channels, kernel_size, trunk, in_channels)
        self.regressor = SameConv1d(channels, 1, 1, bias=False, activation="relu", **backend)
        trunk = {**common, "dilation": peak_dilation, "bias": True}
        self.res_blocks_class = _trunk(peak_blocks, channels, peak_kernel_size, trunk)
        self.classifier = SameConv1d(channels, 1, 1, bias=True, activation=None, **backend)
        # The trunk ends in ReLU: weights of one sign keep the regression's own ReLU from being
        # born dead, which would silence every gradient, as the peak trunk reads its output.
        with torch.no_grad():
            self.regressor.conv_layer.get_parameter("weight").abs_()

    def forward(self, x: Tensor) -> Prediction:
        """x (N, in_channels, L), coverage first -> Prediction of (N, L) tracks."""
        track = self._head(self.regressor, self._trunk(self.res_blocks, self._compressed(x)))
        logits = self._head(self.classifier, self._trunk(self.res_blocks_class, track))
        return Prediction(self._expanded(track).squeeze(1), logits.squeeze(1))

    def _trunk(self, blocks: nn.ModuleList, h: Tensor) -> Tensor:
        """h (N, C, L) through the residual blocks, in the network's precision."""
        with self._autocast(h):
            for block in blocks:
                h = block(h)
        return h

    def _autocast(self, h: Tensor):
        if self.precision == "fp32":  # what the caller has set holds
            return nullcontext()
        return torch.autocast(h.device.type, torch.bfloat16)

    @staticmethod
    def _head(layer: SameConv1d, h: Tensor) -> Tensor:
        """h (N, C, L) -> (N, 1, L), in float32 whatever the autocast."""
        with torch.autocast(h.device.type, enabled=False):
            return layer(_wide(h))

    def _compressed(self, x: Tensor) -> Tensor:
        """The input with its coverage on the scale that the network lives on."""
        if self.input_transform == "none":
            return x
        coverage, rest = x[:, :1], x[:, 1:]
        log1p = self.input_transform == "log1p"
        coverage = torch.log1p(coverage) if log1p else (coverage + SQRT_OFFSET).sqrt()
        return torch.cat([coverage, rest], dim=1) if rest.shape[1] else coverage

    def _expanded(self, track: Tensor) -> Tensor:
        """The regression output, >= 0, as coverage."""
        if self.input_transform == "log1p":
            return torch.expm1(track.clamp(max=LOG1P_LIMIT))
        return track.square() if self.input_transform == "sqrt" else track

    def receptive_field_bp(self) -> int:
        """Input bases that one base of the peak head depends on (8,401 at the defaults)."""
        return 1 + sum(sum(layer.padding) for layer in self._convolutions())

    def context_bp(self) -> int:
        """Bases needed on each side of a base for the answer that the whole chromosome gives."""
        return sum(max(layer.padding) for layer in self._convolutions())

    def _convolutions(self) -> list[SameConv1d]:
        """The longest chain of convolutions from input to peak logits (skips are shorter)."""
        blocks = [*self.res_blocks, *self.res_blocks_class]
        return [conv for b in blocks for conv in (b.conv_act1, b.conv_act2, b.conv_act3)]


def _wide(h: Tensor) -> Tensor:
    """At least float32, whatever the autocast made of it."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h


def _trunk(
    blocks: int, channels: int, kernel_size: int, layer: dict, in_channels: int = 1
) -> nn.ModuleList:
    """`blocks` residual blocks, the first from `in_channels`."""
    widths = [in_channels, *[channels] * blocks]
    return nn.ModuleList(ResBlock(c, k, kernel_size, **layer) for c, k in pairwise(widths))
