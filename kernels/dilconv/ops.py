"""The operators `torch.ops.dilconv.forward` and `.backward`: CPU kernels, fake kernels, autograd.

Shapes: x (N,C,W), w (K,C,S), b (K,), residual, y and g (N,K,Q) with
Q = W + pad_left + pad_right - (S-1)*dilation. x, residual, y and their gradients are float32 or
bfloat16. w and b may be float32 with either, and then so are their gradients: autocast casts x
alone, and a bfloat16 sum rounds once. `conv.conv1d` checks the arguments, not this module, and
`batching` has the rules of vmap.

`forward` and `backward` are the same operators for callers in Python: plain tensors bypass the
dispatcher, which takes several times as long in Python as a small convolution.
"""

from __future__ import annotations

from functools import partial

import torch
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from dilconv import _native
from dilconv.dispatch import is_plain
from dilconv.geometry import output_width

_library = torch.library.Library("dilconv", "DEF")
_library.define(
    "forward(Tensor x, Tensor w, Tensor? b, Tensor? residual, int pad_left, int pad_right, "
    "int dilation, bool relu, str algorithm) -> Tensor"
)
# needs: dx, dw, db, dresidual; what is not needed comes back empty (None cannot be returned).
_library.define(
    "backward(Tensor g, Tensor x, Tensor w, Tensor? y, int pad_left, int pad_right, int dilation, "
    "bool[] needs, str algorithm) -> (Tensor, Tensor, Tensor, Tensor)"
)


def _unit_width(t):
    """`t` itself where its last dimension has stride 1, else a contiguous copy."""
    if t is None:
        return None
    return t if t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous()


def _problem(x, w, pad_left, dilation, Q, relu, algorithm) -> _native.Problem:
    (N, C, W), (K, _, S) = x.shape, w.shape
    batch, channel, _ = x.stride()
    threads, number = _native.usable_threads(), _native.ALGORITHMS.index(algorithm)
    dtype = _native.DTYPES.index(x.dtype)
    return _native.Problem(
        N, C, K, W, S, dilation, pad_left, Q, batch, channel, relu, threads, number, 0, dtype
    )


def _float32(t: torch.Tensor | None) -> torch.Tensor | None:
    return None if t is None else t.to(torch.float32).contiguous()


def _forward_cpu(x, w, b, residual, pad_left, pad_right, dilation, relu, algorithm):
    x, w, b, residual = _unit_width(x), _float32(w), _float32(b), _unit_width(residual)
    Q = output_width(x.shape[2], w.shape[2], pad_left, pad_right, dilation)
    y = x.new_empty((x.shape[0], w.shape[0], Q))
    problem = _problem(x, w, pad_left, dilation, Q, relu, algorithm)
    _native.forward(problem, x, w, b, residual, y)
    return y


def _gradients_cpu(g, x, w, y, pad_left, pad_right, dilation, needs, algorithm):
    need_dx, need_dw, need_db, need_dr = needs
    g, x, w, dtype = _unit_width(g), _unit_width(x), _float32(w), w.dtype
    problem = _problem(x, w, pad_left, dilation, g.shape[2], y is not None, algorithm)
    dx = x.new_empty(x.shape) if need_dx else None
    dw = w.new_empty(w.shape) if need_dw else None
    db = w.new_empty(w.shape[0]) if need_db else None
    dr = x.new_empty(g.shape) if need_dr else None
    _native.backward(problem, g, y, x, w, dx, dw, db, dr)
    if dtype != torch.float32:
        dw, db = (None if t is None else t.to(dtype) for t in (dw, db))
    return dx, dw, db, dr


def _backward_cpu(g, x, w, *arguments):
    gradients = zip(_gradients_cpu(g, x, w, *arguments), (x, w, w, x), strict=True)
    return tuple(like.new_empty(0) if t is None else t for t, like in gradients)


def _masked(g, y):
    """The gradient behind the ReLU whose output is y (None: no ReLU)."""
    return g if y is None else g.masked_fill(y <= 0, 0)


_library.impl("forward", _forward_cpu, "CPU")
_library.impl("backward", _backward_cpu, "CPU")


def _autocast(x, w, b, residual, *rest):
    """What autocast to bfloat16 makes of the arguments: weights stay as they are."""
    if residual is not None:
        residual = residual.to(torch.bfloat16)
    return x.to(torch.bfloat16), w, b, residual, *rest


def _forward_autocast(*arguments):
    with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
        return torch.ops.dilconv.forward(*_autocast(*arguments))


_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
_library.impl("forward", _forward_autocast, "AutocastCPU")


def _shape_of_y(x, w, *geometry) -> tuple[int, int, int]:
    return x.shape[0], w.shape[0], output_width(x.shape[2], w.shape[2], *geometry)


def _refuse_onnx() -> None:
    if torch.onnx.is_in_onnx_export():
        raise RuntimeError(
            "ONNX has no operator like dilconv's: call dilconv.revert(model) before the export"
        )


@torch.library.register_fake("dilconv::forward")
def _forward_fake(x, w, b, residual, pad_left, pad_right, dilation, relu, algorithm):
    _refuse_onnx()
    return x.new_empty(_shape_of_y(x, w, pad_left, pad_right, dilation))


@torch.library.register_fake("dilconv::backward")
def _backward_fake(g, x, w, y, pad_left, pad_right, dilation, needs, algorithm):
    gradients = zip((x, w, w, x), (x.shape, w.shape, w.shape[:1], g.shape), needs, strict=True)
    return tuple(t.new_empty(shape if need else (0,)) for t, shape, need in gradients)


def _forward_context(ctx, inputs, output):
    x, w, _, _, *ctx.geometry, relu, ctx.algorithm = inputs
    saved = x, w, output if relu else None
    ctx.save_for_backward(*saved)
    ctx.save_for_forward(*saved)


def _forward_gradients(ctx, g):
    x, w, y = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:4])
    if y is None:  # without an activation the residual's gradient is g itself
        needs[3] = False
    gradients = backward(g, x, w, y, *ctx.geometry, needs, ctx.algorithm)
    grads = [grad if need else None for grad, need in zip(gradients, needs, strict=True)]
    if y is None and ctx.needs_input_grad[3]:
        grads[3] = g
    return *grads, *[None] * 6


def _outer_levels(tangent):
    """A `jvp` whose own calls the surrounding forward modes derive; torch would turn them off."""

    def jvp(*arguments):
        with forward_ad._set_fwd_grad_enabled(True):
            return tangent(*arguments)

    return jvp


def _primals(ctx):
    """What was saved, without its tangents: the level at hand must not derive its own `jvp`."""
    unpack = partial(forward_ad.unpack_dual, level=0)  # torch has one level; torch.func wraps more
    return [None if t is None else unpack(t).primal for t in ctx.saved_tensors]


@_outer_levels
def _forward_tangent(ctx, dx, dw, db, dr, *_):
    """Forward mode: y is linear in x and in w, and a ReLU passes on what it passed of y."""
    x, w, y = _primals(ctx)
    rest = (None, None, *ctx.geometry, False, ctx.algorithm)
    tangent = x.new_zeros(_shape_of_y(x, w, *ctx.geometry))
    if dx is not None:
        tangent = tangent + forward(dx, w, *rest)
    if dw is not None:
        tangent = tangent + forward(x, dw, *rest)
    if db is not None:
        tangent = tangent + db[:, None].to(x.dtype)
    if dr is not None:
        tangent = tangent + dr
    return _masked(tangent, y)


def _backward_context(ctx, inputs, output):
    g, x, w, y, *ctx.geometry, ctx.needs, ctx.algorithm = inputs
    ctx.save_for_backward(g, x, w, y)
    ctx.save_for_forward(g, x, w, y)


def _backward_gradients(ctx, ddx, ddw, ddb, ddr):
    """Double backward: dx, dw, db, dr are linear in g, and dx in w, dw in x."""
    g, x, w, y = ctx.saved_tensors
    geometry, algorithm = ctx.geometry, ctx.algorithm
    need_dx, need_dw, need_db, need_dr = ctx.needs
    masked, dg, grad_x, grad_w = _masked(g, y), torch.zeros_like(g), None, None
    if need_dx:
        dg = dg + forward(ddx, w, None, None, *geometry, False, algorithm)
        only_dw = [False, True, False, False]
        grad_w = backward(masked, ddx, w, None, *geometry, only_dw, algorithm)[1]
    if need_dw:
        dg = dg + forward(x, ddw, None, None, *geometry, False, algorithm)
        only_dx = [True, False, False, False]
        grad_x = backward(masked, x, ddw, None, *geometry, only_dx, algorithm)[0]
    if need_db:
        dg = dg + ddb[:, None]
    if need_dr:
        dg = dg + ddr
    return _masked(dg, y), grad_x, grad_w, *[None] * 7


@_outer_levels
def _backward_tangent(ctx, dg, dx, dw, _, *__):
    """Forward mode over reverse mode: dx, dw, db, dr are linear in g, and dx in w, dw in x."""
    g, x, w, y = _primals(ctx)
    geometry, needs = ctx.geometry, ctx.needs
    calls = []
    if dg is not None:
        calls.append((dg, x, w, needs))
    if dx is not None and needs[1]:
        calls.append((g, dx, w, [False, True, False, False]))
    if dw is not None and needs[0]:
        calls.append((g, x, dw, [True, False, False, False]))
    tangents = list(map(torch.zeros_like, _backward_fake(g, x, w, y, *geometry, needs, None)))
    for *tensors, flags in calls:
        terms = backward(*tensors, y, *geometry, flags, ctx.algorithm)
        for i in filter(flags.__getitem__, range(4)):
            tangents[i] = tangents[i] + terms[i]
    return tuple(tangents)


def _function(kernel, name: str, context, gradients, tangent):
    """Calls `kernel` with autograd's formulas; torch prints them as `nameBackward`.

    A torch.autograd.Function without what its `apply` does for torch.func: an operator has the
    dispatcher for that, and a plain tensor has no need of it.
    """

    def forward(ctx, *inputs):
        outputs = kernel(*inputs)
        context(ctx, inputs[:9], outputs)
        return outputs

    body = {"forward": forward, "backward": gradients, "jvp": tangent}
    body = {key: staticmethod(function) for key, function in body.items()}
    return type(name, (_SingleLevelFunction,), body).apply  # type: ignore[attr-defined]


def _register_autograd(operator, *formulas) -> None:
    """`torch.library.register_autograd`, with forward mode and under torch.func's transforms."""

    def below(*inputs):
        *inputs, (keys, reverse_mode, forward_mode) = inputs
        # An autograd.Function turns both modes off; the levels below have to record as well.
        with (
            torch.set_grad_enabled(reverse_mode),
            forward_ad._set_fwd_grad_enabled(forward_mode),
            torch._C._AutoDispatchBelowAutograd(),
        ):
            return operator.redispatch(keys & torch._C._after_autograd_keyset, *inputs)

    def autograd(keys, *inputs):
        modes = torch.is_grad_enabled(), torch._C._is_fwd_grad_enabled()
        with enable_single_level_autograd_function():  # the dispatcher calls this once a level
            return apply(*inputs, (keys, *modes))

    apply = _function(below, *formulas)
    _library.impl(operator, autograd, "Autograd", with_keyset=True)


_OF_FORWARD = "Dilconv1d", _forward_context, _forward_gradients, _forward_tangent
_OF_BACKWARD = "Dilconv1dGradients", _backward_context, _backward_gradients, _backward_tangent
_apply_forward = _function(_forward_cpu, *_OF_FORWARD)
_apply_backward = _function(_gradients_cpu, *_OF_BACKWARD)
_register_autograd(torch.ops.dilconv.forward.default, *_OF_FORWARD)
_register_autograd(torch.ops.dilconv.backward.default, *_OF_BACKWARD)


def _call(operator, apply, kernel, arguments):
    tensors = arguments[:4]
    if torch.compiler.is_compiling() or not is_plain(tensors):
        _refuse_onnx()
        return operator(*arguments)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return apply(*arguments)
    return kernel(*arguments)


def forward(*arguments):
    """`torch.ops.dilconv.forward`, by the fastest path that gives the same result."""
    if torch.is_autocast_enabled("cpu"):
        arguments = _autocast(*arguments)
    return _call(torch.ops.dilconv.forward.default, _apply_forward, _forward_cpu, arguments)


def backward(*arguments):
    """`torch.ops.dilconv.backward` likewise; what is not needed may come back as None."""
    operator = torch.ops.dilconv.backward.default
    return _call(operator, _apply_backward, _gradients_cpu, arguments)
