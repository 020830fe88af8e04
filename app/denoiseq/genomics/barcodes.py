"""Lists of cell barcodes, and tables that put cells into groups, in the forms that tools write.

One barcode a line, or a table with tabs, commas or semicolons, with or without a header and quotes,
plain or gzipped, a file or a pipe.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from denoiseq.errors import UserError
from denoiseq.genomics.barcode_forms import in_form_of, side_by_side
from denoiseq.inputs import read_lines

# names of the column of barcodes, and those that are one only in the first column; in lower case,
# letters and digits alone
_BARCODE = ("barcode", "barcodes", "cellbarcode", "cellbarcodes", "bc", "cb")
_CELL = (
    *("cell", "cells", "cellid", "cellids", "cellname", "cellnames"),
    *("id", "index", "name", "names", "obsnames", "x"),
)
_GROUP = ("group", "groups", "cluster", "clusters", "celltype", "celltypes")
# is__cell_barcode of Cell Ranger ATAC, is_GRCh38_cell_barcode of two species, is_cell of ARC
_IS_CELL = re.compile(r"is_\w*cell(_barcode)?", re.IGNORECASE)
_YES = ("1", "true")
_SEQUENCE = re.compile(r"[ACGTN]{6,}(-[0-9]+)?", re.IGNORECASE)


class Row(NamedTuple):
    """A line of a list or table; group: "" where there is none."""

    line: int
    barcode: bytes
    group: str


@dataclass(frozen=True)
class _Columns:
    """Where a table has what; `names`: its first line is no data."""

    names: bool
    barcode: int
    group: int
    is_cell: list[int]


def read_cells(
    barcodes: str | Path | None, groups: str | Path | None
) -> tuple[dict[bytes, int], list[str]]:
    """Read a list of barcodes, a table of barcode and group, or what is in both.

    Returns the barcodes to keep, none where neither is given, each with its index in the groups'
    names: [""] where there are no groups.
    """
    listed = None if barcodes is None else dict.fromkeys(row.barcode for row in _rows(barcodes))
    if listed is not None and not listed:
        raise UserError(f"{barcodes} lists no barcode.")
    if groups is None:
        return dict.fromkeys(listed or (), 0), [""]
    group_of: dict[bytes, int] = {}
    names: dict[str, int] = {}
    for number, barcode, name in _rows(groups):
        if not name:
            raise UserError(f"{groups}, line {number}: expected a barcode, a tab and its group.")
        group = names.setdefault(name, len(names))
        if group_of.setdefault(barcode, group) != group:
            raise UserError(
                f"{groups}, line {number}: {barcode.decode(errors='replace')} is in two groups."
            )
    if not group_of:
        raise UserError(f"{groups} gives no barcode.")
    if listed is not None:
        kept = set(in_form_of(listed, group_of).values())
        both = {barcode: i for barcode, i in group_of.items() if barcode in kept}
        if not both:
            theirs, ours = side_by_side(group_of, listed)
            raise UserError(
                f"{groups} gives no barcode of the list {barcodes}: it has {theirs}, the list "
                f"{ours}."
            )
        group_of = both
    return group_of, list(names)


def _rows(path: str | Path) -> Iterator[Row]:
    """The lines that name a barcode; where a column says what is a cell, those of cells."""
    table = _table(path)
    if not table:
        return
    columns = _columns([row for _, row in table])
    cells = False
    for number, row in table[columns.names :]:
        barcode, group = (
            row[at] if at < len(row) else "" for at in (columns.barcode, columns.group)
        )
        is_cell = [row[at].lower() in _YES for at in columns.is_cell if at < len(row)]
        if barcode and (any(is_cell) or not columns.is_cell):
            cells = True
            yield Row(number, barcode.encode(), group)
    if columns.is_cell and not cells:
        name = table[0][1][columns.is_cell[0]]
        raise UserError(f"{path} has no cell: its column {name} is 1 in no line.")


def _table(path: str | Path) -> list[tuple[int, list[str]]]:
    """(number, cells) of each line that holds something and is no comment."""
    lines = [
        (number, line.strip(" "))
        for number, line in enumerate(read_lines(path, "list of barcodes"), start=1)
        if line.strip() and not line.startswith("#")
    ]
    # R's own choice is blanks between quoted cells; without quotes blanks belong to a name
    quoted = any(line.count('"') > 2 for _, line in lines)
    delimiters = (d for d in "\t,;" if any(d in line for _, line in lines))
    delimiter = next(delimiters, " " if quoted else "\t")
    try:
        table = [
            (number, [cell.strip().strip("'\"").strip() for cell in row])
            for number, line in lines
            for row in csv.reader([line], delimiter=delimiter, skipinitialspace=True)
        ]
    except csv.Error as error:
        raise UserError(f"{path} is not a list of barcodes ({error}).") from error
    if len(table) == 1 and all(map(_SEQUENCE.fullmatch, table[0][1])):  # all on one line
        return [(table[0][0], [barcode]) for barcode in table[0][1]]
    return table


def _columns(rows: list[list[str]]) -> _Columns:
    """What a table's first line tells of its columns."""
    first, names = rows[0], [re.sub("[^a-z0-9]", "", cell.lower()) for cell in rows[0]]
    barcode = next((i for i, name in enumerate(names) if name in _BARCODE), None)
    if barcode is None and names[0] in _CELL:
        barcode = 0
    # R leaves out the name of the column of row names
    shorter = {len(row) for row in rows[1:]} == {len(first) + 1}
    unnamed = shorter and (names[0] in _GROUP or (len(first) > 1 and len(rows) > 2))
    if barcode is None and first[0] and not unnamed:
        return _Columns(False, 0, 1, [])
    if shorter and barcode is not None:  # row names are numbers, or the barcodes again
        shorter = rows[1][0].isdigit() or rows[1][0] == rows[1][barcode + 1]
    at = 0 if barcode is None else barcode + shorter
    group = next((i + shorter for i, name in enumerate(names) if name in _GROUP), at + 1)
    is_cell = [i + shorter for i, cell in enumerate(first) if _IS_CELL.fullmatch(cell)]
    return _Columns(True, at, group, is_cell)
