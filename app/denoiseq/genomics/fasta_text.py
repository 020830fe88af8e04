"""The text of a FASTA, plain or bgzipped, at any place, by the numbers of its index.

Bases are taken byte by byte: htslib leaves out bytes that are neither letters nor line ends, and
takes as many from beyond the end instead.
"""

import os
import weakref
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

_BLOCK_BYTES = 1 << 16  # a BGZF block, packed or not, is not larger
_MOST_BYTES = 1 << 62  # of a file


class Sequence(NamedTuple):
    """A line of a .fai: bases, where they begin, and of a line its bases and bytes."""

    name: bytes
    length: int
    offset: int
    line_bases: int
    line_bytes: int

    @property
    def end(self) -> int:
        """Offset after the last base."""
        return self.at(self.length - 1) + 1 if self.length else self.offset

    def at(self, base: int) -> int:
        """Offset of a base."""
        line, column = divmod(base, self.line_bases)
        return self.offset + line * self.line_bytes + column


def read_fai(path: Path) -> list[Sequence]:
    """The sequences of an index, in its order; ValueError where it is damaged."""
    sequences = []
    for line in path.read_bytes().splitlines():
        name, *numbers = line.split(b"\t")
        if len(numbers) < 4:
            raise ValueError(path)
        row = Sequence(name, *map(int, numbers[:4]))
        if min(row[1:]) < 0 or (row.length and not 0 < row.line_bases <= row.line_bytes):
            raise ValueError(path)
        if max(*row[1:], row.end) >= _MOST_BYTES:
            raise ValueError(path)
        sequences.append(row)
    if len({row.name for row in sequences}) < len(sequences):
        raise ValueError(path)
    return sequences


def _read_gzi(path: Path) -> np.ndarray:
    """Offsets of the blocks, packed and unpacked: int64 (B, 2), ascending."""
    numbers = np.fromfile(path, "<i8")
    rows = np.concatenate([np.zeros(2, np.int64), numbers[1:]])
    if len(rows) % 2 or len(numbers) != 2 * numbers[:1].sum() + 1:
        raise ValueError(path)
    rows = rows.reshape(-1, 2)
    if (np.diff(rows, axis=0) < 0).any():
        raise ValueError(path)
    return rows


class FastaText:
    """The unpacked bytes of a FASTA; ValueError where its index (.fai, any .gzi) is damaged."""

    def __init__(self, fasta: Path, indices: list[Path]) -> None:
        self.sequences = {row.name: row for row in read_fai(indices[0])}
        self._blocks = _read_gzi(indices[1]) if len(indices) > 1 else None
        self._last = -1, b""  # the block that was unpacked last
        self._handle = os.open(fasta, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def read(self, start: int, size: int) -> bytes:
        """At most `size` bytes from an offset on; fewer at the end, or before what is damaged."""
        if self._blocks is None:
            return os.pread(self._handle, size, start)
        text, piece = b"", b"-"
        unpacked = self._blocks[:, 1]
        while piece and len(text) < size:
            at = start + len(text)
            number = int(np.searchsorted(unpacked, at, side="right")) - 1
            piece = self._block(number)[at - int(unpacked[number]) :][: size - len(text)]
            text += piece
        return text

    def _block(self, number: int) -> bytes:
        if self._last[0] != number:
            assert self._blocks is not None
            data = os.pread(self._handle, _BLOCK_BYTES, int(self._blocks[number, 0]))
            try:
                self._last = number, zlib.decompressobj(wbits=31).decompress(data)
            except zlib.error:  # no block begins there
                self._last = number, b""
        return self._last[1]

    def bases(self, name: bytes, start: int, end: int) -> np.ndarray:
        """The letters of [start, end): uint8 (end - start,).

        ValueError where the file ends before, or has other bytes than letters, or lines of another
        length than the index says.
        """
        if start == end:
            return np.zeros(0, dtype=np.uint8)
        sequence = self.sequences[name]
        first, last = sequence.at(start), sequence.at(end - 1) + 1
        text = np.frombuffer(self.read(first, last - first), dtype=np.uint8)
        width = sequence.line_bytes
        line_ends = np.arange(
            sequence.line_bases - start % sequence.line_bases, last - first, width
        )
        gaps = line_ends[:, None] + np.arange(width - sequence.line_bases)
        is_base = np.ones(last - first, dtype=bool)
        is_base[gaps] = False
        is_letter = text - np.uint8(33) < np.uint8(94)  # those that C calls graphical
        if len(text) < last - first or (is_letter != is_base).any():
            raise ValueError(name)
        if (text[gaps[:, -1:]] != ord("\n")).any():
            raise ValueError(name)
        return text[is_base]
