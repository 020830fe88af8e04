"""Checking contenders of a benchmark against the float64 oracle, each within its derived bound.

A huge problem is checked on a narrower W, with all other letters as they are: the oracle is slow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce

import torch
import torch.nn.functional as F

from dilconv import reference
from dilconv.contenders import CONTENDERS, Contender, Layer, Tensors
from dilconv.planner import Plan

# Most operations of one pass that the oracle repeats, six times, in float64.
ORACLE_FLOPS = 5e9
# Operations of the first try, and the seconds that all passes of a contender may take beyond it.
PROBE_FLOPS, PATIENCE = ORACLE_FLOPS / 50, 20.0


def narrowed(layer: Layer, flops: float) -> Layer:
    """The layer, made narrower where a pass would take more than so many operations."""
    share = min(1.0, flops / layer.flops("forward"))
    return replace(layer, W=max(1, int(share * layer.W)))


def check_contenders(
    layer: Layer, names: Iterable[str], dtype: torch.dtype = torch.float32
) -> dict[str, dict[str, float]]:
    """By contender and pass, about the seconds of a run on the layer; RuntimeError as in `check`.

    A huge layer is narrowed. Each contender is tried on few columns first: some libraries fall back
    to scalar code, and one that would take minutes there is not checked on more.
    """
    widths = dict.fromkeys(narrowed(layer, flops) for flops in (PROBE_FLOPS, ORACLE_FLOPS))
    oracles = [Oracle.of(Tensors.of(narrow, dtype)) for narrow in widths]
    seconds: dict[str, dict[str, float]] = {}
    for name in names:
        for oracle in oracles:
            ratio = layer.W / oracle.tensors.layer.W
            if sum(seconds.get(name, {}).values()) > PATIENCE * ratio:
                break
            measured = oracle.check(name, CONTENDERS[name](oracle.tensors))
            seconds[name] = {pass_name: s * ratio for pass_name, s in measured.items()}
    return seconds


@dataclass(frozen=True)
class Oracle:
    """Float64 results {"y", "dx", "dw"} of one problem, and the same sums of absolute values."""

    tensors: Tensors
    exact: dict[str, torch.Tensor]
    sizes: dict[str, torch.Tensor]

    @classmethod
    def of(cls, t: Tensors) -> Oracle:
        x, w, g = t.x.double(), t.w.double(), t.g.double()
        sizes = _reference(x.abs(), w.abs(), g.abs(), t.layer)
        return cls(t, _reference(x, w, g, t.layer), sizes)

    def check(self, name: str, contender: Contender) -> dict[str, float]:
        """Run every pass once; the seconds that each took, RuntimeError where a result is wrong."""
        seconds = {}
        for pass_name in contender.passes:
            begin = time.perf_counter()
            results = contender.results(pass_name)
            seconds[pass_name] = time.perf_counter() - begin
            for result, value in results.items():
                exact = self.exact[result]
                if value.shape != exact.shape:
                    raise RuntimeError(
                        f"{name} computes {result} of shape {tuple(value.shape)} in {pass_name} "
                        f"for {self.tensors.layer}, not {tuple(exact.shape)}"
                    )
                bound = self.bound(result, pass_name, contender.algorithm)
                if value.dtype == torch.bfloat16:  # the result is rounded, and w was
                    bound = bound + exact.abs() * torch.finfo(torch.bfloat16).eps
                excess = ((value.double() - exact).abs() - bound).max()
                if not excess <= 0:  # NaN too
                    raise RuntimeError(
                        f"{name} computes a wrong {result} in {pass_name} for "
                        f"{self.tensors.layer}: the error exceeds its bound by {excess:.3g}"
                    )
        return seconds

    def bound(self, result: str, pass_name: str, algorithm: str | None) -> torch.Tensor:
        """Bound on |error| of a result (broadcast to it), as the algorithm computes it.

        auto may take any algorithm, so the largest bound holds for it, element by element.
        """
        layer = self.tensors.layer
        chains = {"y": layer.C * layer.S, "dx": layer.K * layer.S, "dw": layer.N * layer.W}
        direct = reference.float32_bound(self.sizes[result], chains[result])
        if algorithm in (None, "direct"):
            return direct
        call = pass_name
        if pass_name == "forward_backward":
            call = "forward" if result == "y" else "backward"
        names = ("spectral", "winograd") if algorithm == "auto" else (algorithm,)
        plans = [layer.plan(call, self.tensors.x.dtype, name) for name in names]
        bounds = [self._tile_bound(result, plan) for plan in plans if plan.algorithm != "direct"]
        if algorithm == "auto" or not bounds:
            bounds.append(direct)
        return reduce(torch.maximum, bounds)

    def _tile_bound(self, result: str, plan: Plan) -> torch.Tensor:
        """Bound of an algorithm that works in tiles, from the norms of what a tile multiplies."""
        t, layer, dw = self.tensors, self.tensors.layer, result == "dw"
        if plan.algorithm == "winograd":
            bound: Callable = reference.winograd_bound
            growth = reference.winograd_growth(layer.S, gradient=dw)
            length, parts, summed = 3, 1, layer.N * layer.W
        else:  # each frequency of dw is a sum over all tiles
            bound, growth = reference.spectral_bound, plan.fft_length
            length, parts = plan.fft_length, plan.parts
            summed = math.ceil(layer.N * (layer.W / plan.hop + layer.d))
        if dw:
            x_norm, g_norm = (a.double().norm(dim=(0, 2)).max() for a in (t.x, t.g))
            return bound(x_norm, g_norm, growth, summed)
        a, dims, channels = (t.x, (1, 2), layer.C) if result == "y" else (t.g, (0, 2), layer.K)
        # Two filters share one transform, so the largest norm counts for all of them. The parts of
        # a filter are further channels, each with a tile of its own.
        pair, w_norm = pair_norm(a, layer.d, length), t.w.double().norm(dim=dims).max()
        return bound(pair * math.sqrt(parts), w_norm, growth, channels * parts)


def pair_norm(x: torch.Tensor, d: int, length: int) -> torch.Tensor:
    """Largest norm over channels of any 2*length consecutive members of a phase; (N, 1, 1)."""
    phases = F.pad(x.double().square().sum(1), (0, -x.shape[2] % d)).unflatten(1, (-1, d))
    width = phases.shape[1]
    sums = F.pad(phases.cumsum(1), (0, 0, 1, 0))  # (N, width + 1, d)
    span = min(2 * length, width)
    return (sums[:, span:] - sums[:, :-span]).amax((1, 2)).sqrt()[:, None, None]


def _reference(x, w, g, layer: Layer) -> dict[str, torch.Tensor]:
    """y, dx and dw of float64 tensors, tap after tap."""
    back = layer.padding[::-1]  # (S-1)*d - left = right
    conv1d, firsts = reference.conv1d_reference, range(0, layer.S * layer.d, layer.d)
    padded = F.pad(x, layer.padding)
    taps = (padded[:, :, first : first + layer.W] for first in firsts)
    return {
        "y": conv1d(x, w, padding=layer.padding, dilation=layer.d),
        "dx": conv1d(g, w.flip(2).transpose(0, 1), padding=back, dilation=layer.d),
        "dw": torch.stack([torch.einsum("nkq,ncq->kc", g, tap) for tap in taps], dim=2),
    }
