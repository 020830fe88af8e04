"""Rows as a Markdown table, or as aligned text on the terminal under the columns' own names."""

from collections.abc import Callable, Iterable, Mapping

# Head -> format of a row's values, such as "{median_ms:.1f}", or a function of the row.
Columns = Mapping[str, str | Callable[[dict], object]]


def table(heads: Iterable[str], lines: Iterable[Iterable]) -> str:
    """A Markdown table without an end of line."""
    heads = list(heads)
    body = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in body)


def table_of(rows: Iterable[dict], columns: Columns) -> str:
    cells = [f.format_map if isinstance(f, str) else f for f in columns.values()]
    return table(columns, ([cell(row) for cell in cells] for row in rows))


def show(rows: Iterable[dict], names: str, write: Callable[[str], object] = print) -> None:
    """Print these columns of the rows: the first to the left, all others to the right."""
    heads = names.split()
    lines = [heads, *([_text(row[name]) for name in heads] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        right = (f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True))
        write("  ".join([f"{first:<{widths[0]}}", *right]).rstrip())


def _text(value) -> str:
    """Numbers as one reads them: 61,556,838 and 0.1235."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or value >= 1000 else f"{value:.4g}"
