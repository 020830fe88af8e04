"""The settings of `denoiseq predict`, and those of example loci."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from denoiseq.settings.conv import Conv
from denoiseq.settings.precision import Precision
from denoiseq.settings.setting import (
    FRACTION,
    SEED,
    Allowed,
    at_least,
    between,
    check,
    check_settings,
    group,
    path,
    path_or_paths,
    setting,
)
from denoiseq.settings.trainer import Trainer

LOCI = (4, "example loci in the report, from strong peaks to weak ones", between(0, 12))
RANDOM_LOCI = (2, "further example loci, at random places with reads", between(0, 12))
REGIONS: tuple[Any, ...] = (
    [],
    "further loci to draw, such as chrI:100000-120000; 0-based, half-open, 100 to 200,000 bp each",
    Allowed("up to 12 of them", lambda value: len(value) <= 12),
    "list of regions",
)


def _is_depth(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value == "trained" or (number and value > 0)


@dataclass
class Predict:
    """Denoise the coverage of a whole genome and call its peaks, from reads and a checkpoint.

    denoiseq predict --checkpoint best.pt --bam reads.bam --fasta hg38.fa --depth trained --out pred
    """

    checkpoint: str | None = path("best.pt of a training; required")
    bam: Any = setting(
        None,
        "BAM or CRAM, or several replicates to merge; prepared as the training data were",
        kind="path, or list of paths",
    )
    fragments: str | None = path("fragment file, instead of reads")
    barcodes: str | None = path(
        "barcodes of the fragment file to keep: one a line, or a table such as singlecell.csv"
    )
    store: str | None = path("prepared store, instead of reads")
    fasta: str | None = path(
        "FASTA of the genome, to check the input and its shift; required by a model that reads the "
        "sequence. A chrom.sizes file or .fai checks the input alone"
    )
    blacklist: str | None = setting(
        None,
        "BED of regions to leave out, or none; null = that of the training, if it still exists",
        kind="path, or none",
    )
    shift_check: bool = setting(True, "stop if the Tn5 motif is not where the shift expects it")
    out: str | None = path("output folder; required")
    name: str | None = setting(
        None, "first part of the file names; null = the name of the (first) input"
    )
    depth: int | float | str | None = setting(
        None,
        "cut sites per Mb to thin the input to; trained = as in training, null = no thinning",
        Allowed('null, "trained" or a number of cut sites per Mb', _is_depth),
        kind="number, or trained",
    )
    depth_of_track: float | None = setting(
        None,
        "cut sites per Mb that a coverage store stands for: its values are scaled to that; null = "
        "those of its mean coverage, which needs a track of counts",
        Allowed("more than 0", lambda value: 0 < value < math.inf),
    )
    seed: int = setting(0, "seed of the thinning and of the random loci", SEED)
    peak_threshold: float | None = setting(
        None,
        "least probability of a peak (least coverage without a peak head); null = the best F1 on "
        "validation",
        Allowed(
            "a probability between 0 and 1, or a coverage above 0 for a model without peaks",
            lambda value: value > 0,
        ),
    )
    peak_precision: float | None = setting(
        None, "target precision of the called bases, for example 0.9, instead of peak_threshold",
        FRACTION,
    )  # fmt: skip
    peak_min_length_bp: int | None = setting(
        None, "shorter peaks are dropped; null = as in the training labels"
    )
    peak_max_gap_bp: int | None = setting(
        None, "gaps up to this length are closed; null = as in the training labels"
    )
    tile_bp: int | None = setting(
        None,
        "bases that each thread computes at a time; null = as many as keep the context below 5%",
        at_least(1),
    )
    loci: int = setting(*LOCI)
    random_loci: int = setting(*RANDOM_LOCI)
    regions: list[str] = setting(*REGIONS)
    workers: int = setting(0, "processes that read the BAM; 0 = one per usable core", at_least(0))
    conv: Conv = group(Conv, "which convolution the network runs on")
    precision: Precision = group(Precision, "precision of the activations")
    trainer: Trainer = group(Trainer, "how the machine is used")

    def __post_init__(self) -> None:
        path_or_paths("bam", self.bam)
        check_settings(self)
        check(
            self.depth_of_track is None or self.store is not None,
            "depth_of_track is for a coverage track, which is given as store=: leave it out, "
            "because the depth of reads is counted",
        )
        check(
            self.peak_threshold is None or self.peak_precision is None,
            "peak_threshold and peak_precision are two ways to choose one threshold: give one",
        )
