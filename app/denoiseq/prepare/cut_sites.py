"""Fragments of one chromosome to its sorted cut sites: filters, each with its count, and Tn5 shift.

The cut sites of a fragment [start, end) are the two Tn5 insertions at its ends, or the one that is
known. One pass over a stream of any length in bounded memory, into part files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Merged, contains
from denoiseq.prepare.parts import Part, append, rows_in
from denoiseq.settings import Prepare
from denoiseq.settings.prepare import SHIFTS

# fragments as they travel, int64 (3, F): start, length, and which of the two ends are cut sites;
# further rows may follow
Fragments = np.ndarray
LEFT, RIGHT, BOTH = 1, 2, 3

# fragments that are left out, counted under the first of these that holds
FRAGMENT_FATES = ("bad_template", "too_short", "too_long")
# fragments whose ends the shift check looks at: of a chromosome at most, and about of a genome
ENDS_SAMPLED, _ENDS_OF_GENOME = 2_000, 200_000


def resolve_shift(settings: Prepare) -> Prepare:
    """The settings with the shift that `auto` stands for: what users of fragment files expect."""
    if settings.shift != "auto":
        return settings
    return replace(settings, shift="10x" if settings.fragments else "+4/-4")


@dataclass
class ChromCounts:
    """What one chromosome gave.

    part : where its cut sites are; None where there are none
    fragments : those kept, with at least one cut site outside the blacklist
    by_file : fate -> reads, file by file; every one is counted once
    ends : a sample of the fragments as they were read
    """

    part: Part | None = None
    fragments: int = 0
    cut_sites: int = 0
    blacklisted_fragments: int = 0
    blacklisted_cut_sites: int = 0
    by_file: list[Counter[str]] = field(default_factory=list)
    ends: Fragments = field(default_factory=lambda: np.empty((3, 0), dtype=np.int64))


def usable(
    fragments: Fragments, size: int, settings: Prepare, fates: Counter[str], kept: str
) -> Fragments:
    """Leave out fragments that cannot be, and count each in `fates`: FRAGMENT_FATES or `kept`."""
    left, right = SHIFTS[settings.shift]
    starts, lengths = fragments[0], fragments[1]
    holds = np.stack(
        [
            (lengths <= 0) | (starts + lengths > size),
            lengths + right < left,  # the two cuts would change places
            lengths > settings.max_fragment_bp,
            np.ones(len(starts), dtype=bool),
        ]
    )
    fate = holds.argmax(axis=0)  # the first that holds
    counts = np.bincount(fate, minlength=4).tolist()
    fates.update(dict(zip((*FRAGMENT_FATES, kept), counts, strict=True)))
    return fragments[:, fate == len(FRAGMENT_FATES)]


def in_order(streams: Sequence[Iterator[Fragments]], unsorted: str) -> Iterator[Fragments]:
    """Merge streams of batches that ascend by start; UserError(unsorted) where one does not."""
    waiting = [_ascending(stream, unsorted) for stream in streams]
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


def _ascending(stream: Iterator[Fragments], unsorted: str) -> Iterator[Fragments]:
    """The batches that are not empty, each checked to start where the one before ends, or later."""
    last = 0
    for batch in stream:
        if batch.shape[1] == 0:
            continue
        if batch[0, 0] < last or np.any(batch[0, 1:] < batch[0, :-1]):
            raise UserError(unsorted)
        last = int(batch[0, -1])
        yield batch


def ends_to_sample(size: int, genome_bp: int) -> int:
    """How many fragments of a chromosome the shift check looks at, by its share of the genome."""
    return min(ENDS_SAMPLED, 1 + _ENDS_OF_GENOME * size // genome_bp)


class EndSample:
    """A uniform, seeded sample of up to `most` fragments of a stream of any length."""

    def __init__(self, most: int = ENDS_SAMPLED) -> None:
        self._most = most
        self._rng = np.random.default_rng(0)
        self._keys: np.ndarray = np.empty(0)
        self.fragments: Fragments = np.empty((3, 0), dtype=np.int64)

    def add(self, fragments: Fragments) -> None:
        """Sample from a batch: the fragments with the lowest random keys stay."""
        keys = self._rng.random((fragments.shape[1],))
        highest = self._keys.max() if len(self._keys) == self._most else 1.0
        low = np.flatnonzero(keys < highest)
        self._keys = np.concatenate([self._keys, keys[low]])
        self.fragments = np.concatenate([self.fragments, fragments[:, low]], axis=1)
        if len(self._keys) > self._most:
            stay = np.sort(np.argsort(self._keys)[: self._most])
            self._keys, self.fragments = self._keys[stay], self.fragments[:, stay]


def no_sizes(settings: Prepare) -> np.ndarray:
    """Counts of fragments by length in bp, none so far: int64 (max_fragment_bp + 1,)."""
    return np.zeros(settings.max_fragment_bp + 1, np.int64)


class CutWriter:
    """Turns batches of usable fragments, ascending by start, into a sorted part of a chromosome.

    Its columns: positions ascending, and with each the id of its fragment, counted from 0 in the
    order of fragment starts. A cut is held as the one number position << 32 | fragment: sorting
    these gives an order that no batch size changes. A later fragment starts at or after the last
    one seen, so cuts below that one's left cut are final; the others, a fragment's length at most,
    stay pending.

    fragment_sizes : as of `no_sizes`; the kept fragments are added to it, but for those of which
        one end is known
    """

    def __init__(
        self,
        chrom: str,
        settings: Prepare,
        stem: Path,
        blacklist: Merged,
        fragment_sizes: np.ndarray,
    ) -> None:
        self._chrom, self._blacklist = chrom, blacklist
        self._shift = SHIFTS[settings.shift]
        self._stem, self._first_row = stem, rows_in(stem)
        self._fragment_sizes = fragment_sizes
        self._pending = np.empty(0, dtype=np.uint64)
        self.counts = ChromCounts()

    def add(self, fragments: Fragments) -> None:
        """Take a batch of fragments that `usable` let through."""
        if fragments.shape[1] == 0:
            return
        self._pending = np.sort(np.concatenate([self._pending, self._keys(fragments)]))
        final_below = int(fragments[0, -1]) + self._shift[0]
        self._write(int(np.searchsorted(self._pending, np.uint64(final_below << 32))))

    def finish(self) -> ChromCounts:
        """Write what is pending; return what the chromosome gave."""
        self._write(len(self._pending))
        if n := self.counts.cut_sites:
            self.counts.part = Part(self._stem, self._first_row, self._first_row + n)
        return self.counts

    def _keys(self, fragments: Fragments) -> np.ndarray:
        starts, lengths, ends = fragments[:3]
        left, right = self._shift
        cuts = np.stack([starts + left, starts + lengths + right])  # (2, F)
        known = np.stack([ends & LEFT, ends & RIGHT]).astype(bool)
        allowed = known & ~contains(self._blacklist, self._chrom, cuts)
        kept = allowed.any(axis=0)
        counts = self.counts
        counts.blacklisted_fragments += int((~kept).sum())
        counts.blacklisted_cut_sites += int((known & ~allowed).sum())
        measured = lengths[kept & (ends == BOTH)]
        of_lengths = np.bincount(measured)
        self._fragment_sizes[: len(of_lengths)] += of_lengths
        ids = counts.fragments + np.arange(kept.sum(), dtype=np.uint64)  # (kept,)
        counts.fragments += len(ids)
        keys = cuts[:, kept].astype(np.uint64) << np.uint64(32) | ids
        return keys[allowed[:, kept]]

    def _write(self, n: int) -> None:
        if n == 0:
            return
        ready, self._pending = self._pending[:n], self._pending[n:]
        append(self._stem, (ready >> np.uint64(32)).astype("<u4"), ready.astype("<u4"))
        self.counts.cut_sites += n
