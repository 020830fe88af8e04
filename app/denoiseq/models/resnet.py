"""AtacWorks' residual network (Lal et al., Nat. Commun. 12:1507, 2021), and what goes beyond it."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from denoiseq.models.layers import ResBlock, SameConv1d
from denoiseq.models.network import Network, wide
from denoiseq.settings import Conv, Precision
from denoiseq.settings.data import Rows
from denoiseq.settings.model import DenoisingResNet as Settings

# The width of what turns a depth into scales, and what its logarithm is multiplied by: 1 a decade.
HIDDEN, LOG_UNIT = 32, 0.30103
Scale = tuple[Tensor, Tensor]


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

    The depth, where it is told, scales and shifts the features between blocks. The surroundings,
    where they are read, go to the peak trunk, because a peak is called against them, and the track
    is better without them. The background goes to the first trunk, because peaks are worse with it.
    """

    def __init__(self, settings: Settings, conv: Conv, precision: Precision, rows: Rows):
        super().__init__(settings, conv, precision, rows)
        self.peak_input, self.add_input = settings.peak_input, settings.add_input
        channels = settings.channels
        # The rows that the first trunk reads; the peak trunk, if there is one, reads the others.
        self.read = self.rows.total - self.rows.depth
        if self.task == "both":
            self.read -= self.rows.surroundings
        first = self.read
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
            first = 1 + (0 if self.peak_input == "track" else channels) + self.rows.surroundings
            widths = [first, *[channels] * settings.peak_blocks]
            self.res_blocks_class = _trunk(widths, settings.peak_kernel_size, layer)
        if self.task != "regression":
            self.classifier = self._peak_head(channels)
        self.depth = None
        if self.rows.depth:
            between = settings.blocks + (settings.peak_blocks - 1 if self.task == "both" else 0)
            self.depth = DepthScales(channels, between + (self.stem is not None))

    def _tracks(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        scales = None if self.depth is None else iter(self.depth(x[:, -1, :1]))
        h = self._features([*self._stem(), *self.res_blocks], x[:, : self.read], scales)
        if self.task == "classification":
            return None, self._head(self.classifier, h)
        track = self._head(self.regressor, h)
        if self.task == "regression":
            return track, None
        read = [] if self.peak_input == "track" else [wide(h)]
        read += [track, x[:, self.read : self.read + self.rows.surroundings]]
        h = self._features(self.res_blocks_class, torch.cat(read, dim=1), scales)
        return track, self._head(self.classifier, h)

    def _stem(self) -> list[nn.Module]:
        return [] if self.stem is None else [self.stem]

    def _features(
        self, layers: Iterable[nn.Module], h: Tensor, scales: Iterator[Scale] | None
    ) -> Tensor:
        """h (N, C, L) through the layers, in the network's precision."""
        with self._autocast(h):
            for layer in layers:
                h = layer(h)
                if scales is not None and (scale := next(scales, None)) is not None:
                    factor, offset = (part.to(h.dtype) for part in scale)
                    h = torch.relu(torch.addcmul(offset, h, factor))
        return h

    def _path(self) -> list[nn.Module]:
        """All blocks in a row; their skips are shorter."""
        blocks = [*self.res_blocks, *(self.res_blocks_class if self.task == "both" else ())]
        convs = [conv for b in blocks for conv in (b.conv_act1, b.conv_act2, b.conv_act3)]
        return [*self._stem(), *convs]


class DepthScales(nn.Module):
    """Factors and offsets of features by the depth of the input: (N, channels, 1) for each of
    `layers` (Perez et al., 2018, "FiLM"). A new one changes nothing.
    """

    def __init__(self, channels: int, layers: int):
        super().__init__()
        self.hidden = nn.Linear(1, HIDDEN)
        self.scales = nn.Linear(HIDDEN, 2 * channels * layers)
        self.layers = layers
        for parameter in self.scales.parameters():
            nn.init.zeros_(parameter)

    def forward(self, log_depth: Tensor) -> list[Scale]:
        """log2 of a window's depth ratio (N, 1) -> factor and offset of each layer."""
        with torch.autocast(log_depth.device.type, enabled=False):
            scales = self.scales(torch.relu(self.hidden(log_depth * LOG_UNIT + 1)))
        shape = len(log_depth), self.layers, 2, -1, 1
        factors, offsets = scales.view(shape).unbind(2)
        return list(zip((1 + factors).unbind(1), offsets.unbind(1), strict=True))


def _trunk(widths: list[int], kernel_size: int, layer: dict) -> nn.ModuleList:
    """Residual blocks between successive `widths`."""
    return nn.ModuleList(ResBlock(c, k, kernel_size, **layer) for c, k in pairwise(widths))
