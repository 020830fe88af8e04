"""`denoiseq evaluate`: the metrics of a checkpoint on held-out chromosomes, and their report."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoiseq import provenance, report
from denoiseq.atomic import check_writable, write_json, write_text
from denoiseq.distributed import use_threads
from denoiseq.errors import UserError
from denoiseq.evaluation import external_peaks, loci
from denoiseq.evaluation.measure import measure, tune
from denoiseq.evaluation.options import EvaluateOptions
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.logs import log_to
from denoiseq.models.checkpoint import open_checkpoint, trained_network
from denoiseq.report.loci import Choice, Panels, parse_regions
from denoiseq.settings import Evaluate, Train, Trainer
from denoiseq.store.compatibility import check_store_matches_training
from denoiseq.windows.dataset import WindowDataset
from denoiseq.windows.splits import held_out, open_stores, overridden, splits

log = logging.getLogger(__name__)


def run(settings: Evaluate) -> None:
    """Metrics of a checkpoint on held-out chromosomes, with a figure of example loci."""
    payload, trained = open_checkpoint(settings.checkpoint)
    folder = _folder(settings)
    check_writable(folder / "metrics.json")
    log_to(folder / "evaluate.log")
    use_threads(settings.trainer.threads)
    data_settings = overridden(trained.data, settings.data)
    stores = open_stores(data_settings)
    check_store_matches_training(payload["preprocessing"], stores.noisy)
    data = held_out(data_settings, stores, trained.seed, settings.split)
    choice = Choice(settings.loci, settings.random_loci, settings.regions, trained.seed)
    parse_regions(choice.regions, {c: data.store.chroms[c] for c in data.chroms})
    network = trained_network(
        payload, trained, settings.conv, settings.precision, settings.trainer.device
    )
    options = evaluate_options(trained, settings.trainer, settings)
    if settings.retune:
        windows = splits(data_settings, stores, trained.seed)
        tuned = tune(network, windows.validation, options, windows.train)
    else:
        tuned = _trained_choices(payload, settings)
    log.info("evaluating %s on %s", settings.checkpoint, ", ".join(data.chroms))
    external = external_peaks.called(data, settings.macs3)
    found = measure(network, data, options, tuned, external)
    metrics = {**found.metrics, "split": settings.split}
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "curves.json", found.curves)
    write_text(folder / "metrics.tsv", report.metrics_tsv(metrics))
    panels = loci.of_evaluation(network, data, metrics, options, choice, external)
    share = f"{data.thin_fraction:.0%} of the fragments"
    noisy = share if data.noisy is data.store else "the noisy sample"
    title = f"{settings.split} chromosomes, {noisy} in"
    report.write_loci(folder / "loci.png", panels, title)
    facts = {
        "Model": provenance.model_facts(str(settings.checkpoint), payload),
        "Software": provenance.software_facts(network),
    }
    page = _page(folder, f"{trained.name}: {title}", metrics, data, panels, facts)
    page.write(folder)
    print(report.metrics_table(metrics), flush=True)
    log.info("written to %s", folder)


def _trained_choices(payload: dict[str, Any], settings: Evaluate) -> Tuned:
    tuned = Tuned.from_checkpoint(payload)
    if tuned is None:
        raise UserError(
            f"{settings.checkpoint} is from a training that ended before its first validation: "
            "train on with resume=, or evaluate a best.pt"
        )
    return tuned


def _folder(settings: Evaluate) -> Path:
    if settings.out is not None:
        return Path(settings.out)
    parent = Path(settings.checkpoint or "").parent
    run = parent.parent if parent.name == "checkpoints" else parent
    return run / "evaluate" / settings.split


def evaluate_options(
    config: Train, trainer: Trainer, asked: Evaluate | None = None
) -> EvaluateOptions:
    """How to evaluate: a training's own validation, or what `asked` says."""
    asked = asked or Evaluate()
    return EvaluateOptions(
        batch_size=config.optim.batch_size,
        workers=trainer.workers,
        min_length_bp=config.data.label_min_length_bp,
        max_gap_bp=config.data.label_max_gap_bp,
        bootstrap_draws=asked.bootstrap,
        block_bp=asked.block_bp,
        progress=trainer.progress,
    )


def _page(
    folder: Path,
    title: str,
    metrics: Mapping[str, Any],
    data: WindowDataset,
    panels: Panels,
    facts: Mapping[str, Any],
) -> report.Page:
    """The page of an evaluation whose metrics and curves lie in `folder`."""
    curves = folder / "curves.json"
    found = json.loads(curves.read_text(encoding="utf-8")) if curves.is_file() else {}
    names = data.chroms
    sizes = data.noisy.fragment_sizes(chroms=names)
    return report.evaluation_page(title, metrics, found, panels, facts, sizes.tolist(), names)
