"""The convolution blocks of the networks; the only place that chooses dilconv or torch. Parameter
paths (`conv_act1.conv_layer.weight`, ...) are those of published AtacWorks state dicts.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiseq.errors import UserError
from denoiseq.settings import Conv


def _convolution(conv: Conv, activation: str | None) -> Callable[..., nn.Module]:
    """The class of a convolution: dilconv's pads and activates inside, torch's does not."""
    if conv.backend == "torch":
        return nn.Conv1d
    try:
        import dilconv

        dilconv.active_isa()  # loads the library and reads DILCONV_ISA
    except (ImportError, OSError, ValueError) as error:
        raise UserError(
            f"conv=dilconv needs the compiled package, which does not load ({error}): "
            "install it with `pip install -e .` or set conv=torch."
        ) from error
    return partial(dilconv.Conv1d, padding="same", activation=activation, algorithm=conv.algorithm)


class SameConv1d(nn.Module):
    """y = activation(norm(conv(x)) + residual), as wide as x.

    "Same" padding is virtual zeros, `(S-1)*d // 2` on the left and the rest on the right, so the
    extra zero of an odd total is on the right (as torch's `padding="same"` and AtacWorks).

    conv : which implementation multiplies; the weights and their names are the same
    activation : None, "relu" or "prelu"; a module for hooks to see, unless dilconv applies the ReLU
        in its pass (`dilconv.unfuse(network)` gives all of these a module, for attribution)
    batch_norm : normalise between convolution and residual
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        conv: Conv,
        activation: str | None,
        dilation: int = 1,
        bias: bool = True,
        batch_norm: bool = False,
    ):
        super().__init__()
        total = (kernel_size - 1) * dilation
        self.padding = (total // 2, total - total // 2)
        # dilconv does bias, residual and ReLU in its one pass, unless a norm has to come between.
        self.fused = conv.backend == "dilconv" and not batch_norm and activation != "prelu"
        self.pad_before = conv.backend == "torch"
        self.conv_layer = _convolution(conv, activation if self.fused else None)(
            in_channels, out_channels, kernel_size, dilation=dilation, bias=bias
        )
        self.norm_layer = nn.BatchNorm1d(out_channels) if batch_norm else None
        self.act_layer = None
        if activation is not None and not self.fused:
            self.act_layer = nn.PReLU() if activation == "prelu" else nn.ReLU()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (N, C, L), residual (N, K, L) or None -> (N, K, L)."""
        if self.fused:
            return self.conv_layer(x, residual)
        # Padding beforehand: inside the call oneDNN takes half as long again on dilated layers.
        y = self.conv_layer(F.pad(x, self.padding) if self.pad_before else x)
        if self.norm_layer is not None:
            y = self.norm_layer(y)
        if residual is not None:
            y = y + residual
        return y if self.act_layer is None else self.act_layer(y)


class ResBlock(nn.Module):
    """act(conv3(conv2(conv1(x))) + skip(x)), the AtacWorks residual block.

    The skip is the identity, or a 1x1 convolution with activation and no bias where the number of
    channels changes (the first block of a trunk). `layer` is passed to every `SameConv1d`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **layer):
        super().__init__()
        self.conv_input = None
        if in_channels != out_channels:
            skip = {**layer, "dilation": 1, "bias": False}
            self.conv_input = SameConv1d(in_channels, out_channels, 1, **skip)
        self.conv_act1 = SameConv1d(in_channels, out_channels, kernel_size, **layer)
        self.conv_act2 = SameConv1d(out_channels, out_channels, kernel_size, **layer)
        self.conv_act3 = SameConv1d(out_channels, out_channels, kernel_size, **layer)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, L) -> (N, K, L)."""
        skip = x if self.conv_input is None else self.conv_input(x)
        return self.conv_act3(self.conv_act2(self.conv_act1(x)), residual=skip)


def describe_convolutions(model: nn.Module, x: Tensor, batch_size: int) -> list[str]:
    """A line for each shape of convolution, as "19 x 15->15, S=51, d=8, W=60000: spectral, …".

    `x` (1, C, L) is a window to pass through the network, so that the width of every layer is
    known; `batch_size` windows are what a step passes through it at once.
    """
    counts: Counter[tuple] = Counter()

    def count(layer: nn.Conv1d, inputs: tuple, _output: Tensor) -> None:
        shape = (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.dilation[0])
        width, dtype = inputs[0].shape[-1], inputs[0].dtype
        counts[(*shape, width, dtype, getattr(layer, "algorithm", None))] += 1

    layers = [m for m in model.modules() if isinstance(m, nn.Conv1d)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    was_training = model.training
    try:
        with torch.inference_mode():
            model.eval()(x)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return [
        f"{number} x {C}->{K}, S={S}, d={d}, W={W}: {_algorithms((batch_size, *shape), x.device)}"
        for shape, number in counts.items()
        for C, K, S, d, W, *_ in [shape]
    ]


def _algorithms(shape: tuple, device: torch.device) -> str:
    """How a convolution runs, forward and backward, as dilconv plans it."""
    N, C, K, S, d, W, dtype, algorithm = shape  # algorithm: the requested one; torch's has None
    if algorithm is None or device.type != "cpu":
        return "torch"
    import dilconv

    common = {"algorithm": algorithm, "dtype": dtype}
    forward = dilconv.plan(N, C, K, W, S, d, pass_name="forward", **common).algorithm
    backward = dilconv.plan(N, C, K, W, S, d, pass_name="backward", **common).algorithm
    return forward if forward == backward else f"{forward} forward, {backward} backward"
