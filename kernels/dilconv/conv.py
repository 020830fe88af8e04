"""The public layer: `conv1d`, which checks its arguments, and `Conv1d`, as `torch.nn.Conv1d`.

What the kernels do not cover runs in torch, and the reason is logged once. Autocast to bfloat16
casts x and the residual, y is bfloat16; weights, bias and their gradients keep their dtypes.
"""

from __future__ import annotations

import logging
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function

from dilconv import _native, ops
from dilconv.geometry import output_width, resolve_padding

_log = logging.getLogger(__name__)


@cache
def _warn_once(reason: str) -> None:
    _log.warning("dilconv leaves this convolution to torch: %s", reason)


@torch.compiler.assume_constant_result
def leave_to_torch(reason: str) -> None:
    """Log once why a convolution runs in torch; a compiler logs it and keeps no trace of it."""
    _warn_once(reason)


def check_shapes(x, w, b, residual, padding: tuple[int, int], dilation: int) -> None:
    """ValueError unless x (N, C, W), w (K, C, S) and the rest are a convolution with an output."""
    if dilation < 1:
        raise ValueError(f"dilation must be at least 1, got {dilation}")
    if x.dim() != 3 or w.dim() != 3:
        raise ValueError(
            f"conv1d takes x (N, C, W) or (C, W) and w (K, C, S), got {tuple(x.shape)} and "
            f"{tuple(w.shape)}"
        )
    (N, C, W), (K, channels, S) = x.shape, w.shape
    if channels != C:
        raise ValueError(f"x has {C} channels but w expects {channels}")
    if K == 0 or C == 0 or S == 0:
        raise ValueError(f"w (K, C, S) must not be empty, got {tuple(w.shape)}")
    Q = output_width(W, S, *padding, dilation)
    if Q < 1:
        raise ValueError(
            f"the output would have {Q} columns: x of width {W} is shorter than the "
            f"dilated filter ({S} taps); widen x or add padding"
        )
    if b is not None and b.shape != (K,):
        raise ValueError(f"bias must have shape ({K},), got {tuple(b.shape)}")
    if residual is not None and residual.shape != (N, K, Q):
        raise ValueError(
            f"residual must have the output's shape {(N, K, Q)}, got {tuple(residual.shape)}"
        )


def ineligible(x, w, b, residual) -> str | None:
    """Why the kernels cannot take these tensors, or None."""
    tensors = [t for t in (x, w, b, residual) if t is not None]
    for t in tensors:
        if not t.is_cpu or t.dtype not in _native.DTYPES:
            return f"{t.dtype} on {t.device.type} is neither float32 nor bfloat16 on the CPU"
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        return None if dtype == torch.bfloat16 else f"autocast to {dtype} is on"
    if any(t.dtype not in (x.dtype, torch.float32) for t in tensors):
        return f"{w.dtype} weights beside x in {x.dtype}"
    return None


def _check_activation(activation) -> None:
    if activation not in (None, "relu"):
        raise ValueError(f"activation must be None or 'relu', got {activation!r}")


def _finished(y, residual, activation):
    """act(y + residual), as the kernels do it in the same pass."""
    y = y if residual is None else y + residual
    return F.relu(y) if activation == "relu" else y


def conv1d(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    *,
    padding: int | tuple[int, int] | str = 0,
    dilation: int = 1,
    activation: str | None = None,
    residual: torch.Tensor | None = None,
    algorithm: str = "auto",
) -> torch.Tensor:
    """Dilated 1D convolution, fused: ``y = act(conv(x, w) + b + residual)``.

    Raises ValueError on shapes that do not fit, an empty output or an unknown word.

    Parameters
    ----------
    x : Tensor (N, C, W) or (C, W), float32 or bfloat16
        Need not be contiguous.
    w : Tensor (K, C, S), of x's dtype or float32
        With a bfloat16 x its values are rounded to bfloat16, its gradient is not.
    b : Tensor (K,), of x's dtype or float32, optional
    padding : int, (left, right), "same" or "valid"
        Zero columns, never materialised. "same" keeps the width; an odd total puts the extra
        column on the right.
    dilation : int
        Distance between taps; 1 is a dense filter.
    activation : None or "relu"
    residual : Tensor of the output's shape and dtype, optional
    algorithm : "auto", "direct", "spectral" or "winograd"
        Where an algorithm cannot be used (winograd: 2 to 5 taps only), direct is used.

    Returns
    -------
    Tensor (N, K, Q) or (K, Q) in x's dtype, Q = W + left + right - (S-1)*dilation
        Sums are float32 and rounded once, after the activation.
    """
    tensors = x, w, b, residual
    if has_torch_function(tensors):  # a tensor's class, a mode or torch.fx takes the whole call
        return handle_torch_function(
            conv1d,
            tensors,
            *(x, w, b),
            padding=padding,
            dilation=dilation,
            activation=activation,
            residual=residual,
            algorithm=algorithm,
        )
    _check_activation(activation)
    _native.check_algorithm(algorithm)
    unbatched = x.dim() == 2
    if unbatched:
        x, residual = x[None], None if residual is None else residual[None]
    left, right = resolve_padding(padding, w.shape[-1], dilation)
    check_shapes(x, w, b, residual, (left, right), dilation)
    reason = ineligible(x, w, b, residual)
    if reason is None:
        y = ops.forward(x, w, b, residual, left, right, dilation, activation == "relu", algorithm)
    else:
        leave_to_torch(reason)
        y = F.conv1d(F.pad(x, (left, right)), w, b, dilation=dilation)
        y = _finished(y, residual, activation)
    return y[0] if unbatched else y


def uncovered(stride: int, groups: int) -> str | None:
    """Why the kernels cannot take such a convolution, or None."""
    if stride != 1:
        return f"stride {stride}"
    return None if groups == 1 else f"groups {groups}"


def unsupported(layer: nn.Conv1d) -> str | None:
    """Why the kernels cannot take a layer with these settings, or None."""
    if layer.padding_mode != "zeros":
        return f"padding mode {layer.padding_mode!r}"
    return uncovered(layer.stride[0], layer.groups)


class Conv1d(nn.Conv1d):
    """Drop-in for `torch.nn.Conv1d` (same arguments and state_dict) with an activation.

    `forward(x, residual) = act(conv(x) + bias + residual)`; `algorithm` is as in `conv1d`.
    `activation` may be a module instead of a word. It is then called after the convolution, where
    hooks see it; `convert.unfuse` puts one in for "relu". Strides, groups and padding modes other
    than zeros run in torch.
    """

    activation: str | nn.Module | None

    def __init__(
        self,
        *args,
        activation: str | nn.Module | None = None,
        algorithm: str = "auto",
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if not isinstance(activation, nn.Module):
            _check_activation(activation)
        self.activation = activation
        self.algorithm = algorithm

    def extra_repr(self) -> str:
        fused = isinstance(self.activation, str)
        return super().extra_repr() + (f", activation={self.activation!r}" if fused else "")

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """x (N, C, W) or (C, W), residual of the output's shape -> (N, K, Q) or (K, Q)."""
        if isinstance(self.activation, nn.Module):
            return self.activation(self._convolved(x, residual, None))
        return self._convolved(x, residual, self.activation)

    def _convolved(self, x, residual, activation):
        reason = unsupported(self)
        if reason is not None:
            leave_to_torch(reason)
            return _finished(super().forward(x), residual, activation)
        padding = self.padding if isinstance(self.padding, str) else self.padding[0]
        return conv1d(
            x,
            self.weight,
            self.bias,
            padding=padding,
            dilation=self.dilation[0],
            activation=activation,
            residual=residual,
            algorithm=self.algorithm,
        )

    def __prepare_scriptable__(self):
        raise RuntimeError(
            "torch.jit.script cannot compile dilconv.Conv1d: call dilconv.revert(model) before it"
        )
