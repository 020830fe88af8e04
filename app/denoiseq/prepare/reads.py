"""Reads of BAM or CRAM files to cut sites, by chromosome: what becomes of each read.

A fragment is [start, end) of a proper pair; `pairs` finds both ends. Of single-end data each read
is a fragment of which one end is known, the 5' end of the read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from denoiseq.genomics.bam import OpenReads, ReadFile
from denoiseq.genomics.intervals import Merged
from denoiseq.prepare.cut_sites import (
    BOTH,
    FRAGMENT_FATES,
    LEFT,
    RIGHT,
    ChromCounts,
    CutWriter,
    EndSample,
    Fragments,
    ends_to_sample,
    in_order,
    no_sizes,
    usable,
)
from denoiseq.prepare.pairs import FORWARD, REVERSE, Filters, FlagKinds, fragments_of_pairs
from denoiseq.prepare.parts import part_files
from denoiseq.settings import Prepare

# what becomes of a read: it is counted under the first of these that holds
_FLAG_BITS = {
    "unmapped": 0x4,
    "secondary": 0x100,
    "supplementary": 0x800,
    "qc_fail": 0x200,
    "duplicate": 0x400,
}
READ_FATES = (
    *_FLAG_BITS,
    "not_proper_pair",
    "low_mapq",
    "reverse_mate",
    *FRAGMENT_FATES,
    "forward_mate",
    "lone_reverse_mate",
)
SINGLE_FATES = (*_FLAG_BITS, "low_mapq", *FRAGMENT_FATES, "single_end")
# what else is counted of the reads whose flags pass
NOTES = ("paired", "unpaired", "mateless", "ends_by_tlen")
_PAIRED, _PROPER_PAIR, _REVERSE = 0x1, 0x1 | 0x2, 0x10


@dataclass(frozen=True)
class Scanned:
    """What chromosomes gave: their counts, and the fragments of all by length (`no_sizes`)."""

    counts: dict[str, ChromCounts]
    fragment_sizes: np.ndarray


class Scanner:
    """Scans chromosomes of checked files, which it opens once; a context manager.

    genome_bp : of all chromosomes that are prepared
    """

    def __init__(
        self, files: Sequence[ReadFile], settings: Prepare, blacklist: Merged, genome_bp: int
    ) -> None:
        self._files = [OpenReads(file) for file in files]
        self._settings, self._blacklist = settings, blacklist
        self._genome_bp = genome_bp

    def __enter__(self) -> "Scanner":
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files:
            file.close()

    def scan(self, chroms: Mapping[str, int], stem: Path) -> Scanned:
        """Write the cut sites of chromosomes (chrom -> bp) to the part files of a stem, anew."""
        for path in part_files(stem):
            path.unlink(missing_ok=True)
        scanned = Scanned({}, no_sizes(self._settings))
        for chrom, size in chroms.items():
            writer = CutWriter(chrom, self._settings, stem, self._blacklist, scanned.fragment_sizes)
            scanned.counts[chrom] = self._scan(chrom, size, writer)
        return scanned

    def _scan(self, chrom: str, size: int, writer: CutWriter) -> ChromCounts:
        """Stream one chromosome of all files, merged, in bounded memory."""
        sample, counts = EndSample(ends_to_sample(size, self._genome_bp)), writer.counts
        counts.by_file = [Counter() for _ in self._files]
        streams = [
            _fragments(file, chrom, size, self._settings, fates)
            for file, fates in zip(self._files, counts.by_file, strict=True)
        ]
        unsorted = (
            f"reads on {chrom} are not sorted by coordinate, whatever the header says; "
            "sort and index the BAM: samtools sort, then samtools index"
        )
        for batch in in_order(streams, unsorted):
            writer.add(batch)
            sample.add(batch)
        counts.ends = sample.fragments
        return writer.finish()


def _fragments(
    file: OpenReads, chrom: str, size: int, settings: Prepare, fates: Counter[str]
) -> Iterator[Fragments]:
    """Batches of usable fragments; when the stream ends, every read has its fate."""
    if not file.paired:
        for batch in _single(file, chrom, settings, fates):
            yield usable(batch, size, settings, fates, "single_end")
        return
    kinds = _kinds_of_flags(settings.keep_duplicates, paired=True)
    filters = Filters(kinds, settings.min_mapq, settings.max_fragment_bp)
    counts = Counter[str]()
    with file.reads(chrom) as reads, ExitStack() as opened:
        stretch = cache(lambda: opened.enter_context(file.stretches(chrom)))
        for spans in fragments_of_pairs(reads, stretch, filters, counts):
            fragments = usable(_rows(spans.forward), size, settings, fates, "forward_mate")
            if spans.lone_reverse.shape[1]:
                lone = usable(_rows(spans.lone_reverse), size, settings, fates, "lone_reverse_mate")
                places = np.searchsorted(fragments[0], lone[0], side="right")
                fragments = np.insert(fragments, places, lone, axis=1)
                counts["reverse_mate"] -= spans.lone_reverse.shape[1]
            counts["mateless"] += spans.mateless
            counts["ends_by_tlen"] += spans.ends_by_tlen
            yield fragments
    _settle(counts, fates)


def _rows(spans: np.ndarray) -> Fragments:
    return np.concatenate([spans, np.full((1, spans.shape[1]), BOTH)])


def _settle(counts: Counter[str], fates: Counter[str]) -> None:
    """Add the counts of a paired file to its fates, which tell apart how many reads are paired."""
    unpaired = counts.pop(_UNPAIRED, 0)
    del counts[FORWARD], counts[REVERSE]  # no fates
    counts["not_proper_pair"] += unpaired
    fates.update(counts)
    fates["unpaired"] = unpaired
    passed = (fate for fate in READ_FATES if fate not in _FLAG_BITS)
    fates["paired"] = sum(fates[fate] for fate in passed) - unpaired


def _single(
    file: OpenReads, chrom: str, settings: Prepare, fates: Counter[str]
) -> Iterator[Fragments]:
    """Start, aligned bases and the known end of each read that is kept: int64 (3, F)."""
    kinds = _kinds_of_flags(settings.keep_duplicates, False)
    by_flag = kinds.count(np.empty(0, np.int64))
    with file.reads(chrom) as pieces:
        for reads in pieces:
            flag = kinds.of(reads.flags)
            by_flag += kinds.count(flag)
            of_kept, passes = (
                kinds.forward[flag] | kinds.reverse[flag],
                reads.mapqs >= settings.min_mapq,
            )
            fates["low_mapq"] += int(np.count_nonzero(of_kept & ~passes))
            rows = np.flatnonzero(of_kept & passes)
            known = np.where(flag[rows] & _REVERSE, RIGHT, LEFT)
            yield np.stack([reads.starts[rows], reads.aligned_bp(rows), known])
    for number, kind, n in kinds.items(by_flag):
        if kind in (FORWARD, REVERSE):
            fates["paired" if number & _PAIRED else "unpaired"] += n
        else:
            fates[kind] += n


_UNPAIRED = "unpaired"


@lru_cache
def _kinds_of_flags(keep_duplicates: bool, paired: bool) -> FlagKinds:
    """What each flag says: the fate that it alone decides, else FORWARD or REVERSE."""

    def kind_of(flag: int) -> str:
        for fate, bit in _FLAG_BITS.items():
            if flag & bit and not (fate == "duplicate" and keep_duplicates):
                return fate
        if paired and not flag & _PAIRED:
            return _UNPAIRED
        if paired and flag & _PROPER_PAIR != _PROPER_PAIR:
            return "not_proper_pair"
        return REVERSE if flag & _REVERSE else FORWARD

    return FlagKinds([kind_of(flag) for flag in range(1 << 12)])
