"""Measuring convolution layers: contenders verified, then timed interleaved on the same tensors.

Rates count 2*N*C*K*S*Q operations a pass, whatever the algorithm does; the machine's own FMA peak
is measured in every round of the same run, so that figures are ratios, not absolute times.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from dilconv import _native
from dilconv.reference import conv1d_reference, float32_bound

PASSES = ("forward", "backward_data", "backward_weight", "forward_backward")


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
        total = (self.S - 1) * self.d
        return total // 2, total - total // 2

    def flops(self, pass_name: str) -> int:
        """Operations of the pass as a direct sum does them."""
        one = 2 * self.N * self.C * self.K * self.S * self.W
        return 3 * one if pass_name == "forward_backward" else one


@dataclass(frozen=True)
class Tensors:
    """The tensors that all contenders share; `x_padded` is made before any timing."""

    layer: Layer
    x: torch.Tensor  # (N, C, W)
    x_padded: torch.Tensor  # (N, C, W + (S-1)*d)
    w: torch.Tensor  # (K, C, S)
    g: torch.Tensor  # (N, K, W)

    @classmethod
    def of(cls, layer: Layer, seed: int = 0) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(layer.N, layer.C, layer.W, generator=generator)
        w = torch.randn(layer.K, layer.C, layer.S, generator=generator)
        g = torch.randn(layer.N, layer.K, layer.W, generator=generator)
        return cls(layer, x, F.pad(x, layer.padding), w, g)


Runner = Callable[[], tuple[torch.Tensor, ...]]


def _trained(conv: Callable, x: torch.Tensor, w: torch.Tensor, g: torch.Tensor) -> Runner:
    """Forward and both gradients, as autograd runs them."""
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()

    def run():
        y = conv(x, w)
        return y.detach(), *torch.autograd.grad(y, (x, w), g)

    return run


def dilconv_passes(algorithm: str) -> Callable[[Tensors], dict[str, Runner]]:
    """The passes of `dilconv` with one algorithm."""

    def passes(t: Tensors) -> dict[str, Runner]:
        left, right = t.layer.padding
        forward, backward = torch.ops.dilconv.forward, torch.ops.dilconv.backward

        def conv(x, w):
            return forward(x, w, None, None, left, right, t.layer.d, False, algorithm)

        def gradient(*needs):
            return backward(t.g, t.x, t.w, None, left, right, t.layer.d, [*needs, False], algorithm)

        return {
            "forward": lambda: (conv(t.x, t.w),),
            "backward_data": lambda: gradient(True, False, False)[:1],
            "backward_weight": lambda: gradient(False, True, False)[1:2],
            "forward_backward": _trained(conv, t.x, t.w, t.g),
        }

    return passes


def torch_passes(padded_beforehand: bool) -> Callable[[Tensors], dict[str, Runner]]:
    """The passes of `F.conv1d`, its input padded before the clock starts or padded in the call."""

    def passes(t: Tensors) -> dict[str, Runner]:
        d = t.layer.d
        if padded_beforehand or t.layer.padding[0] != t.layer.padding[1]:
            x, padding = t.x_padded, 0
        else:
            x, padding = t.x, t.layer.padding[0]

        def conv(x, w):
            return F.conv1d(x, w, dilation=d, padding=padding)

        def gradient(*needs):
            return torch.ops.aten.convolution_backward(
                t.g, x, t.w, None, [1], [padding], [d], False, [0], 1, [*needs, False]
            )

        def crop(dx):
            left = t.layer.padding[0] - padding
            return dx[..., left : left + t.layer.W]

        trained = _trained(conv, x, t.w, t.g)

        def forward_backward():
            y, dx, dw = trained()
            return y, crop(dx), dw

        return {
            "forward": lambda: (conv(x, t.w),),
            "backward_data": lambda: (crop(gradient(True, False)[0]),),
            "backward_weight": lambda: (gradient(False, True)[1],),
            "forward_backward": forward_backward,
        }

    return passes


CONTENDERS: dict[str, Callable[[Tensors], dict[str, Runner]]] = {
    "torch-padded": torch_passes(padded_beforehand=True),
    "torch": torch_passes(padded_beforehand=False),
    **{name: dilconv_passes(name) for name in ("direct", "spectral", "auto")},
}


def verify(tensors: Tensors, passes: dict[str, dict[str, Runner]]) -> None:
    """Every contender against the float64 oracle on this very problem.

    Raises
    ------
    RuntimeError
        Naming the contender and the result that is wrong.
    """
    layer = tensors.layer
    oracles = _oracle(tensors.x, tensors.w, tensors.g, layer)
    sizes = _oracle(tensors.x.abs(), tensors.w.abs(), tensors.g.abs(), layer)
    additions = (layer.C * layer.S, layer.K * layer.S, layer.N * layer.W)
    for name, runners in passes.items():
        found = runners["forward_backward"]()
        for i, label in enumerate(("y", "dx", "dw")):
            excess = (found[i].double() - oracles[i]).abs() - float32_bound(sizes[i], additions[i])
            if excess.max() > 0:
                raise RuntimeError(f"{name} computes a wrong {label} for {layer}")


def _oracle(x, w, g, layer):
    x, w = x.double().requires_grad_(), w.double().requires_grad_()
    y = conv1d_reference(x, w, padding=layer.padding, dilation=layer.d)
    return y.detach(), *torch.autograd.grad(y, (x, w), g.double())


def measure_peak(isa: str, seconds: float = 0.02) -> float:
    """FMA peak of one core in GFLOP/s, best of three."""
    _native.peak_flops(isa, 100_000)
    begin = time.perf_counter()
    flops = _native.peak_flops(isa, 100_000)
    rounds = max(1, int(100_000 * seconds / (time.perf_counter() - begin)))
    best = 0.0
    for _ in range(3):
        begin = time.perf_counter()
        flops = _native.peak_flops(isa, rounds)
        best = max(best, flops / (time.perf_counter() - begin) / 1e9)
    return best


def time_interleaved(
    runners: dict[str, Runner], isa: str, rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of every runner in every round, all runners in turn, and the peak of each round."""
    for run in runners.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    peaks = []
    for _ in range(rounds):
        peaks.append(measure_peak(isa))
        for name, run in runners.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds, peaks


def machine() -> dict[str, str]:
    """What every row carries: CPU, ISA, torch, commit."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        cpu = next((ln.split(":", 1)[1].strip() for ln in lines if "model name" in ln), cpu)
    found = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": cpu,
        "isa": _native.active_isa(),
        "torch": torch.__version__,
        "commit": found.stdout.strip() or "unknown",
    }


def bench_layer(
    layer: Layer, contenders: list[str], *, threads: int, rounds: int, check: bool = True
) -> list[dict]:
    """Rows (one a contender and pass) of one layer, verified before it is timed."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        tensors = Tensors.of(layer)
        passes = {name: CONTENDERS[name](tensors) for name in contenders}
        if check:
            verify(tensors, passes)
        rows = []
        for pass_name in PASSES:
            runners = {name: passes[name][pass_name] for name in contenders}
            rows += _rows(layer, pass_name, runners, threads, rounds)
    finally:
        torch.set_num_threads(before)
    return rows


def _rows(layer, pass_name, runners, threads, rounds) -> list[dict]:
    info = machine()
    seconds, peaks = time_interleaved(runners, info["isa"], rounds)
    peak = statistics.median(peaks) * threads
    fastest_torch = min(
        (statistics.median(s) for name, s in seconds.items() if name.startswith("torch")),
        default=float("nan"),
    )
    rows = []
    for name, times in seconds.items():
        low, median, high = statistics.quantiles(times, n=4)
        rate = layer.flops(pass_name) / median / 1e9
        rows.append(
            {
                "layer": layer.name,
                **{letter: getattr(layer, letter) for letter in "NCKSdW"},
                "pass": pass_name,
                "contender": name,
                "threads": threads,
                "median_ms": round(median * 1e3, 4),
                "iqr_ms": round((high - low) * 1e3, 4),
                "gflops": round(rate, 2),
                "fraction_of_peak": round(rate / peak, 4),
                "speedup_over_torch": round(fastest_torch / median, 3),
                "peak_gflops": round(peak, 2),
                **info,
            }
        )
    return rows
