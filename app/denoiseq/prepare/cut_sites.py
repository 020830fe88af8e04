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
from denoiseq.prepare.parts import append, part_files
from denoiseq.settings import Prepare
from denoiseq.settings.prepare import SHIFTS

# fragments as they travel, int64 (3, F): start, length, and which of the two ends are cut sites;
# further rows may follow
Fragments = np.ndarray
LEFT, RIGHT, BOTH = 1, 2, 3

# fragments that are left out, counted under the first of these that holds
FRAGMENT_FATES = ("bad_template", "too_short", "too_long")
ENDS_SAMPLED = 2_000  # fragments of a chromosome whose ends the shift check looks at


def resolve_shift(settings: Prepare) -> Prepare:
    """The settings with the shift that `auto` stands for: what users of fragment files expect."""
    if settings.shift != "auto":
        return settings
    return replace(settings, shift="10x" if settings.fragments else "+4/-4")


@dataclass
class ChromCounts:
    """What one chromosome gave.

    fragment_sizes : int64 (max_fragment_bp + 1,), kept fragments by length in bp; those of which
        one end is known have none
    part : stem of its part files; None where there is none, since there are no cut sites
    fragments : those kept, with at least one cut site outside the blacklist
    by_file : fate -> reads, file by file; every one is counted once
    ends : a sample of the fragments as they were read
    """

    fragment_sizes: np.ndarray
    part: Path | None = None
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


class EndSample:
    """A uniform, seeded sample of up to `ENDS_SAMPLED` fragments of a stream of any length."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._keys: np.ndarray = np.empty(0)
        self.fragments: Fragments = np.empty((3, 0), dtype=np.int64)

    def add(self, fragments: Fragments) -> None:
        """Sample from a batch: the fragments with the lowest random keys stay."""
        keys = self._rng.random((fragments.shape[1],))
        highest = self._keys.max() if len(self._keys) == ENDS_SAMPLED else 1.0
        low = np.flatnonzero(keys < highest)
        self._keys = np.concatenate([self._keys, keys[low]])
        self.fragments = np.concatenate([self.fragments, fragments[:, low]], axis=1)
        if len(self._keys) > ENDS_SAMPLED:
            stay = np.sort(np.argsort(self._keys)[:ENDS_SAMPLED])
            self._keys, self.fragments = self._keys[stay], self.fragments[:, stay]


class CutWriter:
    """Turns batches of usable fragments, ascending by start, into a sorted part.

    Its columns: positions ascending, and with each the id of its fragment, counted from 0 in the
    order of fragment starts. A cut is held as the one number position << 32 | fragment: sorting
    these gives an order that no batch size changes. A later fragment starts at or after the last
    one seen, so cuts below that one's left cut are final; the others, a fragment's length at most,
    stay pending.
    """

    def __init__(self, chrom: str, settings: Prepare, part: Path, blacklist: Merged) -> None:
        self._chrom, self._blacklist = chrom, blacklist
        self._shift = SHIFTS[settings.shift]
        self._part = part
        for path in part_files(part):
            path.write_bytes(b"")
        self._pending = np.empty(0, dtype=np.uint64)
        self.counts = ChromCounts(np.zeros(settings.max_fragment_bp + 1, np.int64), part)

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
        counts.fragment_sizes += np.bincount(measured, minlength=len(counts.fragment_sizes))
        ids = counts.fragments + np.arange(kept.sum(), dtype=np.uint64)  # (kept,)
        counts.fragments += len(ids)
        keys = cuts[:, kept].astype(np.uint64) << np.uint64(32) | ids
        return keys[allowed[:, kept]]

    def _write(self, n: int) -> None:
        ready, self._pending = self._pending[:n], self._pending[n:]
        append(self._part, (ready >> np.uint64(32)).astype("<u4"), ready.astype("<u4"))
        self.counts.cut_sites += n
