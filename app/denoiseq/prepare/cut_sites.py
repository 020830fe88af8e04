"""Fragments of one chromosome to its sorted cut sites: filters, each with its count, and Tn5 shift.

The cut sites of a fragment [start, end) are the two Tn5 insertions at its ends, or the one that is
known. One pass over a stream of any length in bounded memory, into files that the run over all
chromosomes joins to a store. Knows no file format of reads.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import MITOCHONDRIAL, Merged, contains

# cut sites of the fragment [s, e): s + SHIFTS[name][0] and e + SHIFTS[name][1]
SHIFTS = {
    "+4/-4": (4, -5),  # the Tn5 motif at both ends coincides
    "+4/-5": (4, -6),
    "none": (0, -1),
    "10x": (0, -1),  # shifted before: the ends are the insertions
    "atacworks": (5, -4),  # +4/-4 from 1-based positions written as 0-based: 1 bp to the right
}

# fragments as they travel, int64 (3, F): start, length, and which of the two ends are cut sites;
# further rows may follow
Fragments = np.ndarray
LEFT, RIGHT, BOTH = 1, 2, 3

# fragments that are left out, counted under the first of these that holds
FRAGMENT_FATES = ("bad_template", "too_short", "too_long")
ENDS_SAMPLED = 2_000  # fragments of a chromosome whose ends the shift check looks at


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
    layout : "paired", "single", or "auto": as the reads are.
    shift_check : stop where the Tn5 motif is elsewhere than `shift` takes it to be.
    """

    min_mapq: int = 30
    shift: str = "+4/-4"
    keep_duplicates: bool = False
    max_fragment_bp: int = 2000
    include: list[str] | None = None
    exclude: list[str] = field(default_factory=lambda: list(MITOCHONDRIAL))
    layout: str = "auto"
    shift_check: bool = True

    def __post_init__(self) -> None:
        if self.shift not in SHIFTS:
            raise UserError(f"unknown shift {self.shift!r}; choose one of {', '.join(SHIFTS)}.")
        if not 0 <= self.min_mapq <= 255:
            raise UserError(f"min_mapq lies in 0 to 255, got {self.min_mapq}.")
        if self.max_fragment_bp < 10:
            raise UserError(f"max_fragment_bp must be at least 10, got {self.max_fragment_bp}.")


@dataclass
class ChromCounts:
    """What one chromosome gave.

    reads : fate -> reads (or lines), over all files; every one is counted once
    fragments : those kept, with at least one cut site outside the blacklist
    cut_sites : those written
    blacklisted_fragments, blacklisted_cut_sites : dropped for the blacklist
    fragment_sizes : int64 (max_fragment_bp + 1,), kept fragments by length in bp; those of which
        one end is known have none
    by_file : reads, file by file
    ends : a sample of the fragments as they were read
    """

    reads: Counter[str]
    fragments: int
    cut_sites: int
    blacklisted_fragments: int
    blacklisted_cut_sites: int
    fragment_sizes: np.ndarray
    by_file: list[Counter[str]] = field(default_factory=list)
    ends: Fragments | None = None


def part_files(part_path: Path) -> tuple[Path, Path]:
    """The two files of one chromosome's part: cut positions and fragment ids, raw uint32."""
    return part_path.with_suffix(".cuts"), part_path.with_suffix(".fragments")


def usable(
    fragments: Fragments, size: int, options: CutOptions, fates: Counter[str], kept: str
) -> Fragments:
    """Leave out fragments that cannot be, and count each in `fates`: FRAGMENT_FATES or `kept`."""
    left, right = SHIFTS[options.shift]
    starts, lengths = fragments[0], fragments[1]
    holds = np.stack(
        [
            (lengths <= 0) | (starts + lengths > size),
            lengths + right < left,  # the two cuts would change places
            lengths > options.max_fragment_bp,
            np.ones(len(starts), dtype=bool),
        ]
    )
    fate = holds.argmax(axis=0)  # the first that holds
    counts = np.bincount(fate, minlength=4).tolist()
    fates.update(dict(zip((*FRAGMENT_FATES, kept), counts, strict=True)))
    return fragments[:, fate == len(FRAGMENT_FATES)]


def in_order(streams: Sequence[Iterator[Fragments]], source: str) -> Iterator[Fragments]:
    """Merge streams of batches, each ascending by start, into one such stream.

    Raises ValueError with `source` (what is read, and where) for a stream that does not ascend.
    """
    waiting = [_ascending(stream, source) for stream in streams]
    heads = [next(stream, None) for stream in waiting]
    while any(head is not None for head in heads):
        # what a stream has yet to give starts at or after the last fragment that it gave
        final = min(int(head[0, -1]) for head in heads if head is not None)
        ready = []
        for i, head in enumerate(heads):
            if head is not None:
                n = int(np.searchsorted(head[0], final, side="right"))
                ready.append(head[:, :n])
                heads[i] = head[:, n:] if n < head.shape[1] else next(waiting[i], None)
        batch = np.concatenate(ready, axis=1) if len(ready) > 1 else ready[0]
        yield batch[:, np.argsort(batch[0], kind="stable")] if len(ready) > 1 else batch


def _ascending(stream: Iterator[Fragments], source: str) -> Iterator[Fragments]:
    """The batches that are not empty, each checked to start where the one before ends, or later."""
    last = 0
    for batch in stream:
        if batch.shape[1] == 0:
            continue
        if batch[0, 0] < last or np.any(batch[0, 1:] < batch[0, :-1]):
            raise UserError(source)
        last = int(batch[0, -1])
        yield batch


class EndSample:
    """A uniform, seeded sample of up to `ENDS_SAMPLED` fragments of a stream of any length."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._ranks: np.ndarray = np.empty(0)
        self._rows: Fragments = np.empty((3, 0), dtype=np.int64)

    def add(self, fragments: Fragments) -> None:
        """Take note of a batch: the fragments with the lowest of random ranks stay."""
        ranks = self._rng.random((fragments.shape[1],))
        highest = self._ranks.max() if len(self._ranks) == ENDS_SAMPLED else 1.0
        low = np.flatnonzero(ranks < highest)
        self._ranks = np.concatenate([self._ranks, ranks[low]])
        self._rows = np.concatenate([self._rows, fragments[:, low]], axis=1)
        if len(self._ranks) > ENDS_SAMPLED:
            stay = np.sort(np.argsort(self._ranks)[:ENDS_SAMPLED])
            self._ranks, self._rows = self._ranks[stay], self._rows[:, stay]

    @property
    def fragments(self) -> Fragments:
        return self._rows


class CutWriter:
    """Turns batches of usable fragments, ascending by start, into sorted part files.

    Writes `part_files(part_path)`: positions ascending, and with each the id of its fragment,
    counted from 0 in the order of fragment starts.

    A cut is held as the one number position << 32 | fragment: sorting these gives an order that
    no batch size changes. A later fragment starts at or after the last one seen, so cuts below
    that one's left cut are final; the others, a fragment's length at most, stay pending. Files are
    open only while they are written to: there may be thousands.
    """

    def __init__(self, chrom: str, options: CutOptions, part_path: Path, blacklist: Merged) -> None:
        self._chrom, self._options, self._blacklist = chrom, options, blacklist
        self._files = part_files(part_path)
        for path in self._files:
            path.write_bytes(b"")
        self._pending = np.empty(0, dtype=np.uint64)
        self.counts = self.nothing(options)

    @staticmethod
    def nothing(options: CutOptions) -> ChromCounts:
        """The counts of a chromosome without fragments."""
        sizes = np.zeros(options.max_fragment_bp + 1, dtype=np.int64)
        return ChromCounts(Counter(), 0, 0, 0, 0, sizes)

    def add(self, fragments: Fragments) -> None:
        """Take a batch of fragments that `usable` let through."""
        if fragments.shape[1] == 0:
            return
        self._pending = np.sort(np.concatenate([self._pending, self._keys(fragments)]))
        final_below = int(fragments[0, -1]) + SHIFTS[self._options.shift][0]
        self._write(int(np.searchsorted(self._pending, np.uint64(final_below << 32))))

    def finish(self) -> ChromCounts:
        """Write what is pending; return what the chromosome gave."""
        self._write(len(self._pending))
        return self.counts

    def _keys(self, fragments: Fragments) -> np.ndarray:
        starts, lengths, ends = fragments[:3]
        left, right = SHIFTS[self._options.shift]
        cuts = np.stack([starts + left, starts + lengths + right])  # (2, F)
        known = np.stack([ends & LEFT, ends & RIGHT]).astype(bool)
        allowed = known & ~contains(self._blacklist, self._chrom, cuts)
        kept = allowed.any(axis=0)
        counts = self.counts
        counts.blacklisted_fragments += int((~kept).sum())
        counts.blacklisted_cut_sites += int((known & ~allowed).sum())
        measured = lengths[kept & (ends == BOTH)]
        counts.fragment_sizes += np.bincount(measured, minlength=len(counts.fragment_sizes))
        ids = counts.fragments + np.arange(kept.sum(), dtype=np.uint64)  # (kept,)
        counts.fragments += len(ids)
        keys = cuts[:, kept].astype(np.uint64) << np.uint64(32) | ids
        return keys[allowed[:, kept]]

    def _write(self, n: int) -> None:
        ready, self._pending = self._pending[:n], self._pending[n:]
        halves = (ready >> np.uint64(32)).astype("<u4"), ready.astype("<u4")  # position, fragment
        for path, half in zip(self._files, halves, strict=True):
            with path.open("ab") as file:
                file.write(half.tobytes())
        self.counts.cut_sites += n
