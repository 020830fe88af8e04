"""Reads of one chromosome of BAM or CRAM files to its cut sites: what becomes of each read.

A fragment is [start, end) of a proper pair, taken from its forward mate alone. Of single-end data
each read is a fragment of which one end is known, the 5' end of the read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from denoiseq.genomics.bam import ReadFile, reads_of
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
    in_order,
    usable,
)
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
)
SINGLE_FATES = (*_FLAG_BITS, "low_mapq", *FRAGMENT_FATES, "single_end")
_PROPER_PAIR, _REVERSE = 0x1 | 0x2, 0x10
_BATCH_READS = 1 << 16


def scan_bam(
    files: Sequence[ReadFile],
    chrom: str,
    size: int,
    settings: Prepare,
    part: Path,
    blacklist: Merged,
) -> ChromCounts:
    """Stream one chromosome of checked files, merged, and write its cut sites in bounded memory."""
    writer, sample = CutWriter(chrom, settings, part, blacklist), EndSample()
    counts = writer.counts
    counts.by_file = [Counter() for _ in files]
    streams = [
        _fragments(file, chrom, size, settings, fates)
        for file, fates in zip(files, counts.by_file, strict=True)
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
    file: ReadFile, chrom: str, size: int, settings: Prepare, fates: Counter[str]
) -> Iterator[Fragments]:
    """Batches of usable fragments; when the stream ends, every read has its fate."""
    kept = "forward_mate" if file.paired else "single_end"
    for batch in _passing(file, chrom, settings, fates):
        rows = np.stack([np.fromiter(row, np.int64, len(row)) for row in batch])  # (3, F)
        yield usable(rows, size, settings, fates, kept)


def _passing(
    file: ReadFile, chrom: str, settings: Prepare, fates: Counter[str]
) -> Iterator[list[list[int]]]:
    """Start, length (TLEN; of single reads, aligned bases) and known ends of what is kept."""
    paired, min_mapq = file.paired, settings.min_mapq
    fate_of_flag = _fates_of_flags(settings.keep_duplicates, paired)
    counts = dict.fromkeys(READ_FATES if paired else SINGLE_FATES, 0)
    starts: list[int] = []
    lengths: list[int] = []
    ends: list[int] = []
    with reads_of(file, chrom) as reads:
        for read in reads:
            flag = read.flag
            fate = fate_of_flag[flag]
            if fate is not None:
                counts[fate] += 1
            elif read.mapping_quality < min_mapq:
                counts["low_mapq"] += 1
            elif not paired:
                starts.append(read.reference_start)
                lengths.append(read.reference_length or 0)
                ends.append(RIGHT if flag & _REVERSE else LEFT)
            elif flag & _REVERSE:
                counts["reverse_mate"] += 1
            else:
                starts.append(read.reference_start)
                lengths.append(read.template_length)
                ends.append(BOTH)
            if len(starts) == _BATCH_READS:
                yield [starts, lengths, ends]
                starts, lengths, ends = [], [], []
    yield [starts, lengths, ends]
    fates.update(counts)


@lru_cache
def _fates_of_flags(keep_duplicates: bool, paired: bool) -> list[str | None]:
    """For each flag the fate that it alone decides; None: look at the read."""

    def fate_of(flag: int) -> str | None:
        for fate, bit in _FLAG_BITS.items():
            if flag & bit and not (fate == "duplicate" and keep_duplicates):
                return fate
        if paired and flag & _PROPER_PAIR != _PROPER_PAIR:
            return "not_proper_pair"
        return None

    return [fate_of(flag) for flag in range(1 << 12)]
