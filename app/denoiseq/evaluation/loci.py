"""Example loci of an evaluation: noisy, smoothed and denoised tracks beside the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from denoiseq.evaluation.thresholds import Tuned
from denoiseq.genomics.intervals import Merged, mask
from denoiseq.genomics.peaks import runs_above
from denoiseq.models.network import DENOISED, Network
from denoiseq.report.loci import SPREAD, Panels, Window, example_loci
from denoiseq.report.locus_figures import Locus, draw_loci
from denoiseq.settings import Evaluate, Train
from denoiseq.store.coverage import gaussian_smooth
from denoiseq.windows.dataset import WindowDataset

PICTURED_LOCI = 3


def of_evaluation(
    model: Network,
    data: WindowDataset,
    metrics: Mapping[str, Any],
    settings: Evaluate,
    trained: Train,
    external: Mapping[str, Merged] | None = None,
) -> Panels:
    """Noisy, Gaussian and denoised tracks beside the clean one, scaled as the metrics scale them.

    The peak probability stands below the denoised track, or in its place where there is none.
    The draw of fragments is the one that the metrics were computed on. `external` are the peaks of
    external callers, by name.
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
        return _locus(model, data, metrics, trained, window, external or {})

    def has_reads(window: Window) -> bool:
        return bool(store.coverage(*window, h).any())

    return example_loci(ranked, sizes, settings, trained.seed, has_reads, locus)


def _locus(
    model: Network,
    data: WindowDataset,
    metrics: Mapping[str, Any],
    trained: Train,
    window: Window,
    external: Mapping[str, Merged],
) -> Locus:
    chrom, start, end = window
    store = data.store
    context, step = model.context_bp(), model.tile_step_bp
    low, high = max(start - context, 0) // step * step, min(end + context, store.chroms[chrom])
    shown = slice(start - low, end - low)
    x, clean = data.tracks(chrom, low, high)
    answer = {name: track[shown] for name, track in model.answer(x).items()}
    smooth = gaussian_smooth(x[0], metrics["tuned"]["gaussian_sigma_bp"])[shown]
    tracks = {"noisy": x[0][shown], "gaussian": smooth, **answer}
    scale = metrics["scale"]
    scaled = {name: (scale.get(name) or 1.0) * track for name, track in tracks.items()}
    rule = trained.data.label_min_length_bp, trained.data.label_max_gap_bp
    thresholds = metrics["tuned"]["thresholds"]
    peaks = {
        name: start + runs_above(score, thresholds[name], *rule)
        for name, score in ((DENOISED, [*answer.values()][-1]), ("gaussian", smooth))
    }
    for name, called in {**external, "clean": data.truth}.items():
        peaks[name] = _overlapping(called, *window)
    return Locus(*window, {**scaled, "clean": clean[shown]}, peaks)


def _overlapping(peaks: Merged, chrom: str, start: int, end: int) -> np.ndarray:
    rows = peaks.get(chrom, np.zeros((0, 2), dtype=np.int64))
    return rows[(rows[:, 1] > start) & (rows[:, 0] < end)]


def picture(
    data: WindowDataset, trained: Train, model: Network, tuned: Tuned, scale: float
) -> bytes | None:
    """Example loci while a model is trained, as a PNG; None where there is no peak to show."""
    scales = {"noisy": None, "gaussian": None, DENOISED: scale}
    metrics = {"tuned": asdict(tuned), "scale": scales}
    settings = Evaluate(loci=PICTURED_LOCI, random_loci=0)
    was_training = model.training
    panels = of_evaluation(model.eval(), data, metrics, settings, trained)
    model.train(was_training)
    return draw_loci(panels[SPREAD]) if panels else None
