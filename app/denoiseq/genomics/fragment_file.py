"""Fragment files (chrom, start, end, barcode, count), as single-cell pipelines write them.

Each line is one fragment: duplicates are collapsed already, and the count says how many there were.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.bam import check_end

_BLOCK_BYTES = 1 << 22
_GZIP_MAGIC = b"\x1f\x8b"
_NEWLINE, _TAB, _ZERO = 10, 9, 48
_MOST_DIGITS = 10


@dataclass(frozen=True)
class Lines:
    """Lines that follow each other on one chromosome, from `first_line` (counted from 1) on.

    starts, ends : int64 (M,). barcodes : bytes (M,); None: not read, or a file of three columns.
    """

    chrom: str
    first_line: int
    starts: np.ndarray
    ends: np.ndarray
    barcodes: np.ndarray | None


def read_fragments(
    path: str | Path, barcodes: bool = True, advance: Callable[[int], object] = lambda _: None
) -> Iterator[Lines]:
    """Stream a fragment file in pieces, in its order; `barcodes`: read the fourth column as well.

    `advance` is called with the number of compressed bytes read since the last call.
    """
    path = check_exists(path)
    empty = True
    for first_line, block in _blocks(path, advance):
        for lines in _parse(path, first_line, block, barcodes):
            empty = False
            yield lines
    if empty:
        raise UserError(f"{path} holds no fragments.")


def check_exists(path: str | Path) -> Path:
    """The path of a fragment file; FileNotFoundError where there is none."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such fragment file: {path}")
    return Path(path)


def _blocks(path: Path, advance: Callable[[int], object]) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, whole lines), without the comments at the head of the file."""
    line, rest, head, position = 1, b"", True, 0
    with path.open("rb") as raw, decompressed(path, raw) as file:
        while True:
            more = file.read(_BLOCK_BYTES)
            block = rest + more
            if not more and block.strip():
                block = block.rstrip(b"\n") + b"\n"
            cut = block.rfind(b"\n") + 1
            block, rest = block[:cut], block[cut:]
            while head and block.startswith(b"#"):
                block = block[block.index(b"\n") + 1 :]
                line += 1
            head = head and not block
            advance(raw.tell() - position)
            position = raw.tell()
            if block.strip():
                yield line, block
                line += block.count(b"\n")
            if not more:
                return


@contextmanager
def decompressed(path: Path, raw: BinaryIO) -> Iterator[BinaryIO | gzip.GzipFile]:
    """The bytes of a plain, gzipped or bgzipped file; UserError where it is damaged."""
    start = raw.read(18)
    raw.seek(0)
    if start[:2] != _GZIP_MAGIC:
        yield raw
        return
    if start[12:14] == b"BC":
        check_end(path)
    try:
        yield gzip.GzipFile(fileobj=raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} is truncated or damaged ({error}); copy or make it again."
        ) from error


def _parse(path: Path, first_line: int, block: bytes, with_barcodes: bool) -> Iterator[Lines]:
    text = np.frombuffer(block, dtype=np.uint8)
    line_ends = np.flatnonzero(text == _NEWLINE)  # (M,)
    line_starts = np.append(0, line_ends[:-1] + 1)
    tabs = np.flatnonzero(text == _TAB)
    first_tab = np.searchsorted(tabs, line_starts)
    columns = np.searchsorted(tabs, line_ends) - first_tab + 1
    _refuse(path, first_line, block, line_starts, columns < 3)
    edges = [line_starts - 1]  # column k lies between edges[k] and edges[k + 1]
    for k in range(min(4 if with_barcodes else 3, int(columns.min()))):
        last = np.minimum(first_tab + k, len(tabs) - 1)
        edges.append(np.where(columns > k + 1, tabs[last], line_ends))
    starts, bad_starts = _numbers(text, edges[1] + 1, edges[2])
    ends, bad_ends = _numbers(text, edges[2] + 1, edges[3])
    _refuse(path, first_line, block, line_starts, bad_starts | bad_ends | (ends <= starts))
    names = _strings(text, edges[0] + 1, edges[1])
    barcodes = _strings(text, edges[3] + 1, edges[4]) if len(edges) > 4 else None
    changes = np.flatnonzero(names[1:] != names[:-1]) + 1
    for first, last in zip([0, *changes], [*changes, len(names)], strict=True):
        rows = slice(first, last)
        chrom = names[first].decode(errors="replace")
        of_chrom = None if barcodes is None else barcodes[rows]
        yield Lines(chrom, first_line + int(first), starts[rows], ends[rows], of_chrom)


def _refuse(
    path: Path, first_line: int, block: bytes, line_starts: np.ndarray, bad: np.ndarray
) -> None:
    if bad.any():
        index = int(np.argmax(bad))
        line = block[line_starts[index] :].split(b"\n", 1)[0].decode(errors="replace")
        raise UserError(
            f"{path}, line {first_line + index}: expected chrom, start, end (above start) and "
            f"barcode between tabs, got {line[:80]!r}."
        )


def _numbers(
    text: np.ndarray, begins: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers in text[begins:ends], int64 (M,), and where it is not one: bool (M,)."""
    widths = ends - begins
    values, bad = np.zeros(len(begins), dtype=np.int64), (widths < 1) | (widths > _MOST_DIGITS)
    for k in range(min(int(widths.max()), _MOST_DIGITS)):
        inside = k < widths
        digits = text[np.where(inside, begins + k, 0)].astype(np.int64) - _ZERO
        bad |= inside & ((digits < 0) | (digits > 9))
        values = np.where(inside, 10 * values + digits, values)
    return values, bad


def _strings(text: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """text[begins:ends] as numpy's fixed-length bytes: (M,)."""
    width = max(int((ends - begins).max()), 1)
    at = begins[:, None] + np.arange(width)  # (M, width)
    letters = np.where(at < ends[:, None], text[np.minimum(at, len(text) - 1)], 0)
    return np.ascontiguousarray(letters, dtype=np.uint8).view(f"S{width}")[:, 0]
