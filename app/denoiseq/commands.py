"""What the four commands do, in the order in which they do it; each takes its checked schema.

Objects come from `build`, arithmetic from `genomics` and `learning`; here are the outputs' names
and what is said to the user.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from denoiseq import (
    build,
    examples,
    inputs,
    journal,
    peers,
    prediction,
    provenance,
    report,
    reporting,
    schema,
    sources,
)
from denoiseq.atomic import check_writable, write_json, write_text
from denoiseq.compatibility import same_preprocessing
from denoiseq.learning.describe import convolutions
from denoiseq.learning.evaluation import measure, tune
from denoiseq.learning.loop import train as fit
from denoiseq.learning.losses import atacworks_loss
from denoiseq.learning.network import Network
from denoiseq.learning.options import Run
from denoiseq.learning.ranks import Ranks, joined
from denoiseq.learning.tuned import Tuned

log = logging.getLogger(__name__)


def prepare(options: schema.Prepare) -> None:
    """Reads or a track, and a FASTA, to stores and their quality counts."""
    for store, qc in build.prepared(options).items():
        if "cut_sites" not in qc:
            log.info("%s: mean coverage %.4g", store, qc["mean_coverage"])
            continue
        log.info(
            "%s: %s fragments, %s cut sites, %.0f cut sites per Mb",
            store,
            f"{qc['fragments']:,}",
            f"{qc['cut_sites']:,}",
            qc["cuts_per_mb"],
        )
        dropped = {name: n for name, n in qc["reads"].items() if n and name != "total"}
        log.info("reads: %s", ", ".join(f"{name} {n:,}" for name, n in dropped.items()))


def train(options: schema.Train) -> None:
    """Train, measure the validation split, and go on to further stages if the config says so."""
    with joined(options.trainer.device) as ranks:
        trainer = replace(options.trainer, progress=options.trainer.progress and ranks.main)
        # The folder's name holds a time, which differs from process to process.
        options = replace(options, out=ranks.tell(options.out), trainer=trainer)
        if not ranks.main:
            logging.getLogger("denoiseq").setLevel(logging.ERROR)
        _train(options, ranks)
    if ranks.main:
        _further_stages(options, Path(options.out) / "checkpoints" / "best.pt")


def _train(options: schema.Train, ranks: Ranks) -> None:
    folder = Path(options.out)
    if ranks.main:
        check_writable(folder / "metrics.json")
        _log_to(folder / "train.log")
        sources.store(options.data)  # the others find it made
    ranks.wait()
    threads = build.use_threads(options.trainer)
    given = sources.open_sources(options.data)
    splits = sources.splits(options.data, given, options.seed)
    channels = build.in_channels(options.data)
    network = build.model(options.model, options.conv, options.precision, options.seed, channels)
    if options.resume is None:
        build.start_from(network, options.model)
    network = network.to(ranks.device)
    weights = build.loss_weights(options.loss)
    run = Run(
        folder=folder,
        metadata={**build.metadata(options), **given.facts()},
        resume=None if options.resume is None else Path(options.resume),
        evaluation=build.evaluate_options(options, options.trainer),
        ranks=ranks,
        picture=lambda *made: reporting.picture(splits.validation, run.evaluation, *made),
    )
    if ranks.main:
        write_text(folder / "config.yaml", schema.to_yaml(options))
        _log_start(options, given, splits, network, ranks, threads)
    result = fit(
        network,
        splits.train,
        splits.validation,
        lambda pred, batch: atacworks_loss(pred, batch, weights, ranks.total),
        build.train_options(options),
        run,
    )
    if ranks.main:
        write_json(folder / "metrics.json", {**result.metrics, "split": "validation"})
        log.info("validation:\n%s", report.metrics_table(result.metrics))
        facts = {
            "Settings": run.metadata["config"],
            "Software": _software(network),
            "Data": {"fingerprint": splits.train.fingerprint},
        }
        choice = examples.Choice(seed=options.seed)
        panels = examples.of_evaluation(
            network.eval(), splits.validation, result.metrics, run.evaluation, choice
        )
        reporting.write(folder, reporting.of_training(options.name, result, panels, facts))
        log.info("checkpoint: %s", run.checkpoint("best"))


def _log_start(
    options: schema.Train,
    given: sources.Sources,
    splits: sources.Splits,
    network: Network,
    ranks: Ranks,
    threads: int,
) -> None:
    """What is about to be trained, on what, and how."""
    data, validation = splits.train, splits.validation
    for line in given.describe(data.options.half_window_bp):
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
    software = _software(network)
    log.info(
        "%s: %s parameters, %s on %s, %s%d threads, conv=%s%s, torch %s",
        options.model.name,
        f"{sum(p.numel() for p in network.parameters()):,}",
        network.precision,
        ranks.device,
        processes,
        threads,
        network.conv,
        f" ({software['isa']})" if software["isa"] else "",
        software["versions"]["torch"],
    )
    share = -(-options.optim.batch_size // ranks.world)
    at_once = min(share, options.optim.micro_batch or share)
    x = data[0]["x"][None].to(ranks.device)
    for line in convolutions(network, x, at_once):
        log.info("  %s", line)


def _further_stages(options: schema.Train, best: Path) -> None:
    again: dict[str, Any] = {
        "checkpoint": str(best),
        "conv": options.conv,
        "precision": options.precision,
        "trainer": options.trainer,
    }
    if "evaluate" in options.stages:
        evaluate(schema.Evaluate(split="test", **again))
    if "predict" in options.stages:
        data, given = options.data, options.data.prepare
        if data.noisy_store or not (given.bam or given.fragments):
            again["store"] = data.noisy_store or data.store
        else:
            again |= {"bam": given.bam, "fragments": given.fragments, "barcodes": given.barcodes}
        again["fasta"] = data.fasta if data.sequence else None
        out = str(Path(options.out) / "predict")
        predict(schema.Predict(out=out, depth="trained", seed=options.seed, **again))


def evaluate(options: schema.Evaluate) -> None:
    """Metrics of a checkpoint on held-out chromosomes, with a figure of example loci."""
    payload, config = build.checkpoint(options.checkpoint)
    folder = _evaluation_folder(options)
    check_writable(folder / "metrics.json")
    _log_to(folder / "evaluate.log")
    build.use_threads(options.trainer)
    data_config = sources.overridden(config.data, options.data)
    given = sources.open_sources(data_config)
    same_preprocessing(payload["preprocessing"], given.noisy)
    data = sources.held_out(data_config, given, config.seed, options.split)
    choice = _choice(options, config.seed)
    examples.parse_regions(choice.regions, {c: data.store.chroms[c] for c in data.chroms})
    network = build.trained_model(payload, config, options)
    settings = build.evaluate_options(config, options.trainer, options)
    if options.retune:
        splits = sources.splits(data_config, given, config.seed)
        tuned = tune(network, splits.validation, settings, splits.train)
    else:
        tuned = _trained_choices(payload, options)
    log.info("evaluating %s on %s", options.checkpoint, ", ".join(data.chroms))
    rivals = peers.called(data, options.macs3)
    found = measure(network, data, settings, tuned, rivals)
    metrics = {**found.metrics, "split": options.split}
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "curves.json", found.curves)
    write_text(folder / "metrics.tsv", report.metrics_tsv(metrics))
    panels = examples.of_evaluation(network, data, metrics, settings, choice, rivals)
    share = f"{data.options.thin_fraction:.0%} of the fragments"
    noisy = share if data.noisy is data.store else "the noisy sample"
    title = f"{options.split} chromosomes, {noisy} in"
    reporting.write_loci(folder / "loci.png", panels, title)
    facts = {
        "Model": provenance.model_facts(str(options.checkpoint), payload),
        "Software": _software(network),
    }
    page = reporting.of_evaluation(folder, f"{config.name}: {title}", metrics, data, panels, facts)
    reporting.write(folder, page)
    print(report.metrics_table(metrics), flush=True)
    log.info("written to %s", folder)


def _choice(options: schema.Evaluate | schema.Predict, seed: int) -> examples.Choice:
    return examples.Choice(options.loci, options.random_loci, options.regions, seed)


def _trained_choices(payload: dict[str, Any], options: schema.Evaluate) -> Tuned:
    tuned = Tuned.from_checkpoint(payload)
    if tuned is None:
        raise ValueError(
            f"{options.checkpoint} is from a training that ended before its first validation: "
            "train on with resume=, or evaluate a best.pt"
        )
    return tuned


def _evaluation_folder(options: schema.Evaluate) -> Path:
    if options.out is not None:
        return Path(options.out)
    parent = Path(options.checkpoint or "").parent
    run = parent.parent if parent.name == "checkpoints" else parent
    return run / "evaluate" / options.split


def predict(options: schema.Predict) -> None:
    """Denoised coverage, peak probability and peaks of a whole genome, and a report."""
    with joined(options.trainer.device) as ranks:
        if not ranks.main:
            logging.getLogger("denoiseq").setLevel(logging.ERROR)
        _predict(options, ranks)


def _predict(options: schema.Predict, ranks: Ranks) -> None:
    payload, config = build.checkpoint(options.checkpoint)
    out = Path(build.required(options.out, "out", "prediction"))
    name = inputs.sample_name(options)
    if ranks.main:
        check_writable(out / "summary.json")
        _log_to(out / "predict.log")
    build.use_threads(options.trainer)
    network = build.trained_model(payload, config, options)
    folder = out / f".{name}.unfinished"
    software = _software(network)
    key = inputs.identity(options, payload, config) | {"software": software}
    with journal.claimed(folder, key) if ranks.main else nullcontext():
        if ranks.main:
            inputs.opened_store(options, payload, config, folder)  # prepared for all
        ranks.wait()
        opened = inputs.opened_store(options, payload, config, folder)
        genome = inputs.genome(options, config, opened)
        h = config.data.half_window_bp
        thinning, depth = inputs.thinning(options, payload, opened, h)
        settings = build.predict_settings(options, payload, config)
        choice = _choice(options, options.seed)
        examples.parse_regions(choice.regions, opened.chroms)
        log.info("predicting %s on %d chromosomes", name, len(opened.chroms))
        outputs = prediction.Outputs(out, name)
        given = prediction.Source(opened, thinning, genome)
        result = prediction.predict_genome(network, given, settings, outputs, folder, ranks)
        if result is None:  # the first process has it
            return
        summary = _summary(name, depth, settings, result) | {
            "input": provenance.input_facts(opened),
            "model": provenance.model_facts(str(options.checkpoint), payload),
            "software": software,
        }
        panels = examples.of_prediction(opened, thinning, settings, result, choice)
        trained = payload.get("trained_cuts_per_mb_range")
        page = reporting.of_prediction(out, summary, given, result, panels, trained)
        reporting.write(out, page)
        write_json(out / "summary.json", summary)
    log.info("%s peaks; written to %s", f"{len(result.peaks):,}", out)


def _summary(
    name: str,
    depth: dict[str, Any],
    settings: prediction.PredictSettings,
    result: prediction.GenomePrediction,
) -> dict[str, Any]:
    """What a prediction found, for its summary.json."""
    return {
        "name": name,
        "peaks": len(result.peaks),
        "peak_bp": sum(peak.end - peak.start for peak in result.peaks),
        "depth": depth,
        "seconds": round(result.seconds, 2),
        "seconds_of": {step: round(value, 2) for step, value in result.seconds_of.items()},
        "settings": asdict(settings),
    }


def _software(network: Network) -> dict[str, Any]:
    device = next(network.parameters()).device.type
    return provenance.software_facts(network.conv, network.precision, device)


def _log_to(path: Path) -> None:
    """Also write the log to `path`, in full: with times, and with tracebacks."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("denoiseq").addHandler(handler)
