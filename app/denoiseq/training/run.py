"""`denoiseq train`: train a network, measure the validation split, go on to further stages."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from denoiseq import models
from denoiseq.atomic import check_writable, write_json
from denoiseq.distributed import Ranks, joined, use_threads
from denoiseq.errors import UserError, listed
from denoiseq.evaluation import loci
from denoiseq.evaluation import run as evaluation
from denoiseq.evaluation.calibration import at_temperature
from denoiseq.evaluation.thresholds import choices
from denoiseq.inputs import is_pipe, keep_pipes
from denoiseq.interrupt import ANEW, Interrupted, Stop
from denoiseq.logs import collected_warnings, log_to
from denoiseq.models.checkpoint import load_checkpoint
from denoiseq.models.layers import describe_convolutions
from denoiseq.models.network import Network
from denoiseq.models.pretrained import start_from
from denoiseq.prediction import run as prediction
from denoiseq.provenance import software_facts, versions
from denoiseq.report.metric_text import metrics_table
from denoiseq.report.training_page import training_page
from denoiseq.settings import Data, Evaluate, Predict, Train
from denoiseq.training.loop import Training
from denoiseq.training.requeue import checkpoint_of_job
from denoiseq.training.state import checkpoint_path, how_to_resume
from denoiseq.windows.splits import Stores, open_or_prepare, open_stores, splits

log = logging.getLogger(__name__)


def run(settings: Train) -> None:
    """Train, measure the validation split, and go on to the further stages of the settings."""
    stop = Stop("Training", lambda: ANEW)
    with stop, joined(settings.trainer.device) as ranks:
        settings = _shared(settings, ranks)
        with collected_warnings() as warnings:
            _train(settings, ranks, warnings)
        stop.how = partial(how_to_resume, settings.out)
        try:
            _further_stages(settings, ranks)
        except Interrupted as error:  # a prediction tells how it would itself go on
            error.args = stop.interruption().args
            raise


def _train(settings: Train, ranks: Ranks, warnings: list[str]) -> None:
    """Train and measure; warnings : those logged so far, it grows by itself."""
    folder = Path(settings.out)
    if ranks.main:
        check_writable(folder / "metrics.json")
        log_to(folder / "train.log")
        settings = replace(settings, resume=settings.resume or checkpoint_of_job(settings))
    settings = replace(settings, resume=ranks.tell(settings.resume))
    check_batch_norm(settings, ranks)
    if ranks.main:
        open_or_prepare(settings.data)  # the other ranks then find the store
    ranks.wait()
    threads = use_threads(settings.trainer.threads, settings.trainer.workers)
    stores = open_stores(settings.data)
    windows = splits(settings.data, stores, settings.seed)
    network = _network(settings, ranks)
    metadata = {"versions": versions(), **stores.facts()}
    picture = partial(loci.picture, windows.validation, settings)
    training = Training(network, windows, settings, ranks, metadata, picture)
    if ranks.main:
        _log_start(training, stores, threads)
    metrics = training.train()
    if ranks.main:
        _report(training, metrics, warnings)


def _shared(settings: Train, ranks: Ranks) -> Train:
    """The settings with the run folder and the data of the main rank; the others do not report."""
    trainer = replace(settings.trainer, progress=settings.trainer.progress and ranks.main)
    data = _without_pipes(settings) if ranks.main else None
    # The folder's name holds a time, which differs from rank to rank; a pipe gives its data once.
    out, data = ranks.tell((settings.out, data))
    return replace(settings, out=out, data=data, trainer=trainer)


def _without_pipes(settings: Train) -> Data:
    """The data settings with copies of pipes in the run folder: also later commands read them."""
    data, folder = settings.data, settings.out
    prepare = keep_pipes(data.prepare, ("blacklist", "barcodes", "groups"), folder)
    return replace(keep_pipes(data, ("labels", "truth"), folder), prepare=prepare)


def check_batch_norm(settings: Train, ranks: Ranks) -> None:
    """Refuse BatchNorm's statistics of a part of a process's windows; warn of those of a process.

    With a micro-batch the windows pass twice, so running statistics would also be followed twice.
    """
    if not getattr(settings.model, "batch_norm", False):
        return
    share = -(-settings.optim.batch_size // ranks.world)
    if 0 < settings.optim.micro_batch < share:
        raise UserError(
            f"optim.micro_batch={settings.optim.micro_batch} would change a training with "
            "model.batch_norm=true, whose statistics would be of a micro-batch instead of the "
            f"whole batch ({share} windows): give optim.micro_batch=0 and a "
            "smaller optim.batch_size, or model.batch_norm=false"
        )
    if ranks.world > 1:
        log.warning(
            "model.batch_norm=true with %d processes: the statistics are those of each process's "
            "own %d of %d windows, so the training depends on the number of processes",
            ranks.world, share, settings.optim.batch_size,
        )  # fmt: skip


def _network(settings: Train, ranks: Ranks) -> Network:
    """The network with fresh or pretrained weights, on this rank's device."""
    rows = settings.data.rows
    network = models.build(settings.model, settings.conv, settings.precision, settings.seed, rows)
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
        f"training on {len(data)} windows of {settings.data.window_bp:,} bp "
        f"({listed(data.chroms)}), validating on {len(validation)} "
        f"({listed(validation.chroms)})"
    )
    processes = f"{ranks.world} processes of " if ranks.world > 1 else ""
    software = software_facts(network)
    isa = f" ({software['isa']})" if software["isa"] else ""
    log.info(
        f"{settings.model.name}: {sum(p.numel() for p in network.parameters()):,} parameters, "
        f"{network.precision} on {ranks.device}, {processes}{threads} threads, "
        f"conv={network.conv}{isa}, torch {software['versions']['torch']}"
    )
    share = -(-settings.optim.batch_size // ranks.world)
    at_once = min(share, settings.optim.micro_batch or share)
    x = data[0]["x"][None].to(ranks.device)
    for line in describe_convolutions(network, x, at_once):
        log.info("  %s", line)


def _report(training: Training, metrics: dict[str, Any], warnings: list[str]) -> None:
    """Write the metrics of the best epoch and the page of the training."""
    settings, folder = training.settings, Path(training.settings.out)
    network, windows, done = training.model, training.windows, training.state.done
    write_json(folder / "metrics.json", metrics)
    log.info("validation:\n%s", metrics_table(metrics))
    facts = {
        "Settings": training.metadata["config"],
        "Software": software_facts(network),
        "Data": {"fingerprint": windows.train.fingerprint},
    }
    temperature = metrics.get("calibration", {}).get("temperature", 1.0)
    with at_temperature(network.eval(), temperature):
        panels = loci.of_evaluation(
            network, windows.validation, metrics, training.evaluation, settings
        )
    best = done.best["epoch"] if done.best else None
    page = training_page(settings.name, metrics, done.history, best, panels, facts)
    replace(page, warnings=warnings).write(folder)
    log.info("checkpoint: %s", checkpoint_path(settings.out, "best"))


def _further_stages(settings: Train, ranks: Ranks) -> None:
    """Evaluate the test split, predict on the reads, as far as the settings ask for it."""
    again: dict[str, Any] = {
        "checkpoint": str(checkpoint_path(settings.out, "best")),
        "conv": settings.conv,
        "precision": settings.precision,
        "trainer": settings.trainer,
    }
    if "evaluate" in settings.stages and ranks.main:
        evaluation.evaluate(Evaluate(split="test", **again))
    if "predict" in settings.stages:
        request = _prediction(settings, again) if ranks.main else None
        if (request := ranks.tell(request)) is not None:
            prediction.predict(replace(request, trainer=settings.trainer), ranks)


def _prediction(settings: Train, again: dict[str, Any]) -> Predict | None:
    """The prediction on the training's reads, or store; None where no peak can be called."""
    if not _can_predict(again["checkpoint"]):
        return None
    data, reads = settings.data, settings.data.prepare
    read_once = is_pipe(reads.fragments or "")
    if data.noisy_store or read_once or not (reads.bam or reads.fragments):
        source: dict[str, Any] = {"store": data.noisy_store or data.store}
    else:
        source = {"bam": reads.bam, "fragments": reads.fragments, "barcodes": reads.barcodes}
    source["fasta"] = data.fasta if data.sequence else None
    out = str(Path(settings.out) / "predict")
    return Predict(out=out, depth="trained", seed=settings.seed, **again, **source)


def _can_predict(checkpoint: str) -> bool:
    """Whether peaks can be called; a warning where validation had no true peak to tune by."""
    chosen = choices(load_checkpoint(Path(checkpoint)))
    if any(choice.peak_threshold is not None for choice in chosen):
        return True
    log.warning(
        "the predict stage is left out, because validation had no true peak to choose a peak "
        "threshold by: run denoiseq predict with checkpoint=%s and peak_threshold=0.5, say",
        checkpoint,
    )
    return False
