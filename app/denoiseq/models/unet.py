"""AtacWorks' U-Net (Lal et al., Nat. Commun. 12:1507, 2021)."""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiseq.models.layers import SameConv1d
from denoiseq.models.network import Network
from denoiseq.settings import Conv, Precision
from denoiseq.settings.data import Rows
from denoiseq.settings.model import UNet as Settings


class UNet(Network):
    """AtacWorks' U-Net: convolutions between halvings of the width, then back up beside them.

    One convolution a level on the way down, the last at the bottleneck; on the way up the track is
    doubled in width (nearest), joined with the features of that level, and convolved. Both heads
    are 1x1 convolutions of the last features. 8,777,809 parameters at the defaults (8,777,792 with
    task="regression", 8,777,793 with "classification"), receptive field 4,364 bp.

    Any width works: the input is widened by zeros on the right to a multiple of `tile_step_bp`, and
    the answer cut to the input's. Pooled positions count from the window's first base.
    """

    def __init__(self, settings: Settings, conv: Conv, precision: Precision, rows: Rows):
        super().__init__(settings, conv, precision, rows)
        layer = partial(
            SameConv1d, batch_norm=settings.batch_norm, activation=settings.activation, conv=conv
        )
        channels = settings.channels
        widths = pairwise([self.in_channels, *channels])
        self.down = nn.ModuleList(
            layer(c, k, size) for (c, k), size in zip(widths, settings.kernel_sizes, strict=True)
        )
        self.up = nn.ModuleList(
            layer(deep + level, level, settings.up_kernel_size)
            for level, deep in reversed(list(pairwise(channels)))
        )
        # A pool for each level: hooks of attribution remember one input a module.
        self.pools = nn.ModuleList(nn.MaxPool1d(2) for _ in self.up)
        self.upsample = nn.Upsample(scale_factor=2)
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
            for layer, pool in zip(self.down, self.pools, strict=False):  # all but the last layer
                h = layer(h)
                beside.append(h)
                h = pool(h)  # (N, C, L/2)
            h = self.down[-1](h)
            for layer in self.up:
                h = layer(torch.cat([self.upsample(h), beside.pop()], dim=1))
        return h

    def _path(self) -> list[nn.Module]:
        """Down to the bottleneck and back; the joins on the way are shorter."""
        down = [step for pair in zip(self.down, self.pools, strict=False) for step in pair]
        up = [step for layer in self.up for step in (self.upsample, layer)]
        return [*down, self.down[-1], *up]
