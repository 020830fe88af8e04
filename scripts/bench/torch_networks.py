"""AtacWorks' network on torch in the forms that torch is fastest at, for fair comparisons.

Each form is a whole network, so that nothing is converted between layers, with the same weights.
"""

import torch
from denoiseq.errors import UserError
from denoiseq.models.layers import SameConv1d
from denoiseq.models.network import Network, Prediction
from torch import Tensor, nn


def padding_inside(model: Network) -> Network:
    """`padding=` in the call, which takes one number for both sides, instead of F.pad before it."""
    for layer in _convolutions(model):
        left, right = layer.padding
        if left == right:
            layer.conv_layer.padding, layer.pad_before = (left,), False
    return model


class Phases(nn.Module):
    """The d phases of the columns as d times the batch: every dilated convolution becomes dense.

    All filters of more than one tap must have the same dilation d and an odd number of taps, and
    the width of the windows must be a multiple of d.
    """

    def __init__(self, model: Network):
        super().__init__()
        long = [layer for layer in _convolutions(model) if layer.conv_layer.kernel_size != (1,)]
        dilations = {layer.conv_layer.dilation[0] for layer in long}
        if len(dilations) != 1 or any(left != right for left, right in (x.padding for x in long)):
            raise UserError("phases need odd filters of one dilation")
        self.d = dilations.pop()
        for layer in long:
            layer.conv_layer.dilation = (1,)
            layer.padding = tuple(columns // self.d for columns in layer.padding)
        self.model, self.precision = model, model.precision

    def forward(self, x: Tensor) -> Prediction:
        """x (N, C, W) -> Prediction of (N, W) tracks."""
        N, C, W = x.shape
        phases = x.reshape(N, C, W // self.d, self.d).permute(3, 0, 1, 2)
        tracks = self.model(phases.reshape(self.d * N, C, W // self.d))
        return Prediction(*(t.reshape(self.d, N, -1).permute(1, 2, 0).flatten(1) for t in tracks))


class Rows(nn.Module):
    """conv2d on rows of height 1 in channels_last, padded beforehand."""

    def __init__(self, model: Network):
        super().__init__()
        for layer in _convolutions(model):
            layer.conv_layer = _conv2d(layer.conv_layer)
        self.model, self.precision = model, model.precision

    def forward(self, x: Tensor) -> Prediction:
        """x (N, C, W) -> Prediction of (N, W) tracks."""
        rows = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        return Prediction(*(track.squeeze(1) for track in self.model(rows)))


def _conv2d(conv: nn.Conv1d) -> nn.Conv2d:
    K, C, S = conv.weight.shape
    dilation = (1, conv.dilation[0])
    conv2d = nn.Conv2d(C, K, (1, S), dilation=dilation, bias=conv.bias is not None)
    state = {name: p.unsqueeze(2) if p.dim() == 3 else p for name, p in conv.state_dict().items()}
    conv2d.load_state_dict(state)
    conv2d.weight.data = conv2d.weight.data.contiguous(memory_format=torch.channels_last)
    return conv2d


def _convolutions(model: Network) -> list[SameConv1d]:
    return [layer for layer in model.modules() if isinstance(layer, SameConv1d)]
