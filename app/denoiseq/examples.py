"""Example loci for the figures: which to show, and their tracks and peaks as plain arrays.

Loci are spread over the ranking of the peaks by signal, so a figure shows weak ones as well.
"""

from __future__ import annotations

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


def spread_over_ranking(
    ranked: list[tuple[float, str, int]], sizes: dict[str, int], n: int
) -> list[tuple[str, int, int]]:
    """`n` windows around (signal, chrom, position), from the strongest 2% to the weakest 20%."""
    if not ranked or n < 1:
        return []
    ordered = sorted(ranked, key=lambda item: (-item[0], item[1], item[2]))
    picks = (np.linspace(0.02, 0.8, n) * len(ordered)).astype(int)
    windows = []
    for _, chrom, position in (ordered[i] for i in dict.fromkeys(picks.tolist())):
        start = max(min(position - WINDOW_BP // 2, sizes[chrom] - WINDOW_BP), 0)
        windows.append((chrom, start, min(start + WINDOW_BP, sizes[chrom])))
    return windows


def of_evaluation(
    model: Network,
    data: WindowDataset,
    metrics: dict[str, Any],
    options: EvaluateOptions,
    n: int,
) -> list[Locus]:
    """Noisy, Gaussian and denoised tracks beside the clean one, scaled as the metrics scale them.

    A model without regression shows its peak probability for the denoised track.
    The draw of fragments is the one that the metrics were computed on.
    """
    store, h = data.store, data.options.half_window_bp
    ranked = []
    for chrom in data.chroms:
        for start, end in data.truth.get(chrom, ()):
            if not mask(store.blacklist, chrom, start, end).any():
                height = window_coverage(store, chrom, start, end, h).max()
                ranked.append((float(height), chrom, int(start + end) // 2))
    windows = spread_over_ranking(ranked, store.chroms, n)
    return [_evaluation_locus(model, data, metrics, options, window) for window in windows]


def _evaluation_locus(
    model: Network,
    data: WindowDataset,
    metrics: dict[str, Any],
    options: EvaluateOptions,
    window: tuple[str, int, int],
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
    smooth = gaussian_smooth(noisy, tuned["gaussian_sigma_bp"])
    tracks = {"noisy": noisy[core], "gaussian": smooth[core]}
    scores = {"gaussian": smooth[core], "denoised": [*answer.values()][-1]}
    tracks |= dict([*answer.items()][:1])
    scaled = {name: (scale.get(name) or 1.0) * track for name, track in tracks.items()}
    called = {
        name: start
        + runs_above(score, tuned["thresholds"][name], options.min_length_bp, options.max_gap_bp)
        for name, score in scores.items()
    }
    truth = _overlapping(data.truth, chrom, start, end)
    return Locus(chrom, start, end, {**scaled, "clean": clean}, {**called, "clean": truth})


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
    n: int = 4,
) -> list[Locus]:
    """The input as the model saw it, the tracks as they were written, and the called peaks."""
    ranked = [(p.signal, p.chrom, (p.start + p.end) // 2) for p in result.peaks]
    loci = []
    for chrom, start, end in spread_over_ranking(ranked, store.chroms, n):
        h = settings.half_window_bp
        tracks = {"input": window_coverage(store, chrom, start, end, h, thinning)}
        tracks |= {
            name: read_bigwig(path, chrom, start, end) for name, path in result.tracks.items()
        }
        peaks = _rows(result.peaks, chrom, start, end)
        loci.append(Locus(chrom, start, end, tracks, {"denoised": peaks}))
    return loci


def _rows(peaks: list[Peak], chrom: str, start: int, end: int) -> np.ndarray:
    rows = [(p.start, p.end) for p in peaks if p.chrom == chrom and p.end > start and p.start < end]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)
