"""Reads of one chromosome to its sorted cut sites: filters, each with its count, and Tn5 shift.

A fragment is [start, end) of a proper pair, taken from its forward mate alone; its cut sites are
the two Tn5 insertions at its ends. One pass in bounded memory, into files that the run over all
chromosomes (`fragments.prepare`) joins to a store.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from denoiseq.genomics.bam import read_chromosome
from denoiseq.genomics.intervals import MITOCHONDRIAL, Merged, contains

# cut sites of the fragment [s, e): s + SHIFTS[name][0] and e + SHIFTS[name][1]
SHIFTS = {
    "+4/-4": (4, -5),  # the Tn5 motif at both ends coincides
    "+4/-5": (4, -6),
    "none": (0, -1),
    "10x": (0, -1),  # shifted before: the ends are the insertions
    "atacworks": (5, -4),  # +4/-4 from 1-based positions written as 0-based: 1 bp to the right
}

# what becomes of a read: it is counted under the first of these that holds
FLAG_FILTERS = ("unmapped", "secondary", "supplementary", "qc_fail", "duplicate")
READ_FATES = (
    *FLAG_FILTERS,
    "not_proper_pair",
    "low_mapq",
    "reverse_mate",
    "bad_template",
    "too_short",
    "too_long",
    "forward_mate",
)
_FLAG_BITS = {
    "unmapped": 0x4,
    "secondary": 0x100,
    "supplementary": 0x800,
    "qc_fail": 0x200,
    "duplicate": 0x400,
}
_PROPER_PAIR, _REVERSE = 0x1 | 0x2, 0x10
_BATCH_READS = 1 << 16


@dataclass(frozen=True)
class CutOptions:
    """How reads become cut sites.

    Parameters
    ----------
    min_mapq : least mapping quality of the forward mate.
    shift : a name in SHIFTS.
    keep_duplicates : keep reads that are marked as duplicates.
    max_fragment_bp : longest fragment to keep.
    include, exclude : chromosomes to keep (None: all) and to leave out.
    """

    min_mapq: int = 30
    shift: str = "+4/-4"
    keep_duplicates: bool = False
    max_fragment_bp: int = 2000
    include: list[str] | None = None
    exclude: list[str] = field(default_factory=lambda: list(MITOCHONDRIAL))

    def __post_init__(self) -> None:
        if self.shift not in SHIFTS:
            raise ValueError(f"unknown shift {self.shift!r}; choose one of {', '.join(SHIFTS)}.")
        if not 0 <= self.min_mapq <= 255:
            raise ValueError(f"min_mapq lies in 0 to 255, got {self.min_mapq}.")
        if self.max_fragment_bp < 10:
            raise ValueError(f"max_fragment_bp must be at least 10, got {self.max_fragment_bp}.")


@dataclass
class ChromCounts:
    """What one chromosome gave.

    reads : fate (READ_FATES) -> reads; every read is counted once
    fragments : those kept, with at least one cut site outside the blacklist
    cut_sites : those written
    blacklisted_fragments, blacklisted_cut_sites : dropped for the blacklist
    fragment_sizes : int64 (max_fragment_bp + 1,), kept fragments by length in bp
    """

    reads: Counter[str]
    fragments: int
    cut_sites: int
    blacklisted_fragments: int
    blacklisted_cut_sites: int
    fragment_sizes: np.ndarray


def part_files(part_path: Path) -> tuple[Path, Path]:
    """The two files of one chromosome's part: cut positions and fragment ids, raw uint32."""
    return part_path.with_suffix(".cuts"), part_path.with_suffix(".fragments")


def scan_bam(
    bam: Path, chrom: str, size: int, options: CutOptions, part_path: Path, blacklist: Merged
) -> ChromCounts:
    """Stream one chromosome of a checked BAM and write its cut sites.

    Writes `part_files(part_path)`: positions ascending, and with each the id of its fragment,
    counted from 0 in the order of fragment starts. Memory is bounded by a batch of reads and the
    fragments that reach over one position, whatever the size of the file.
    """
    writer = _CutWriter(chrom, size, options, part_path, blacklist)
    fate_of_flag = [_fate_of_flag(flag, options) for flag in range(1 << 12)]
    counts = [0] * len(READ_FATES)
    low_mapq, reverse = READ_FATES.index("low_mapq"), READ_FATES.index("reverse_mate")
    starts: list[int] = []
    lengths: list[int] = []
    with writer:
        for read in read_chromosome(bam, chrom):
            flag = read.flag
            fate = fate_of_flag[flag]
            if fate is not None:
                counts[fate] += 1
            elif read.mapping_quality < options.min_mapq:
                counts[low_mapq] += 1
            elif flag & _REVERSE:
                counts[reverse] += 1
            else:
                starts.append(read.reference_start)
                lengths.append(read.template_length)
                if len(starts) == _BATCH_READS:
                    writer.add(np.array(starts), np.array(lengths))
                    starts.clear()
                    lengths.clear()
        writer.add(np.array(starts, dtype=np.int64), np.array(lengths, dtype=np.int64))
    writer.counts.reads.update(dict(zip(READ_FATES, counts, strict=True)))
    return writer.counts


def _fate_of_flag(flag: int, options: CutOptions) -> int | None:
    """Index in READ_FATES of the fate that the flag alone decides; None: look at the read."""
    for fate in FLAG_FILTERS:
        if flag & _FLAG_BITS[fate] and not (fate == "duplicate" and options.keep_duplicates):
            return READ_FATES.index(fate)
    if flag & _PROPER_PAIR != _PROPER_PAIR:
        return READ_FATES.index("not_proper_pair")
    return None


class _CutWriter:
    """Turns batches of forward mates, ascending by start, into sorted part files.

    A cut is held as the one number position << 32 | fragment: sorting these gives an order that
    no batch size changes. A later fragment starts at or after the last one seen, so cuts below
    that one's left cut are final; the others, a fragment's length at most, stay pending.
    """

    def __init__(
        self, chrom: str, size: int, options: CutOptions, part_path: Path, blacklist: Merged
    ) -> None:
        self._chrom, self._size, self._options, self._blacklist = chrom, size, options, blacklist
        self._files = [path.open("wb") for path in part_files(part_path)]
        self._pending = np.empty(0, dtype=np.uint64)
        self._last_start = 0
        sizes = np.zeros(options.max_fragment_bp + 1, dtype=np.int64)
        self.counts = ChromCounts(Counter(), 0, 0, 0, 0, sizes)

    def __enter__(self) -> "_CutWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._write(len(self._pending))
        for file in self._files:
            file.close()

    def add(self, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Take forward mates: int64 (R,) starts and template lengths (TLEN), bp."""
        if len(starts) == 0:
            return
        if starts[0] < self._last_start or np.any(starts[1:] < starts[:-1]):
            raise ValueError(
                f"reads on {self._chrom} are not sorted by coordinate, whatever the header says; "
                "sort and index the BAM: samtools sort, then samtools index"
            )
        self._last_start = int(starts[-1])
        self._pending = np.sort(np.concatenate([self._pending, self._keys(starts, lengths)]))
        final_below = self._last_start + SHIFTS[self._options.shift][0]
        self._write(int(np.searchsorted(self._pending, np.uint64(final_below << 32))))

    def _keys(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        starts, lengths = self._fragments(starts, lengths)
        left, right = SHIFTS[self._options.shift]
        cuts = np.stack([starts + left, starts + lengths + right])  # (2, F)
        allowed = ~contains(self._blacklist, self._chrom, cuts)
        kept = allowed.any(axis=0)
        counts = self.counts
        counts.blacklisted_fragments += int((~kept).sum())
        counts.blacklisted_cut_sites += int((~allowed).sum())
        counts.fragment_sizes += np.bincount(lengths[kept], minlength=len(counts.fragment_sizes))
        ids = counts.fragments + np.arange(kept.sum(), dtype=np.uint64)  # (kept,)
        counts.fragments += len(ids)
        keys = cuts[:, kept].astype(np.uint64) << np.uint64(32) | ids
        return keys[allowed[:, kept]]

    def _fragments(self, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left, right = SHIFTS[self._options.shift]
        fates = {
            "bad_template": (lengths <= 0) | (starts + lengths > self._size),
            "too_short": lengths + right < left,  # the two cuts would change places
            "too_long": lengths > self._options.max_fragment_bp,
        }
        kept = np.ones(len(starts), dtype=bool)
        for fate, holds in fates.items():
            self.counts.reads[fate] += int((kept & holds).sum())
            kept &= ~holds
        self.counts.reads["forward_mate"] += int(kept.sum())
        return starts[kept], lengths[kept]

    def _write(self, n: int) -> None:
        ready, self._pending = self._pending[:n], self._pending[n:]
        self._files[0].write((ready >> np.uint64(32)).astype("<u4").tobytes())
        self._files[1].write(ready.astype("<u4").tobytes())  # the low half
        self.counts.cut_sites += n
