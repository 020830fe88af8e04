"""`plan`: which algorithm, ISA, tiles, threads and workspace csrc/plan.cpp chooses, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dilconv import _native
from dilconv.geometry import output_width, resolve_padding

_PASS_WORDS = {
    "forward": "forward",
    "backward_data": "the gradient of x",
    "backward_weight": "the gradient of w",
    "backward": "both gradients",
}
# Fields of a plan that are the library's own.
_REPORTED = ("threads", "workspace_bytes", *(f"{a}_cycles" for a in _native.ALGORITHMS[1:]))
_SPECTRAL = ("fft_length", "hop", "parts")


@dataclass(frozen=True)
class Plan:
    """What one call would do. `print(plan)` says it in words.

    Algorithm and tiles follow from the layer and W alone, not from N or the number of threads, so
    that the bits of an item's result do not depend on them either.

    direct_cycles, spectral_cycles, winograd_cycles : the cost model's estimates for this N and so
        many threads; infinite where the algorithm cannot take the problem
    workspace_bytes : what the call works in, kept for the next one; at most 32 MB a thread and 256
        MB beside, and the same for any larger N
    fft_length, hop, parts : points and outputs of a spectral tile, and the parts that the filter is
        cut into; 0 unless the call is spectral
    """

    pass_name: str
    algorithm: str
    isa: str
    threads: int
    workspace_bytes: int
    direct_cycles: float
    spectral_cycles: float
    winograd_cycles: float
    fft_length: int
    hop: int
    parts: int
    tiles: str
    requested: str = "auto"

    def __str__(self) -> str:
        return (
            f"{_PASS_WORDS[self.pass_name]}: {self.algorithm} on {self.isa}, "
            f"{self.threads} thread(s), {self.workspace_bytes / 2**20:.1f} MiB of workspace; "
            f"{self.tiles}; {self._reason()}"
        )

    def _reason(self) -> str:
        cycles = {name: getattr(self, f"{name}_cycles") for name in _native.ALGORITHMS[1:]}
        fastest, second, *_ = sorted(cycles, key=lambda name: cycles[name])
        if math.isinf(cycles[second]):
            return "no other algorithm can take it"
        ratio = cycles[self.algorithm] / cycles[fastest]
        if self.requested == "auto" and ratio > 1.1:
            return (
                f"{fastest} is estimated {ratio:.1f} times as fast for this N and so many threads, "
                "but the choice, and with it the bits, is the same for all"
            )
        ratio = cycles[second] / cycles[fastest]
        return f"{fastest} is estimated {ratio:.1f} times as fast as {second}"


def plan(
    N: int,
    C: int,
    K: int,
    W: int,
    S: int,
    dilation: int = 1,
    *,
    padding: int | tuple[int, int] | str = "same",
    pass_name: str = "forward",
    algorithm: str = "auto",
    threads: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Plan:
    """Plan of one pass over x (N, C, W) with w (K, C, S).

    Raises ValueError on an unknown pass, algorithm or dtype, or sizes that leave no output.

    Parameters
    ----------
    padding : int, (left, right), "same" or "valid"
    pass_name : "forward", "backward_data", "backward_weight" or "backward" (both)
    algorithm : "auto", "direct", "spectral" or "winograd"
    threads : int, optional
        Where not given: `torch.get_num_threads()`, and no more than there are cores to run on.
    dtype : torch.float32 or torch.bfloat16
        Of x and y.
    """
    if pass_name not in _native.PASSES:
        raise ValueError(f"pass_name must be one of {', '.join(_native.PASSES)}, got {pass_name!r}")
    _native.check_algorithm(algorithm)
    if dtype not in _native.DTYPES:
        raise ValueError(f"dtype must be torch.float32 or torch.bfloat16, got {dtype}")
    left, right = resolve_padding(padding, S, dilation)
    Q = output_width(W, S, left, right, dilation)
    if min(N, C, K, S, dilation, Q) < 1:
        raise ValueError(
            f"nothing to plan: N={N} C={C} K={K} W={W} S={S} dilation={dilation} leave {Q} outputs"
        )
    isa = _native.active_isa(dtype)
    threads = threads or _native.usable_threads()
    numbers = _native.ALGORITHMS.index(algorithm), 0, _native.DTYPES.index(dtype)
    sizes = N, C, K, W, S, dilation, left, Q, C * W, W
    report = _native.plan(isa, _native.Problem(*sizes, False, threads, *numbers), pass_name)
    chosen = _native.ALGORITHMS[report.algorithm]
    return Plan(
        pass_name,
        chosen,
        isa,
        **{name: getattr(report, name) for name in _REPORTED},
        **{name: getattr(report, name) if chosen == "spectral" else 0 for name in _SPECTRAL},
        tiles=_tiles(chosen, report),
        requested=algorithm,
    )


def _tiles(chosen: str, report: _native.PlanReport) -> str:
    if chosen == "winograd":
        return (
            f"tiles of {report.tile_outputs} outputs by 6 products, up to {report.unit_tiles} "
            "tiles at a time"
        )
    if chosen == "direct":
        return f"blocks of {report.block} outputs, {report.channel_block} channels at a time"
    parts = f", filter in {report.parts} parts" if report.parts > 1 else ""
    return (
        f"FFT tiles of {report.fft_length} points for {report.hop} outputs, "
        f"{report.phases} phase(s) of the dilation side by side{parts}"
    )
