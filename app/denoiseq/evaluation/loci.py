"""Example loci of an evaluation: noisy, smoothed and denoised tracks beside the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from denoiseq.evaluation.baselines import gaussian_smooth
from denoiseq.evaluation.peak_metrics import NONE
from denoiseq.evaluation.thresholds import Choice
from denoiseq.genomics.intervals import Merged, mask
from denoiseq.genomics.peaks import runs_above
from denoiseq.models.network import DENOISED, Network
from denoiseq.report.loci import SPREAD, Panels, Window, example_loci
from denoiseq.report.locus_figures import Locus, draw_loci
from denoiseq.settings import Evaluate, Train
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
    The draw of fragments is the one that the metrics were computed on.
    """
    store, h = data.store, data.settings.half_window_bp
    sizes = {chrom: store.chroms[chrom] for chrom in data.chroms}
    ranked = []
    for chrom in data.chroms:
        for start, end in data.truth.get(chrom, ()):
            if not mask(store.blacklist, chrom, start, end).any():
                height = store.coverage(chrom, start, end, h).max()
                ranked.append((float(height), chrom, int(start + end) // 2))

    def has_reads(window: Window) -> bool:
        return bool(store.coverage(*window, h).any())

    locus = partial(_locus, model, data, metrics, trained, external or {})
    return example_loci(ranked, sizes, settings, trained.seed, has_reads, locus)


def _locus(
    model: Network,
    data: WindowDataset,
    metrics: Mapping[str, Any],
    trained: Train,
    external: Mapping[str, Merged],
    window: Window,
) -> Locus:
    chrom, start, end = window
    context, step = model.context_bp(), model.tile_step_bp
    low, high = max(start - context, 0) // step * step, min(end + context, data.store.chroms[chrom])
    shown = slice(start - low, end - low)
    x, clean = data.tracks(chrom, low, high)
    answer = {name: track[shown] for name, track in model.answer(x).items()}
    smooth = gaussian_smooth(x[0], metrics["tuned"]["gaussian_sigma_bp"])[shown]
    tracks = {"noisy": x[0][shown], "gaussian": smooth, **answer}
    scaled = {name: (metrics["scale"].get(name) or 1.0) * t for name, t in tracks.items()}
    rule = trained.data.label_min_length_bp, trained.data.label_max_gap_bp
    scores = {DENOISED: [*answer.values()][-1], "gaussian": smooth}
    peaks = {name: start + _called(metrics, name, score, rule) for name, score in scores.items()}
    for name, called in {**external, "clean": data.truth}.items():
        rows = called.get(chrom, NONE)
        peaks[name] = rows[(rows[:, 1] > start) & (rows[:, 0] < end)]
    return Locus(*window, {**scaled, "clean": clean[shown]}, peaks)


def _called(
    metrics: Mapping[str, Any], name: str, score: np.ndarray, rule: tuple[int, int]
) -> np.ndarray:
    """Peaks of a track by its tuned threshold, int64 (M, 2); none where no true peak tuned it."""
    threshold = metrics["tuned"]["thresholds"][name]
    return NONE if threshold is None else runs_above(score, threshold, *rule)


def picture(data: WindowDataset, trained: Train, model: Network, chosen: Choice) -> bytes | None:
    """Example loci while a model is trained, as a PNG; None where there is no peak to show."""
    metrics = {"tuned": asdict(chosen.tuned), "scale": {DENOISED: chosen.scale}}
    settings = Evaluate(loci=PICTURED_LOCI, random_loci=0)
    was_training = model.training
    panels = of_evaluation(model.eval(), data, metrics, settings, trained)
    model.train(was_training)
    return draw_loci(panels[SPREAD]) if panels else None
