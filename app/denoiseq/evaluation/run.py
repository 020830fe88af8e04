"""`denoiseq evaluate`: the metrics of a checkpoint on held-out chromosomes, and their report."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from denoiseq import provenance
from denoiseq.atomic import check_writable, write_json, write_text
from denoiseq.distributed import joined, use_threads
from denoiseq.errors import UserError, listed
from denoiseq.evaluation import external_peaks, loci
from denoiseq.evaluation.measure import measure, tune
from denoiseq.evaluation.thresholds import Tuned, choice_at, choices
from denoiseq.inputs import keep_pipes
from denoiseq.interrupt import ANEW, Stop
from denoiseq.logs import collected_warnings, log_to
from denoiseq.models.checkpoint import open_checkpoint, trained_network
from denoiseq.models.network import DENOISED, Network
from denoiseq.report.evaluation_page import evaluation_page
from denoiseq.report.loci import parse_regions, write_loci
from denoiseq.report.metric_text import metrics_table, metrics_tsv
from denoiseq.settings import Evaluate, Train
from denoiseq.store.compatibility import check_store_matches_training
from denoiseq.windows.dataset import WindowDataset
from denoiseq.windows.splits import Stores, held_out, open_stores, overridden, splits

log = logging.getLogger(__name__)


def run(settings: Evaluate) -> None:
    """Metrics of a checkpoint on held-out chromosomes; of several ranks the first measures."""
    with Stop("Evaluation", lambda: ANEW), joined(settings.trainer.device) as ranks:
        if ranks.main:
            evaluate(settings)


def evaluate(settings: Evaluate) -> None:
    """Metrics of a checkpoint on held-out chromosomes, with a figure of example loci."""
    with collected_warnings() as warnings:
        _evaluate(settings, warnings)


def _evaluate(settings: Evaluate, warnings: list[str]) -> None:
    """warnings : those logged so far; it grows by itself."""
    payload, trained = open_checkpoint(settings.checkpoint)
    folder = _folder(settings)
    check_writable(folder / "metrics.json")
    log_to(folder / "evaluate.log")
    use_threads(settings.trainer.threads, settings.trainer.workers)
    data_settings = overridden(trained.data, keep_pipes(settings.data, ("truth",), folder))
    data_settings.answer_cuts_per_mb = payload.get("answer_cuts_per_mb")
    trained = replace(trained, data=data_settings, trainer=settings.trainer)

    stores = open_stores(trained.data)
    check_store_matches_training(payload["preprocessing"], stores.noisy)
    data = held_out(trained.data, stores, trained.seed, settings.split)
    parse_regions(settings.regions, {chrom: data.store.chroms[chrom] for chrom in data.chroms})
    network = trained_network(
        payload, trained, settings.conv, settings.precision, settings.trainer.device
    )
    tuned = _tuned(settings, trained, stores, data, network, payload)
    if math.isnan(tuned.thresholds.get(DENOISED, math.nan)):
        log.warning(
            "%s has no peak threshold, because its validation had no true peak: no peak is called, "
            "and precision and recall of called peaks mean nothing (retune=true with a "
            "data.validation that has peaks chooses thresholds)",
            settings.checkpoint,
        )

    log.info("evaluating %s on %s", settings.checkpoint, listed(data.chroms))
    external = external_peaks.called(data, settings.macs3)
    measured = measure(network, data, settings, trained, tuned, external)
    metrics = {**measured.metrics, "split": settings.split}
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "curves.json", measured.curves)
    write_text(folder / "metrics.tsv", metrics_tsv(metrics))

    panels = loci.of_evaluation(network, data, metrics, settings, trained, external)
    thinned = f"{data.thin_fraction:.0%} of the fragments"
    depth = thinned if data.noisy is data.store else "the noisy sample"
    title = f"{settings.split} chromosomes, {depth} in"
    write_loci(folder / "loci.png", panels, title)
    facts = {
        "Model": provenance.model_facts(str(settings.checkpoint), payload),
        "Software": provenance.software_facts(network),
    }
    samples, title = data.noisy.samples, f"{trained.name}: {title}"
    sizes = samples[0].fragment_sizes(chroms=data.chroms).tolist() if len(samples) == 1 else []
    page = evaluation_page(title, metrics, measured.curves, panels, facts, sizes)
    replace(page, warnings=warnings).write(folder)
    print(metrics_table(metrics), flush=True)
    log.info("written to %s", folder)


def _folder(settings: Evaluate) -> Path:
    """Where the evaluation is written: `out=`, or RUN/evaluate/SPLIT."""
    if settings.out is not None:
        return Path(settings.out)
    parent = Path(settings.checkpoint or "").parent
    run = parent.parent if parent.name == "checkpoints" else parent
    return run / "evaluate" / settings.split


def _tuned(
    settings: Evaluate,
    trained: Train,
    stores: Stores,
    data: WindowDataset,
    network: Network,
    payload: Mapping[str, Any],
) -> Tuned:
    """Bandwidth, linear filter and thresholds: chosen anew, or the checkpoint's at the depth of
    `data`, whose temperature the network then has, too.
    """
    if settings.retune:
        windows = splits(trained.data, stores, trained.seed)
        return tune(network, windows.validation, trained, windows.train)
    chosen = choices(payload)
    if not chosen or DENOISED not in chosen[0].tuned.thresholds:
        raise UserError(
            f"{settings.checkpoint} is from a training that ended before its first validation: "
            "train on with resume=, or evaluate a best.pt"
        )
    choice = choice_at(chosen, data.input_cuts_per_mb)
    network.temperature = choice.temperature
    return choice.tuned
