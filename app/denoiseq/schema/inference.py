"""What a checkpoint is asked: evaluation and prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from denoiseq.schema.checks import check, path_or_paths
from denoiseq.schema.data import DataOverrides
from denoiseq.schema.network import Conv, Precision
from denoiseq.schema.option import (
    PATH,
    PATHS,
    Allowed,
    at_least,
    between,
    check_options,
    group,
    one_of,
    option,
    share,
    up_to,
)
from denoiseq.schema.training import Trainer

LOCI = (4, "examples drawn in the report, from the strongest peaks to weak ones", between(0, 12))
RANDOM_LOCI = (2, "further ones, anywhere there are reads", between(0, 12))
REGIONS: tuple[Any, ...] = (
    [],
    "and these, as [chrI:100000-120000]: 0-based, half-open, 100 to 200,000 bp each",
    up_to(12),
)


@dataclass
class Evaluate:
    """Metrics and figures of a checkpoint on held-out chromosomes.

    denoiseq evaluate checkpoint=outputs/mine/checkpoints/best.pt split=test
    """

    checkpoint: str | None = option(None, "best.pt of a training; must be given", kind=PATH)
    split: str = option("validation", "chromosomes to measure on", one_of("validation", "test"))
    out: str | None = option(
        None, "output folder; null = beside the checkpoints folder: RUN/evaluate/SPLIT", kind=PATH
    )
    loci: int = option(*LOCI)
    random_loci: int = option(*RANDOM_LOCI)
    regions: list[str] = option(*REGIONS)
    retune: bool = option(
        False, "choose sigma, linear filter and thresholds anew, without the test split"
    )
    macs3: Any = option(
        "auto",
        "call MACS3's peaks on the same input; auto = where it is installed",
        Allowed("auto, true or false", lambda value: value in ("auto", True, False)),
        kind="auto, true or false",
    )
    bootstrap: int = option(
        500,
        "replicates that the 95% intervals come of; 0 = no intervals",
        Allowed("0, or 20 to 10,000", lambda value: value == 0 or 20 <= value <= 10_000),
    )
    block_bp: int = option(
        50_000, "stretches of the genome that the bootstrap draws whole", at_least(1_000)
    )
    data: DataOverrides = group(DataOverrides, "null = as in training")
    conv: Conv = group(Conv, "which convolution computes it")
    precision: Precision = group(Precision, "of the activations")
    trainer: Trainer = group(Trainer, "how the machine is used")

    def __post_init__(self) -> None:
        check_options(self)


def _is_depth(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value == "trained" or (number and value > 0)


@dataclass
class Predict:
    """Denoised coverage and peaks of a whole genome, from reads and a checkpoint.

    denoiseq predict checkpoint=best.pt bam=reads.bam fasta=genome.fa depth=trained out=prediction
    """

    checkpoint: str | None = option(None, "best.pt of a training; must be given", kind=PATH)
    bam: Any = option(
        None,
        "one, or replicates to merge: [a.bam,b.bam]; prepared as the training data were",
        kind=PATHS,
    )
    fragments: str | None = option(None, "a fragment file in place of reads", kind=PATH)
    barcodes: str | None = option(
        None, "of the fragment file: a list of the barcodes to keep, one a line", kind=PATH
    )
    store: str | None = option(None, "or a store that is prepared already", kind=PATH)
    fasta: str | None = option(
        None,
        "the genome: checks the input and its shift; a must for a model that reads the sequence",
        kind=PATH,
    )
    blacklist: str | None = option(
        None,
        "BED, or none; null = that of the training, where it still exists",
        kind="path, or none",
    )
    shift_check: bool = option(
        True, "stop where the Tn5 motif is elsewhere than the shift takes it to be"
    )
    out: str | None = option(None, "output folder; must be given", kind=PATH)
    name: str | None = option(None, "how its files begin; null = the stem of the (first) input")
    depth: int | float | str | None = option(
        None,
        "cut sites per Mb to thin the input to, or trained: the training's; null = as it is",
        Allowed('null, "trained" or a number of cut sites per Mb', _is_depth),
        kind="number, or trained",
    )
    seed: int = option(0, "of that thinning, and of the random loci")
    peak_threshold: float | None = option(
        None,
        "a probability (a coverage, without a peak head); null = the best F1 on validation",
        Allowed(
            "a probability between 0 and 1, or a coverage above 0 for a model without peaks",
            lambda value: value > 0,
        ),
    )
    peak_precision: float | None = option(
        None, "or the share of called bases that shall be right, as on validation: 0.9, say",
        share(),
    )  # fmt: skip
    peak_min_length_bp: int | None = option(
        None, "shorter peaks are dropped; null = as the training labels"
    )
    peak_max_gap_bp: int | None = option(
        None, "gaps up to this are closed; null = as the training labels"
    )
    tile_bp: int | None = option(
        None,
        "bases computed at a time, on each thread; null = so many that context costs 5%",
        at_least(1),
    )
    loci: int = option(*LOCI)
    random_loci: int = option(*RANDOM_LOCI)
    regions: list[str] = option(*REGIONS)
    workers: int = option(0, "processes that read the BAM; 0 = all cores", at_least(0))
    conv: Conv = group(Conv, "which convolution computes it")
    precision: Precision = group(Precision, "of the activations")
    trainer: Trainer = group(Trainer, "how the machine is used")

    def __post_init__(self) -> None:
        path_or_paths("bam", self.bam)
        check_options(self)
        check(
            self.peak_threshold is None or self.peak_precision is None,
            "peak_threshold and peak_precision are two ways to choose one threshold: give one",
        )
