"""`denoiseq predict`: denoised coverage, peak probability and peaks of a genome, and a report."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from denoiseq import provenance
from denoiseq.atomic import check_writable, write_json
from denoiseq.distributed import Ranks, joined, use_threads
from denoiseq.errors import UserError
from denoiseq.evaluation.thresholds import (
    Choice,
    choice_at,
    choices,
    threshold_of_precision_at,
)
from denoiseq.interrupt import Stop
from denoiseq.logs import collected_warnings, log_to
from denoiseq.models.checkpoint import open_checkpoint, trained_network
from denoiseq.prediction import loci, sample
from denoiseq.prediction.genome import GenomePrediction, output_file, predict_genome
from denoiseq.prediction.resume import claimed
from denoiseq.prediction.sample import Source
from denoiseq.report.loci import parse_regions
from denoiseq.report.page import Page
from denoiseq.report.prediction_page import Findings, prediction_page
from denoiseq.settings import Predict, Train
from denoiseq.settings.setting import required

log = logging.getLogger(__name__)
GO_ON = "the same command goes on with what is not done yet"
STRONGEST = 20  # peaks in the table of the report


def run(settings: Predict) -> None:
    """Denoised coverage, peak probability and peaks of a whole genome, and a report."""
    with Stop("Prediction", lambda: GO_ON), joined(settings.trainer.device) as ranks:
        predict(settings, ranks)


def predict(settings: Predict, ranks: Ranks) -> None:
    """Predict with the chromosomes shared among ranks that have joined."""
    with collected_warnings() as warnings:
        _predict(settings, ranks, warnings)


def _predict(settings: Predict, ranks: Ranks, warnings: list[str]) -> None:
    """warnings : those logged so far; it grows by itself."""
    payload, trained = open_checkpoint(settings.checkpoint)
    folder, name = Path(required(settings.out, "out", "prediction")), sample.name_of(settings)
    if ranks.main:
        check_writable(folder / "summary.json")
        log_to(folder / "predict.log")
    use_threads(settings.trainer.threads)
    network = trained_network(
        payload, trained, settings.conv, settings.precision, settings.trainer.device
    )
    unfinished = folder / f".{name}.unfinished"
    software = {"software": provenance.software_facts(network)}
    key = sample.identity(settings, payload, trained) | software
    # What can be refused at once is, before another prediction's chromosomes make room.
    knows, chosen = sample.Depth.of(payload), choices(payload)
    peak_threshold(settings, chosen, knows.trained, trained.model.task)
    sample.check_fasta_given(settings, trained)
    with claimed(unfinished, key) if ranks.main else nullcontext():
        if ranks.main:
            store = sample.opened_store(settings, payload, trained, unfinished)  # for all ranks
        ranks.wait()
        if not ranks.main:
            store = sample.opened_store(settings, payload, trained, unfinished)
        source, depth = sample.source(settings, knows, trained, store)
        used = depth["used_cuts_per_mb"]
        network.temperature = choice_at(chosen, used).temperature if chosen else 1.0
        threshold = peak_threshold(settings, chosen, used, trained.model.task)
        settings = resolved(settings, trained, name, threshold)
        parse_regions(settings.regions, store.chroms)

        log.info("predicting %s on %d chromosomes", name, len(store.chroms))
        prediction = predict_genome(network, source, settings, unfinished, ranks)
        if prediction is None:  # the first rank has it
            return
        summary = _summary(settings, source, depth, prediction) | {
            "input": store.facts(),
            "model": provenance.model_facts(str(settings.checkpoint), payload),
            **software,
            "warnings": warnings,
        }
        _page(summary, source, settings, prediction, payload).write(folder)
        write_json(folder / "summary.json", summary)
    log.info("%s peaks; written to %s", f"{len(prediction.peaks):,}", folder)


def resolved(settings: Predict, trained: Train, name: str, threshold: float) -> Predict:
    """The settings with a name, the threshold, and the training's rule of peaks where they leave it
    open.

    Not checked again: a threshold that validation chose may lie outside of what a user may give.
    """
    settings = copy(settings)
    settings.name, settings.peak_threshold = name, threshold
    if settings.peak_min_length_bp is None:
        settings.peak_min_length_bp = trained.data.label_min_length_bp
    if settings.peak_max_gap_bp is None:
        settings.peak_max_gap_bp = trained.data.label_max_gap_bp
    return settings


def peak_threshold(
    settings: Predict, chosen: Sequence[Choice], cuts_per_mb: float, task: str
) -> float:
    """The threshold that the user gave, that of the wanted precision, or that of the best F1, at a
    depth of the input; UserError where there is none.
    """
    threshold = settings.peak_threshold
    if threshold is None and chosen:
        threshold = choice_at(chosen, cuts_per_mb).peak_threshold
    if threshold is None:
        raise UserError("the checkpoint has no peak threshold: give peak_threshold=0.5, say")
    if settings.peak_precision is not None:
        threshold = threshold_of_precision_at(chosen, cuts_per_mb, settings.peak_precision)
    if task != "regression" and settings.peak_threshold is not None and threshold >= 1:
        raise UserError(f"peak_threshold is {threshold}, expected a probability below 1")
    return float(threshold)


def _summary(
    settings: Predict, source: Source, depth: dict[str, Any], prediction: GenomePrediction
) -> dict[str, Any]:
    """What a prediction found, for its summary.json."""
    return {
        "name": settings.name,
        "peaks": len(prediction.peaks),
        "peak_bp": sum(peak.end - peak.start for peak in prediction.peaks),
        "depth": depth,
        "seconds": round(prediction.seconds, 2),
        "seconds_of": {step: round(value, 2) for step, value in prediction.seconds_of.items()},
        "settings": {
            "half_window_bp": source.rows.half_window_bp,
            "depth_of_track": settings.depth_of_track,
            "peak_threshold": settings.peak_threshold,
            "peak_min_length_bp": settings.peak_min_length_bp,
            "peak_max_gap_bp": settings.peak_max_gap_bp,
            "tile_bp": settings.tile_bp,
            "progress": settings.trainer.progress,
        },
    }


def _page(
    summary: Mapping[str, Any],
    source: Source,
    settings: Predict,
    prediction: GenomePrediction,
    payload: Mapping[str, Any],
) -> Page:
    """The page of a prediction whose files are written."""
    strongest = sorted(prediction.peaks, key=lambda peak: -peak.signal)[:STRONGEST]
    findings = Findings(
        genome_bp=sum(source.store.chroms.values()),
        peaks=[asdict(peak) for peak in strongest],
        lengths_bp=[peak.end - peak.start for peak in prediction.peaks],
        fragment_sizes=source.store.fragment_sizes().tolist(),
        cutoffs=columns(output_file(settings, "cutoffs")),
        profile=loci.profile(source, prediction),
        trained_range=payload.get("trained_cuts_per_mb_range"),
    )
    panels = loci.of_prediction(source, settings, prediction)
    facts = {key.capitalize(): summary[key] for key in ("settings", "input", "model", "software")}
    return prediction_page(summary, findings, panels, facts)


def columns(path: Path) -> dict[str, list[float]]:
    """The columns of a TSV of numbers; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}
