"""Whether a bigWig is what its format allows (Kent et al., Bioinformatics 26:2204, 2010).

pyBigWig believes every number in a file: a damaged one ends the interpreter, or hides values
without an error. The header and all trees are checked when a file is opened. What blocks say of
themselves is checked before they are read; what they hold has a checksum where it is compressed.
"""

import logging
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.bigwig_writer import BOUNDS, HEADER, PLACE, ZOOM, ZOOM_HEADER

_log = logging.getLogger(__name__)
_CHROMS_HEAD, _INDEX_HEAD = struct.Struct("<IIIIQQ"), struct.Struct("<IIQIIIIQII")
_NODE, _COVERED = struct.Struct("<BBH"), struct.Struct("<Qdddd")
_BLOCK_HEAD = struct.Struct("<IIIIIBBH")
_ITEM = {
    1: np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")]),
    2: np.dtype([("start", "<u4"), ("value", "<f4")]),
    3: np.dtype([("value", "<f4")]),
}  # kind of a block -> its entries
_MOST_UNPACKED = 1 << 26  # bytes of a block; tools write 32 KB, at most 2 MB
_MOST_LEVELS, _LONGEST_NAME = 64, 1 << 16
_BRANCH = np.dtype([*BOUNDS.descr, ("child", "<u8")])
_LEAF = np.dtype(BOUNDS.descr + PLACE.descr)
_Span = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Layout(NamedTuple):
    """What is where in a bigWig.

    chroms : name -> number. blocks : _LEAF (B,), ascending by chromosome. unpacked_bytes : at most,
    of a block; 0 where blocks are not compressed.
    """

    chroms: dict[str, int]
    blocks: np.ndarray
    unpacked_bytes: int


class _Damage(Exception):
    """What is wrong with a file, as the end of a sentence."""


class _Source(NamedTuple):
    """A file and its size in bytes."""

    file: BinaryIO
    size: int

    def read(self, offset: int, size: int, what: str) -> bytes:
        if offset + size > self.size:
            raise _Damage(f"it is truncated, or says wrongly that {what} lies at byte {offset}")
        self.file.seek(offset)
        return self.file.read(size)

    def take(self, offset: int, form: struct.Struct, what: str) -> tuple:
        return form.unpack(self.read(offset, form.size, what))


def check_bigwig(path: str | Path) -> Layout:
    """The layout of a little-endian bigWig; UserError where it is damaged.

    Checked once a process, as long as the file has the same size and time.
    """
    facts = Path(path).stat()
    return _check(Path(path), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)
def _check(path: Path, size: int, _modified: int) -> Layout:
    with path.open("rb") as file:
        try:
            layout, summary_at = _layout(path, _Source(file, size))
        except _Damage as damage:
            raise UserError(
                f"{path} is damaged: {damage}; copy it again, or make it anew."
            ) from damage
    if len(layout.blocks) and not summary_at:
        raise UserError(
            f"{path} is of an old form without a summary of the whole, of which pyBigWig reads "
            "nothing: write it anew (bigWigToBedGraph and bedGraphToBigWig)."
        )
    return layout


def _layout(path: Path, source: _Source) -> tuple[Layout, int]:
    """The layout, and where the summary of the whole is (0: nowhere)."""
    header = source.take(0, HEADER, "the header")
    version, levels, chroms_at, data_at, index_at, *_, summary_at, unpacked, _ = header[1:]
    if not 1 <= version <= 4:
        raise _Damage(f"its header says version {version}, and versions 1 to 4 are known")
    if unpacked > _MOST_UNPACKED or 0 < unpacked < _BLOCK_HEAD.size:
        raise _Damage(f"its header says that a block has {unpacked} bytes")
    names, sizes = _chromosomes(source, chroms_at)
    covered = source.take(summary_at, _COVERED, "the summary")[0] if summary_at else 0
    blocks = np.empty(0, _LEAF)
    if index_at or covered or source.size > data_at + 12:  # pyBigWig's files without data have none
        blocks = _index(source, index_at, len(names), "the index", _span)
        _check_places(path, blocks, sizes)
    if len(blocks) and summary_at and not covered:
        raise _Damage(f"it has {len(blocks)} blocks of data, and its summary says that it has none")
    for level in range(levels):
        at = HEADER.size + level * ZOOM_HEADER.size
        index_at = source.take(at, ZOOM_HEADER, "a zoom level")[3]
        rows = _index(source, index_at, len(names), "the index of a zoom level")
        if not unpacked and (rows["bytes"] % ZOOM.itemsize).any():
            raise _Damage("a zoom level has a part of a record")
    blocks = blocks[np.argsort(blocks["chrom"], kind="stable")]
    return Layout({name: i for i, name in enumerate(names)}, blocks, unpacked), summary_at


def _chromosomes(source: _Source, at: int) -> tuple[list[str], np.ndarray]:
    """Names and sizes in bp, by number."""
    what = "the list of chromosomes"
    magic, fan_out, width, value_bytes, count, _ = source.take(at, _CHROMS_HEAD, what)
    if magic != 0x78CA8C91 or value_bytes != 8 or not 0 < width <= _LONGEST_NAME:
        raise _Damage(f"{what} does not lie at byte {at}, where its header says")
    name = [("name", f"S{width}")]
    branch, leaf = (np.dtype(name + more) for more in ([("child", "<u8")], [("chrom", "<u4,<u4")]))
    rows = _leaves(source, at + _CHROMS_HEAD.size, fan_out, (branch, leaf), what)
    numbers, sizes = rows["chrom"]["f0"], rows["chrom"]["f1"]
    order = np.argsort(numbers)
    if len(rows) != count or not np.array_equal(numbers[order], np.arange(count)):
        raise _Damage(f"{what} lacks a number, or has one twice")
    raw = [name.partition(b"\0")[0] for name in rows["name"][order].tolist()]
    try:
        names = [name.decode() for name in raw]
    except UnicodeDecodeError as error:
        raise _Damage(f"{what} has the name {error.object!r}, which is not in UTF-8") from error
    if len(set(names)) < len(names) or "" in names:
        raise _Damage(f"{what} has a name twice, or an empty one")
    return names, sizes[order]


def _index(
    source: _Source, at: int, n_chroms: int, what: str, span: _Span | None = None
) -> np.ndarray:
    """The leaves of an R tree of the places of blocks, _LEAF (B,); `span` as of `_leaves`."""
    magic, fan_out, count, *_, slot, _ = source.take(at, _INDEX_HEAD, what)
    if magic != 0x2468ACE0:
        raise _Damage(f"{what} does not lie at byte {at}, where its header says")
    rows = _leaves(source, at + _INDEX_HEAD.size, fan_out, (_BRANCH, _LEAF), what, span)
    if span and len(rows) not in (count, -(-count // max(slot, 1))):  # zoom levels count records
        raise _Damage(f"{what} has {len(rows)} blocks, and says that it has {count}")
    first, last = _span(rows)
    if (rows["last_chrom"] >= n_chroms).any() or (first > last).any():
        raise _Damage(f"{what} has a block without a place on a chromosome")
    size = np.uint64(source.size)
    end = np.minimum(rows["offset"], size) + np.minimum(rows["bytes"], size + np.uint64(1))
    if (end > size).any() or (rows["offset"] < HEADER.size).any() or (rows["bytes"] == 0).any():
        raise _Damage(f"{what} has a block that does not lie within the file")
    if len(np.unique(rows["offset"])) < len(rows):
        raise _Damage(f"{what} has a block twice")
    return rows


def _span(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first place of each row, and the one after its last: uint64, ascending in the genome."""
    chroms = (rows[name].astype(np.uint64) << np.uint64(32) for name in ("chrom", "last_chrom"))
    first, last = (at | rows[name] for at, name in zip(chroms, ("start", "end"), strict=True))
    return first, last


def _leaves(
    source: _Source,
    root: int,
    fan_out: int,
    forms: tuple[np.dtype, np.dtype],
    what: str,
    span: _Span | None = None,
) -> np.ndarray:
    """The items of all leaves of a tree, in order.

    forms : of an item of a branch, which has a `child`, and of a leaf.
    span : the places that items cover, where those of a node lie within its own.
    """
    leaves, nodes, unread = [], set(), source.size
    todo = [(root, 0, 0, 1 << 64)]
    while todo:
        at, depth, first, last = todo.pop()
        is_leaf, _, count = source.take(at, _NODE, what)
        form = forms[is_leaf == 1]
        unread -= _NODE.size + count * form.itemsize
        if at in nodes or depth > _MOST_LEVELS or unread < 0:
            raise _Damage(f"{what} leads in a circle")
        if is_leaf > 1 or count > fan_out or (count == 0 and not (is_leaf and at == root)):
            raise _Damage(f"{what} has an impossible node at byte {at}")
        nodes.add(at)
        data = source.read(at + _NODE.size, count * form.itemsize, what)
        items = np.frombuffer(data, form)
        firsts, lasts = (x.tolist() for x in span(items)) if span else ([first] * count,) * 2
        if count and (min(firsts) < first or max(lasts) > last):
            raise _Damage(f"{what} has blocks that its branches do not lead to")
        if is_leaf:
            leaves.append(items)
        else:
            depths = [depth + 1] * count
            todo += [*zip(items["child"].tolist(), depths, firsts, lasts, strict=True)][::-1]
    return np.concatenate(leaves)


def _check_places(path: Path, blocks: np.ndarray, sizes: np.ndarray) -> None:
    """_Damage where a block is on two chromosomes, or on none."""
    own = sizes[blocks["chrom"]]
    if (blocks["chrom"] != blocks["last_chrom"]).any() or (blocks["start"] >= own).any():
        raise _Damage("the index has a block beyond the end of its chromosome")
    beyond = int((blocks["end"] > own).sum())
    if beyond:
        _log.warning(
            "%d blocks of %s reach beyond the end of their chromosome; what lies there is left out",
            beyond,
            path,
        )


def check_blocks(path: str | Path, chrom: str, start: int, end: int) -> None:
    """UserError where blocks of a window are not what the index says that they are."""
    layout = check_bigwig(path)
    number = layout.chroms[chrom]
    first, last = np.searchsorted(layout.blocks["chrom"], [number, number + 1])
    own = layout.blocks[first:last]
    rows = own[(own["start"] < end) & (own["end"] > start)]
    with Path(path).open("rb") as file:
        for _, first_bp, _, end_bp, offset, size in rows.tolist():
            file.seek(offset)
            if not _holds(file.read(size), layout.unpacked_bytes, (number, first_bp, end_bp)):
                raise UserError(
                    f"{path} is damaged at {chrom}:{first_bp}-{end_bp}: no data of that lie where "
                    "the index says; copy it again, or make it anew."
                )


def _holds(data: bytes, unpacked_bytes: int, place: tuple[int, int, int]) -> bool:
    """Whether a block is one of bigWig, within a place, and no larger than its room."""
    try:
        head = zlib.decompressobj().decompress(data, _BLOCK_HEAD.size) if unpacked_bytes else data
    except zlib.error:
        return False
    if len(head) < _BLOCK_HEAD.size:
        return False
    chrom, start, end, step, span, kind, _, count = _BLOCK_HEAD.unpack_from(head)
    room = (unpacked_bytes or len(data)) - _BLOCK_HEAD.size
    if kind not in _ITEM or count * _ITEM[kind].itemsize > room:
        return False
    if chrom != place[0] or start < place[1] or end > place[2]:
        return False
    return bool(unpacked_bytes) or _within(data, (start, end, step, span, kind, count))


def _within(data: bytes, head: tuple[int, ...]) -> bool:
    """Whether the entries of a block without a checksum lie where its head says."""
    start, end, step, span, kind, count = head
    items = np.frombuffer(data, _ITEM[kind], count, _BLOCK_HEAD.size)
    starts = items["start"] if kind < 3 else start + step * np.arange(count)
    ends = items["end"] if kind == 1 else starts.astype(np.int64) + span
    return bool((starts >= start).all() and (starts < ends).all() and (ends <= end).all())
