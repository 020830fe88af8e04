"""BED and narrowPeak files, read as intervals."""

import re
from pathlib import Path

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Interval
from denoiseq.genomics.look_alikes import check_format
from denoiseq.inputs import read_lines

_DISPLAY_LINES = (["track"], ["browser"])
_WHOLE_NUMBER = re.compile(r"[0-9]{1,30}", re.ASCII)


def read_bed(path: str | Path) -> list[Interval]:
    """Read the first three columns of a BED or narrowPeak file or pipe, plain or gzipped.

    Lines that begin with `#`, `track` or `browser` and empty lines are skipped; so is a first
    line that names its columns (`chrom start end ...`). A first line that holds data is data.
    """
    intervals: list[Interval] = []
    first = True
    lines = read_lines(path, "BED file")
    check_format(path, lines, "BED")
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("#") or fields[0].split()[0:1] in _DISPLAY_LINES:
            continue
        if not (first and names_columns(fields)):
            intervals.append(_parse(fields, f"{path}, line {number}"))
        first = False
    return intervals


def names_columns(fields: list[str]) -> bool:
    """Whether the columns of a line are names, as `chrom start end`."""
    if len(fields) < 3:
        return False
    return "start" in fields[1].lower() and bool(re.search("end|stop", fields[2].lower()))


def _parse(fields: list[str], where: str) -> Interval:
    if len(fields) < 3:
        raise UserError(f"{where}: expected chrom, start and end, got {len(fields)} column(s).")
    chrom, start, end = (field.strip() for field in fields[:3])
    if not (chrom and _WHOLE_NUMBER.fullmatch(start) and _WHOLE_NUMBER.fullmatch(end)):
        raise UserError(
            f"{where}: expected chrom, start and end as whole numbers, "
            f"got {fields[0][:80]!r}, {fields[1][:80]!r}, {fields[2][:80]!r}."
        )
    if int(end) <= int(start):
        raise UserError(f"{where}: end {end} is not above start {start}.")
    if int(end) >= 2**62:
        raise UserError(f"{where}: end {end} is beyond any chromosome.")
    return Interval(chrom, int(start), int(end))
