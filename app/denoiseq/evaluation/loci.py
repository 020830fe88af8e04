"""Example loci of an evaluation: noisy, smoothed and denoised tracks beside the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from denoiseq import report
from denoiseq.evaluation.options import EvaluateOptions
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.genomics.intervals import Merged, mask
from denoiseq.genomics.peaks import runs_above
from denoiseq.models.network import Network
from denoiseq.report import Locus
from denoiseq.report.loci import SPREAD, Choice, Panels, Window, panels, windows
from denoiseq.store.coverage import gaussian_smooth
from denoiseq.windows.dataset import WindowDataset

PICTURED_LOCI = 3


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
    store, h = data.store, data.settings.half_window_bp
    sizes = {chrom: store.chroms[chrom] for chrom in data.chroms}
    ranked = []
    for chrom in data.chroms:
        for start, end in data.truth.get(chrom, ()):
            if not mask(store.blacklist, chrom, start, end).any():
                height = store.coverage(chrom, start, end, h).max()
                ranked.append((float(height), chrom, int(start + end) // 2))

    def locus(window: Window) -> Locus:
        return _evaluation_locus(model, data, metrics, options, window, callers or {})

    def has_reads(window: Window) -> bool:
        return bool(store.coverage(*window, h).any())

    return panels(windows(ranked, sizes, choice, has_reads), locus)


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


def picture(
    data: WindowDataset, options: EvaluateOptions, model: Network, tuned: Tuned, scale: float
) -> bytes | None:
    """Example loci while a model is trained, as a PNG; None where there is no peak to show."""
    scales = {"noisy": None, "gaussian": None, "denoised": scale}
    metrics = {"tuned": asdict(tuned), "scale": scales}
    was_training = model.training
    drawn = of_evaluation(model.eval(), data, metrics, options, Choice(PICTURED_LOCI, random=0))
    model.train(was_training)
    return report.draw_loci(drawn[SPREAD]) if drawn else None
