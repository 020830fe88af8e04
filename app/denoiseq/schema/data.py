"""From reads to windows: how inputs are prepared, and what a training makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from denoiseq.schema.checks import check, path_or_paths
from denoiseq.schema.option import (
    PATH,
    PATHS,
    Allowed,
    above,
    at_least,
    between,
    check_options,
    group,
    one_of,
    option,
    share,
)

MITOCHONDRIAL = ["chrM", "chrMT", "MT", "M", "Mito", "chrMito"]


@dataclass
class Prepare:
    """Reads (BAM, CRAM, fragments) to a store of Tn5 cut sites, or a bigWig to one of coverage.

    denoiseq prepare bam=reads.bam fasta=genome.fa blacklist=blacklist.bed out=cuts.h5
    """

    bam: Any = option(
        None,
        "BAM or CRAM, coordinate-sorted and indexed; replicates as [a.bam,b.bam]. Or:",
        kind=PATHS,
    )
    replicates: str = option(
        "merged",
        "several BAM files into one store, or a store each: cuts.h5 gives cuts.{stem}.h5",
        one_of("merged", "apart"),
    )
    fragments: str | None = option(
        None,
        "a fragment file in place of reads: chrom, start, end, barcode, count, sorted",
        kind=PATH,
    )
    barcodes: str | None = option(
        None, "of the fragment file: a list of the barcodes to keep, one a line", kind=PATH
    )
    groups: str | None = option(
        None,
        "of the fragment file: barcode, tab, group; a store each: cuts.h5 gives cuts.{group}.h5",
        kind=PATH,
    )
    bigwig: str | None = option(
        None, "a coverage track in place of reads: makes a store that cannot be thinned", kind=PATH
    )
    fasta: str | None = option(
        None, "the genome, plain or bgzipped: chromosome sizes, and the check of the shift",
        kind=PATH,
    )  # fmt: skip
    out: str | None = option(
        None, "the store, .h5; must be given; a .qc.json is written beside it", kind=PATH
    )
    blacklist: str | None = option(
        None, "BED; cut sites inside are dropped, the regions stay masked", kind=PATH
    )
    layout: str = option(
        "auto",
        "proper pairs, or each read's 5' end as one cut site; auto = as the reads are",
        one_of("auto", "paired", "single"),
    )
    min_mapq: int = option(30, "reads of a lower mapping quality are dropped", between(0, 255))
    shift: str = option(
        "auto",
        "from a fragment's ends to the cut sites; auto = +4/-4, of a fragment file 10x",
        one_of("auto", "+4/-4", "+4/-5", "none", "10x", "atacworks"),
    )
    shift_check: bool = option(
        True, "stop where the Tn5 motif is elsewhere than the shift takes it to be"
    )
    keep_duplicates: bool = option(False, "keep reads that carry the duplicate flag")
    max_fragment_bp: int = option(2000, "longer fragments are dropped", above(0))
    include: list[str] | None = option(
        None, "chromosomes to keep, as in [chr1,chr2]; null = all but `exclude`"
    )
    exclude: list[str] = option(MITOCHONDRIAL, "chromosomes to leave out")
    workers: int = option(0, "processes that read; 0 = all cores", at_least(0))
    progress: bool = option(True, "show a bar on a terminal")

    def __post_init__(self) -> None:
        path_or_paths("bam", self.bam)
        check_options(self)


def _fractions(value: list[float]) -> bool:
    return len(value) == 2 and 0 < value[0] <= value[1] <= 1


@dataclass
class Data:
    """Windows, noise, labels and folds."""

    store: str = option(
        MISSING,
        "cut store of `denoiseq prepare`; made from `prepare` if it does not exist",
        kind=PATH,
    )
    noisy_store: str | None = option(
        None, "another store as noisy input; null = a thinning of `store`", kind=PATH
    )
    more_stores: list[str] = option(
        [], "further samples, kept apart: windows are drawn from all", kind="list of paths"
    )
    more_noisy_stores: list[str] = option(
        [],
        "their noisy inputs in the same order, where noisy_store is given",
        kind="list of paths",
    )
    synthetic: bool = option(
        False, "generate the small synthetic genome that `prepare` names, if absent"
    )
    prepare: Prepare = group(Prepare, "how to make `store`: the settings of `denoiseq prepare`")
    truth: str | None = option(
        None, "BED or narrowPeak that the metrics take as true peaks; null = the labels", kind=PATH
    )
    labels: str = option(
        "poisson", "peaks to learn: called by the Poisson rule, or those of a BED or narrowPeak",
        kind='"poisson", or path',
    )  # fmt: skip
    label_neglog10_p: float = option(3.0, "Poisson rule: -log10 of the p of a base in a peak")
    label_min_length_bp: int = option(200, "Poisson rule: shorter peaks are dropped", at_least(0))
    label_max_gap_bp: int = option(30, "Poisson rule: gaps up to this are closed", at_least(0))
    interval_bp: int = option(10_000, "bases of a window that are learned from", at_least(1))
    pad_bp: int = option(
        4_200, "context on each side of them, at least half the receptive field", at_least(0)
    )
    half_window_bp: int = option(
        100, "h: each cut site c covers the bases from c-h to c+h", at_least(0)
    )
    thin_fraction: float | None = option(
        None,
        "share of the fragments that the noisy input keeps; null = 0.1, with noisy_store 1",
        share(),
    )
    thin_range: list[float] | None = option(
        None,
        "as [0.01,0.5]: each training window keeps a share of its own, log-uniform",
        Allowed("two fractions as in [0.01,0.5]", _fractions),
    )
    target: str = option(
        "all",
        "fragments of the clean track: all, or those that are not in the noisy input",
        one_of("all", "complement"),
    )
    sequence: bool = option(False, "the network also reads the bases of `fasta`")
    fasta: str | None = option(
        None, "the genome, for `sequence`; by default that of `prepare`", kind=PATH
    )
    reverse_complement: bool = option(
        False, "half of the training windows are read from the other strand"
    )
    validation: list[str] = option(MISSING, "chromosomes that choose epoch and thresholds")
    test: list[str] = option(MISSING, "chromosomes that `evaluate split=test` alone reads")
    exclude: list[str] = option([], "chromosomes of the store that are used for nothing")

    def __post_init__(self) -> None:
        if self.thin_fraction is None:
            self.thin_fraction = 0.1 if self.noisy_store is None else 1.0
        check_options(self, "data.")
        self._check_samples()
        inside = self.thin_range or [0, 1]
        check(
            inside[0] <= self.thin_fraction <= inside[1],
            f"data.thin_fraction is {self.thin_fraction}, outside data.thin_range="
            f"{self.thin_range}: validation would measure a depth that is never trained",
        )

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


@dataclass
class DataOverrides:
    """What may differ at evaluation from the data of the training; null = as trained."""

    store: str | None = option(None, "cut store or coverage store", kind=PATH)
    noisy_store: str | None = option(None, "another store as noisy input", kind=PATH)
    fasta: str | None = option(None, "the genome, of a model of the sequence", kind=PATH)
    truth: str | None = option(None, "true peaks, BED or narrowPeak", kind=PATH)
    thin_fraction: float | None = option(None, "share of the fragments kept")
    target: str | None = option(None, "all or complement, as data.target")
    validation: list[str] | None = option(None, "chromosomes of the validation split")
    test: list[str] | None = option(None, "chromosomes of the test split")
