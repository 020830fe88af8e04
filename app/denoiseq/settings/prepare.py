"""The settings of `denoiseq prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from denoiseq.settings.setting import (
    PATH,
    PATHS,
    at_least,
    between,
    check_settings,
    one_of,
    path_or_paths,
    setting,
)

# Names under which assemblies keep the mitochondrion: naming one that a genome lacks is no mistake.
MITOCHONDRIAL = ["chrM", "chrMT", "MT", "M", "Mito", "chrMito"]
# shift -> what is added to a fragment's start and end to get its two cut sites
SHIFTS = {
    "+4/-4": (4, -5),  # the Tn5 motif at both ends coincides
    "+4/-5": (4, -6),
    "none": (0, -1),
    "10x": (0, -1),  # shifted before: the ends are the insertions
    "atacworks": (5, -4),  # +4/-4 from 1-based positions written as 0-based: 1 bp to the right
}


@dataclass
class Prepare:
    """Reads (BAM, CRAM, fragments) to a store of Tn5 cut sites, or a bigWig to one of coverage.

    denoiseq prepare bam=reads.bam fasta=genome.fa blacklist=blacklist.bed out=cuts.h5
    """

    bam: Any = setting(
        None,
        "BAM or CRAM, coordinate-sorted and indexed; replicates as [a.bam,b.bam]. Or:",
        kind=PATHS,
    )
    replicates: str = setting(
        "merged",
        "several BAM files into one store, or a store each: cuts.h5 gives cuts.{stem}.h5",
        one_of("merged", "apart"),
    )
    fragments: str | None = setting(
        None,
        "a fragment file in place of reads: chrom, start, end, barcode, count, sorted",
        kind=PATH,
    )
    barcodes: str | None = setting(
        None, "of the fragment file: a list of the barcodes to keep, one a line", kind=PATH
    )
    groups: str | None = setting(
        None,
        "of the fragment file: barcode, tab, group; a store each: cuts.h5 gives cuts.{group}.h5",
        kind=PATH,
    )
    bigwig: str | None = setting(
        None, "a coverage track in place of reads: makes a store that cannot be thinned", kind=PATH
    )
    fasta: str | None = setting(
        None, "the genome, plain or bgzipped: chromosome sizes, and the check of the shift",
        kind=PATH,
    )  # fmt: skip
    out: str | None = setting(
        None, "the store, .h5; must be given; a .qc.json is written beside it", kind=PATH
    )
    blacklist: str | None = setting(
        None, "BED; cut sites inside are dropped, the regions stay masked", kind=PATH
    )
    layout: str = setting(
        "auto",
        "proper pairs, or each read's 5' end as one cut site; auto = as the reads are",
        one_of("auto", "paired", "single"),
    )
    min_mapq: int = setting(30, "reads of a lower mapping quality are dropped", between(0, 255))
    shift: str = setting(
        "auto",
        "from a fragment's ends to the cut sites; auto = +4/-4, of a fragment file 10x",
        one_of("auto", *SHIFTS),
    )
    shift_check: bool = setting(
        True, "stop where the Tn5 motif is elsewhere than the shift takes it to be"
    )
    keep_duplicates: bool = setting(False, "keep reads that carry the duplicate flag")
    max_fragment_bp: int = setting(2000, "longer fragments are dropped", at_least(10))
    include: list[str] | None = setting(
        None, "chromosomes to keep, as in [chr1,chr2]; null = all but `exclude`"
    )
    exclude: list[str] = setting(MITOCHONDRIAL, "chromosomes to leave out")
    workers: int = setting(0, "processes that read; 0 = all cores", at_least(0))
    progress: bool = setting(True, "show a bar on a terminal")

    def __post_init__(self) -> None:
        path_or_paths("bam", self.bam)
        check_settings(self)
