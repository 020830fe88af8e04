"""AtacWorks' residual network (Lal et al., Nat. Commun. 12:1507, 2021), and what goes beyond it."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from denoiseq.models.layers import ResBlock, SameConv1d
from denoiseq.models.network import Network, wide
from denoiseq.settings import Conv, Precision
from denoiseq.settings.model import DenoisingResNet as Settings


class DenoisingResNet(Network):
    """The AtacWorks residual network: a regression trunk, then a peak trunk on its output.

    219,706 parameters at the defaults. With one input channel the first block of each trunk has a
    1x1 skip convolution. With task="regression" it ends at the track (161,445 parameters). With
    task="classification" there is no track that a peak trunk could read: the peak head stands on
    the first trunk's features (161,446), and the peak trunk's sizes mean nothing.

    Four settings go beyond AtacWorks, for networks that also read the sequence and for small
    genomes: a stem, because what is as short as a motif falls between the taps of dilated filters;
    biases in the first trunk; peak_input=features, so that how sure the track is reaches the peaks;
    add_input, because a thinning is a part of the clean track, and only the fragments that were not
    seen are left to learn.
    """

    def __init__(self, settings: Settings, conv: Conv, precision: Precision, in_channels: int):
        super().__init__(settings, conv, precision, in_channels)
        self.peak_input, self.add_input = settings.peak_input, settings.add_input
        channels, first = settings.channels, in_channels
        common: dict[str, Any] = {
            "batch_norm": settings.batch_norm,
            "activation": settings.activation,
            "conv": conv,
        }
        self.stem = None
        if settings.stem_kernel_size:
            self.stem = SameConv1d(first, channels, settings.stem_kernel_size, **common)
            first = channels
        layer = {**common, "dilation": settings.dilation, "bias": settings.bias}
        widths = [first, *[channels] * settings.blocks]
        self.res_blocks = _trunk(widths, settings.kernel_size, layer)
        if self.task != "classification":
            self.regressor = self._regression_head(channels)
        if self.task == "both":
            layer = {**common, "dilation": settings.peak_dilation, "bias": True}
            first = 1 if self.peak_input == "track" else 1 + channels
            widths = [first, *[channels] * settings.peak_blocks]
            self.res_blocks_class = _trunk(widths, settings.peak_kernel_size, layer)
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
        """All blocks in a row; their skips are shorter."""
        blocks = [*self.res_blocks, *(self.res_blocks_class if self.task == "both" else ())]
        convs = [conv for b in blocks for conv in (b.conv_act1, b.conv_act2, b.conv_act3)]
        return [*self._stem(), *convs]


def _trunk(widths: list[int], kernel_size: int, layer: dict) -> nn.ModuleList:
    """Residual blocks between successive `widths`."""
    return nn.ModuleList(ResBlock(c, k, kernel_size, **layer) for c, k in pairwise(widths))
