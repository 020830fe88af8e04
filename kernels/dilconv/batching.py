"""Rules of `torch.vmap` for the operators: they run on the kernels with a mapped dimension folded.

y, dx and dw are bilinear. Where one of two factors is mapped, its mapped dimension joins the items,
the channels or the filters of one call; where both are, every sample is a call of its own.
"""

from __future__ import annotations

import torch

from dilconv.ops import _masked, backward, forward


def _first(t, dim, size):
    """`t` with its mapped dimension in front; repeated where it has none."""
    if t is None:
        return None
    return t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)


def _fold(t, dim, size, into: int):
    """`t` with its mapped dimension joined to its own dimension `into`."""
    return None if t is None else _first(t, dim, size).movedim(0, into).flatten(into, into + 1)


def _unfold(t, size, dim: int):
    """Undo `_fold`: the result and its mapped dimension."""
    return t.unflatten(dim, (size, t.shape[dim] // max(size, 1))), dim


def _each(call, size, *mapped):
    """One call for each sample of `mapped`: tensors with that dimension in front, or None."""
    samples = [call(*(t if t is None else t[i] for t in mapped)) for i in range(size)]
    return torch.stack(samples), 0


def _forward_rule(info, in_dims, x, w, b, residual, *rest):
    size, (x_dim, w_dim, b_dim, r_dim) = info.batch_size, in_dims[:4]
    if w_dim is None and b_dim is None:
        x, residual = _fold(x, x_dim, size, 0), _fold(residual, r_dim, size, 0)
        return _unfold(forward(x, w, b, residual, *rest), size, 0)
    if x_dim is None:
        w, b = _fold(w, w_dim, size, 0), _fold(b, b_dim, size, 0)
        return _unfold(forward(x, w, b, _fold(residual, r_dim, size, 1), *rest), size, 1)
    tensors = zip((x, w, b, residual), in_dims[:4], strict=True)
    mapped = [_first(t, dim, size) for t, dim in tensors]
    return _each(lambda *sample: forward(*sample, *rest), size, *mapped)


def _gradient_of_x(size, g, g_dim, w, w_dim, W, rest):
    """dx and its mapped dimension; g is the gradient of the convolution's own output."""

    def call(g, w):
        x = g.new_empty((g.shape[0], w.shape[1], W))  # only its shape counts
        return backward(g, x, w, None, *rest[:3], [True, False, False, False], rest[-1])[0]

    if g_dim is None and w_dim is None:
        return call(g, w), None
    if w_dim is None:
        return _unfold(call(_fold(g, g_dim, size, 0), w), size, 0)
    if g_dim is None:
        return _unfold(call(g, _fold(w, w_dim, size, 1)), size, 1)
    return _each(call, size, _first(g, g_dim, size), _first(w, w_dim, size))


def _gradient_of_w(size, g, g_dim, x, x_dim, S, dtype, rest):
    """dw and its mapped dimension, likewise."""

    def call(g, x):
        w = g.new_empty((g.shape[1], x.shape[1], S), dtype=dtype)
        return backward(g, x, w, None, *rest[:3], [False, True, False, False], rest[-1])[1]

    if g_dim is None and x_dim is None:
        return call(g, x), None
    if x_dim is None:
        return _unfold(call(_fold(g, g_dim, size, 1), x), size, 0)
    if g_dim is None:
        return _unfold(call(g, _fold(x, x_dim, size, 1)), size, 1)
    return _each(call, size, _first(g, g_dim, size), _first(x, x_dim, size))


def _backward_rule(info, in_dims, g, x, w, y, *rest):
    size, (g_dim, x_dim, w_dim, y_dim) = info.batch_size, in_dims[:4]
    needs = rest[3]
    if y_dim is not None or (y is not None and g_dim is not None):
        g, y, g_dim = _first(g, g_dim, size), _first(y, y_dim, size), 0
    g = _masked(g, y)
    S, W = _size(w, w_dim), _size(x, x_dim)
    results = [(g.new_empty(0), None)] * 4
    if needs[0]:
        results[0] = _gradient_of_x(size, g, g_dim, w, w_dim, W, rest)
    if needs[1]:
        results[1] = _gradient_of_w(size, g, g_dim, x, x_dim, S, w.dtype, rest)
    if needs[2]:
        sums = _first(g, g_dim, size).sum((1, 3), dtype=w.dtype)
        results[2] = sums, 0
    if needs[3]:
        results[3] = g, g_dim
    return tuple(zip(*results, strict=True))


def _size(t, dim) -> int:
    """Of the last dimension that is not the mapped one."""
    return t.shape[-2 if dim == t.dim() - 1 else -1]


torch.library.register_vmap("dilconv::forward", _forward_rule)
torch.library.register_vmap("dilconv::backward", _backward_rule)
