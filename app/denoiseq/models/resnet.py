"""AtacWorks' residual network (Lal et al., Nat. Commun. 12:1507, 2021), and what goes beyond it."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from denoiseq.models.layers import ResBlock, SameConv1d
from denoiseq.models.network import Network, one_of, wide

PEAK_INPUTS = ("track", "features")


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


def _trunk(widths: list[int], kernel_size: int, layer: dict) -> nn.ModuleList:
    """Residual blocks between successive `widths`."""
    return nn.ModuleList(ResBlock(c, k, kernel_size, **layer) for c, k in pairwise(widths))
