"""Lists of cell barcodes, and tables that put cells into groups, plain or gzipped."""

from collections.abc import Iterator
from pathlib import Path

from denoiseq.errors import UserError
from denoiseq.genomics.fragment_file import decompressed


def read_cells(
    barcodes: str | Path | None, groups: str | Path | None
) -> tuple[dict[bytes, int], list[str]]:
    """Read a list of barcodes (one a line), a table of barcode and group, or what is in both.

    Returns the barcodes to keep, none where neither is given, each with its index in the groups'
    names: [""] where there are no groups.
    """
    listed = None if barcodes is None else {row[0] for _, row in _rows(barcodes)}
    if listed is not None and not listed:
        raise UserError(f"{barcodes} lists no barcode.")
    if groups is None:
        return dict.fromkeys(listed or (), 0), [""]
    group_of: dict[bytes, int] = {}
    names: dict[str, int] = {}
    for number, row in _rows(groups):
        if len(row) < 2 or not row[1]:
            raise UserError(f"{groups}, line {number}: expected a barcode, a tab and its group.")
        group = names.setdefault(row[1].decode(errors="replace"), len(names))
        if group_of.setdefault(row[0], group) != group:
            raise UserError(
                f"{groups}, line {number}: {row[0].decode(errors='replace')} is in two groups."
            )
    if listed is not None:
        group_of = {barcode: i for barcode, i in group_of.items() if barcode in listed}
    if not group_of:
        raise UserError(f"{groups} gives no barcode" + (" of the list." if listed else "."))
    return group_of, list(names)


def _rows(path: str | Path) -> Iterator[tuple[int, list[bytes]]]:
    """Columns of the lines that are not empty; without a first line that names its columns."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such list of barcodes: {path}")
    with path.open("rb") as raw, decompressed(path, raw) as file:
        for number, line in enumerate(file, start=1):
            row = [column.strip() for column in line.strip().split(b"\t")]
            if row[0] and not (number == 1 and row[0].lower() in (b"barcode", b"barcodes")):
                yield number, row
