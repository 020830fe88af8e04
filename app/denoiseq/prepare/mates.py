"""Mates of one stretch of a chromosome, matched by name: exact, and slower than `pairs`.

Here reads are held in memory, so that whatever a read says can be asked.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from pysam import AlignedSegment

from denoiseq.genomics.bam import NOT_PRIMARY

_REVERSE, _MATE_REVERSE, _NUMBER = 0x10, 0x20, 0x40 | 0x80
_PAIRED = 0x1
_ON_REFERENCE = re.compile(r"(\d+)[MDN=X]")
_CIGAR = re.compile(r"(?:\d+[MIDNSHP=X])+")
_NEVER = -1  # the length of what is no fragment: its mates do not face each other

Reads = dict[str, AlignedSegment]  # by name


@dataclass
class Spans:
    """Fragments as int64 (2, F), start and length: of forward mates, and of reverse mates alone.

    mateless : reads whose mate the file lacks, though it lies within the longest fragment
    ends_by_tlen : forward mates among them whose end nothing but TLEN tells
    """

    forward: np.ndarray
    lone_reverse: np.ndarray = field(default_factory=lambda: np.empty((2, 0), np.int64))
    mateless: int = 0
    ends_by_tlen: int = 0


def spans_by_name(
    reads: Iterable[AlignedSegment],
    starts: Container[int],
    passes: Callable[[AlignedSegment], bool],
    max_fragment_bp: int,
) -> Spans:
    """The fragments that start within `starts`, ascending.

    reads : of the stretch, and of a fragment's length on both sides of it
    passes : whether a read passes the filters; a mate that does not still tells its end
    """
    rows: list[tuple[int, int]] = []
    lone: list[tuple[int, int]] = []
    by_tlen = mateless = 0
    for read, mate in _matched(reads):
        is_reverse = read.flag & _REVERSE
        start = read.next_reference_start if is_reverse else read.reference_start
        if start not in starts or not passes(read):
            continue
        if mate is not None:
            rows.append((start, (mate.reference_end or 0) - start))
        elif not is_reverse:
            length, source = _length_alone(read, max_fragment_bp)
            rows.append((start, length))
            mateless += source != "mate"
            by_tlen += source == "TLEN"
        elif _stands_alone(read, max_fragment_bp):
            lone.append((start, (read.reference_end or 0) - start))
            mateless += 1
    return Spans(_by_start(rows), _by_start(lone), mateless, by_tlen)


def _by_start(rows: list[tuple[int, int]]) -> np.ndarray:
    spans = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    return spans[:, np.argsort(spans[0], kind="stable")]


def _matched(
    reads: Iterable[AlignedSegment],
) -> Iterator[tuple[AlignedSegment, AlignedSegment | None]]:
    """Forward mates in the file's order with their reverse ones or None; then reverse ones alone.

    Reads that were moved point beside their mates: where a name comes once, it is enough.
    """
    forward: Reads = {}
    reverse: Reads = {}
    more: dict[str, list[AlignedSegment]] = defaultdict(list)  # further reads of a name and strand
    for read in reads:
        if read.flag & _PAIRED and not read.flag & NOT_PRIMARY:
            name, side = str(read.query_name), reverse if read.flag & _REVERSE else forward
            if side.setdefault(name, read) is not read:
                more[name].append(read)
    for name, further in more.items():
        group = [side.pop(name) for side in (forward, reverse) if name in side]
        yield from _matched_by_place([*group, *further])
    for name, read in forward.items():
        mate = reverse.get(name) or _numbered_mate(read, forward, reverse)
        if mate is not None and not read.flag & mate.flag & _NUMBER:  # not both first, or second
            del reverse[str(mate.query_name)]
            yield read, mate
        else:
            yield read, None
    for read in reverse.values():
        yield read, None


def _numbered_mate(read: AlignedSegment, forward: Reads, reverse: Reads) -> AlignedSegment | None:
    """The reverse mate where names end in the mate's number, as x/1 and x/2, or x.1 and x.2, do."""
    name = str(read.query_name)
    mate_name = name[:-1] + {"1": "2", "2": "1"}.get(name[-1:], "")
    mate = None if mate_name in forward else reverse.get(mate_name)
    return mate if mate is not None and _are_mates(read, mate) else None


def _matched_by_place(
    group: list[AlignedSegment],
) -> Iterator[tuple[AlignedSegment, AlignedSegment | None]]:
    """The same of reads of one name that comes more than once: mates point at each other."""
    reverse = [read for read in group if read.flag & _REVERSE]
    for read in group:
        if not read.flag & _REVERSE:
            at = next((i for i, mate in enumerate(reverse) if _are_mates(read, mate)), None)
            yield read, None if at is None else reverse.pop(at)
    for read in reverse:
        yield read, None


def _are_mates(forward: AlignedSegment, reverse: AlignedSegment) -> bool:
    """Whether two reads of one name say that the mate of each begins where the other does."""
    return (
        not forward.flag & reverse.flag & _NUMBER
        and forward.next_reference_start == reverse.reference_start
        and reverse.next_reference_start == forward.reference_start
    )


def _stands_alone(read: AlignedSegment, max_fragment_bp: int) -> bool:
    """Whether a reverse mate without the forward one makes a fragment: it knows both ends."""
    length = (read.reference_end or 0) - read.next_reference_start
    faces = not read.flag & _MATE_REVERSE and read.next_reference_id == read.reference_id
    return faces and 0 < length <= max_fragment_bp


def _length_alone(read: AlignedSegment, max_fragment_bp: int) -> tuple[int, str]:
    """The length of the fragment of a forward mate that is alone, and what tells it.

    That is "mate" where the mate's place is enough: the two do not face each other, or are further
    apart than a fragment is long.
    """
    mate_start = read.next_reference_start
    if not read.flag & _MATE_REVERSE or read.next_reference_id not in (-1, read.reference_id):
        return _NEVER, "mate"
    if read.next_reference_id < 0 or mate_start < 0:
        return read.template_length, "TLEN"
    apart = mate_start - read.reference_start
    if abs(apart) >= max_fragment_bp:
        return (apart + 1 if apart > 0 else _NEVER), "mate"
    if aligned := _aligned_bp(read):
        return apart + aligned, "MC"
    return read.template_length, "TLEN"


def _aligned_bp(read: AlignedSegment) -> int:
    """Bases of the reference under the mate's alignment by the MC tag; 0 where it tells none."""
    cigar = str(read.get_tag("MC")) if read.has_tag("MC") else ""
    return sum(map(int, _ON_REFERENCE.findall(cigar))) if _CIGAR.fullmatch(cigar) else 0
