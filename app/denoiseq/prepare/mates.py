"""Mates of one stretch of a chromosome, matched by name: exact, and slower than `pairs`.

Here reads are held in memory, so that whatever a read says can be asked.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from pysam import AlignedSegment

_REVERSE, _MATE_REVERSE, _NUMBER = 0x10, 0x20, 0x40 | 0x80
_PAIRED, _NOT_PRIMARY = 0x1, 0x4 | 0x100 | 0x800
_ON_REFERENCE = re.compile(r"(\d+)[MDN=X]")
_NEVER = -1  # the length of what is no fragment: its mates do not face each other

Group = list[tuple[int, AlignedSegment]]  # reads of one name, each with its place in the file


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
    starts: range,
    passes: Callable[[AlignedSegment], bool],
    max_fragment_bp: int,
) -> Spans:
    """The fragments that start within `starts`, in the file's order.

    reads : of the stretch, and of a fragment's length on both sides of it
    passes : whether a read passes the filters; a mate that does not still tells its end
    """
    groups: dict[str | None, Group] = defaultdict(list)
    for number, read in enumerate(reads):
        if read.flag & _PAIRED and not read.flag & _NOT_PRIMARY:
            groups[read.query_name].append((number, read))
    rows, lone, mateless, ends_by_tlen = [], [], 0, 0
    for group in groups.values():
        for (number, read), mate in _matched(group):
            start = read.next_reference_start if read.flag & _REVERSE else read.reference_start
            if start not in starts or not passes(read):
                continue
            if read.flag & _REVERSE:
                if _stands_alone(read, max_fragment_bp):
                    lone.append((number, start, int(read.reference_end or 0) - start))
                    mateless += 1
            elif mate is not None:
                rows.append((number, start, int(mate.reference_end or 0) - start))
            else:
                length, source = _length_alone(read, max_fragment_bp)
                rows.append((number, start, length))
                mateless += source != "mate"
                ends_by_tlen += source == "TLEN"
    by_start = sorted(lone, key=lambda row: row[1])
    return Spans(_spans(sorted(rows)), _spans(by_start), mateless, ends_by_tlen)


def _spans(rows: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array(rows, dtype=np.int64).reshape(-1, 3).T[1:]


def _matched(group: Group) -> list[tuple[tuple[int, AlignedSegment], AlignedSegment | None]]:
    """Forward mates with their reverse ones, or None, and the reverse mates that are left.

    Of a name that comes more than once, mates are those that point at each other. Reads that were
    moved point beside their mates: a name that comes once is enough then.
    """
    forward = [item for item in group if not item[1].flag & _REVERSE]
    reverse = [read for _, read in group if read.flag & _REVERSE]
    once = len(forward) == len(reverse) == 1
    matched: list[tuple[tuple[int, AlignedSegment], AlignedSegment | None]] = []
    for number, read in forward:
        mates = (r for r in reverse if _are_mates(read, r) and (once or _point(read, r)))
        mate = next(mates, None)
        if mate is not None:
            reverse = [r for r in reverse if r is not mate]
        matched.append(((number, read), mate))
    left = [item for item in group if any(item[1] is r for r in reverse)]
    return matched + [(item, None) for item in left]


def _are_mates(forward: AlignedSegment, reverse: AlignedSegment) -> bool:
    """Whether they are not both first, nor both second, of their pair."""
    return not forward.flag & reverse.flag & _NUMBER


def _point(forward: AlignedSegment, reverse: AlignedSegment) -> bool:
    """Whether each of two reads says that its mate begins where the other does."""
    return (
        forward.next_reference_start == reverse.reference_start
        and reverse.next_reference_start == forward.reference_start
    )


def _stands_alone(read: AlignedSegment, max_fragment_bp: int) -> bool:
    """Whether a reverse mate without the forward one makes a fragment: it knows both ends."""
    length = int(read.reference_end or 0) - read.next_reference_start
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
    """Bases of the reference under the mate's alignment by the MC tag; 0 where there is none."""
    cigar = read.get_tag("MC") if read.has_tag("MC") else ""
    return sum(map(int, _ON_REFERENCE.findall(str(cigar))))
