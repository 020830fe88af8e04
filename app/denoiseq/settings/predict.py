"""What a checkpoint is asked: evaluation and prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from denoiseq.settings.conv import Conv
from denoiseq.settings.precision import Precision
from denoiseq.settings.setting import (
    PATH,
    PATHS,
    Allowed,
    at_least,
    between,
    check,
    check_settings,
    group,
    path_or_paths,
    seeds,
    setting,
    share,
    up_to,
)
from denoiseq.settings.trainer import Trainer

LOCI = (4, "examples drawn in the report, from the strongest peaks to weak ones", between(0, 12))
RANDOM_LOCI = (2, "further ones, anywhere there are reads", between(0, 12))
REGIONS: tuple[Any, ...] = (
    [],
    "and these, as [chrI:100000-120000]: 0-based, half-open, 100 to 200,000 bp each",
    up_to(12),
)


def _is_depth(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value == "trained" or (number and value > 0)


@dataclass
class Predict:
    """Denoised coverage and peaks of a whole genome, from reads and a checkpoint.

    denoiseq predict checkpoint=best.pt bam=reads.bam fasta=genome.fa depth=trained out=prediction
    """

    checkpoint: str | None = setting(None, "best.pt of a training; must be given", kind=PATH)
    bam: Any = setting(
        None,
        "one, or replicates to merge: [a.bam,b.bam]; prepared as the training data were",
        kind=PATHS,
    )
    fragments: str | None = setting(None, "a fragment file in place of reads", kind=PATH)
    barcodes: str | None = setting(
        None, "of the fragment file: a list of the barcodes to keep, one a line", kind=PATH
    )
    store: str | None = setting(None, "or a store that is prepared already", kind=PATH)
    fasta: str | None = setting(
        None,
        "the genome: checks the input and its shift; a must for a model that reads the sequence",
        kind=PATH,
    )
    blacklist: str | None = setting(
        None,
        "BED, or none; null = that of the training, where it still exists",
        kind="path, or none",
    )
    shift_check: bool = setting(
        True, "stop where the Tn5 motif is elsewhere than the shift takes it to be"
    )
    out: str | None = setting(None, "output folder; must be given", kind=PATH)
    name: str | None = setting(None, "how its files begin; null = the stem of the (first) input")
    depth: int | float | str | None = setting(
        None,
        "cut sites per Mb to thin the input to, or trained: the training's; null = as it is",
        Allowed('null, "trained" or a number of cut sites per Mb', _is_depth),
        kind="number, or trained",
    )
    seed: int = setting(0, "of that thinning, and of the random loci", seeds())
    peak_threshold: float | None = setting(
        None,
        "a probability (a coverage, without a peak head); null = the best F1 on validation",
        Allowed(
            "a probability between 0 and 1, or a coverage above 0 for a model without peaks",
            lambda value: value > 0,
        ),
    )
    peak_precision: float | None = setting(
        None, "or the share of called bases that shall be right, as on validation: 0.9, say",
        share(),
    )  # fmt: skip
    peak_min_length_bp: int | None = setting(
        None, "shorter peaks are dropped; null = as the training labels"
    )
    peak_max_gap_bp: int | None = setting(
        None, "gaps up to this are closed; null = as the training labels"
    )
    tile_bp: int | None = setting(
        None,
        "bases computed at a time, on each thread; null = so many that context costs 5%",
        at_least(1),
    )
    loci: int = setting(*LOCI)
    random_loci: int = setting(*RANDOM_LOCI)
    regions: list[str] = setting(*REGIONS)
    workers: int = setting(0, "processes that read the BAM; 0 = all cores", at_least(0))
    conv: Conv = group(Conv, "which convolution computes it")
    precision: Precision = group(Precision, "of the activations")
    trainer: Trainer = group(Trainer, "how the machine is used")

    def __post_init__(self) -> None:
        path_or_paths("bam", self.bam)
        check_settings(self)
        check(
            self.peak_threshold is None or self.peak_precision is None,
            "peak_threshold and peak_precision are two ways to choose one threshold: give one",
        )
