"""Scores of the noisy, the smoothed and the denoised track against truth.

One streaming path serves validation and test: window by window in genome order, memory that does
not grow with the genome. What is tuned (sigma, thresholds) is tuned on validation, and the linear
filter fitted on the training chromosomes; both travel in the checkpoint as `Tuned`.
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
from denoiseq.evaluation import curves, peak_metrics
from denoiseq.evaluation.baselines import filters, fit_linear, tune_baselines
from denoiseq.evaluation.bootstrap import Blocks
from denoiseq.evaluation.calibration import reliability
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.options import EvaluateOptions
from denoiseq.evaluation.scorecard import Replicates, Scorecard, TrackScores
from denoiseq.evaluation.scored import Model, cores, device_of, predictions
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.models.network import Prediction
from denoiseq.store.samples import plain_names
from denoiseq.windows.dataset import WindowDataset

__all__ = ["EvaluateOptions", "Measurement", "measure", "tune", "validate"]
log = logging.getLogger(__name__)
Loss = Callable[[Prediction, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Measurement:
    """What `measure` finds.

    metrics : the content of metrics.json, ready for it: what is undefined, as with no peak on
        these chromosomes or no head for it, is None
    replicates : track -> metric -> float64 (draws,), in replicates of the genome that are the same
        for every track, model and draw of fragments on equal chromosomes: differences, and means
        over runs, may be formed one by one
    curves : the content of curves.json
    """

    metrics: dict[str, Any]
    replicates: dict[str, Replicates]
    curves: dict[str, Any]


def tune(
    model: Model,
    validation: WindowDataset,
    options: EvaluateOptions,
    train: WindowDataset | None = None,
) -> Tuned:
    """Choose bandwidth and thresholds on validation windows, fit the linear filter on training
    windows; without any, there is none.
    """
    weights = None if train is None else fit_linear(train)
    tuned = tune_baselines(validation, options, weights=weights)
    _, denoised = validate(model, validation, None, options)
    return tuned.with_denoised(denoised)


def measure(
    model: Model,
    data: WindowDataset,
    options: EvaluateOptions,
    tuned: Tuned,
    rivals: Mapping[str, peak_metrics.Peaks] | None = None,
) -> Measurement:
    """Every number on the chromosomes of `data`, in one pass.

    Parameters
    ----------
    model : Network, or any callable from x (N, C, L) to a Prediction
    data : WindowDataset with training=False
    options : EvaluateOptions
    tuned : Tuned
    rivals : name -> chromosome -> peaks of another caller, int64 (M, 2)

    Returns
    -------
    Measurement
        Of its metrics noisy, gaussian, linear (where it was fitted), denoised and each rival hold
        the names of `TrackMetrics.result` (a rival: precision, recall and f1 per base), peaks,
        inside, outside, frip and intervals; beside them are truth, gain, chromosomes, calibration,
        scale, tuned, seconds, segments_per_second, device, precision and algorithm. A model
        without a peak head scores peaks by its track.
    """
    _check_context(model, data)
    began = time.perf_counter()
    truth = peak_metrics.true_peaks(data)
    tracks, profile = _pass(model, data, options, tuned, truth)
    card = Scorecard(data, truth, tracks, rivals or {})
    metrics = card.metrics()
    denoised = tracks["denoised"].total
    metrics["scale"] = {name: one.total.scale for name, one in tracks.items()}
    metrics["tuned"] = {k: value for k, value in asdict(tuned).items() if k != "linear"}
    drawn = _curves(metrics, tracks, profile, card)
    if denoised.logits:
        found = reliability(denoised)
        metrics["calibration"] = {
            "temperature": getattr(model, "temperature", 1.0),
            "cross_entropy": found.cross_entropy,
            "ece": found.ece,
        }
        drawn["reliability"] = curves.reliability_curve(found)
    seconds = time.perf_counter() - began
    metrics |= {
        "seconds": seconds,
        "segments_per_second": len(data) / seconds,
        "device": str(device_of(model)),
        "precision": getattr(model, "precision", "fp32"),
        "conv": getattr(model, "conv", "torch"),
        "algorithm": getattr(model, "conv", "torch"),  # the key's old name, for its readers
    }
    return Measurement(_json_ready(metrics), card.replicates, _json_ready(drawn))


def _pass(
    model: Model,
    data: WindowDataset,
    options: EvaluateOptions,
    tuned: Tuned,
    truth: Mapping[str, list[peak_metrics.Peak]],
) -> tuple[dict[str, TrackScores], curves.Profile]:
    """All cores of `data`, in the scores of each track and the profile around true summits."""
    plain, smooth = plain_names(data.store), filters(tuned)
    blocks = Blocks(options.block_bp, options.bootstrap_draws) if options.bootstrap_draws else None
    tracks = {}
    for name in (*smooth, "denoised"):
        calls = peak_metrics.Calls(
            tuned.thresholds[name], options.min_length_bp, options.max_gap_bp
        )
        tracks[name] = TrackScores(name == "denoised" and _has_logits(model), calls, blocks)
    summits = {c: np.array([p.summit for p in some], dtype=int) for c, some in truth.items()}
    profile = curves.Profile({chrom: np.sort(at) for chrom, at in summits.items()})
    for batch, pred in predictions(model, data, options, "evaluate"):
        for core in cores(data, batch, pred, smooth):
            for name, one in tracks.items():
                one.add(core, name, plain[core.chrom])
            profile.add(core)
    for one in tracks.values():
        one.close()
    return tracks, profile


def _curves(
    metrics: Mapping[str, Any],
    tracks: Mapping[str, TrackScores],
    profile: curves.Profile,
    card: Scorecard,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "pr": {name: curves.precision_recall(one.total) for name, one in tracks.items()},
        "roc": {name: curves.roc(one.total) for name, one in tracks.items()},
        "profile": profile.curves(metrics["scale"]),
        "summit_distance_bp": curves.distance_histogram(card.distances("denoised")),
    }
    rivals = [name for name in card.rows if name not in tracks]
    return found | {n: {k: metrics[n][k] for k in ("recall", "precision")} for n in rivals}


def validate(
    model: Model,
    data: WindowDataset,
    loss: Loss | None,
    options: EvaluateOptions,
    ranks: Ranks = ALONE,
) -> tuple[dict[str, float], TrackMetrics]:
    """One pass of the denoised track alone, with the loss if given: what an epoch needs to know.

    Ranks share the windows; each gets the whole result.

    Returns
    -------
    row : dict
        "loss" and "loss_..." for its parts, averaged over counted bases, and the names of
        `TrackMetrics.result`.
    scores : TrackMetrics
    """
    scores, bases = TrackMetrics(_has_logits(model)), 0
    sums: dict[str, float] = {}
    for batch, pred in predictions(model, data, options, "validate", ranks):
        n = int(ranks.total(batch["mask"].sum()))
        bases += n
        for name, value in named_losses(*loss(pred, batch)).items() if loss else ():
            sums[name] = sums.get(name, 0.0) + n * value
        for core in cores(data, batch, pred):
            scores.update(*core.tracks["denoised"], *core.counted)
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
    needed = context_bp() if callable(context_bp) else 0
    if data.options.pad_bp < needed:
        log.warning(
            "windows carry %d bp of context, the model sees %d: metrics will differ a little from "
            "those of a whole-chromosome prediction (data.pad_bp=%d makes them equal)",
            data.options.pad_bp,
            needed,
            needed,
        )
    step = getattr(model, "tile_step_bp", 1)
    if data.options.pad_bp % step or data.options.interval_bp % step:
        log.warning(
            "data.pad_bp=%d or data.interval_bp=%d is no multiple of %d bp, the width that the "
            "model pools: metrics will differ a little from those of a whole-chromosome prediction",
            data.options.pad_bp,
            data.options.interval_bp,
            step,
        )


def _json_ready(value: Any) -> Any:
    """The same with nan as None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
