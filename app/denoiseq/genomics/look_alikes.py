"""Tables that would pass for fragments or for a BED and are another format: named by their content.

A format is told by what most of many lines hold, never by the file's name or its first line alone.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

from denoiseq.errors import UserError

LINES = 10_000  # that are looked at
Row = list[str]

_WHOLE = re.compile(r"[0-9]{1,30}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_CIGAR = re.compile(r"([0-9]+[MIDNSHP=X])+|\*")
_ALLELES = re.compile(r"[ACGTN*.,]+|<.+>", re.IGNORECASE)
_NO_DATA = ("#", "track ", "browser ")
_STRANDS = ("+", "-")
_LEAST_ROWS = 5  # for what shows only in how rows follow each other
_MANY_ROWS = 100  # for what a few fragments may have by chance


class Format(NamedTuple):
    """How rows tell a format, and why it cannot be read as fragments and as BED ("": it can)."""

    holds: Callable[[Sequence[Row]], bool]
    name: str
    as_fragments: str
    as_bed: str = ""


def check_format(path: str | Path, lines: Sequence[str], asked: str) -> None:
    """UserError where the lines are of another format than `asked`: "fragments" or "BED"."""
    data = (line for line in lines if line.strip() and not line.startswith(_NO_DATA))
    rows = [line.split("\t") if "\t" in line else line.split() for line in islice(data, LINES)]
    for known in FORMATS if rows else ():
        why = known.as_bed if asked == "BED" else known.as_fragments
        if why and known.holds(rows):
            raise UserError(f"{path} is {known.name}: {why.format(name=Path(path).name)}.")


def _most(is_row: Callable[[Row], bool]) -> Callable[[Sequence[Row]], bool]:
    return lambda rows: 2 * sum(map(is_row, rows)) > len(rows)


def _whole(*cells: str) -> bool:
    return all(map(_WHOLE.fullmatch, cells))


def _numbers(*cells: str) -> bool:
    return all(map(_NUMBER.fullmatch, cells))


def _is_wiggle(rows: Sequence[Row]) -> bool:
    return any(row[0] in ("fixedStep", "variableStep") for row in rows)


def _has_sam_header(rows: Sequence[Row]) -> bool:
    return bool(re.fullmatch("@[A-Z][A-Z]", rows[0][0]))


def _is_sam(row: Row) -> bool:
    return len(row) >= 11 and _whole(row[1], row[3], row[4]) and bool(_CIGAR.fullmatch(row[5]))


def _is_vcf(row: Row) -> bool:
    known = len(row) >= 8 and _whole(row[1]) and not _whole(row[2])
    return known and bool(_ALLELES.fullmatch(row[3]) and _ALLELES.fullmatch(row[4]))


def _is_gff(row: Row) -> bool:
    known = len(row) >= 8 and not _whole(row[1]) and _whole(row[3], row[4])
    return known and row[6] in (*_STRANDS, ".", "?")


def _counts_from_1(row: Row) -> bool:
    """A length in column 4 that fits only where start and end are both counted from 1."""
    return len(row) > 3 and _whole(*row[1:4]) and int(row[3]) == int(row[2]) - int(row[1]) + 1 > 2


def _is_bedpe(row: Row) -> bool:
    """A second interval, on the chromosome of the first; or a mate without a place."""
    if len(row) < 6:
        return False
    return (row[3] == row[0] and _whole(*row[4:6])) or ["-1", "-1"] in (row[1:3], row[4:6])


def _is_peak(row: Row) -> bool:
    """A line of a narrowPeak, or of a broadPeak, in which a value has a decimal point."""
    if len(row) not in (9, 10) or row[5] not in (*_STRANDS, "."):
        return False
    return _numbers(*row[6:]) and (len(row) == 10 or "." in "".join(row[6:]))


def _are_reads(rows: Sequence[Row]) -> bool:
    """Strands in column 6: both, or of lines of one length, since a + throughout says nothing."""
    strands = Counter(row[5] for row in rows if len(row) > 5)
    if 2 * (strands["+"] + strands["-"]) <= len(rows):
        return False
    tag_aligns = sum(row[3:5] == ["N", "1000"] for row in rows)
    both = bool(strands["+"] and strands["-"])
    return both or 2 * tag_aligns > len(rows) or _one_length(rows) > 0


def _one_length(rows: Sequence[Row]) -> int:
    """The length in bp of more than 90% of many rows; 0 where they have no such."""
    spans = [row[1:3] for row in rows if len(row) > 2 and _whole(*row[1:3])]
    if len(spans) < _MANY_ROWS:
        return 0
    ((length, n),) = Counter(int(end) - int(start) for start, end in spans).most_common(1)
    return length if 10 * n > 9 * len(rows) else 0


def _is_track(rows: Sequence[Row], touching: bool = True) -> bool:
    """Intervals with a value and without overlaps; `touching`: most begin where one ends.

    Barcodes may be numbers too, but fragments overlap, hardly ever touch, and differ in length.
    """
    valued = [r for r in rows if len(r) == 4 and _whole(*r[1:3]) and _numbers(r[3])]
    if len(valued) < max(_LEAST_ROWS, len(rows) - 1):  # one line may name the columns
        return False
    gaps = [int(b[1]) - int(a[2]) for a, b in pairwise(valued) if a[0] == b[0]]
    if min(gaps, default=0) < 0:
        return False
    if touching:
        return 2 * gaps.count(0) > len(valued)
    return 2 * sum("." in row[3] for row in valued) > len(valued) or _one_length(valued) > 0


FORMATS = (
    Format(
        _is_wiggle,
        "a wiggle track",
        "convert it (wigToBigWig) and give bigwig=, or give the reads",
        "give the intervals themselves, as chrom, start and end",
    ),
    Format(
        lambda rows: _has_sam_header(rows) or _most(_is_sam)(rows),
        "SAM text, or an interval list with a SAM header",
        "convert it (samtools view -b), sort and index it, and give bam=",
        "give intervals without a header, as chrom, start (counted from 0) and end",
    ),
    Format(
        _most(_is_vcf),
        "a VCF",
        "its lines are variants; give the reads as bam=, or fragments",
        "its lines are variants; give intervals, as chrom, start and end",
    ),
    Format(
        _most(_is_gff),
        "a GFF or GTF",
        "its lines are annotation; give the reads as bam=, or fragments",
        "columns 4 and 5 are start (counted from 1) and end; convert it: "
        "awk -v OFS='\\t' '!/^#/ {{print $1, $4 - 1, $5}}' {name}",
    ),
    Format(
        _most(_counts_from_1),
        "a table with starts counted from 1",
        "column 4 is end - start + 1, a length and not a barcode; subtract 1 from each start, and "
        "leave out column 4",
        "column 4 is end - start + 1, as in MACS's .xls and R's GRanges; convert it: "
        "awk -v OFS='\\t' '$2 + 0 {{print $1, $2 - 1, $3}}' {name}",
    ),
    Format(
        _most(lambda row: len(row) == 5 and _whole(*row[1:3]) and row[3] in _STRANDS),
        "an interval list (Picard's)",
        "column 4 is a strand, not a barcode; give the reads as bam=, or fragments",
        "its starts are counted from 1; convert it: "
        "awk -v OFS='\\t' '!/^@/ {{print $1, $2 - 1, $3}}' {name}",
    ),
    Format(
        _most(_is_bedpe),
        "a BEDPE",
        "columns 4 to 6 are a second interval, the mate's; give the BAM as bam=, or one line for "
        "each pair, from the least start to the greatest end, sorted",
        "columns 4 to 6 are a second interval, which would be lost; give each on a line of its own",
    ),
    Format(
        _most(_is_peak),
        "a narrowPeak or broadPeak",
        "its lines are peaks; give the reads or the fragments that they were called on",
    ),
    Format(
        _are_reads,
        "a tagAlign or another BED of reads",
        "column 6 is a strand, so each line is a read, not a fragment; give the BAM as bam=, or, "
        "if each line does hold a whole fragment, leave out the strand (cut -f 1-5)",
    ),
    Format(
        _most(lambda row: len(row) > 3 and row[3][-2:] in ("/1", "/2")),
        "a BED of reads",
        "column 4 names mates (/1, /2), so each line is a read, not a fragment; give the BAM "
        "as bam=",
    ),
    Format(
        lambda rows: _one_length(rows) == 1,
        "a BED of single positions",
        "each line is one cut site of 1 bp, not a fragment; give the reads as bam=, or fragments",
    ),
    Format(
        _is_track,
        "a bedGraph",
        "column 4 is the value of a track, not a barcode; convert it (bedGraphToBigWig) and give "
        "bigwig=, or give the reads",
        "column 4 is the value of a track; give only the intervals that are meant",
    ),
    Format(
        lambda rows: _is_track(rows, touching=False),
        "a bedGraph",
        "column 4 is a value, not a barcode; convert it (bedGraphToBigWig) and give bigwig=, or "
        "give the reads",
    ),
)
