"""Scores of the noisy, the Gaussian-smoothed and the denoised track against truth.

One streaming code path serves validation and test: window by window in genome order, memory that
does not grow with the genome. What is tuned (sigma, thresholds) is tuned on validation only and
travels in the checkpoint as `Tuned`.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from denoiseq.genomics.coverage import gaussian_smooth
from denoiseq.genomics.peaks import PeakCaller
from denoiseq.learning.dataset import TileBatches, WindowDataset, window_loader
from denoiseq.learning.metrics import TrackMetrics, peak_agreement
from denoiseq.learning.models import Prediction
from denoiseq.learning.ranks import ALONE, Ranks
from denoiseq.learning.tuned import Tuned

log = logging.getLogger(__name__)
TRACKS = ("noisy", "gaussian", "denoised")
Loss = Callable[[Prediction, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class EvaluateOptions:
    """How to evaluate; lengths in bp.

    sigma_grid_bp are the bandwidths that the Gaussian baseline chooses from; called and true
    peaks are runs of at least min_length_bp, gaps up to max_gap_bp closed.
    """

    batch_size: int = 4
    workers: int = 0
    sigma_grid_bp: tuple[float, ...] = (20, 40, 60, 80, 100, 120, 160, 200)
    min_length_bp: int = 200
    max_gap_bp: int = 30
    progress: bool = True


@dataclass(frozen=True)
class Core:
    """The counted part of one window: arrays (n,) from `start` on, and (track, score) by name.

    A model without regression has no denoised track, one without peaks has it as the score.
    """

    chrom: str
    start: int
    coverage: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    tracks: dict[str, tuple[np.ndarray | None, np.ndarray]]


def evaluate(
    model: nn.Module, data: WindowDataset, options: EvaluateOptions, tuned: Tuned | None = None
) -> tuple[dict[str, Any], Tuned]:
    """Metrics of all three tracks on the chromosomes of `data`.

    Parameters
    ----------
    model : Network or alike
    data : WindowDataset with training=False
    options : EvaluateOptions
    tuned : Tuned, optional
        None tunes on `data` itself, which must then be the validation split.

    Returns
    -------
    metrics : dict
        noisy, gaussian, denoised (each the names of `TrackMetrics.result` and `peaks`), scale,
        tuned, seconds, segments_per_second, device, precision, algorithm. JSON-ready: what is
        undefined, as with no peak on these chromosomes or no head for it, is None. A model
        without a peak head scores peaks by its track.
    tuned : Tuned
    """
    _check_context(model, data)
    if tuned is None:
        tuned = tune_baselines(data, options)
        _, denoised = validate(model, data, None, options)
        tuned = tuned.with_denoised(denoised)
    began = time.perf_counter()
    scores, peaks = _measure(model, data, options, tuned)
    seconds = time.perf_counter() - began
    metrics: dict[str, Any] = {
        name: {**scores[name].result(), "peaks": peaks[name]} for name in TRACKS
    }
    metrics["scale"] = {name: scores[name].scale for name in TRACKS}
    metrics["tuned"] = asdict(tuned)
    metrics |= {
        "seconds": seconds,
        "segments_per_second": len(data) / seconds,
        "device": str(_device(model)),
        "precision": getattr(model, "precision", "fp32"),
        "algorithm": getattr(model, "conv", "torch"),
    }
    return _json_ready(metrics), tuned


def validate(
    model: nn.Module,
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
    scores, bases = _denoised_metrics(model), 0
    sums: dict[str, float] = {}
    for batch, pred in _predictions(model, data, options, "validate", ranks):
        n = int(ranks.total(batch["mask"].sum()))
        bases += n
        for name, value in named_losses(*loss(pred, batch)).items() if loss else ():
            sums[name] = sums.get(name, 0.0) + n * value
        for core in _cores(data, batch, pred, None):
            scores.update(*core.tracks["denoised"], core.coverage, core.truth, core.mask)
    scores.join(ranks.total_array)
    return {name: s / max(bases, 1) for name, s in sums.items()} | scores.result(), scores


def named_losses(total: Tensor, parts: dict[str, Tensor]) -> dict[str, float]:
    """A loss and its parts as numbers: "loss", "loss_mse", ..."""
    return {"loss": float(total)} | {f"loss_{name}": float(v) for name, v in parts.items()}


def tune_baselines(data: WindowDataset, options: EvaluateOptions, ranks: Ranks = ALONE) -> Tuned:
    """Choose the Gaussian's bandwidth, and the thresholds of noisy and gaussian, on `data`.

    The bandwidth has the best AUPRC of the grid, or the least MSE where no base is a true peak.
    Only bandwidths whose reach (4 sigma) fits into the windows' context take part.
    """
    grid = [s for s in options.sigma_grid_bp if 4 * s <= data.options.pad_bp]
    if not grid:
        raise ValueError(
            f"No Gaussian bandwidth of {options.sigma_grid_bp} bp fits the context of "
            f"{data.options.pad_bp} bp: raise data.pad_bp to 4 times the smallest."
        )
    if len(grid) < len(options.sigma_grid_bp):
        log.warning("Gaussian bandwidths above %g bp left out: data.pad_bp is small.", max(grid))
    noisy, smooth = TrackMetrics(), {sigma: TrackMetrics() for sigma in grid}
    batches = TileBatches(data, options.batch_size, None, ranks)
    for batch in window_loader(batches, options.workers):
        for sigma, scores in smooth.items():
            for core in _cores(data, batch, None, sigma):
                truth = core.coverage, core.truth, core.mask
                scores.update(*core.tracks["gaussian"], *truth)
                if sigma == grid[0]:
                    noisy.update(*core.tracks["noisy"], *truth)
    for scores in (noisy, *smooth.values()):
        scores.join(ranks.total_array)
    if noisy.positives.any():
        sigma = max(grid, key=lambda s: smooth[s].result()["auprc"])
    else:
        log.warning("no true peak on %s: no threshold can be tuned there.", ", ".join(data.chroms))
        sigma = min(grid, key=lambda s: smooth[s].result()["mse"])
    thresholds = {"noisy": noisy.best_threshold(), "gaussian": smooth[sigma].best_threshold()}
    return Tuned(float(sigma), thresholds)


def _measure(
    model: nn.Module, data: WindowDataset, options: EvaluateOptions, tuned: Tuned
) -> tuple[dict[str, TrackMetrics], dict[str, dict[str, float]]]:
    """One pass over `data`: the metrics of each track and the agreement of its peaks."""
    scores = {name: TrackMetrics() for name in ("noisy", "gaussian")}
    scores["denoised"] = _denoised_metrics(model)
    rule = options.min_length_bp, options.max_gap_bp
    callers = {name: _Runs(tuned.thresholds[name], *rule) for name in TRACKS}
    truth = _Runs(0.5, 1, 0)
    for batch, pred in _predictions(model, data, options, "evaluate"):
        for core in _cores(data, batch, pred, tuned.gaussian_sigma_bp):
            for name, (track, score) in core.tracks.items():
                scores[name].update(track, score, core.coverage, core.truth, core.mask)
            for name, caller in callers.items():
                score = core.tracks[name][1]
                if scores[name].logits:
                    score = torch.sigmoid(torch.from_numpy(score)).numpy()
                caller.add(core, score)
            truth.add(core, core.truth.astype(np.float32))
    true_peaks = truth.finish()
    peaks = {name: peak_agreement(c.finish(), true_peaks) for name, c in callers.items()}
    return scores, peaks


def _denoised_metrics(model: nn.Module) -> TrackMetrics:
    """Empty metrics for what the model answers: its score are logits if it has a peak head."""
    return TrackMetrics(logits=getattr(model, "task", "both") != "regression")


class _Runs:
    """Peaks of one score over consecutive cores of several chromosomes, blacklisted bases out."""

    def __init__(self, threshold: float, min_length_bp: int, max_gap_bp: int):
        self.rule = threshold, min_length_bp, max_gap_bp
        self.callers: dict[str, PeakCaller] = {}

    def add(self, core: Core, score: np.ndarray) -> None:
        if core.chrom not in self.callers:
            self.callers[core.chrom] = PeakCaller(core.chrom, *self.rule)
        self.callers[core.chrom].add(core.start, np.where(core.mask, score, -np.inf))

    def finish(self) -> dict[str, np.ndarray]:
        """chromosome -> int64 (M, 2)."""
        found = {chrom: caller.finish() for chrom, caller in self.callers.items()}
        return {
            chrom: np.array([(p.start, p.end) for p in peaks], dtype=np.int64).reshape(-1, 2)
            for chrom, peaks in found.items()
        }


def _predictions(
    model: nn.Module,
    data: WindowDataset,
    options: EvaluateOptions,
    what: str,
    ranks: Ranks = ALONE,
) -> Iterator[tuple[dict[str, Tensor], Prediction]]:
    """Batches in genome order with the model's answer, without gradient, on the model's device."""
    batches = TileBatches(data, options.batch_size, None, ranks)
    loader = window_loader(batches, options.workers)
    device, was_training = _device(model), model.training
    model.eval()
    try:
        quiet = None if options.progress else True
        for batch in tqdm(loader, desc=what, unit="batch", leave=False, disable=quiet):
            batch = {name: value.to(device) for name, value in batch.items()}
            with torch.inference_mode():
                pred = model(batch["x"])
            yield batch, pred
    finally:
        model.train(was_training)


def _cores(
    data: WindowDataset, batch: dict[str, Tensor], pred: Prediction | None, sigma: float | None
) -> Iterator[Core]:
    """The cores of a batch: denoised tracks if there is a prediction, baselines if a sigma."""
    arrays = {name: value.cpu().numpy() for name, value in batch.items()}
    if pred is not None:
        answer = [None if t is None else t.cpu().numpy() for t in pred]
        score = next(track for track in reversed(answer) if track is not None)
    for row, index in enumerate(arrays["index"]):
        tile = data.tiles[index]
        core = slice(tile.core_start - tile.start, tile.core_end - tile.start)
        tracks = {}
        if sigma is not None:
            noisy = arrays["x"][row, 0]
            smooth = _smooth(noisy, core, sigma)
            tracks["noisy"] = noisy[core], noisy[core]
            tracks["gaussian"] = smooth, smooth
        if pred is not None:
            track = None if answer[0] is None else answer[0][row, core]
            tracks["denoised"] = track, score[row, core]
        truth = {name: arrays[name][row, core] for name in ("coverage", "truth", "mask")}
        yield Core(tile.chrom, tile.core_start, tracks=tracks, **truth)


def _smooth(track: np.ndarray, core: slice, sigma_bp: float) -> np.ndarray:
    """The Gaussian baseline of the core of a window, float32 (n,), from its reach around it."""
    reach = math.ceil(4 * sigma_bp)
    first, last = max(core.start - reach, 0), min(core.stop + reach, len(track))
    return gaussian_smooth(track[first:last], sigma_bp)[core.start - first : core.stop - first]


def _check_context(model: nn.Module, data: WindowDataset) -> None:
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


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _json_ready(value: Any) -> Any:
    """The same with nan as None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
