"""The convolution as it is defined: slow, float64, differentiable; the oracle of all tests."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

EPS32 = torch.finfo(torch.float32).eps


def conv1d_reference(
    x, w, b=None, *, padding=(0, 0), dilation=1, activation=None, residual=None
) -> torch.Tensor:
    """y (N,K,Q) in float64, tap after tap; x (N,C,W), w (K,C,S), padding (left, right)."""
    x = F.pad(x.double(), padding)  # (N, C, W + left + right)
    S = w.shape[2]
    Q = x.shape[2] - (S - 1) * dilation
    y = x.new_zeros((x.shape[0], w.shape[0], Q))
    for s in range(S):
        shifted = x[:, :, s * dilation : s * dilation + Q]
        y = y + torch.einsum("kc,ncq->nkq", w[:, :, s].double(), shifted)
    if b is not None:
        y = y + b.double()[:, None]
    if residual is not None:
        y = y + residual.double()
    return F.relu(y) if activation == "relu" else y


def float32_bound(magnitude: torch.Tensor, additions: int) -> torch.Tensor:
    """Bound on |error| of a float32 sum of products whose absolute values sum to `magnitude`.

    additions : length m of the longest chain; its rounding errors behave as a random walk, so the
        bound is 6*sqrt(m) half-ulps of the magnitude
    """
    return 6 * math.sqrt(additions) * (EPS32 / 2) * magnitude


def winograd_growth(S: int, *, gradient: bool = False) -> float:
    """How far rounding errors of minimal filtering may grow, relative to norms of x and w.

    A result is a sum over 6 points f of A[f] * G[f] * B[f], each of them bounded by the norms of
    the transforms' rows (Cauchy and Schwarz). Of y (and dx) the worst of the tile's 7 - S outputs
    counts; of dw (`gradient`) the worst tap, and inputs that neighbouring tiles share count twice.
    """
    points, hop = (0.0, 1.0, -1.0, 2.0, -2.0), 7 - S
    values = {n: torch.tensor([[p**j for p in points] for j in range(n)]) for n in (hop, S)}
    last = {n: F.one_hot(torch.tensor(n - 1), n)[:, None] for n in values}
    scale = torch.tensor([1 / 4, 1 / 6, 1 / 6, 1 / 24, 1 / 24, 1])
    outputs = torch.cat([values[hop], last[hop]], dim=1).abs()  # A: (hop, 6)
    taps = torch.cat([values[S], last[S]], dim=1).abs() * scale  # G: (S, 6)
    inputs = torch.tensor([42.0, 34, 34, 10, 10, 42]).sqrt()  # norms of the rows of B
    if gradient:
        shared = math.ceil(6 / hop)
        return float((taps * outputs.norm(dim=0) * inputs).sum(1).max()) * math.sqrt(shared)
    return float((outputs * taps.norm(dim=0) * inputs).sum(1).max())


def winograd_bound(
    x_norm: torch.Tensor, w_norm: torch.Tensor, growth: float, additions: int
) -> torch.Tensor:
    """Bound on |error| of a sum of products done by minimal filtering.

    x_norm, w_norm : Euclidean norms of the factors over one tile of 6 inputs, broadcast to the sum
    growth : see `winograd_growth`
    additions : of the products; the three transforms have 12 more
    """
    return 6 * math.sqrt(additions + 12) * (EPS32 / 2) * growth * x_norm * w_norm


def spectral_bound(
    x_norm: torch.Tensor, w_norm: torch.Tensor, length: int, additions: int
) -> torch.Tensor:
    """Bound on |error| of a sum of products done by FFT tiles of `length`.

    A tile's rounding errors scale with the norms of what is transformed, not with the single
    output: each of the three transforms adds log2(length) half-ulps in random walk, the products
    and sums `additions` more. The Euclidean norms are of the two factors over one pair of tiles,
    broadcast to the result.
    """
    steps = 3 * math.log2(length) + additions
    return 6 * math.sqrt(steps) * (EPS32 / 2) * x_norm * w_norm
