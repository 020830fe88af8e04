"""The settings of `denoiseq prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from denoiseq.settings.setting import (
    at_least,
    between,
    check_settings,
    one_of,
    path,
    path_or_paths,
    setting,
)

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
    """Make a store of Tn5 cut sites from reads (BAM, CRAM, fragments), or of a coverage track.

    denoiseq prepare --bam reads.bam --fasta genome.fa --blacklist blacklist.bed --out cuts.h5
    """

    bam: Any = setting(
        None,
        "BAM or CRAM, sorted by coordinate and indexed; one file, or several",
        kind="path, or list of paths",
    )
    replicates: str = setting(
        "merged",
        "several BAM files make one store, or one store each, named cuts.{stem}.h5 for out=cuts.h5",
        one_of("merged", "apart"),
    )
    fragments: str | None = path(
        "fragment file or pipe, instead of reads: chrom, start, end, barcode, count; sorted"
    )
    barcodes: str | None = path(
        "barcodes of the fragment file to keep: one a line, or a table such as singlecell.csv"
    )
    groups: str | None = path(
        "table with a barcode and its group on each line; makes one store a group, "
        "named cuts.{group}.h5 for out=cuts.h5"
    )
    bigwig: str | None = path(
        "coverage track, instead of reads; makes a store that cannot be thinned"
    )
    fasta: str | None = path(
        "FASTA of the genome, plain or bgzipped, for chromosome sizes and the shift check; or a "
        "chrom.sizes file or .fai; null = the sizes of the header of bam or bigwig"
    )
    out: str | None = path("store to write, .h5, with a .qc.json beside it; required")
    blacklist: str | None = path("BED of regions whose cut sites are dropped and that stay masked")
    layout: str = setting(
        "auto",
        "use proper pairs, or the 5' end of each single read; auto = as most reads of the file are",
        one_of("auto", "paired", "single"),
    )
    min_mapq: int = setting(30, "least mapping quality of a read", between(0, 255))
    shift: str = setting(
        "auto",
        "shift from fragment ends to cut sites; auto = +4/-4, or 10x for a fragment file",
        one_of("auto", *SHIFTS),
    )
    shift_check: bool = setting(True, "stop if the Tn5 motif is not where the shift expects it")
    keep_duplicates: bool = setting(False, "keep reads that are flagged as duplicates")
    max_fragment_bp: int = setting(2000, "longer fragments are dropped", at_least(10))
    include: list[str] | None = setting(None, "chromosomes to keep; null = all except `exclude`")
    exclude: list[str] | None = setting(
        None,
        "chromosomes to leave out, besides mitochondria and plastids; null = only these, "
        "[] = none at all",
    )
    workers: int = setting(0, "processes that read; 0 = one per usable core", at_least(0))
    progress: bool = setting(True, "show a progress bar on a terminal")

    def __post_init__(self) -> None:
        path_or_paths("bam", self.bam)
        check_settings(self)
