"""Scores of the noisy, the smoothed and the denoised track against truth.

One streaming path serves validation and test: window by window in genome order, in memory that
does not grow with the genome. The Gaussian's bandwidth and the thresholds are tuned on validation,
the linear filter is fitted on the training chromosomes; the checkpoint keeps both as `Tuned`.

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
from denoiseq.evaluation import curves, peak_metrics
from denoiseq.evaluation.baselines import filters, fit_linear, tune_baselines
from denoiseq.evaluation.bootstrap import Blocks
from denoiseq.evaluation.calibration import reliability
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.scorecard import Replicates, Scorecard, TrackScores
from denoiseq.evaluation.scored import Model, device_of, predictions, scored_parts
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.models.network import DENOISED, Prediction
from denoiseq.settings import Evaluate, Train
from denoiseq.windows.dataset import WindowDataset

log = logging.getLogger(__name__)
Loss = Callable[[Prediction, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Measurement:
    """What `measure` gives.

    metrics : the content of metrics.json; what is undefined, as without a true peak on these
        chromosomes or without a head for it, is None
    replicates : track -> metric -> float64 (draws,); on equal chromosomes the replicates of the
        genome are the same for every track, model and draw of fragments, so that differences, and
        means over runs, may be formed replicate by replicate
    curves : the content of curves.json
    """

    metrics: dict[str, Any]
    replicates: dict[str, Replicates]
    curves: dict[str, Any]


def tune(
    model: Model,
    validation: WindowDataset,
    trained: Train,
    train: WindowDataset | None = None,
) -> Tuned:
    """Choose bandwidth and thresholds on validation windows, and fit the linear filter on training
    windows; without `train` there is no filter.
    """
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
    """Every number on the chromosomes of `data`, in one pass.

    Parameters
    ----------
    model : Network, or any callable from x (N, C, L) to a Prediction
    data : WindowDataset with training=False
    settings : Evaluate
        For the bootstrap.
    trained : Train
        For the batch size, and the least length and the largest gap of a peak.
    tuned : Tuned
    external : name of an external caller -> chromosome -> its peaks, int64 (M, 2)

    Returns
    -------
    Measurement
        Its metrics noisy, gaussian, linear (where it was fitted), denoised and each external caller
        hold the names of `TrackMetrics.result` (an external caller: precision, recall and f1 per
        base), peaks, inside, outside, frip and intervals; beside them are truth, gain, chromosomes,
        calibration, scale, tuned, seconds, segments_per_second, device, precision and algorithm. A
        model without a peak head scores peaks by its track.
    """
    _check_context(model, data)
    began = time.perf_counter()
    truth = peak_metrics.true_peaks(data)
    blocks = Blocks(settings.block_bp, settings.bootstrap) if settings.bootstrap else None
    tracks = _empty_scores(model, trained, tuned, blocks)
    profile = _pass(model, data, trained, tuned, tracks, truth)
    card = Scorecard(data, truth, tracks, external or {})
    metrics = card.metrics()
    denoised = tracks[DENOISED].total
    metrics["scale"] = {name: scores.total.scale for name, scores in tracks.items()}
    metrics["tuned"] = {k: value for k, value in asdict(tuned).items() if k != "linear"}
    drawn = _curves(metrics, tracks, profile, card)
    if denoised.logits:
        calibrated = reliability(denoised)
        metrics["calibration"] = {
            "temperature": getattr(model, "temperature", 1.0),
            "cross_entropy": calibrated.cross_entropy,
            "ece": calibrated.ece,
        }
        drawn["reliability"] = curves.reliability_curve(calibrated)
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


def _empty_scores(
    model: Model, trained: Train, tuned: Tuned, blocks: Blocks | None
) -> dict[str, TrackScores]:
    """The scores of every track before the first window."""
    rule = trained.data.label_min_length_bp, trained.data.label_max_gap_bp
    tracks = {}
    for name in (*filters(tuned), DENOISED):
        logits = name == DENOISED and _has_logits(model)
        tracks[name] = TrackScores(logits, (tuned.thresholds[name], *rule), blocks)
    return tracks


def _pass(
    model: Model,
    data: WindowDataset,
    trained: Train,
    tuned: Tuned,
    tracks: Mapping[str, TrackScores],
    truth: Mapping[str, list[peak_metrics.Peak]],
) -> curves.Profile:
    """Count all scored parts of `data` in `tracks`; the profile around true summits."""
    plain, smooth = data.store.plain_names, filters(tuned)
    summits = {c: np.array([p.summit for p in peaks], dtype=int) for c, peaks in truth.items()}
    profile = curves.Profile({chrom: np.sort(at) for chrom, at in summits.items()})
    for batch, pred in predictions(model, data, trained, "evaluate"):
        for part in scored_parts(data, batch, pred, smooth):
            for name, scores in tracks.items():
                scores.add(part, name, plain[part.chrom])
            profile.add(part)
    for scores in tracks.values():
        scores.close()
    return profile


def _curves(
    metrics: Mapping[str, Any],
    tracks: Mapping[str, TrackScores],
    profile: curves.Profile,
    card: Scorecard,
) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "pr": {name: curves.precision_recall(scores.total) for name, scores in tracks.items()},
        "roc": {name: curves.roc(scores.total) for name, scores in tracks.items()},
        "profile": profile.curves(metrics["scale"]),
        "summit_distance_bp": curves.distance_histogram(card.distances(DENOISED)),
    }
    external = [name for name in card.rows if name not in tracks]
    return drawn | {n: {k: metrics[n][k] for k in ("recall", "precision")} for n in external}


def validate(
    model: Model,
    data: WindowDataset,
    loss: Loss | None,
    trained: Train,
    ranks: Ranks = ALONE,
) -> tuple[dict[str, float], TrackMetrics]:
    """One pass of the denoised track alone, as after an epoch; with the loss if there is one.

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
    for batch, pred in predictions(model, data, trained, "validate", ranks):
        n = int(ranks.total(batch["mask"].sum()))
        bases += n
        for name, value in named_losses(*loss(pred, batch)).items() if loss else ():
            sums[name] = sums.get(name, 0.0) + n * value
        for part in scored_parts(data, batch, pred):
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
    needed = context_bp() if callable(context_bp) else 0
    if data.settings.pad_bp < needed:
        log.warning(
            "windows carry %d bp of context, the model sees %d: metrics will differ a little from "
            "those of a whole-chromosome prediction (data.pad_bp=%d makes them equal)",
            data.settings.pad_bp,
            needed,
            needed,
        )
    step = getattr(model, "tile_step_bp", 1)
    if data.settings.pad_bp % step or data.settings.interval_bp % step:
        log.warning(
            "data.pad_bp=%d or data.interval_bp=%d is no multiple of %d bp, the width that the "
            "model pools: metrics will differ a little from those of a whole-chromosome prediction",
            data.settings.pad_bp,
            data.settings.interval_bp,
            step,
        )


def _json_ready(value: Any) -> Any:
    """The same with nan as None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
