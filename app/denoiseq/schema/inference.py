"""What a checkpoint is asked: evaluation and prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from denoiseq.schema.checks import check, one_of, panels, path_or_paths
from denoiseq.schema.data import DataOverrides
from denoiseq.schema.network import Conv, Precision
from denoiseq.schema.training import Trainer

SPLITS = ("validation", "test")


@dataclass
class Evaluate:
    """`denoiseq evaluate`. `out: null` writes beside the checkpoint.

    Drawn are `loci` examples over the ranking of peaks, `random_loci` seeded ones, and `regions`
    ("chrom:start-end", 0-based, half-open, 100 to 200,000 bp); up to 12 of each.

    `retune` chooses bandwidth and thresholds anew on the validation chromosomes, and fits the
    linear filter on the training ones, as for data.thin_fraction= of another depth. `macs3: auto`
    calls its peaks on the same input where it is installed. Intervals come of `bootstrap` draws
    (0: none) of blocks of `block_bp`.
    """

    checkpoint: str | None = None
    split: str = "validation"
    out: str | None = None
    loci: int = 4
    random_loci: int = 2
    regions: list[str] = field(default_factory=list)
    retune: bool = False
    macs3: Any = "auto"
    bootstrap: int = 500
    block_bp: int = 50_000
    data: DataOverrides = field(default_factory=DataOverrides)
    conv: Conv = field(default_factory=Conv)
    precision: Precision = field(default_factory=Precision)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        one_of("split", self.split, SPLITS)
        panels(self.loci, self.random_loci, self.regions)
        check(
            self.macs3 in ("auto", True, False),
            f"macs3 is {self.macs3!r}, expected auto, true or false",
        )
        check(
            self.bootstrap == 0 or 20 <= self.bootstrap <= 10_000,
            f"bootstrap is {self.bootstrap}, expected 0 (no intervals) or 20 to 10000 draws",
        )
        check(self.block_bp >= 1_000, f"block_bp is {self.block_bp}, expected 1000 or more")


@dataclass
class Predict:
    """`denoiseq predict`. `depth` (cut sites per Mb, or "trained") thins the input first.

    `peak_threshold` is a probability (a coverage for a model without peaks); `peak_precision`, a
    share of the called bases, chooses it on the training's validation split.
    `tile_bp` bases are answered for at a time (null: what suits the model); it trades memory.

    `loci`, `random_loci` and `regions` are drawn as by `Evaluate`.
    """

    checkpoint: str | None = None
    bam: Any = None
    fragments: str | None = None
    barcodes: str | None = None
    store: str | None = None
    fasta: str | None = None
    blacklist: str | None = None
    shift_check: bool = True
    out: str | None = None
    name: str | None = None
    depth: int | float | str | None = None
    seed: int = 0
    peak_threshold: float | None = None
    peak_precision: float | None = None
    peak_min_length_bp: int | None = None
    peak_max_gap_bp: int | None = None
    tile_bp: int | None = None
    loci: int = 4
    random_loci: int = 2
    regions: list[str] = field(default_factory=list)
    workers: int = 0
    conv: Conv = field(default_factory=Conv)
    precision: Precision = field(default_factory=Precision)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        path_or_paths("bam", self.bam)
        panels(self.loci, self.random_loci, self.regions)
        depth = self.depth
        cuts_per_mb = isinstance(depth, (int, float)) and not isinstance(depth, bool) and depth > 0
        check(
            depth is None or depth == "trained" or cuts_per_mb,
            f'depth is {self.depth!r}, expected null, "trained" or a number of cut sites per Mb',
        )
        check(
            self.peak_threshold is None or self.peak_threshold > 0,
            f"peak_threshold is {self.peak_threshold}, expected a probability between 0 and 1, or "
            "a coverage above 0 for a model without peaks",
        )
        check(
            self.peak_precision is None or 0 < self.peak_precision <= 1,
            f"peak_precision is {self.peak_precision}, expected a share above 0, up to 1",
        )
        check(
            self.peak_threshold is None or self.peak_precision is None,
            "peak_threshold and peak_precision are two ways to choose one threshold: give one",
        )
        check(
            self.tile_bp is None or self.tile_bp >= 1,
            f"tile_bp is {self.tile_bp}, expected 1 or more, or null",
        )
