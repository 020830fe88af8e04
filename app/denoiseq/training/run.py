"""`denoiseq train`: train a network, measure the validation split, go on to further stages."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from denoiseq import models, report
from denoiseq.atomic import check_writable, write_json, write_text
from denoiseq.distributed import Ranks, joined, use_threads
from denoiseq.evaluation import loci
from denoiseq.evaluation import run as evaluation
from denoiseq.evaluation.run import evaluate_options
from denoiseq.logs import log_to
from denoiseq.models.describe import convolutions
from denoiseq.models.network import Network
from denoiseq.models.pretrained import start_from
from denoiseq.prediction import run as prediction
from denoiseq.provenance import software_facts, versions
from denoiseq.report.loci import Choice
from denoiseq.settings import Evaluate, Predict, Train, plain, to_yaml
from denoiseq.training.loop import train as fit
from denoiseq.training.losses import LossWeights, atacworks_loss
from denoiseq.training.options import Run, TrainOptions
from denoiseq.windows.splits import Splits, Stores, open_or_prepare, open_stores, splits

log = logging.getLogger(__name__)


def run(settings: Train) -> None:
    """Train, measure the validation split, and go on to further stages if the config says so."""
    with joined(settings.trainer.device) as ranks:
        trainer = replace(settings.trainer, progress=settings.trainer.progress and ranks.main)
        # The folder's name holds a time, which differs from process to process.
        settings = replace(settings, out=ranks.tell(settings.out), trainer=trainer)
        _train(settings, ranks)
    if ranks.main:
        _further_stages(settings, Path(settings.out) / "checkpoints" / "best.pt")


def _train(settings: Train, ranks: Ranks) -> None:
    folder = Path(settings.out)
    if ranks.main:
        check_writable(folder / "metrics.json")
        log_to(folder / "train.log")
        open_or_prepare(settings.data)  # the others find it made
    ranks.wait()
    threads = use_threads(settings.trainer.threads)
    stores = open_stores(settings.data)
    windows = splits(settings.data, stores, settings.seed)
    network = models.build(
        settings.model,
        settings.conv,
        settings.precision,
        settings.seed,
        models.in_channels(settings.data),
    )
    if settings.resume is None:
        start_from(network, settings.model)
    network = network.to(ranks.device)
    weights = LossWeights(**vars(settings.loss))
    run = Run(
        folder=folder,
        metadata={"config": plain(settings), "versions": versions(), **stores.facts()},
        resume=None if settings.resume is None else Path(settings.resume),
        evaluation=evaluate_options(settings, settings.trainer),
        ranks=ranks,
        picture=lambda *made: loci.picture(windows.validation, run.evaluation, *made),
    )
    if ranks.main:
        write_text(folder / "config.yaml", to_yaml(settings))
        _log_start(settings, stores, windows, network, ranks, threads)
    result = fit(
        network,
        windows.train,
        windows.validation,
        lambda pred, batch: atacworks_loss(pred, batch, weights, ranks.total),
        train_options(settings),
        run,
    )
    if ranks.main:
        write_json(folder / "metrics.json", {**result.metrics, "split": "validation"})
        log.info("validation:\n%s", report.metrics_table(result.metrics))
        facts = {
            "Settings": run.metadata["config"],
            "Software": software_facts(network),
            "Data": {"fingerprint": windows.train.fingerprint},
        }
        panels = loci.of_evaluation(
            network.eval(),
            windows.validation,
            result.metrics,
            run.evaluation,
            Choice(seed=settings.seed),
        )
        best = result.best.get("epoch")
        page = report.training_page(
            settings.name, result.metrics, result.history, best, panels, facts
        )
        page.write(folder)
        log.info("checkpoint: %s", run.checkpoint("best"))


def _log_start(
    settings: Train,
    stores: Stores,
    windows: Splits,
    network: Network,
    ranks: Ranks,
    threads: int,
) -> None:
    """What is about to be trained, on what, and how."""
    data, validation = windows.train, windows.validation
    for line in stores.describe(data.options.half_window_bp):
        log.info("%s", line)
    low, high = data.input_cuts_per_mb_range
    depth = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    log.info("noisy input of %s cut sites per Mb", depth)
    log.info(
        "training on %d windows of %s bp (%s), validating on %d (%s)",
        len(data),
        f"{data.options.length_bp:,}",
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
    for line in convolutions(network, x, at_once):
        log.info("  %s", line)


def _further_stages(settings: Train, best: Path) -> None:
    again: dict[str, Any] = {
        "checkpoint": str(best),
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


def train_options(config: Train) -> TrainOptions:
    """How to train."""
    optim, trainer = config.optim, config.trainer
    return TrainOptions(
        optimizer=optim.name,
        **{name: value for name, value in vars(optim).items() if name != "name"},
        checkpoint_minutes=trainer.checkpoint_minutes,
        workers=trainer.workers,
        seed=config.seed,
        progress=trainer.progress,
        tensorboard=trainer.tensorboard,
    )
