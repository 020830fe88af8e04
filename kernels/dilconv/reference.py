"""The convolution in plain words: slow, float64, differentiable. The oracle of tests and benchmarks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

EPS32 = torch.finfo(torch.float32).eps


def conv1d_reference(
    x, w, b=None, *, padding=(0, 0), dilation=1, activation=None, residual=None
) -> torch.Tensor:
    """y (N,K,Q) in float64, one tap after the other; x (N,C,W), w (K,C,S), padding (left, right)."""
    x = F.pad(x.double(), padding)  # (N, C, W + left + right)
    S = w.shape[2]
    Q = x.shape[2] - (S - 1) * dilation
    y = sum(
        torch.einsum("kc,ncq->nkq", w[:, :, s].double(), x[:, :, s * dilation : s * dilation + Q])
        for s in range(S)
    )
    if b is not None:
        y = y + b.double()[:, None]
    if residual is not None:
        y = y + residual.double()
    return F.relu(y) if activation == "relu" else y


def float32_bound(magnitude: torch.Tensor, additions: int) -> torch.Tensor:
    """Bound on |error| of a float32 sum of products.

    Parameters
    ----------
    magnitude : Tensor
        The same sum taken over absolute values.
    additions : int
        Length m of the longest chain of additions; rounding errors of a chain behave as a random
        walk, so the bound is 6*sqrt(m) half-ulps of the magnitude.
    """
    return 6 * math.sqrt(additions) * (EPS32 / 2) * magnitude
