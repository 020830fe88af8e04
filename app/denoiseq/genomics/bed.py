"""BED and narrowPeak files, read as intervals."""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Interval

_GZIP_MAGIC = b"\x1f\x8b"
_DISPLAY_LINES = (["track"], ["browser"])
_WHOLE_NUMBER = re.compile(r"[0-9]+", re.ASCII)


def read_bed(path: str | Path) -> list[Interval]:
    """Read the first three columns of a BED or narrowPeak file, plain or gzipped.

    Lines that begin with `#`, `track` or `browser` and empty lines are skipped; so is a first
    line that names its columns (`chrom start end ...`). A first line that holds data is data.
    """
    intervals: list[Interval] = []
    first = True
    for number, line in _lines(Path(path)):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("#") or fields[0].split()[0:1] in _DISPLAY_LINES:
            continue
        if not (first and _names_columns(fields)):
            intervals.append(_parse(fields, f"{path}, line {number}"))
        first = False
    return intervals


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
        opened = gzip.open if zipped else Path.open
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line.rstrip("\r\n")
    except FileNotFoundError:
        raise FileNotFoundError(f"no such BED file: {path}") from None
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is not a BED file or is damaged ({error}).") from error
    except OSError as error:
        raise OSError(f"cannot read {path}: {(error.strerror or str(error)).lower()}.") from error


def _names_columns(fields: list[str]) -> bool:
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
            f"got {fields[0]!r}, {fields[1]!r}, {fields[2]!r}."
        )
    if int(end) <= int(start):
        raise UserError(f"{where}: end {end} is not above start {start}.")
    if int(end) >= 2**62:
        raise UserError(f"{where}: end {end} is beyond any chromosome.")
    return Interval(chrom, int(start), int(end))
