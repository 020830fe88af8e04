"""From schemas to objects: with `sources`, what knows configs, genomics and learning alike.

Builders only: each takes a schema or a checkpoint's payload and returns an object; `commands`
runs them.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import torch

from denoiseq import schema
from denoiseq.genomics import fragments
from denoiseq.genomics.bigwig import prepare_bigwig
from denoiseq.genomics.fragment_file import read_cells
from denoiseq.genomics.intervals import read_bed
from denoiseq.genomics.preparation import file_facts, several
from denoiseq.genomics.pseudobulk import prepare_fragments
from denoiseq.genomics.sequence import chrom_sizes
from denoiseq.learning.checkpoint import load_checkpoint
from denoiseq.learning.losses import LossWeights
from denoiseq.learning.models import MODELS, Network
from denoiseq.learning.options import EvaluateOptions, TrainOptions
from denoiseq.learning.pretrained import adopt, load_weights
from denoiseq.learning.ranks import device
from denoiseq.learning.tuned import threshold_of_precision
from denoiseq.prediction import PredictSettings
from denoiseq.provenance import versions

log = logging.getLogger(__name__)


def required(value: str | None, key: str, what: str) -> str:
    """`value`, or the sentence that names the missing key."""
    if not value:
        raise ValueError(f"{key} is required: give {key}={what}")
    return value


def cut_options(prepare: schema.Prepare) -> fragments.CutOptions:
    """The filters and the shift of a preparation."""
    usual = "10x" if prepare.fragments else "+4/-4"
    return fragments.CutOptions(
        layout=prepare.layout,
        min_mapq=prepare.min_mapq,
        shift=usual if prepare.shift == "auto" else prepare.shift,
        shift_check=prepare.shift_check,
        keep_duplicates=prepare.keep_duplicates,
        max_fragment_bp=prepare.max_fragment_bp,
        include=prepare.include,
        exclude=prepare.exclude,
    )


def processes(workers: int) -> int:
    """The number of processes that `workers` asks for; 0 is every core we may use."""
    return workers or len(os.sched_getaffinity(0))


INPUTS = {"bam": "reads.bam", "fragments": "fragments.tsv.gz", "bigwig": "track.bw"}


def given_input(prepare: schema.Prepare) -> str | list[str] | None:
    """The file or files that a preparation reads; None where the config names none."""
    return next((value for key in INPUTS if (value := getattr(prepare, key))), None)


def _input(prepare: schema.Prepare) -> str:
    """Which of INPUTS a preparation reads."""
    given = [key for key in INPUTS if getattr(prepare, key)]
    if not given:
        examples = ", ".join(f"{key}={name}" for key, name in INPUTS.items())
        raise ValueError(f"bam is required: give one of {examples}")
    if len(given) > 1:
        raise ValueError(f"give one input, not {' and '.join(given)}")
    if (prepare.barcodes or prepare.groups) and given != ["fragments"]:
        raise ValueError("barcodes and groups belong to a fragment file: give fragments= with them")
    return given[0]


def prepared(prepare: schema.Prepare, sizes: dict[str, int] | None = None) -> dict[Path, dict]:
    """Make the stores that are asked for; returns each with the content of its `.qc.json`.

    `sizes` (chrom -> bp) stand in for the FASTA where they are known already.
    """
    kind = _input(prepare)
    out = Path(required(prepare.out, "out", "cuts.h5"))
    inputs = {}
    if sizes is None:
        fasta = required(prepare.fasta, "fasta", "genome.fa")
        sizes = chrom_sizes(fasta)
        inputs["fasta"] = file_facts(Path(fasta))
    blacklist = [] if prepare.blacklist is None else read_bed(prepare.blacklist)
    options, given = cut_options(prepare), getattr(prepare, kind)
    common: dict[str, Any] = {
        "progress": prepare.progress,
        "provenance": {"versions": versions(), "inputs": inputs},
    }
    if kind == "bigwig":
        return {out: prepare_bigwig(given, sizes, out, options, blacklist, **common)}
    common["fasta"] = prepare.fasta
    if kind == "fragments":
        cells = read_cells(prepare.barcodes, prepare.groups)
        return prepare_fragments(given, sizes, out, options, blacklist, cells=cells, **common)
    common["workers"] = processes(prepare.workers)
    bams = given if isinstance(given, list) else [given]
    outs = {out: bams}
    if prepare.replicates == "apart":
        stems = [Path(bam).stem for bam in bams]
        outs = dict(zip(several(out, stems).values(), ([bam] for bam in bams), strict=True))
    return {
        store: fragments.prepare(some, sizes, store, options, blacklist, **common)
        for store, some in outs.items()
    }


def in_channels(data: schema.Data) -> int:
    """Rows of the network's input: the coverage, and the four bases if `data` asks for them."""
    return 5 if data.sequence else 1


def model(
    options: schema.Model,
    conv: schema.Conv,
    precision: schema.Precision,
    seed: int = 0,
    in_channels: int = 1,
) -> Network:
    """The network, with fresh weights that depend on `seed` alone."""
    torch.manual_seed(seed)
    named = ("name", "pretrained")
    shape = {name: value for name, value in vars(options).items() if name not in named}
    return MODELS[options.name](
        **shape,
        conv=conv.backend,
        algorithm=conv.algorithm,
        precision=precision.name,
        in_channels=in_channels,
    )


def start_from(network: Network, options: schema.Model) -> None:
    """Load the weights that `model.pretrained` names, if it does; the config stays what it is."""
    if options.pretrained is None:
        return
    path = Path(options.pretrained)
    weights, settings = load_weights(path)
    for name, value in vars(options).items():
        if name != "pretrained" and settings.get(name, value) != value:
            raise ValueError(
                f"{path} was trained with model.{name}={settings[name]}, this config asks for "
                f"{value}: give equal settings"
            )
    adopt(network, weights, str(path))


def trained_model(
    payload: dict[str, Any],
    config: schema.Train,
    options: schema.Evaluate | schema.Predict,
) -> Network:
    """The network of a checkpoint on its device, its weights loaded, in evaluation mode.

    Convolution and precision are those of `options`, whatever the training's were.
    """
    channels = in_channels(config.data)
    network = model(config.model, options.conv, options.precision, in_channels=channels)
    try:
        network.load_state_dict(payload["state_dict"])
    except RuntimeError as error:
        raise ValueError("the checkpoint's weights do not fit its own config") from error
    network.temperature = payload.get("temperature", 1.0)
    return network.eval().to(device(options.trainer.device))


def checkpoint(path: str | None) -> tuple[dict[str, Any], schema.Train]:
    """A checkpoint's payload and the config it was trained with."""
    payload = load_checkpoint(Path(required(path, "checkpoint", "best.pt")))
    return payload, schema.parse(schema.Train, payload["config"])


def loss_weights(options: schema.Loss) -> LossWeights:
    """The weights of the loss."""
    return LossWeights(**vars(options))


def train_options(config: schema.Train) -> TrainOptions:
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


def evaluate_options(
    config: schema.Train, trainer: schema.Trainer, asked: schema.Evaluate | None = None
) -> EvaluateOptions:
    """How to evaluate: a training's own validation, or what `asked` says."""
    asked = asked or schema.Evaluate()
    return EvaluateOptions(
        batch_size=config.optim.batch_size,
        workers=trainer.workers,
        min_length_bp=config.data.label_min_length_bp,
        max_gap_bp=config.data.label_max_gap_bp,
        bootstrap_draws=asked.bootstrap,
        block_bp=asked.block_bp,
        progress=trainer.progress,
    )


def metadata(config: schema.Train) -> dict[str, Any]:
    """What a checkpoint carries besides the training's own state and what its data say."""
    return {"config": schema.plain(config), "versions": versions()}


def predict_settings(
    options: schema.Predict, payload: dict[str, Any], config: schema.Train
) -> PredictSettings:
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


def _peak_threshold(options: schema.Predict, payload: dict[str, Any], task: str) -> float:
    """The threshold given, that of the precision asked for, or the one with the best F1."""
    threshold = options.peak_threshold
    if options.peak_precision is not None:
        if payload.get("operating_points") is None:
            raise ValueError(
                "the checkpoint is of a training that kept no operating points, which "
                "peak_precision= needs: give peak_threshold="
            )
        threshold = threshold_of_precision(payload["operating_points"], options.peak_precision)
    elif threshold is None:
        threshold = payload["peak_threshold"]
    if threshold is None or math.isnan(threshold):
        raise ValueError("the checkpoint has no peak threshold: give peak_threshold=0.5, say")
    if task != "regression" and options.peak_threshold is not None and threshold >= 1:
        raise ValueError(f"peak_threshold is {threshold}, expected a probability below 1")
    return float(threshold)


def use_threads(trainer: schema.Trainer) -> int:
    """Set torch's intra-op threads and return their number."""
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
    return torch.get_num_threads()
