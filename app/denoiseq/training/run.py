"""`denoiseq train`: train a network, measure the validation split, go on to further stages."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from denoiseq import models
from denoiseq.atomic import check_writable, write_json, write_text
from denoiseq.distributed import Ranks, joined, use_threads
from denoiseq.evaluation import loci
from denoiseq.evaluation import run as evaluation
from denoiseq.logs import log_to
from denoiseq.models.layers import describe_convolutions
from denoiseq.models.network import Network
from denoiseq.models.pretrained import start_from
from denoiseq.prediction import run as prediction
from denoiseq.provenance import software_facts, versions
from denoiseq.report.metric_text import metrics_table
from denoiseq.report.training_page import training_page
from denoiseq.settings import Evaluate, Predict, Train, plain, to_yaml
from denoiseq.training.loop import Run, Training, TrainResult
from denoiseq.windows.splits import Stores, open_or_prepare, open_stores, splits

log = logging.getLogger(__name__)


def run(settings: Train) -> None:
    """Train, measure the validation split, and go on to the further stages of the settings."""
    with joined(settings.trainer.device) as ranks:
        settings = _shared(settings, ranks)
        folder = Path(settings.out)
        if ranks.main:
            check_writable(folder / "metrics.json")
            log_to(folder / "train.log")
            open_or_prepare(settings.data)  # the other ranks then find the store
        ranks.wait()
        threads = use_threads(settings.trainer.threads)
        stores = open_stores(settings.data)
        windows = splits(settings.data, stores, settings.seed)
        network = _network(settings, ranks)
        training = Training(
            network,
            windows,
            settings,
            Run(
                metadata={"config": plain(settings), "versions": versions(), **stores.facts()},
                ranks=ranks,
                picture=partial(loci.picture, windows.validation, settings),
            ),
        )
        if ranks.main:
            write_text(folder / "config.yaml", to_yaml(settings))
            _log_start(training, stores, threads)
        result = training.train()
        if ranks.main:
            _report(training, result)
        # Their memory and processes are not for the further stages.
        del stores, windows, network, training
    if ranks.main:
        _further_stages(settings)


def _shared(settings: Train, ranks: Ranks) -> Train:
    """The settings with the run folder of the main rank; the other ranks do not report."""
    trainer = replace(settings.trainer, progress=settings.trainer.progress and ranks.main)
    # The folder's name holds a time, which differs from rank to rank.
    return replace(settings, out=ranks.tell(settings.out), trainer=trainer)


def _network(settings: Train, ranks: Ranks) -> Network:
    """The network with fresh or pretrained weights, on this rank's device."""
    network = models.build(
        settings.model,
        settings.conv,
        settings.precision,
        settings.seed,
        models.in_channels(settings.data),
    )
    if settings.resume is None:
        start_from(network, settings.model)
    return network.to(ranks.device)


def _log_start(training: Training, stores: Stores, threads: int) -> None:
    """Log what is about to be trained, on what, and how."""
    settings, network, ranks = training.settings, training.model, training.ranks
    data, validation = training.windows.train, training.windows.validation
    for line in stores.describe(settings.data.half_window_bp):
        log.info("%s", line)
    low, high = data.input_cuts_per_mb_range
    depth = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    log.info("noisy input of %s cut sites per Mb", depth)
    log.info(
        "training on %d windows of %s bp (%s), validating on %d (%s)",
        len(data),
        f"{settings.data.window_bp:,}",
        ", ".join(data.chroms),
        len(validation),
        ", ".join(validation.chroms),
    )
    processes = f"{ranks.world} processes of " if ranks.world > 1 else ""
    software = software_facts(network)
    log.info(
        "%s: %s parameters, %s on %s, %s%d threads, conv=%s%s, torch %s",
        settings.model.name,
        f"{sum(p.numel() for p in network.parameters()):,}",
        network.precision,
        ranks.device,
        processes,
        threads,
        network.conv,
        f" ({software['isa']})" if software["isa"] else "",
        software["versions"]["torch"],
    )
    share = -(-settings.optim.batch_size // ranks.world)
    at_once = min(share, settings.optim.micro_batch or share)
    x = data[0]["x"][None].to(ranks.device)
    for line in describe_convolutions(network, x, at_once):
        log.info("  %s", line)


def _report(training: Training, result: TrainResult) -> None:
    """Write the metrics of the best epoch and the page of the training."""
    settings, folder = training.settings, Path(training.settings.out)
    network, windows = training.model, training.windows
    write_json(folder / "metrics.json", {**result.metrics, "split": "validation"})
    log.info("validation:\n%s", metrics_table(result.metrics))
    facts = {
        "Settings": training.run.metadata["config"],
        "Software": software_facts(network),
        "Data": {"fingerprint": windows.train.fingerprint},
    }
    panels = loci.of_evaluation(
        network.eval(),
        windows.validation,
        result.metrics,
        training.run.evaluation,
        settings,
    )
    best = result.best.get("epoch")
    page = training_page(settings.name, result.metrics, result.history, best, panels, facts)
    page.write(folder)
    log.info("checkpoint: %s", training.checkpoint("best"))


def _further_stages(settings: Train) -> None:
    """Evaluate the test split, predict on the reads, as far as the settings ask for it."""
    again: dict[str, Any] = {
        "checkpoint": str(Path(settings.out) / "checkpoints" / "best.pt"),
        "conv": settings.conv,
        "precision": settings.precision,
        "trainer": settings.trainer,
    }
    if "evaluate" in settings.stages:
        evaluation.run(Evaluate(split="test", **again))
    if "predict" in settings.stages:
        data, reads = settings.data, settings.data.prepare
        if data.noisy_store or not (reads.bam or reads.fragments):
            again["store"] = data.noisy_store or data.store
        else:
            again |= {"bam": reads.bam, "fragments": reads.fragments, "barcodes": reads.barcodes}
        again["fasta"] = data.fasta if data.sequence else None
        out = str(Path(settings.out) / "predict")
        prediction.run(Predict(out=out, depth="trained", seed=settings.seed, **again))
