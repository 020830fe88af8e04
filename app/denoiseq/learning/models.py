"""Networks from a noisy coverage track to a denoised one and to peak logits.

Pure architecture: no losses, no thresholds, no data. Published sizes follow AtacWorks
(Lal et al., Nat. Commun. 12:1507, 2021).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiseq.learning.layers import ResBlock, SameConv1d
from denoiseq.learning.network import Network, Prediction, one_of, wide

PEAK_INPUTS = ("track", "features")
__all__ = ["MODELS", "DenoisingResNet", "Linear", "Network", "Prediction", "UNet"]


class DenoisingResNet(Network):
    """The AtacWorks residual network: a regression trunk, then a peak trunk on its output.

    219,706 parameters at the defaults. With one input channel the first block of each trunk has a
    1x1 skip convolution. With task="regression" it ends at the track (161,445 parameters). With
    task="classification" there is no track that a peak trunk could read: the peak head stands on
    the first trunk's features (161,446), and the peak trunk's sizes mean nothing.

    Four options go beyond AtacWorks, for networks that also read the sequence and small genomes.

    Parameters
    ----------
    channels, kernel_size, dilation, blocks : int
        Regression trunk; its convolutions carry no bias unless `bias` says so.
    peak_blocks, peak_kernel_size, peak_dilation : int
        Peak trunk, `channels` wide, with bias.
    stem_kernel_size : int
        Taps of a dense convolution (with bias) ahead of the first trunk, 0 for none: what is as
        short as a motif falls between the taps of dilated filters.
    bias : bool
    peak_input : {"track", "features"}
        What the peak trunk reads: the denoised track on the scale of the input, or the first
        trunk's features as well, so that how sure the track is reaches the peaks.
    add_input : bool
        The trunk's answer is added to the input, which is a part of the clean track where it is a
        thinning of it: only the fragments that were not seen are left to learn.
    batch_norm : bool
    activation : {"relu", "prelu"}
    **shared
        Of `Network`: task, in_channels, conv, algorithm, precision, input_transform,
        both_strands.
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
        stem_kernel_size: int = 0,
        bias: bool = False,
        peak_input: str = "track",
        add_input: bool = False,
        batch_norm: bool = False,
        activation: str = "relu",
        **shared: Any,
    ):
        super().__init__(**shared)
        one_of("peak_input", peak_input, PEAK_INPUTS)
        self.peak_input, self.add_input = peak_input, add_input
        common = {"batch_norm": batch_norm, "activation": activation, **self.backend}
        first, self.stem = self.in_channels, None
        if stem_kernel_size:
            self.stem = SameConv1d(first, channels, stem_kernel_size, **common)
            first = channels
        layer = {**common, "dilation": dilation, "bias": bias}
        self.res_blocks = _trunk([first, *[channels] * blocks], kernel_size, layer)
        if self.task != "classification":
            self.regressor = self._regression_head(channels)
        if self.task == "both":
            layer = {**common, "dilation": peak_dilation, "bias": True}
            read = 1 if peak_input == "track" else 1 + channels
            widths = [read, *[channels] * peak_blocks]
            self.res_blocks_class = _trunk(widths, peak_kernel_size, layer)
        if self.task != "regression":
            self.classifier = self._peak_head(channels)

    def _tracks(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        h = self._features([*self._stem(), *self.res_blocks], x)
        if self.task == "classification":
            return None, self._head(self.classifier, h)
        track = self._head(self.regressor, h)
        if self.task == "regression":
            return track, None
        read = track if self.peak_input == "track" else torch.cat([wide(h), track], dim=1)
        return track, self._head(self.classifier, self._features(self.res_blocks_class, read))

    def _stem(self) -> list[nn.Module]:
        return [] if self.stem is None else [self.stem]

    def _features(self, layers: Iterable[nn.Module], h: Tensor) -> Tensor:
        """h (N, C, L) through the layers, in the network's precision."""
        with self._autocast(h):
            for layer in layers:
                h = layer(h)
        return h

    def _path(self) -> list[nn.Module]:
        """Skips are shorter."""
        blocks = [*self.res_blocks, *(self.res_blocks_class if self.task == "both" else ())]
        convs = [conv for b in blocks for conv in (b.conv_act1, b.conv_act2, b.conv_act3)]
        return [*self._stem(), *convs]


class UNet(Network):
    """AtacWorks' U-Net: convolutions between halvings of the width, then back up beside them.

    One convolution a level on the way down, the last at the bottleneck; on the way up the track is
    doubled in width (nearest), joined with the features of that level, and convolved. Both heads
    are 1x1 convolutions of the last features. 8,777,809 parameters at the defaults (8,777,792 with
    task="regression", 8,777,793 with "classification"), receptive field 4,364 bp.

    Any width works: the input is widened by zeros on the right to a multiple of `tile_step_bp`, and
    the answer cut to the input's. Pooled positions count from the window's first base.

    Parameters
    ----------
    channels, kernel_sizes : sequence of int, equally long, at least 2
        Of each level; the last is the bottleneck's.
    up_kernel_size : int
    batch_norm : bool
    activation : {"relu", "prelu"}
    **shared
        Of `Network`: task, in_channels, conv, algorithm, precision, input_transform,
        both_strands.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        kernel_sizes: Sequence[int] = (5, 5, 25, 25, 250),
        up_kernel_size: int = 5,
        batch_norm: bool = False,
        activation: str = "relu",
        **shared: Any,
    ):
        super().__init__(**shared)
        if self.both_strands:
            raise ValueError(
                "A U-Net cannot read both strands: turned round, a chromosome would be pooled over "
                "other bases. Train it with data.reverse_complement=true instead."
            )
        if len(channels) != len(kernel_sizes) or len(channels) < 2:
            raise ValueError(
                f"channels={list(channels)} and kernel_sizes={list(kernel_sizes)} must be equally "
                "long, 2 or more: a number a level, the bottleneck's last."
            )
        layer = {"batch_norm": batch_norm, "activation": activation, **self.backend}
        widths = pairwise([self.in_channels, *channels])
        self.down = nn.ModuleList(
            SameConv1d(c, k, size, **layer)
            for (c, k), size in zip(widths, kernel_sizes, strict=True)
        )
        self.up = nn.ModuleList(
            SameConv1d(deep + level, level, up_kernel_size, **layer)
            for level, deep in reversed(list(pairwise(channels)))
        )
        self.pool, self.upsample = nn.MaxPool1d(2), nn.Upsample(scale_factor=2)
        self.tile_step_bp = 2 ** (len(channels) - 1)
        if self.task != "classification":
            self.regressor = self._regression_head(channels[0])
        if self.task != "regression":
            self.classifier = self._peak_head(channels[0])

    def _tracks(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        L = x.shape[-1]
        h = self._features(F.pad(x, (0, -L % self.tile_step_bp)))[..., :L]
        track = None if self.task == "classification" else self._head(self.regressor, h)
        return track, None if self.task == "regression" else self._head(self.classifier, h)

    def _features(self, h: Tensor) -> Tensor:
        """h (N, in_channels, L) -> (N, channels[0], L), L a multiple of tile_step_bp."""
        beside = []
        with self._autocast(h):
            for layer in self.down[:-1]:
                h = layer(h)
                beside.append(h)
                h = self.pool(h)  # (N, C, L/2)
            h = self.down[-1](h)
            for layer in self.up:
                h = layer(torch.cat([self.upsample(h), beside.pop()], dim=1))
        return h

    def _path(self) -> list[nn.Module]:
        """Down to the bottleneck and back; the joins on the way are shorter."""
        down = [step for layer in self.down[:-1] for step in (layer, self.pool)]
        up = [step for layer in self.up for step in (self.upsample, layer)]
        return [*down, self.down[-1], *up]


class Linear(Network):
    """Linear regression of coverage and logistic regression of peaks: one convolution each.

    With task="both" the peaks read the track, as in the residual network. A track below 0 is cut
    off there. Its two layers are heads, which are float32 in any precision. At the defaults 8,402
    parameters for one task, 16,804 for both.

    Parameters
    ----------
    field : int
        Taps of a convolution, bp; even ones reach one base further to the right.
    **shared
        Of `Network`: task, in_channels, conv, algorithm, precision, input_transform,
        both_strands.
    """

    def __init__(self, field: int = 8401, **shared: Any):
        super().__init__(**shared)
        if self.task != "classification":
            layer = {"activation": "relu", **self.backend}
            self.regressor = SameConv1d(self.in_channels, 1, field, **layer)
            self._start_as_the_input()
        if self.task != "regression":
            read = 1 if self.task == "both" else self.in_channels
            self.classifier = SameConv1d(read, 1, field, activation=None, **self.backend)

    def _start_as_the_input(self) -> None:
        """One tap of 1 on the coverage: near the answer, and its ReLU is born alive."""
        with torch.no_grad():
            for parameter in self.regressor.parameters():
                parameter.zero_()
            weight = self.regressor.conv_layer.get_parameter("weight")
            weight[0, 0, self.regressor.padding[0]] = 1

    def _tracks(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.task == "classification":
            return None, self._head(self.classifier, x)
        track = self._head(self.regressor, x)
        return track, None if self.task == "regression" else self._head(self.classifier, track)

    def _path(self) -> list[nn.Module]:
        return list(self.children())


MODELS: dict[str, type[Network]] = {
    "denoising_resnet": DenoisingResNet,
    "unet": UNet,
    "linear": Linear,
}


def _trunk(widths: list[int], kernel_size: int, layer: dict) -> nn.ModuleList:
    """Residual blocks between successive `widths`."""
    return nn.ModuleList(ResBlock(c, k, kernel_size, **layer) for c, k in pairwise(widths))
