"""Linear and logistic regression of a window, as one convolution each."""

import torch
from torch import Tensor, nn

from denoiseq.models.layers import SameConv1d
from denoiseq.models.network import Network
from denoiseq.settings import Conv, Precision
from denoiseq.settings.data import Rows
from denoiseq.settings.model import Linear as Settings


class Linear(Network):
    """Linear regression of coverage and logistic regression of peaks: one convolution each.

    With task="both" the peaks read the track, as in the residual network. A track below 0 is cut
    off there. Its two layers are heads, which are float32 in any precision. At the defaults 8,402
    parameters for one task, 16,804 for both. Even numbers of taps reach one base further to the
    right.
    """

    def __init__(self, settings: Settings, conv: Conv, precision: Precision, rows: Rows):
        super().__init__(settings, conv, precision, rows)
        taps = settings.field
        if self.task != "classification":
            self.regressor = SameConv1d(self.in_channels, 1, taps, activation="relu", conv=conv)
            self._start_as_the_input()
        if self.task != "regression":
            channels = 1 if self.task == "both" else self.in_channels
            self.classifier = SameConv1d(channels, 1, taps, activation=None, conv=conv)

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
