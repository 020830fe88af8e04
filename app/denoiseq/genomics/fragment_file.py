"""Fragment files (chrom, start, end, barcode, count), as single-cell pipelines write them.

Each line is one fragment: duplicates are collapsed already, and the count says how many there were.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.bad_lines import BadLines
from denoiseq.genomics.bed import names_columns
from denoiseq.genomics.look_alikes import LINES, check_format
from denoiseq.inputs import open_text

_BLOCK_BYTES = 1 << 22
_LONGEST_LINE = 1 << 22
_NO_DATA = re.compile(rb"^(?:#.*|track[ \t].*|browser[ \t].*|[ \t]*)\n", re.MULTILINE)
_NEWLINE, _TAB, _ZERO = 10, 9, 48
_MOST_DIGITS = 10
_LONGEST_NAME = 255  # bytes of a chromosome or barcode, which take as much memory on each line


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
    path: str | Path,
    bad: BadLines,
    barcodes: bool = True,
    advance: Callable[[int], object] = lambda _: None,
) -> Iterator[Lines]:
    """Stream a fragment file or pipe in pieces, in its order; `barcodes`: the fourth column too.

    Comments and empty lines are skipped wherever they are; lines that are no fragments go to `bad`.
    `advance` is called with the number of compressed bytes read since the last call.
    """
    path = Path(path)
    for first_line, block in _blocks(path, advance):
        for number, lines in _data(first_line, block):
            yield from _parse(number, lines, barcodes, bad)
    if bad.lines == 0:
        raise UserError(f"{path} holds no fragments.")


def check_exists(path: str | Path) -> Path:
    """The path of a fragment file or pipe; FileNotFoundError where there is none."""
    if not Path(path).exists():
        raise FileNotFoundError(f"no such fragment file: {path}")
    return Path(path)


def _blocks(path: Path, advance: Callable[[int], object]) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, whole lines), each ended by a newline alone."""
    line, rest = 1, b""
    with open_text(path, "fragment file", advance) as file:
        while more := file.read(_BLOCK_BYTES):
            block, newline, rest = (rest + more).rpartition(b"\n")
            if len(rest) > _LONGEST_LINE:
                raise UserError(f"{path} is not a fragment file: it has no lines.")
            block += newline
            if b"\r" in block:
                block = block.replace(b"\r\n", b"\n")
            if line == 1:
                block = _checked_head(path, block)
            if block:
                yield line, block
            line += block.count(b"\n")
    if rest.strip():
        if line > 1 and len(rest.split()) < 3 and not rest.startswith(b"#"):
            raise UserError(f"{path} is truncated within its last line; copy or make it again.")
        block = rest.removesuffix(b"\r") + b"\n"
        yield line, _checked_head(path, block) if line == 1 else block


def _checked_head(path: Path, block: bytes) -> bytes:
    """The first block, where it is of no other format; names of columns made a comment."""
    lines = b"\n".join(block.split(b"\n", LINES)[:LINES]).decode(errors="replace").split("\n")
    check_format(path, lines, "fragments")
    first = next((n for n, line in enumerate(lines) if line and not line.startswith("#")), 0)
    if not names_columns(lines[first].split("\t")):
        return block
    rows = block.split(b"\n", first + 1)
    return b"\n".join([*rows[:first], b"#" + rows[first], *rows[first + 1 :]])


def _data(line: int, block: bytes) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, lines) of each stretch without comments and empty lines."""
    start, text = 0, np.frombuffer(block, dtype=np.uint8)
    begins = np.flatnonzero(text[:-1] == _NEWLINE) + 1
    if np.isin(text[np.append(0, begins)], list(b"#tb \t\n")).any():  # as these lines begin
        for match in _NO_DATA.finditer(block):
            if match.start() > start:
                yield line, block[start : match.start()]
            line += block.count(b"\n", start, match.end())
            start = match.end()
    if start < len(block):
        yield line, block[start:]


def _parse(first_line: int, block: bytes, with_barcodes: bool, bad: BadLines) -> Iterator[Lines]:
    text = np.frombuffer(block, dtype=np.uint8)
    line_ends = np.flatnonzero(text == _NEWLINE)  # (M,)
    line_starts = np.append(0, line_ends[:-1] + 1)
    tabs = np.append(np.flatnonzero(text == _TAB), len(text))
    first_tab = np.searchsorted(tabs, line_starts)
    columns = np.searchsorted(tabs, line_ends) - first_tab + 1
    needed = 4 if with_barcodes and columns.max() > 3 else 3
    edges = [line_starts - 1]  # column k lies between edges[k] and edges[k + 1]
    for k in range(needed):
        last = np.minimum(first_tab + k, len(tabs) - 1)
        edges.append(np.where(columns > k + 1, tabs[last], line_ends))
    starts, bad_starts = _numbers(text, edges[1] + 1, edges[2])
    ends, bad_ends = _numbers(text, edges[2] + 1, edges[3])
    good = ~(bad_starts | bad_ends) & (ends > starts) & (columns >= needed)
    for name in (0, 3)[: needed - 2]:
        good &= edges[name + 1] - edges[name] - 1 <= _LONGEST_NAME
    good &= edges[1] > edges[0] + 1
    numbers = first_line + np.arange(len(good))
    bad.lines += len(good)
    if not good.all():
        first = line_starts[np.argmin(good)]
        bad.add(numbers[~good], lambda: _no_fragment(block[first:]))
        edges = [edge[good] for edge in edges]
        starts, ends, numbers = starts[good], ends[good], numbers[good]
    if len(numbers) == 0:
        return
    names = _strings(text, edges[0] + 1, edges[1])
    barcodes = _strings(text, edges[3] + 1, edges[4]) if needed > 3 else None
    changes = np.flatnonzero((names[1:] != names[:-1]) | (np.diff(numbers) > 1)) + 1
    for first, last in zip([0, *changes], [*changes, len(names)], strict=True):
        rows = slice(first, last)
        chrom = names[first].decode(errors="replace")
        of_chrom = None if barcodes is None else barcodes[rows]
        yield Lines(chrom, int(numbers[first]), starts[rows], ends[rows], of_chrom)


def _no_fragment(block: bytes) -> str:
    """What is wrong with the line that a block begins with."""
    line = block.split(b"\n", 1)[0].decode(errors="replace")
    return (
        "expected chrom, start, end (above start) and barcode between tabs, starts counted from 0, "
        f"got {line[:80]!r}"
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
