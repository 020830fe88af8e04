"""From schemas to objects: the one file that knows configs, genomics and learning alike.

Builders only: each takes a schema or a checkpoint's payload and returns an object; `commands`
runs them.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from denoiseq import schema
from denoiseq.compatibility import fitting_genome, go_together, same_filters, same_windows
from denoiseq.genomics import fragments, synthetic
from denoiseq.genomics.intervals import Merged, merge, read_bed, split_chromosomes
from denoiseq.genomics.peaks import poisson_peaks
from denoiseq.genomics.samples import Samples, plain_names, samples_of
from denoiseq.genomics.sequence import Genome, chrom_sizes
from denoiseq.genomics.store import Store, open_store
from denoiseq.learning.checkpoint import load_checkpoint
from denoiseq.learning.dataset import WindowDataset
from denoiseq.learning.evaluation import EvaluateOptions
from denoiseq.learning.losses import LossWeights
from denoiseq.learning.models import DenoisingResNet
from denoiseq.learning.options import TrainOptions
from denoiseq.learning.windows import WindowOptions
from denoiseq.prediction import PredictSettings
from denoiseq.provenance import file_facts, versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """What windows are made of. `noisy` is `clean` itself where the input is a thinning of it."""

    clean: Store | Samples
    noisy: Store | Samples
    genome: Genome | None


@dataclass(frozen=True)
class Splits:
    """The three sets of windows; `test` is made only where it is asked for."""

    train: WindowDataset
    validation: WindowDataset


def required(value: str | None, key: str, what: str) -> str:
    """`value`, or the sentence that names the missing key."""
    if not value:
        raise ValueError(f"{key} is required: give {key}={what}")
    return value


def cut_options(prepare: schema.Prepare) -> fragments.CutOptions:
    """The filters and the shift of a preparation."""
    return fragments.CutOptions(
        min_mapq=prepare.min_mapq,
        shift=prepare.shift,
        keep_duplicates=prepare.keep_duplicates,
        max_fragment_bp=prepare.max_fragment_bp,
        include=prepare.include,
        exclude=prepare.exclude,
    )


def processes(workers: int) -> int:
    """The number of processes that `workers` asks for; 0 is every core we may use."""
    return workers or len(os.sched_getaffinity(0))


def prepared(prepare: schema.Prepare, sizes: dict[str, int] | None = None) -> dict[str, Any]:
    """Make a cut store; returns the content of its `.qc.json`.

    `sizes` (chrom -> bp) stand in for the FASTA where they are known already.
    """
    bam = required(prepare.bam, "bam", "reads.bam")
    out = required(prepare.out, "out", "cuts.h5")
    inputs = {}
    if sizes is None:
        fasta = required(prepare.fasta, "fasta", "genome.fa")
        sizes = chrom_sizes(fasta)
        inputs["fasta"] = file_facts(fasta)
    blacklist = [] if prepare.blacklist is None else read_bed(prepare.blacklist)
    return fragments.prepare(
        bam,
        sizes,
        out,
        cut_options(prepare),
        blacklist,
        workers=processes(prepare.workers),
        progress=prepare.progress,
        provenance={"versions": versions(), "inputs": inputs},
    )


def store(data: schema.Data) -> Store:
    """Open the store of `data`, making it first (and the synthetic genome) where it is absent."""
    path, prepare = Path(data.store), data.prepare
    if not path.is_file() and prepare.bam is not None:
        if data.synthetic and not Path(prepare.bam).is_file():
            log.info("generating a synthetic genome in %s", Path(prepare.bam).parent)
            synthetic.make_synthetic(Path(prepare.bam).parent)
        log.info("preparing %s from %s", path, prepare.bam)
        prepared(prepare)
    opened = open_store(path)
    if prepare.bam is not None:
        same_filters(
            opened.preprocessing, vars(prepare), f"{path} was prepared", "this config asks"
        )
    return opened


def sources(data: schema.Data) -> Sources:
    """Open all that windows are made of, and see that it goes together."""
    clean = [store(data), *map(open_store, data.more_stores)]
    noisy = clean
    if data.noisy_store is not None:
        noisy = [open_store(path) for path in (data.noisy_store, *data.more_noisy_stores)]
    for one, other in zip(clean, noisy, strict=True):
        if one is not other:
            go_together(one, other)
        same_windows(one, data.half_window_bp)
        same_windows(other, data.half_window_bp)
    for other in noisy[1:]:
        names = f"{other.path} was prepared", f"{noisy[0].path}"
        same_filters(other.preprocessing, noisy[0].preprocessing, *names)
    together = clean[0] if len(clean) == 1 else Samples(clean)
    inputs = together if noisy is clean else noisy[0] if len(noisy) == 1 else Samples(noisy)
    return Sources(together, inputs, genome(data, together))


def genome(data: schema.Data, opened: Store | Samples) -> Genome | None:
    """The bases that windows of `opened` carry, if `data` asks for them."""
    if not data.sequence:
        return None
    fasta = required(data.fasta, "data.fasta", "genome.fa (for data.sequence=true)")
    return fitting_genome(fasta, plain_names(opened), opened)


def in_channels(data: schema.Data) -> int:
    """Rows of the network's input: the coverage, and the four bases if `data` asks for them."""
    return 5 if data.sequence else 1


def model(
    options: schema.Model,
    conv: schema.Conv,
    precision: schema.Precision,
    seed: int = 0,
    in_channels: int = 1,
) -> DenoisingResNet:
    """The network, with fresh weights that depend on `seed` alone."""
    torch.manual_seed(seed)
    shape = {name: value for name, value in vars(options).items() if name != "name"}
    backend = {"conv": conv.backend, "algorithm": conv.algorithm, "precision": precision.name}
    return DenoisingResNet(**shape, **backend, in_channels=in_channels)


def trained_model(
    payload: dict[str, Any],
    config: schema.Train,
    options: schema.Evaluate | schema.Predict,
) -> DenoisingResNet:
    """The network of a checkpoint, its weights loaded, in evaluation mode.

    Convolution and precision are those of `options`, whatever the training's were.
    """
    channels = in_channels(config.data)
    network = model(config.model, options.conv, options.precision, in_channels=channels)
    try:
        network.load_state_dict(payload["state_dict"])
    except RuntimeError as error:
        raise ValueError("the checkpoint's weights do not fit its own config") from error
    return network.eval()


def checkpoint(path: str | None) -> tuple[dict[str, Any], schema.Train]:
    """A checkpoint's payload and the config it was trained with."""
    payload = load_checkpoint(Path(required(path, "checkpoint", "best.pt")))
    return payload, schema.parse(schema.Train, payload["config"])


def bed(path: str, opened: Store | Samples, what: str) -> Merged:
    """The merged intervals of a BED file, of which at least one must be on the store's genome."""
    merged, names = merge(read_bed(path)), plain_names(opened)
    found = {name: merged[chrom] for name, chrom in names.items() if chrom in merged}
    if not found:
        raise ValueError(
            f"{path} ({what}) has no peaks on the chromosomes of {opened.path}: "
            f"{', '.join(list(names.values())[:5])}"
        )
    return found


def labels(data: schema.Data, opened: Store | Samples) -> Merged:
    """The peaks to learn: Poisson calls of the clean track, or a file."""
    if data.labels != "poisson":
        return bed(data.labels, opened, "data.labels")
    return poisson_peaks(
        opened,
        data.half_window_bp,
        data.label_neglog10_p,
        data.label_min_length_bp,
        data.label_max_gap_bp,
    )


def _folds(data: schema.Data, opened: Store | Samples) -> dict[str, list[str]]:
    """The chromosomes of train, validation and test, each fold's of every sample."""
    names = plain_names(opened)
    genome = dict.fromkeys(names.values())
    folds = split_chromosomes(genome, data.validation, data.test, data.exclude)
    parts = zip(("train", "validation", "test"), folds, strict=True)
    return {part: [n for n, chrom in names.items() if chrom in fold] for part, fold in parts}


def _datasets(
    data: schema.Data, given: Sources, seed: int
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    options = WindowOptions(
        interval_bp=data.interval_bp,
        pad_bp=data.pad_bp,
        half_window_bp=data.half_window_bp,
        thin_fraction=data.thin_fraction or 1.0,
        target=data.target,
        seed=seed,
        thin_range=None if data.thin_range is None else (data.thin_range[0], data.thin_range[1]),
        reverse_complement=data.reverse_complement,
    )
    common = {
        "store": given.clean,
        "options": options,
        "peaks": labels(data, given.clean),
        "truth": None if data.truth is None else bed(data.truth, given.clean, "data.truth"),
        "noisy": given.noisy,
        "genome": given.genome,
    }
    return _folds(data, given.clean), common


def splits(data: schema.Data, given: Sources, seed: int) -> Splits:
    """Windows to train on and to validate on. The test chromosomes are not read."""
    folds, common = _datasets(data, given, seed)
    return Splits(
        WindowDataset(chroms=folds["train"], training=True, **common),
        WindowDataset(chroms=folds["validation"], training=False, **common),
    )


def held_out(data: schema.Data, given: Sources, seed: int, split: str) -> WindowDataset:
    """The windows of `validation` or `test`."""
    folds, common = _datasets(data, given, seed)
    if not folds[split]:
        raise ValueError(f"data.{split} names no chromosome: there is nothing to evaluate")
    return WindowDataset(chroms=folds[split], training=False, **common)


def overridden(data: schema.Data, changes: schema.DataOverrides) -> schema.Data:
    """The data of the training with the changes that an evaluation asks for."""
    given: dict[str, Any] = {n: value for n, value in vars(changes).items() if value is not None}
    given["thin_range"] = None  # of training windows alone
    if "store" in given or "noisy_store" in given:
        given |= {"more_stores": [], "more_noisy_stores": []}
    if "store" in given:
        given["prepare"] = schema.Prepare()
        if data.noisy_store is not None and "noisy_store" not in given:
            raise ValueError(
                "the model was trained on noisy and clean samples of their own: "
                "give data.noisy_store= with data.store="
            )
    if "noisy_store" in given:
        given.setdefault("thin_fraction", None)  # of another input: as the schema has it
    return replace(data, **given)


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


def evaluate_options(config: schema.Train, trainer: schema.Trainer) -> EvaluateOptions:
    """How to evaluate."""
    return EvaluateOptions(
        batch_size=config.optim.batch_size,
        workers=trainer.workers,
        min_length_bp=config.data.label_min_length_bp,
        max_gap_bp=config.data.label_max_gap_bp,
        progress=trainer.progress,
    )


def metadata(config: schema.Train, given: Sources) -> dict[str, Any]:
    """What a checkpoint carries besides the training's own state."""
    clean = [_store_facts(opened) for opened in samples_of(given.clean)]
    noisy = [_store_facts(opened) for opened in samples_of(given.noisy)]
    return {
        "config": schema.plain(config),
        "versions": versions(),
        "store": clean[0],
        "stores": {"clean": clean, "noisy": noisy if given.noisy is not given.clean else []},
    }


def _store_facts(opened: Store) -> dict[str, Any]:
    return {"name": opened.path.name, "provenance": opened.provenance}


def predict_settings(
    options: schema.Predict, payload: dict[str, Any], config: schema.Train
) -> PredictSettings:
    """How to predict; what the options leave open is as it was for the training."""
    threshold = options.peak_threshold
    if threshold is None:
        threshold = payload["peak_threshold"]
    if threshold is None or math.isnan(threshold):
        raise ValueError("the checkpoint has no peak threshold: give peak_threshold=0.5, say")
    length, gap = options.peak_min_length_bp, options.peak_max_gap_bp
    return PredictSettings(
        half_window_bp=config.data.half_window_bp,
        peak_threshold=float(threshold),
        peak_min_length_bp=config.data.label_min_length_bp if length is None else length,
        peak_max_gap_bp=config.data.label_max_gap_bp if gap is None else gap,
        tile_bp=options.tile_bp,
        batch_size=options.batch_size,
        progress=options.trainer.progress,
    )


def use_threads(trainer: schema.Trainer) -> int:
    """Set torch's intra-op threads and return their number."""
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
    return torch.get_num_threads()
