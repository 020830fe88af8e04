"""Example loci for the figures: which to show, and their tracks and peaks as plain arrays.

Some are spread over the ranking of the peaks by signal, so that weak ones are shown as well; some
are random, so that what lies between peaks is; some the user names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from denoiseq.genomics.coverage import gaussian_smooth, window_coverage
from denoiseq.genomics.intervals import Merged, mask
from denoiseq.genomics.peaks import Peak, runs_above
from denoiseq.genomics.store import Store, Thinning
from denoiseq.genomics.tracks import read_bigwig
from denoiseq.learning.dataset import WindowDataset
from denoiseq.learning.models import Network
from denoiseq.learning.options import EvaluateOptions
from denoiseq.prediction import GenomePrediction, PredictSettings
from denoiseq.report import Locus

WINDOW_BP = 8_000
REGION_BP = 100, 200_000  # least and most that a figure can show
TRIES = 100  # at a random window with reads, for each that is wanted
SPREAD, CHOSEN, RANDOM = "Peaks, from strong to weak", "Chosen", "At random"

Window = tuple[str, int, int]
Panels = dict[str, list[Locus]]


@dataclass(frozen=True)
class Choice:
    """Which loci to show.

    spread : how many over the ranking of the peaks
    random : how many anywhere, seeded by `seed`
    regions : "chrom:start-end" each, 0-based and half-open
    """

    spread: int = 4
    random: int = 2
    regions: Sequence[str] = ()
    seed: int = 0


def parse_regions(regions: Sequence[str], sizes: Mapping[str, int]) -> list[Window]:
    """The windows that `regions` name; ValueError for one that is not on `sizes` (chrom -> bp)."""
    return [_parse(text, sizes) for text in regions]


def _parse(text: str, sizes: Mapping[str, int]) -> Window:
    found = re.fullmatch(r"(.+):([0-9,]+)-([0-9,]+)", text.strip())
    if found is None:
        raise ValueError(f"regions: {text!r} is no region, expected one as in chr1:100000-120000")
    chrom, start, end = found[1], *(int(number.replace(",", "")) for number in found.groups()[1:])
    if chrom not in sizes:
        raise ValueError(
            f"regions: {text} is on none of the chromosomes here ({', '.join(list(sizes)[:8])})"
        )
    least, most = REGION_BP
    if not (end <= sizes[chrom] and least <= end - start <= most):
        raise ValueError(
            f"regions: {text} does not fit, expected {least} to {most:,} bp within the "
            f"{sizes[chrom]:,} bp of {chrom}"
        )
    return chrom, start, end


def spread_over_ranking(
    ranked: list[tuple[float, str, int]], sizes: Mapping[str, int], n: int
) -> list[Window]:
    """`n` windows around (signal, chrom, position), from the strongest 2% to the weakest 20%."""
    if not ranked or n < 1:
        return []
    ordered = sorted(ranked, key=lambda item: (-item[0], item[1], item[2]))
    picks = (np.linspace(0.02, 0.8, n) * len(ordered)).astype(int)
    windows = []
    for _, chrom, position in (ordered[i] for i in dict.fromkeys(picks.tolist())):
        windows.append(_around(chrom, position, sizes[chrom]))
    return windows


def _around(chrom: str, position: int, size: int) -> Window:
    start = max(min(position - WINDOW_BP // 2, size - WINDOW_BP), 0)
    return chrom, start, min(start + WINDOW_BP, size)


def random_windows(
    sizes: Mapping[str, int], n: int, seed: int, has_reads: Callable[[Window], bool]
) -> list[Window]:
    """Up to `n` windows, every base of the genome as likely as any, that `has_reads` accepts."""
    rng, names = np.random.default_rng(seed), list(sizes)
    share = np.array([sizes[chrom] for chrom in names], dtype=np.float64)
    windows: list[Window] = []
    for _ in range(TRIES * n):
        chrom = names[rng.choice(len(names), p=share / share.sum())]
        window = _around(chrom, int(rng.integers(sizes[chrom])), sizes[chrom])
        if len(windows) < n and window not in windows and has_reads(window):
            windows.append(window)
        if len(windows) == n:
            break
    return windows


def of_evaluation(
    model: Network,
    data: WindowDataset,
    metrics: Mapping[str, Any],
    options: EvaluateOptions,
    choice: Choice,
    callers: Mapping[str, Merged] | None = None,
) -> Panels:
    """Noisy, Gaussian and denoised tracks beside the clean one, scaled as the metrics scale them.

    The peak probability stands below the denoised track, or in its place where there is none.
    The draw of fragments is the one that the metrics were computed on. `callers` are peaks that
    others called, by name.
    """
    store, h = data.store, data.options.half_window_bp
    sizes = {chrom: store.chroms[chrom] for chrom in data.chroms}
    ranked = []
    for chrom in data.chroms:
        for start, end in data.truth.get(chrom, ()):
            if not mask(store.blacklist, chrom, start, end).any():
                height = window_coverage(store, chrom, start, end, h).max()
                ranked.append((float(height), chrom, int(start + end) // 2))

    def locus(window: Window) -> Locus:
        return _evaluation_locus(model, data, metrics, options, window, callers or {})

    def has_reads(window: Window) -> bool:
        return bool(window_coverage(store, *window, h).any())

    return _panels(_windows(ranked, sizes, choice, has_reads), locus)


def _windows(
    ranked: list[tuple[float, str, int]],
    sizes: Mapping[str, int],
    choice: Choice,
    has_reads: Callable[[Window], bool],
) -> dict[str, list[Window]]:
    """The windows that `choice` asks for, by how they were chosen."""
    return {
        CHOSEN: parse_regions(choice.regions, sizes),
        SPREAD: spread_over_ranking(ranked, sizes, choice.spread),
        RANDOM: random_windows(sizes, choice.random, choice.seed, has_reads),
    }


def _panels(windows: Mapping[str, list[Window]], locus: Callable[[Window], Locus]) -> Panels:
    return {how: [locus(window) for window in some] for how, some in windows.items() if some}


def _evaluation_locus(
    model: Network,
    data: WindowDataset,
    metrics: Mapping[str, Any],
    options: EvaluateOptions,
    window: Window,
    callers: Mapping[str, Merged],
) -> Locus:
    chrom, start, end = window
    store = data.store
    context, step = model.context_bp(), model.tile_step_bp
    low, high = max(start - context, 0) // step * step, min(end + context, store.chroms[chrom])
    core = slice(start - low, end - low)
    x, clean = data.tracks(chrom, low, high)
    noisy, clean = x[0], clean[core]
    answer = {name: track[core] for name, track in _answer(model, x).items()}
    tuned, scale = metrics["tuned"], metrics["scale"]
    smooth = gaussian_smooth(noisy, tuned["gaussian_sigma_bp"])[core]
    tracks = {"noisy": noisy[core], "gaussian": smooth, **answer}
    scores = {"denoised": [*answer.values()][-1], "gaussian": smooth}
    scaled = {name: (scale.get(name) or 1.0) * track for name, track in tracks.items()}
    called = {
        name: start
        + runs_above(score, tuned["thresholds"][name], options.min_length_bp, options.max_gap_bp)
        for name, score in scores.items()
    }
    others = {name: _overlapping(peaks, *window) for name, peaks in callers.items()}
    truth = _overlapping(data.truth, *window)
    return Locus(*window, {**scaled, "clean": clean}, {**called, **others, "clean": truth})


def _answer(model: Network, x: np.ndarray) -> dict[str, np.ndarray]:
    """The tracks that the model makes of x (C, L), (L,) each: "denoised", "peak probability"."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        pred = model(torch.from_numpy(x)[None].to(device))  # (1, C, L)
    tracks = {"denoised": pred.coverage, "peak probability": pred.peak_logits}
    if pred.peak_logits is not None:
        tracks["peak probability"] = torch.sigmoid(pred.peak_logits)
    return {name: track[0].cpu().numpy() for name, track in tracks.items() if track is not None}


def _overlapping(peaks: Merged, chrom: str, start: int, end: int) -> np.ndarray:
    rows = peaks.get(chrom, np.zeros((0, 2), dtype=np.int64))
    return rows[(rows[:, 1] > start) & (rows[:, 0] < end)]


def of_prediction(
    store: Store,
    thinning: Thinning | None,
    settings: PredictSettings,
    result: GenomePrediction,
    choice: Choice,
) -> Panels:
    """The input as the model saw it, the tracks as they were written, and the called peaks."""
    ranked = [(p.signal, p.chrom, (p.start + p.end) // 2) for p in result.peaks]

    def seen(window: Window) -> np.ndarray:
        return window_coverage(store, *window, settings.half_window_bp, thinning)

    def locus(window: Window) -> Locus:
        tracks = {"input": seen(window)}
        tracks |= {name: read_bigwig(path, *window) for name, path in result.tracks.items()}
        return Locus(*window, tracks, {"denoised": _rows(result.peaks, *window)})

    def has_reads(window: Window) -> bool:
        return bool(seen(window).any())

    return _panels(_windows(ranked, store.chroms, choice, has_reads), locus)


def _rows(peaks: list[Peak], chrom: str, start: int, end: int) -> np.ndarray:
    rows = [(p.start, p.end) for p in peaks if p.chrom == chrom and p.end > start and p.start < end]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)
