"""Tables of chromosome sizes in place of a FASTA: a chrom.sizes file, or the .fai of a FASTA."""

import re
from pathlib import Path

from denoiseq.errors import UserError
from denoiseq.inputs import is_pipe, open_text, read_lines

_HEAD_BYTES = 1 << 12
_WHOLE = re.compile(r"[0-9]{1,30}", re.ASCII)
_LONGEST_BP = (1 << 31) - 1  # positions in BAM, BED and bigWig files are not larger


def is_size_table(path: str | Path) -> bool:
    """Whether a file is such a table: its first line of data is a name and a whole number.

    A BED, whose first line is a name and two whole numbers, is none. Other files, and those that
    cannot be opened, are left to whoever reads them as FASTA.
    """
    if is_pipe(path) or not Path(path).is_file():
        return False
    try:
        with open_text(path, "FASTA") as file:
            head = file.read(_HEAD_BYTES).decode("ascii", errors="replace")
    except (OSError, UserError):
        return False
    rows = [row for line in head.splitlines() if (row := _fields(line))]
    return any(map(_is_row, rows[:2]))  # the first may name the columns


def read_size_table(path: str | Path) -> dict[str, int]:
    """chrom -> bp, in the order of the table."""
    sizes: dict[str, int] = {}
    for number, line in enumerate(read_lines(path, "table of chromosome sizes"), start=1):
        fields = _fields(line)
        if not fields or (not sizes and not _is_row(fields)):  # the first may name the columns
            continue
        if not _is_row(fields) or not 0 < int(fields[1]) <= _LONGEST_BP:
            raise UserError(
                f"{path}, line {number}: expected a chromosome and its size in bp, above 0, "
                f"got {line[:80]!r}."
            )
        if sizes.setdefault(fields[0], int(fields[1])) != int(fields[1]):
            raise UserError(f"{path}, line {number}: {fields[0]} has another size further up.")
    return sizes


def _fields(line: str) -> list[str]:
    return [] if line.startswith("#") else line.split()


def _is_row(fields: list[str]) -> bool:
    """A chrom.sizes line (UCSC's chromInfo has a file name behind), or one of a .fai."""
    if len(fields) < 2 or fields[0].startswith((">", "@")):
        return False
    is_whole = [bool(_WHOLE.fullmatch(field)) for field in fields[1:]]
    return all(is_whole) if len(fields) >= 5 else is_whole[0] and not any(is_whole[1:])
