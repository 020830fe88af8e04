"""`denoiseq predict`: denoised coverage, peak probability and peaks of a genome, and a report."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from denoiseq import provenance
from denoiseq.atomic import check_writable, write_json
from denoiseq.distributed import Ranks, joined, use_threads
from denoiseq.errors import UserError
from denoiseq.evaluation.thresholds import threshold_of_precision
from denoiseq.logs import log_to
from denoiseq.models.checkpoint import open_checkpoint, trained_network
from denoiseq.prediction import sample
from denoiseq.prediction.genome import (
    GenomePrediction,
    Outputs,
    PredictSettings,
    Source,
    predict_genome,
)
from denoiseq.prediction.page import example_loci, page_of
from denoiseq.prediction.resume import claimed
from denoiseq.report.loci import Choice, parse_regions
from denoiseq.settings import Predict, Train
from denoiseq.settings.setting import required
from denoiseq.store.cut_store import CutStore, Store

log = logging.getLogger(__name__)


def run(settings: Predict) -> None:
    """Denoised coverage, peak probability and peaks of a whole genome, and a report."""
    with joined(settings.trainer.device) as ranks:
        _predict(settings, ranks)


def _predict(settings: Predict, ranks: Ranks) -> None:
    payload, trained = open_checkpoint(settings.checkpoint)
    out = Path(required(settings.out, "out", "prediction"))
    name = sample.sample_name(settings)
    if ranks.main:
        check_writable(out / "summary.json")
        log_to(out / "predict.log")
    use_threads(settings.trainer.threads)
    network = trained_network(
        payload, trained, settings.conv, settings.precision, settings.trainer.device
    )
    folder = out / f".{name}.unfinished"
    software = provenance.software_facts(network)
    key = sample.identity(settings, payload, trained) | {"software": software}
    with claimed(folder, key) if ranks.main else nullcontext():
        if ranks.main:
            sample.opened_store(settings, payload, trained, folder)  # prepared for all
        ranks.wait()
        opened = sample.opened_store(settings, payload, trained, folder)
        genome = sample.genome(settings, trained, opened)
        h = trained.data.half_window_bp
        thinning, depth = sample.thinning(settings, payload, opened, h)
        options = predict_settings(settings, payload, trained)
        choice = Choice(settings.loci, settings.random_loci, settings.regions, settings.seed)
        parse_regions(choice.regions, opened.chroms)
        log.info("predicting %s on %d chromosomes", name, len(opened.chroms))
        source = Source(opened, thinning, genome)
        result = predict_genome(network, source, options, Outputs(out, name), folder, ranks)
        if result is None:  # the first process has it
            return
        summary = _summary(name, depth, options, result) | {
            "input": _input_facts(opened),
            "model": provenance.model_facts(str(settings.checkpoint), payload),
            "software": software,
        }
        panels = example_loci(opened, thinning, options, result, choice)
        trained_range = payload.get("trained_cuts_per_mb_range")
        page_of(out, summary, source, result, panels, trained_range).write(out)
        write_json(out / "summary.json", summary)
    log.info("%s peaks; written to %s", f"{len(result.peaks):,}", out)


def _summary(
    name: str,
    depth: dict[str, Any],
    options: PredictSettings,
    result: GenomePrediction,
) -> dict[str, Any]:
    """What a prediction found, for its summary.json."""
    return {
        "name": name,
        "peaks": len(result.peaks),
        "peak_bp": sum(peak.end - peak.start for peak in result.peaks),
        "depth": depth,
        "seconds": round(result.seconds, 2),
        "seconds_of": {step: round(value, 2) for step, value in result.seconds_of.items()},
        "settings": asdict(options),
    }


def predict_settings(options: Predict, payload: dict[str, Any], config: Train) -> PredictSettings:
    """How to predict; what the options leave open is as it was for the training."""
    length, gap = options.peak_min_length_bp, options.peak_max_gap_bp
    return PredictSettings(
        half_window_bp=config.data.half_window_bp,
        peak_threshold=_peak_threshold(options, payload, config.model.task),
        peak_min_length_bp=config.data.label_min_length_bp if length is None else length,
        peak_max_gap_bp=config.data.label_max_gap_bp if gap is None else gap,
        tile_bp=options.tile_bp,
        progress=options.trainer.progress,
    )


def _peak_threshold(options: Predict, payload: dict[str, Any], task: str) -> float:
    """The threshold given, that of the precision asked for, or the one with the best F1."""
    threshold = options.peak_threshold
    if options.peak_precision is not None:
        if payload.get("operating_points") is None:
            raise UserError(
                "the checkpoint is of a training that kept no operating points, which "
                "peak_precision= needs: give peak_threshold="
            )
        threshold = threshold_of_precision(payload["operating_points"], options.peak_precision)
    elif threshold is None:
        threshold = payload["peak_threshold"]
    if threshold is None or math.isnan(threshold):
        raise UserError("the checkpoint has no peak threshold: give peak_threshold=0.5, say")
    if task != "regression" and options.peak_threshold is not None and threshold >= 1:
        raise UserError(f"peak_threshold is {threshold}, expected a probability below 1")
    return float(threshold)


def _input_facts(opened: Store) -> dict[str, Any]:
    """What the summary of a prediction says about its reads, or its track."""
    counts = {}
    if isinstance(opened, CutStore):
        counts = {"fragments": opened.n_fragments, "cut_sites": opened.n_cuts}
    return {
        "files": opened.provenance.get("inputs", {}),
        **counts,
        "fingerprint": opened.fingerprint,
        "preprocessing": opened.preprocessing,
    }
