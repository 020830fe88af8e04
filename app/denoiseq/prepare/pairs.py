"""Mates of one chromosome to fragments: both ends come from alignments, in bounded memory.

A fragment is [start of its forward mate, end of its reverse mate); the forward mate decides whether
it is kept. Names are slow to read and hardly ever needed: of what an aligner wrote, the mates of a
pair state the same start of the forward mate and the same |TLEN|, right or wrong. Only a batch of
reads that do not match one to one in these, because a filter took mates away or a program moved
reads, is read again, and mates are matched by name where they do not.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from pysam import AlignedSegment

from denoiseq.genomics.read_arrays import Reads
from denoiseq.prepare.mates import Spans, spans_by_name

FORWARD, REVERSE = "forward", "reverse"  # what a flag can say beside a fate
_BATCH_READS = 1 << 15  # gathered before they are matched
_MANY = 20  # odd starts are many above one in so many fragments
_END = (1 << 31) - 1  # no chromosome is longer

Stretch = Callable[[int, int], Iterable[AlignedSegment]]  # start, end -> its reads, with their tags


class FlagKinds:
    """What each flag says of a read: a fate, FORWARD or REVERSE.

    forward, reverse : bool (flags,), whether it is that.
    """

    def __init__(self, kinds: list[str]) -> None:
        self._kinds = kinds
        self.forward, self.reverse = (np.array(kinds) == kind for kind in (FORWARD, REVERSE))

    def __getitem__(self, flag: int) -> str:
        return self._kinds[flag]

    def of(self, flags: np.ndarray) -> np.ndarray:
        """The flags without the bits that SAM does not define, as an index of the arrays."""
        return flags & (len(self._kinds) - 1)

    def count(self, flags: np.ndarray) -> np.ndarray:
        """Reads by flag."""
        return np.bincount(flags, minlength=len(self._kinds))

    def items(self, reads: np.ndarray) -> Iterator[tuple[int, str, int]]:
        """Each flag that there are reads of, what it says, and how many reads there are."""
        for flag in np.flatnonzero(reads).tolist():
            yield flag, self._kinds[flag], int(reads[flag])


@dataclass(frozen=True)
class Filters:
    """What decides about a read: what its flag says, and its MAPQ.

    Mates that are further apart than the longest fragment do not wait for each other.
    """

    kinds: FlagKinds
    min_mapq: int
    max_fragment_bp: int

    def passes(self, read: AlignedSegment) -> bool:
        """Whether a read is kept; the length of its fragment is another matter."""
        of_pair = self.kinds[read.flag] in (FORWARD, REVERSE)
        return of_pair and read.mapping_quality >= self.min_mapq and not self.apart(read)

    def apart(self, read: AlignedSegment) -> bool:
        """Whether a read says that its mate is too far away, by its place and by TLEN."""
        places = read.next_reference_start - read.reference_start
        return min(abs(places), abs(read.template_length)) >= self.max_fragment_bp


class _Table:
    """Rows of integers, gathered in pieces of int64 (C, R)."""

    def __init__(self, columns: int) -> None:
        self._pieces = [np.empty((columns, 0), np.int64)]

    def add(self, *columns: np.ndarray) -> None:
        self._pieces.append(np.stack(columns))

    def take(self, before: int) -> np.ndarray:
        """Remove the rows whose first number is below `before`: int64 (C, R)."""
        rows = np.concatenate(self._pieces, axis=1)
        now = rows[0] < before
        self._pieces = [rows[:, ~now]]
        return rows[:, now]


class _Waiting:
    """Mates that are not matched yet, in the file's order.

    forward, low : start and TLEN of forward mates that are kept, and of those of low MAPQ
    reverse : of reverse mates: start of the forward one, TLEN, and end
    """

    def __init__(self) -> None:
        self.forward, self.low, self.reverse = _Table(2), _Table(2), _Table(3)

    def take(self, before: int) -> "_Batch":
        """Remove the mates of fragments that start before a position."""
        starts, sizes = self.forward.take(before)
        mate_starts, mate_sizes, ends = self.reverse.take(before)
        low = _keys(*self.low.take(before))
        return _Batch(starts, sizes, low, _keys(mate_starts, mate_sizes), ends)


def _keys(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One number for the start of the forward mate and |TLEN|, which is below 2^32."""
    return starts << 32 | np.abs(sizes)


@dataclass(frozen=True)
class _Batch:
    """Mates to match, int64: of kept forward ones `starts` and `sizes`, of reverse ones `ends`.

    low, mates : keys of forward mates of low MAPQ, and of reverse mates
    """

    starts: np.ndarray
    sizes: np.ndarray
    low: np.ndarray
    mates: np.ndarray
    ends: np.ndarray

    def matched(self) -> np.ndarray | None:
        """The end of each fragment, int64 (F,); None where the mates do not tell."""
        keys = np.concatenate([_keys(self.starts, self.sizes), self.low])
        order, mate_order = (np.argsort(k, kind="stable") for k in (keys, self.mates))
        mates, ends = self.mates[mate_order], self.ends[mate_order]
        if not np.array_equal(keys[order], mates) or len(self._unclear(mates, ends)):
            return None
        of_forward = np.empty_like(keys)
        of_forward[order] = ends
        return of_forward[: len(self.starts)]

    def _unclear(self, mates: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Of sorted keys those with several ends, some of which belong to mates of low MAPQ."""
        several = (mates[1:] == mates[:-1]) & (ends[1:] != ends[:-1])
        keys = mates[1:][several]
        return keys[np.isin(keys, self.low)]

    def odd_starts(self) -> np.ndarray:
        """Starts of the fragments whose mates do not tell."""
        keys = np.concatenate([_keys(self.starts, self.sizes), self.low])
        values, where = np.unique(np.concatenate([keys, self.mates]), return_inverse=True)
        forward, reverse = np.split(where, [len(keys)])
        n = len(values)
        uneven = np.bincount(forward, minlength=n) != np.bincount(reverse, minlength=n)
        order = np.argsort(self.mates)
        unclear = self._unclear(self.mates[order], self.ends[order])
        return np.unique(np.concatenate([values[uneven], unclear]) >> 32)

    def without(self, starts: np.ndarray) -> "_Batch":
        """The mates of fragments that start elsewhere."""
        forward, low, mates = (
            ~np.isin(of, starts) for of in (self.starts, self.low >> 32, self.mates >> 32)
        )
        columns = self.starts[forward], self.sizes[forward], self.low[low], self.mates[mates]
        return _Batch(*columns, self.ends[mates])


def fragments_of_pairs(
    reads: Iterable[Reads],
    stretch: Callable[[], Stretch],
    filters: Filters,
    counts: Counter[str],
) -> Iterator[Spans]:
    """Batches of fragments, ascending by start; `counts` gets every other read, under its fate.

    stretch : opens the file for reading stretches of the chromosome again; called where it has to
    """
    waiting, first = _Waiting(), 0
    for before in _collect(reads, filters, waiting, counts):
        if before < min(first + filters.max_fragment_bp, _END):
            continue  # where reads lie dense, so that few of them are read again with two batches
        batch = waiting.take(before)
        ends, starts = batch.matched(), batch.starts
        if ends is not None:
            yield Spans(np.stack([starts, ends - starts]))
        elif np.any(np.diff(starts, prepend=first) < 0):  # not sorted: `in_order` refuses them
            yield Spans(np.stack([starts, batch.sizes]))
        else:
            yield _with_names(batch, range(first, before), stretch(), filters)
        first = before


def _with_names(batch: _Batch, where: range, stretch: Stretch, filters: Filters) -> Spans:
    """The fragments of a batch that start `where`: by name at its odd starts.

    Where these are many, at all: two reads that lack their mates can look like mates.
    """
    reach, odd = filters.max_fragment_bp, batch.odd_starts()
    rest = batch.without(odd)
    ends = rest.matched()
    if ends is None or _MANY * len(odd) > len(batch.starts):
        reads = stretch(max(where.start - reach, 0), min(where.stop + reach, _END))
        return spans_by_name(reads, where, filters.passes, reach)
    chosen = {start for start in odd.tolist() if start in where}
    first, last = min(chosen, default=0), max(chosen, default=0)
    reads = (
        read
        for read in stretch(max(first - reach, 0), min(last + reach, _END))
        if (read.next_reference_start if read.is_reverse else read.reference_start) in chosen
    )
    spans = spans_by_name(reads, chosen, filters.passes, reach)
    both = np.concatenate([np.stack([rest.starts, ends - rest.starts]), spans.forward], axis=1)
    return replace(spans, forward=both[:, np.argsort(both[0], kind="stable")])


def _collect(
    pieces: Iterable[Reads], filters: Filters, waiting: _Waiting, counts: Counter[str]
) -> Iterator[int]:
    """Put mates into `waiting`; yields, again and again, before which start they are complete."""
    kinds = filters.kinds
    by_flag = kinds.count(np.empty(0, np.int64))
    for reads, ends_batch in _in_batches(pieces):
        flag = kinds.of(reads.flags)
        by_flag += kinds.count(flag)
        low = reads.mapqs < filters.min_mapq
        starts, mate_starts, tlens = reads.starts, reads.mate_starts, reads.tlens
        apart = np.minimum(np.abs(mate_starts - starts), np.abs(tlens)) >= filters.max_fragment_bp
        of_pair = kinds.forward[flag]
        rows = np.flatnonzero(of_pair & ~low & ~apart)
        waiting.forward.add(starts[rows], tlens[rows])
        rows = np.flatnonzero(of_pair & low & ~apart)
        waiting.low.add(starts[rows], tlens[rows])
        far = of_pair & ~low & apart
        ahead = int(np.count_nonzero(far & (mate_starts > starts)))
        counts.update(too_long=ahead, bad_template=int(np.count_nonzero(far) - ahead))
        of_mate = kinds.reverse[flag]
        rows = np.flatnonzero(of_mate & ~apart)
        waiting.reverse.add(mate_starts[rows], tlens[rows], reads.ends(rows))
        counts["low_mapq"] += int(np.count_nonzero((of_pair | of_mate) & low))
        counts["reverse_mate"] += int(np.count_nonzero(of_mate & ~low))
        if ends_batch:
            yield int(starts[-1]) - filters.max_fragment_bp
    for _, kind, n in kinds.items(by_flag):
        counts[kind] += n
    yield _END


def _in_batches(pieces: Iterable[Reads]) -> Iterator[tuple[Reads, bool]]:
    """The pieces, cut where a batch of reads is full, and whether it is."""
    room = _BATCH_READS
    for piece in pieces:
        while len(piece):
            part, piece = piece[:room], piece[room:]
            room = room - len(part) or _BATCH_READS
            yield part, room == _BATCH_READS
