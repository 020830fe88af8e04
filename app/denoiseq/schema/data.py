"""From reads to windows: how inputs are prepared, and what a training makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from denoiseq.schema.checks import check, one_of, path_or_paths

SHIFTS = ("auto", "+4/-4", "+4/-5", "none", "10x", "atacworks")
LAYOUTS = ("auto", "paired", "single")
MITOCHONDRIAL = ("chrM", "chrMT", "MT", "M", "Mito", "chrMito")


@dataclass
class Prepare:
    """From reads to a cut store, or from a bigWig to a coverage store. Lengths in bp.

    One of `bam` (a path, or a list of replicates), `fragments` and `bigwig`; `workers: 0` takes
    every core.
    """

    bam: Any = None
    replicates: str = "merged"
    fragments: str | None = None
    barcodes: str | None = None
    groups: str | None = None
    bigwig: str | None = None
    fasta: str | None = None
    out: str | None = None
    blacklist: str | None = None
    layout: str = "auto"
    min_mapq: int = 30
    shift: str = "auto"
    shift_check: bool = True
    keep_duplicates: bool = False
    max_fragment_bp: int = 2000
    include: list[str] | None = None
    exclude: list[str] = field(default_factory=lambda: list(MITOCHONDRIAL))
    workers: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        path_or_paths("bam", self.bam)
        one_of("replicates", self.replicates, ("merged", "apart"))
        one_of("layout", self.layout, LAYOUTS)
        one_of("shift", self.shift, SHIFTS)
        check(0 <= self.min_mapq <= 255, f"min_mapq is {self.min_mapq}, expected 0 to 255")
        check(
            self.max_fragment_bp > 0,
            f"max_fragment_bp is {self.max_fragment_bp}, expected more than 0",
        )
        check(self.workers >= 0, f"workers is {self.workers}, expected 0 (all cores) or more")


@dataclass
class Data:
    """Windows, noise, labels and folds. `prepare` is used when `store` does not exist yet.

    Noisy input is a thinning of `store`, or `noisy_store`: then `thin_fraction` is 1 where not
    given, otherwise 0.1. `more_stores` (and `more_noisy_stores`, in the same order) are further
    samples, kept apart. `fasta` serves `sequence`.
    """

    store: str = MISSING
    noisy_store: str | None = None
    more_stores: list[str] = field(default_factory=list)
    more_noisy_stores: list[str] = field(default_factory=list)
    prepare: Prepare = field(default_factory=Prepare)
    synthetic: bool = False
    truth: str | None = None
    labels: str = "poisson"
    label_neglog10_p: float = 3.0
    label_min_length_bp: int = 200
    label_max_gap_bp: int = 30
    interval_bp: int = 10_000
    pad_bp: int = 4_200
    half_window_bp: int = 100
    thin_fraction: float | None = None
    thin_range: list[float] | None = None
    target: str = "all"
    sequence: bool = False
    fasta: str | None = None
    reverse_complement: bool = False
    validation: list[str] = MISSING
    test: list[str] = MISSING
    exclude: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        one_of("data.target", self.target, ("all", "complement"))
        self._check_samples()
        self._check_thinning()
        check(self.interval_bp > 0, f"data.interval_bp is {self.interval_bp}, expected 1 or more")
        for name in ("pad_bp", "half_window_bp", "label_min_length_bp", "label_max_gap_bp"):
            value = getattr(self, name)
            check(value >= 0, f"data.{name} is {value}, expected 0 or more")

    def _check_samples(self) -> None:
        paired = self.noisy_store is not None
        expected = len(self.more_stores) if paired else 0
        check(
            len(self.more_noisy_stores) == expected,
            f"data.more_noisy_stores names {len(self.more_noisy_stores)} stores, expected "
            f"{expected}: one for each of data.more_stores, and none without data.noisy_store",
        )
        check(
            not paired or self.noisy_store != self.store,
            "data.noisy_store is data.store itself, so noisy and clean would be one: leave it out "
            "to thin data.store",
        )
        check(
            not paired or self.target == "all",
            "data.target=complement needs a thinning of data.store: give no data.noisy_store",
        )

    def _check_thinning(self) -> None:
        if self.thin_fraction is None:
            self.thin_fraction = 0.1 if self.noisy_store is None else 1.0
        check(
            0 < self.thin_fraction <= 1,
            f"data.thin_fraction is {self.thin_fraction}, expected more than 0 and at most 1",
        )
        if self.thin_range is None:
            return
        pair = len(self.thin_range) == 2
        check(
            pair and 0 < self.thin_range[0] <= self.thin_range[1] <= 1,
            f"data.thin_range is {self.thin_range}, expected two fractions as in [0.01,0.5]",
        )
        check(
            self.thin_range[0] <= self.thin_fraction <= self.thin_range[1],
            f"data.thin_fraction is {self.thin_fraction}, outside data.thin_range="
            f"{self.thin_range}: validation would measure a depth that is never trained",
        )


@dataclass
class DataOverrides:
    """What may differ at evaluation from the data of the training; null = as trained."""

    store: str | None = None
    noisy_store: str | None = None
    fasta: str | None = None
    truth: str | None = None
    thin_fraction: float | None = None
    target: str | None = None
    validation: list[str] | None = None
    test: list[str] | None = None
