"""Scores of the noisy, the smoothed and the denoised track against truth, window by window.

`trained` is a training's settings; its `trainer` says how the machine is used now.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from denoiseq.distributed import ALONE, Ranks
from denoiseq.evaluation import external_peaks, figure_data, peak_metrics
from denoiseq.evaluation.baselines import filters, fit_linear, tune_baselines
from denoiseq.evaluation.bootstrap import Blocks
from denoiseq.evaluation.calibration import reliability
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.scorecard import Replicates, Scorecard, TrackScores
from denoiseq.evaluation.scored import Model, device_of, predictions, scored_parts
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.genomics.peaks import Peak
from denoiseq.models.network import DENOISED, Prediction
from denoiseq.settings import Evaluate, Train
from denoiseq.windows.dataset import WindowDataset

log = logging.getLogger(__name__)
Loss = Callable[[Prediction, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Measurement:
    """What `measure` gives; what is undefined is None.

    On equal chromosomes the replicates of the genome are the same for every track, model and draw
    of fragments: differences and means over runs may be formed replicate by replicate.
    """

    metrics: dict[str, Any]  # of metrics.json
    replicates: dict[str, Replicates]  # track -> metric -> float64 (draws,)
    curves: dict[str, Any]  # of curves.json


def tune(
    model: Model, validation: WindowDataset, trained: Train, train: WindowDataset | None = None
) -> Tuned:
    """Bandwidth and thresholds chosen on validation windows, and the filter fitted on `train`."""
    weights = None if train is None else fit_linear(train)
    tuned = tune_baselines(validation, trained, weights=weights)
    _, denoised = validate(model, validation, None, trained)
    return tuned.with_denoised(denoised)


def measure(
    model: Model,
    data: WindowDataset,
    settings: Evaluate,
    trained: Train,
    tuned: Tuned,
    external: Mapping[str, peak_metrics.Peaks] | None = None,
) -> Measurement:
    """Every number on the chromosomes of `data`, in one pass; `settings` are for the bootstrap, and
    for a second pass that measures the reproducibility of peaks.

    The model is a Network, or any callable from x (N, C, L) to a Prediction; one without a peak
    head scores peaks by its track. `data` has training=False. `external` are the peaks of external
    callers: name -> chromosome -> int64 (M, 2).
    """
    _check_context(model, data)
    began = time.perf_counter()
    truth, external = peak_metrics.true_peaks(data), external or {}
    tracks, profile = _pass(model, data, settings, trained, tuned, truth)
    second = None
    if settings.reproducibility:
        second = _second_draw(model, data, trained, tuned, external)
    card = Scorecard(data, truth, tracks, external, second)
    metrics = card.metrics()
    denoised = tracks[DENOISED].total
    metrics["scale"] = {name: scores.total.scale for name, scores in tracks.items()}
    metrics["tuned"] = {k: value for k, value in asdict(tuned).items() if k != "linear"}
    drawn = _curves(metrics, card, profile)
    if denoised.logits:
        calibrated = reliability(denoised)
        fit = {"cross_entropy": calibrated.cross_entropy, "ece": calibrated.ece}
        metrics["calibration"] = {"temperature": getattr(model, "temperature", 1.0), **fit}
        drawn["reliability"] = figure_data.reliability_curve(calibrated)
    seconds = time.perf_counter() - began
    metrics |= {
        "seconds": seconds,
        "segments_per_second": len(data) * (2 if second else 1) / seconds,
        "device": str(device_of(model)),
        "precision": getattr(model, "precision", "fp32"),
        "conv": getattr(model, "conv", "torch"),
        "algorithm": getattr(model, "conv", "torch"),  # the key's old name, for its readers
    }
    return Measurement(_json_ready(metrics), card.replicates, _json_ready(drawn))


def _pass(
    model: Model,
    data: WindowDataset,
    settings: Evaluate,
    trained: Train,
    tuned: Tuned,
    truth: Mapping[str, list[Peak]],
) -> tuple[dict[str, TrackScores], figure_data.Profile]:
    """The scores of every track over all scored parts of `data`; the profile at true summits."""
    plain, smooth = data.store.plain_names, filters(tuned)
    blocks = Blocks(settings.block_bp, settings.bootstrap) if settings.bootstrap else None
    tracks = {}
    for name in (*smooth, DENOISED):
        logits = name == DENOISED and _has_logits(model)
        tracks[name] = TrackScores(logits, trained.data, tuned.thresholds[name], blocks)
    profile = figure_data.Profile(
        {chrom: np.array([p.summit for p in peaks], dtype=int) for chrom, peaks in truth.items()}
    )
    for batch, pred in predictions(model, data, trained, "evaluate"):
        for part in scored_parts(data, batch, pred, smooth):
            for name, scores in tracks.items():
                scores.add(part, name, plain[part.chrom])
            profile.add(part)
    for scores in tracks.values():
        scores.close()
    return tracks, profile


def _second_draw(
    model: Model,
    data: WindowDataset,
    trained: Train,
    tuned: Tuned,
    external: Mapping[str, peak_metrics.Peaks],
) -> dict[str, peak_metrics.Peaks]:
    """The peaks that every track and MACS3 have on a second draw; empty where there is none."""
    second = data.second_draw()
    if second is None:
        log.warning(
            "the reproducibility of peaks is not measured: the input holds %.0f%% of fragments, "
            "which leaves too few for a second draw (data.thin_fraction=0.5 leaves enough)",
            100 * data.thin_fraction,
        )
        return {}
    no_truth: dict[str, list[Peak]] = {chrom: [] for chrom in data.chroms}
    tracks, _ = _pass(model, second, Evaluate(bootstrap=0), trained, tuned, no_truth)
    called = {name: peak_metrics.rows(scores.called) for name, scores in tracks.items()}
    return {**called, **external_peaks.called(second, "macs3" in external)}


def _curves(
    metrics: Mapping[str, Any], card: Scorecard, profile: figure_data.Profile
) -> dict[str, Any]:
    tracks = {name: scores.total for name, scores in card.tracks.items()}
    drawn: dict[str, Any] = {
        "pr": {name: figure_data.precision_recall(scores) for name, scores in tracks.items()},
        "roc": {name: figure_data.roc(scores) for name, scores in tracks.items()},
        "profile": profile.curves(metrics["scale"]),
        "summit_distance_bp": figure_data.distance_histogram(card.distances(DENOISED)),
    }
    external = [name for name in card.rows if name not in tracks]
    return drawn | {n: {k: metrics[n][k] for k in ("recall", "precision")} for n in external}


def validate(
    model: Model, data: WindowDataset, loss: Loss | None, trained: Train, ranks: Ranks = ALONE
) -> tuple[dict[str, float], TrackMetrics]:
    """One pass of the denoised track alone, as after an epoch: its metrics by name, and scores.

    "loss" and its parts, if there is a loss, are averaged over counted bases. Ranks share the
    windows; each gets the whole result.
    """
    scores, bases = TrackMetrics(_has_logits(model)), 0
    sums: dict[str, float] = {}
    for batch, pred in predictions(model, data, trained, "validate", ranks):
        n = int(ranks.total(batch["mask"].sum()))
        bases += n
        for name, value in named_losses(*loss(pred, batch)).items() if loss else ():
            sums[name] = sums.get(name, 0.0) + n * value
        for part in scored_parts(data, batch, pred, {}):
            scores.update(*part.tracks[DENOISED], *part.counted)
    scores.join(ranks.total_array)
    return {name: s / max(bases, 1) for name, s in sums.items()} | scores.result(), scores


def named_losses(total: Tensor, parts: dict[str, Tensor]) -> dict[str, float]:
    """A loss and its parts as numbers: "loss", "loss_mse", ..."""
    return {"loss": float(total)} | {f"loss_{name}": float(v) for name, v in parts.items()}


def _has_logits(model: Model) -> bool:
    """Whether the score is the log-odds of a peak: where the model has a peak head."""
    return getattr(model, "task", "both") != "regression"


def _check_context(model: Model, data: WindowDataset) -> None:
    context_bp = getattr(model, "context_bp", None)
    needed, step = context_bp() if callable(context_bp) else 0, getattr(model, "tile_step_bp", 1)
    pad_bp, interval_bp = data.settings.pad_bp, data.settings.interval_bp
    differ = "metrics will differ a little from those of a whole-chromosome prediction"
    if pad_bp < needed:
        log.warning(
            f"windows carry {pad_bp} bp of context, the model sees {needed}: {differ} "
            f"(data.pad_bp={needed} makes them equal)"
        )
    if pad_bp % step or interval_bp % step:
        log.warning(
            f"data.pad_bp={pad_bp} or data.interval_bp={interval_bp} is no multiple of {step} bp, "
            f"the width that the model pools: {differ}"
        )


def _json_ready(value: Any) -> Any:
    """The same with nan as None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
