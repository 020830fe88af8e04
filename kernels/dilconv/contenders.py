"""What a benchmark compares: dilconv's algorithms and torch's forms of one convolution layer.

A contender holds its inputs in the layout that suits it best, made before any timing, and one
callable a pass; a pass that it cannot do is absent. Other libraries can be added to CONTENDERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from dilconv import ops
from dilconv.geometry import resolve_padding
from dilconv.planner import Plan, plan

# What each pass computes, in the order in which its runner returns it.
RESULTS = {
    "forward": ("y",),
    "backward_data": ("dx",),
    "backward_weight": ("dw",),
    "forward_backward": ("y", "dx", "dw"),
}


@dataclass(frozen=True)
class Layer:
    """One problem: "same" convolution of x (N,C,W) with w (K,C,S) at dilation d."""

    name: str
    N: int
    C: int
    K: int
    S: int
    d: int
    W: int

    @property
    def padding(self) -> tuple[int, int]:
        return resolve_padding("same", self.S, self.d)

    @property
    def columns(self) -> dict[str, Any]:
        """Its name and sizes as the columns of a row."""
        return {"layer": self.name, **{letter: getattr(self, letter) for letter in "NCKSdW"}}

    def flops(self, pass_name: str) -> int:
        """Operations of the pass as a direct sum does them."""
        one_pass = 2 * self.N * self.C * self.K * self.S * self.W
        return 3 * one_pass if pass_name == "forward_backward" else one_pass

    def plan(self, call: str, dtype: torch.dtype, algorithm: str = "auto") -> Plan:
        """What a call of dilconv does, on as many threads as torch has."""
        sizes = (self.N, self.C, self.K, self.W, self.S, self.d)
        return plan(*sizes, padding=self.padding, pass_name=call, algorithm=algorithm, dtype=dtype)

    def algorithms(self, pass_name: str, dtype: torch.dtype, algorithm: str = "auto") -> list[str]:
        """What dilconv runs for each call of the pass."""
        calls = ("forward", "backward") if pass_name == "forward_backward" else (pass_name,)
        return [self.plan(call, dtype, algorithm).algorithm for call in calls]


@dataclass(frozen=True)
class Tensors:
    """The tensors that all contenders share; `x_padded` is made before any timing."""

    layer: Layer
    x: torch.Tensor  # (N, C, W)
    x_padded: torch.Tensor  # (N, C, W + (S-1)*d)
    w: torch.Tensor  # (K, C, S)
    g: torch.Tensor  # (N, K, W)

    @classmethod
    def of(cls, layer: Layer, dtype: torch.dtype = torch.float32) -> Tensors:
        N, C, K, S, W = layer.N, layer.C, layer.K, layer.S, layer.W
        generator, shapes = torch.Generator().manual_seed(0), ((N, C, W), (K, C, S), (N, K, W))
        x, w, g = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
        return cls(layer, x, F.pad(x, layer.padding), w, g)


Runner = Callable[[], tuple[Any, ...]]


@dataclass(frozen=True)
class Contender:
    """Runners by pass, and how their results become y (N,K,W), dx (N,C,W), dw (K,C,S).

    restore : result -> what brings it to that shape, not timed; absent where it has it already
    algorithm : dilconv's, which decides the error bound; None for plain float32 sums
    """

    passes: dict[str, Runner]
    restore: Mapping[str, Callable[[Any], torch.Tensor]] = field(default_factory=dict)
    algorithm: str | None = None

    def results(self, pass_name: str) -> dict[str, torch.Tensor]:
        """One run of the pass, restored."""
        results = zip(RESULTS[pass_name], self.passes[pass_name](), strict=True)
        return {name: self.restore.get(name, lambda t: t)(t) for name, t in results}


def _passes(conv: Callable, gradient: Callable, x, w, g) -> dict[str, Runner]:
    """Runners of y = conv(x, w) and (dx, dw) = gradient(need_dx, need_dw), and of autograd."""
    x_leaf, w_leaf = x.detach().requires_grad_(), w.detach().requires_grad_()

    def forward_backward():
        y = conv(x_leaf, w_leaf)
        return y.detach(), *torch.autograd.grad(y, (x_leaf, w_leaf), g)

    return {
        "forward": lambda: (conv(x, w),),
        "backward_data": lambda: (gradient(True, False)[0],),
        "backward_weight": lambda: (gradient(False, True)[1],),
        "forward_backward": forward_backward,
    }


def _dilconv(algorithm: str, t: Tensors) -> Contender:
    layer, w = t.layer, t.w.float()  # as autocast has it
    geometry = (*layer.padding, layer.d)

    def conv(x, w):
        return ops.forward(x, w, None, None, *geometry, False, algorithm)

    def gradient(dx, dw):
        return ops.backward(t.g, t.x, w, None, *geometry, [dx, dw, False, False], algorithm)

    passes = _passes(conv, gradient, t.x, w, t.g)
    if algorithm != "auto":  # winograd takes 2 to 5 taps; other calls would be direct
        passes = {
            name: run
            for name, run in passes.items()
            if set(layer.algorithms(name, t.x.dtype, algorithm)) == {algorithm}
        }
    return Contender(passes, algorithm=algorithm)


def _torch(conv: Callable, x, w, g, *, padding: int, dilation: list[int], restore) -> Contender:
    """F.conv1d or F.conv2d and its gradient on these tensors, one padding for all dimensions."""
    dims = len(dilation)

    def gradient(dx, dw):
        geometry = [1] * dims, [0] * (dims - 1) + [padding], dilation, False, [0] * dims, 1
        return torch.ops.aten.convolution_backward(g, x, w, None, *geometry, [dx, dw, False])

    passes = _passes(lambda x, w: conv(x, w, padding=padding, dilation=dilation), gradient, x, w, g)
    return Contender(passes, restore)


def _torch_padded(t: Tensors) -> Contender:
    """The input padded before the clock starts; the gradient of the padding is left in dx."""
    restore = {"dx": _cropped(t.layer)}
    return _torch(F.conv1d, t.x_padded, t.w, t.g, padding=0, dilation=[t.layer.d], restore=restore)


def _torch_inside(t: Tensors) -> Contender:
    """`padding=` inside the call, which takes one number for both sides."""
    left, right = t.layer.padding
    if left != right:
        return Contender({})
    return _torch(F.conv1d, t.x, t.w, t.g, padding=left, dilation=[t.layer.d], restore={})


def _torch_phases(t: Tensors) -> Contender:
    """The d phases in the batch beforehand, in and out: a dense convolution of d*N short rows."""
    layer = t.layer
    if layer.d == 1:
        return Contender({})  # there, it is torch-padded

    def split(x, width):
        x = F.pad(x, (0, width * layer.d - x.shape[2])).unflatten(2, (width, layer.d))
        return x.permute(3, 0, 1, 2).flatten(0, 1).contiguous()  # (d*N, C, width)

    def join(x):
        return x.unflatten(0, (layer.d, layer.N)).permute(1, 2, 3, 0).flatten(2)

    width, crop = -(-layer.W // layer.d), _cropped(layer)
    x, g = split(t.x_padded, width + layer.S - 1), split(t.g, width)
    restore = {"y": lambda y: join(y)[..., : layer.W], "dx": lambda dx: crop(join(dx))}
    return _torch(F.conv1d, x, t.w, g, padding=0, dilation=[1], restore=restore)


def _torch_conv2d(t: Tensors) -> Contender:
    """Rows of height 1 in channels_last, x, w and g alike: a mixture is many times slower."""

    def rows(x):
        return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)

    def restored(t):
        return t.squeeze(2)

    crop, tensors = _cropped(t.layer), map(rows, (t.x_padded, t.w, t.g))
    restore = {"y": restored, "dx": lambda dx: crop(restored(dx)), "dw": restored}
    return _torch(F.conv2d, *tensors, padding=0, dilation=[1, t.layer.d], restore=restore)


def _cropped(layer: Layer) -> Callable[[torch.Tensor], torch.Tensor]:
    left = layer.padding[0]
    return lambda dx: dx[..., left : left + layer.W]


CONTENDERS: dict[str, Callable[[Tensors], Contender]] = {
    "torch-padded": _torch_padded,
    "torch": _torch_inside,
    "torch-phases": _torch_phases,
    "torch-conv2d": _torch_conv2d,
    **{name: partial(_dilconv, name) for name in ("direct", "spectral", "winograd", "auto")},
}
