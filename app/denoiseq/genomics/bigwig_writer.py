"""The bigWig file format, written (Kent et al., Bioinformatics 26:2204, 2010, supplement).

A track is encoded piece by piece, in any thread and in any order, and the file made from the
encoded pieces by copying: pyBigWig, which reads these files, takes several times as long to write
them, one value at a time under Python's lock, and crashes on a full disk. Little-endian, version 4.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from denoiseq.atomic import atomic_path
from denoiseq.errors import UserError

# Entries of a compressed block, and children of a node in the file's trees.
BLOCK_ITEMS, FAN_OUT = 1024, 256
# Higher levels are noise to zlib in these data: a tenth smaller for three times the work.
ZLIB_LEVEL = 1
# Bases that a record of the finest summary covers; each further level takes four times as many.
ZOOM_BP, ZOOM_FACTOR, ZOOM_LEVELS = 512, 4, 10
HEADER, ZOOM_HEADER, _SUMMARY = struct.Struct("<IHHQQQHHQQIQ"), struct.Struct("<IIQQ"), 40
_COPIED = 1 << 20

_ITEM = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
# A compressed block of entries: what it covers and its length in bytes.
BLOCK = np.dtype([("start", "<u4"), ("end", "<u4"), ("bytes", "<u4")])
ZOOM = np.dtype(
    [("chrom", "<u4"), ("start", "<u4"), ("end", "<u4"), ("valid", "<u4")]
    + [(name, "<f4") for name in ("min", "max", "sum", "squares")]
)
BOUNDS = np.dtype([("chrom", "<u4"), ("start", "<u4"), ("last_chrom", "<u4"), ("end", "<u4")])
PLACE = np.dtype([("offset", "<u8"), ("bytes", "<u8")])


class Encoded(NamedTuple):
    """A piece of a track: compressed blocks, one after another, their table, and the summary.

    blocks : BLOCK (B,). zoom : ZOOM (Z,).
    """

    data: bytes
    blocks: np.ndarray
    zoom: np.ndarray


class Stored(NamedTuple):
    """Where the pieces of a chromosome lie: [first, end) bytes of `stem`.data, .blocks, .zoom."""

    stem: Path
    data: tuple[int, int]
    blocks: tuple[int, int]
    zoom: tuple[int, int]

    def copy_data(self, file: BinaryIO) -> None:
        """Append the compressed blocks to a file."""
        with part_file(self.stem, "data").open("rb") as source:
            source.seek(self.data[0])
            for at in range(*self.data, _COPIED):
                file.write(source.read(min(_COPIED, self.data[1] - at)))

    def table(self, name: str) -> np.ndarray:
        """`blocks` or `zoom`."""
        dtype, (first, end) = {"blocks": BLOCK, "zoom": ZOOM}[name], getattr(self, name)
        count = (end - first) // dtype.itemsize
        return np.fromfile(part_file(self.stem, name), dtype, count, offset=first)


def part_file(stem: Path, name: str) -> Path:
    """The file of one part of stored pieces: `name` is a field of Encoded."""
    return stem.with_name(f"{stem.name}.{name}")


def encode(chrom: int, start: int, values: np.ndarray, decimals: int) -> Encoded:
    """Encode the track (n,), n > 0, of the bases from `start` on; equal neighbours are one entry.

    Parameters
    ----------
    chrom : number of the chromosome in the file's order
    decimals : values are rounded to so many places

    Raises ValueError for a value that is not finite.
    """
    scale = np.float32(10**decimals)
    rounded = np.rint(np.asarray(values, dtype=np.float32) * scale)
    if not np.isfinite(rounded).all():
        raise UserError(f"the track from {start} on has a value that is not finite.")
    rounded = rounded / scale + np.float32(0)  # + 0: no sign on a zero
    first = np.flatnonzero(np.append(True, rounded[1:] != rounded[:-1]))
    items = np.empty(len(first), dtype=_ITEM)
    items["start"], items["value"] = first + start, rounded[first]
    items["end"] = np.append(items["start"][1:], start + len(rounded))
    parts = [items[at : at + BLOCK_ITEMS] for at in range(0, len(items), BLOCK_ITEMS)]
    data = [_block(chrom, part) for part in parts]
    blocks = np.empty(len(parts), dtype=BLOCK)
    blocks["start"], blocks["bytes"] = [part["start"][0] for part in parts], [*map(len, data)]
    blocks["end"] = [part["end"][-1] for part in parts]
    return Encoded(b"".join(data), blocks, _summary(chrom, start, rounded))


def _block(chrom: int, items: np.ndarray) -> bytes:
    # 0, 0: neither step nor span; 1: entries of start, end and value
    head = (chrom, int(items["start"][0]), int(items["end"][-1]), 0, 0, 1, 0, len(items))
    return zlib.compress(struct.pack("<IIIIIBBH", *head) + items.tobytes(), ZLIB_LEVEL)


def _summary(chrom: int, start: int, values: np.ndarray) -> np.ndarray:
    """ZOOM records of the stretches between multiples of ZOOM_BP; the outer ones may be shorter."""
    end = start + len(values)
    edges = np.arange(start // ZOOM_BP + 1, -(-end // ZOOM_BP)) * ZOOM_BP
    starts = np.append(start, edges)
    zoom = np.empty(len(starts), dtype=ZOOM)
    zoom["chrom"], zoom["start"], zoom["end"] = chrom, starts, np.append(starts[1:], end)
    zoom["valid"] = zoom["end"] - zoom["start"]
    at = starts - start
    zoom["min"], zoom["max"] = np.minimum.reduceat(values, at), np.maximum.reduceat(values, at)
    zoom["sum"] = np.add.reduceat(values, at, dtype=np.float64)
    zoom["squares"] = np.add.reduceat(np.square(values, dtype=np.float64), at)
    return zoom


def _coarser(zoom: np.ndarray, width: int) -> np.ndarray:
    """The records of one chromosome joined within multiples of `width` bp."""
    bins = zoom["start"] // width
    at = np.flatnonzero(np.append(True, bins[1:] != bins[:-1])[: len(bins)])
    joined = zoom[at]
    if len(at):
        joined["end"] = zoom["end"][np.append(at[1:], len(zoom)) - 1]
        joined["min"] = np.minimum.reduceat(zoom["min"], at)
        joined["max"] = np.maximum.reduceat(zoom["max"], at)
        joined["valid"] = np.add.reduceat(zoom["valid"], at)
        for name in ("sum", "squares"):
            joined[name] = np.add.reduceat(zoom[name], at, dtype=np.float64)
    return joined


def write_bigwig(path: str | Path, chroms: Mapping[str, int], tracks: Mapping[str, Stored]) -> None:
    """Write a bigWig atomically from its encoded pieces; memory: some 10 bytes a kb of genome.

    Parameters
    ----------
    chroms : chrom -> bp, in the order of the file.
    tracks : chrom -> its pieces, in ascending order; one that is absent has no data.

    Raises OSError where `path` cannot be written or the disk has no room.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(bytes(HEADER.size + ZOOM_LEVELS * ZOOM_HEADER.size + _SUMMARY))
        chrom_tree = file.tell()
        _write_chroms(file, chroms)
        stored = {i: tracks[chrom] for i, chrom in enumerate(chroms) if chrom in tracks}
        data = file.tell()
        tables = {i: one.table("blocks") for i, one in stored.items()}
        file.write(struct.pack("<Q", sum(map(len, tables.values()))))
        for one in stored.values():
            one.copy_data(file)
        index = file.tell()
        _write_index(file, tables, data + 8)
        levels, summary = _write_zooms(file, stored)
        file.write(struct.pack("<I", 0x888FFC26))
        file.seek(0)
        places = (chrom_tree, data, index, 0, 0, 0, chrom_tree - _SUMMARY)
        largest = BLOCK_ITEMS * ZOOM.itemsize
        file.write(HEADER.pack(0x888FFC26, 4, len(levels), *places, largest, 0))
        for level in levels:
            file.write(ZOOM_HEADER.pack(*level))
        file.seek(chrom_tree - _SUMMARY)
        file.write(struct.pack("<Qdddd", *summary))


def _write_chroms(file: BinaryIO, chroms: Mapping[str, int]) -> None:
    """The tree of names: sorted by name, while numbers are in the file's order."""
    names, sizes = [name.encode() for name in chroms], list(chroms.values())
    order = sorted(range(len(names)), key=names.__getitem__)
    length = max(map(len, names))
    keys = np.array([(names[i],) for i in order], dtype=[("key", f"S{length}")])
    values = np.array([(i, sizes[i]) for i in order], dtype="<u4,<u4")
    head = (0x78CA8C91, FAN_OUT, length, 8, len(names), 0)
    file.write(struct.pack("<IIIIQQ", *head))
    _write_tree(file, keys, values, lambda first, _last: first)


def _write_index(file: BinaryIO, tables: Mapping[int, np.ndarray], offset: int) -> None:
    """The tree of places of blocks (R tree); `offset` is that of the first block."""
    end_of_data = file.tell()
    bounds = np.empty(sum(map(len, tables.values())), dtype=BOUNDS)
    for name, rows in (
        ("chrom", [np.full(len(table), i) for i, table in tables.items()]),
        ("start", [table["start"] for table in tables.values()]),
        ("end", [table["end"] for table in tables.values()]),
    ):
        bounds[name] = np.concatenate(rows) if rows else 0
    bounds["last_chrom"] = bounds["chrom"]
    places = np.empty(len(bounds), dtype=PLACE)
    places["bytes"] = np.concatenate([t["bytes"] for t in tables.values()]) if tables else 0
    places["offset"] = offset + np.cumsum(places["bytes"]) - places["bytes"]
    whole = _around(bounds[:1], bounds[-1:])
    head = struct.pack("<IIQ", 0x2468ACE0, FAN_OUT, len(bounds))
    outer = whole.tobytes() or bytes(BOUNDS.itemsize)
    file.write(head + outer + struct.pack("<QII", end_of_data, BLOCK_ITEMS, 0))
    _write_tree(file, bounds, places, _around)


def _around(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The bounds of what lies from `first` to `last`, element by element."""
    both = first.copy()
    both["last_chrom"], both["end"] = last["last_chrom"], last["end"]
    return both


def _write_tree(
    file: BinaryIO,
    keys: np.ndarray,
    values: np.ndarray,
    join: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    """A tree of nodes from the root down; leaves hold keys and values, others keys and offsets.

    join : (first keys, last keys) of nodes -> their own keys
    """
    levels = [keys]
    while len(levels[-1]) > FAN_OUT:
        below = levels[-1]
        first = np.arange(0, len(below), FAN_OUT)
        last = np.append(first[1:], len(below)) - 1
        levels.append(join(below[first], below[last]))
    offset = file.tell()
    for depth in reversed(range(len(levels))):
        own = levels[depth]
        nodes = range(0, max(len(own), 1), FAN_OUT)
        if depth:
            width = keys.itemsize + (values.itemsize if depth == 1 else 8)
            offset += 4 * len(nodes) + (keys.itemsize + 8) * len(own)  # where the level below is
            values_here = (offset + (4 + width * FAN_OUT) * np.arange(len(own))).astype("<u8")
        else:
            values_here = values
        for at in nodes:
            part = slice(at, min(at + FAN_OUT, len(own)))
            rows = zip(own[part], values_here[part], strict=True)
            body = b"".join(key.tobytes() + value.tobytes() for key, value in rows)
            file.write(struct.pack("<BBH", depth == 0, 0, part.stop - part.start) + body)


def _write_zooms(
    file: BinaryIO, stored: Mapping[int, Stored]
) -> tuple[list[tuple[int, int, int, int]], tuple[float, ...]]:
    """Summaries, each coarser than the last, up to one of a block: their headers, and the total."""
    levels = []
    total = np.zeros(3)  # bases, sum, sum of squares
    extremes = [np.inf, -np.inf]
    width = ZOOM_BP
    records: Iterable[np.ndarray] = (one.table("zoom") for one in stored.values())
    for level in range(ZOOM_LEVELS):
        place, tables, count = file.tell(), {}, 0
        coarser: list[np.ndarray] = []
        file.write(bytes(4))
        for i, zoom in zip(stored, records, strict=True):
            if level == 0 and len(zoom):
                total += [zoom[n].sum(dtype=np.float64) for n in ("valid", "sum", "squares")]
                extremes = [
                    min(extremes[0], zoom["min"].min()),
                    max(extremes[1], zoom["max"].max()),
                ]
            tables[i] = _write_records(file, zoom)
            count += len(zoom)
            coarser.append(_coarser(zoom, width * ZOOM_FACTOR))
        index = file.tell()
        _write_index(file, tables, place + 4)
        end = file.tell()
        file.seek(place)
        file.write(struct.pack("<I", count))
        file.seek(end)
        levels.append((width, 0, place, index))
        if count <= BLOCK_ITEMS or count == sum(map(len, coarser)):  # a record a contig
            break
        width, records = width * ZOOM_FACTOR, coarser
    if not total[0]:
        extremes = [0.0, 0.0]
    return levels, (int(total[0]), *map(float, extremes), *total[1:].tolist())


def _write_records(file: BinaryIO, zoom: np.ndarray) -> np.ndarray:
    """Append a chromosome's records in compressed blocks; their table, BLOCK."""
    rows = []
    for at in range(0, len(zoom), BLOCK_ITEMS):
        part = zoom[at : at + BLOCK_ITEMS]
        data = zlib.compress(part.tobytes(), ZLIB_LEVEL)
        file.write(data)
        rows.append((part["start"][0], part["end"][-1], len(data)))
    return np.array(rows, dtype=BLOCK)
