"""Rows as a Markdown table, or as aligned text on the terminal.

`columns` maps each head to a format of a row's values, such as "{median_ms:.1f}", or to a function
of the row.
"""

from collections.abc import Callable, Iterable, Mapping

Columns = Mapping[str, str | Callable[[dict], object]]


def cells(row: dict, columns: Columns) -> list[str]:
    """The text of one row."""
    return [
        form.format_map(row) if isinstance(form, str) else str(form(row))
        for form in columns.values()
    ]


def table(heads: Iterable[str], lines: Iterable[Iterable]) -> str:
    """A Markdown table without an end of line."""
    heads = list(heads)
    body = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in body)


def table_of(rows: Iterable[dict], columns: Columns) -> str:
    """A Markdown table with a line for every row."""
    return table(columns, (cells(row, columns) for row in rows))


def show(rows: Iterable[dict], columns: Columns, write: Callable[[str], object] = print) -> None:
    """Print the rows, the first column to the left and all others to the right."""
    lines = [list(columns), *(cells(row, columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        right = (f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True))
        write("  ".join([f"{first:<{widths[0]}}", *right]).rstrip())
