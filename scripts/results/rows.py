"""Rows of measurements: CSV files, one a benchmark, and tables in Markdown or aligned text."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from denoiseq.atomic import check_writable, write_csv

# file -> a column that only its script writes, and the script
FILES = {
    "layers.csv": ("fraction_of_peak", "scripts/bench_layer.py"),
    "layers_bf16.csv": ("fraction_of_peak", "scripts/bench_layer.py"),
    "layers_onednn_avx2.csv": ("fraction_of_peak", "scripts/bench_layer.py"),
    "steps.csv": ("share_conv_forward", "scripts/bench_train.py"),
    "steps_onednn_avx2.csv": ("share_conv_forward", "scripts/bench_train.py"),
    "epochs.csv": ("epoch_s", "scripts/bench_epochs.py"),
    "ranks.csv": ("exchange_s", "scripts/bench_ranks.py"),
    "predict.csv": ("whole_genome_minutes", "scripts/bench_predict.py"),
    "models.csv": ("model", "scripts/bench_models.py"),
}
TEXT = ("commit", "trained", "torch")  # columns that may look like numbers
# Head -> format of a row's values, such as "{median_ms:.1f}", or a function of the row.
Columns = Mapping[str, str | Callable[[dict], object]]


def read_csv(path, script=None, column=None):
    """The rows of a CSV file; ValueError without any, or without the `column` of `script`."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = [{key: _value(key, text) for key, text in r.items()} for r in csv.DictReader(file)]
    if not rows or (column and column not in rows[0]):
        raise ValueError(f"{path} holds no rows{f' of {script}' if script else ''}")
    return rows


def _value(key, text):
    try:
        number = float(text)
    except ValueError:
        return text
    if key in TEXT:
        return text
    return int(number) if number.is_integer() and "." not in text else number


def read(folder):
    """{file without .csv: rows} of the benchmarks' files in a folder."""
    return {
        Path(name).stem: read_csv(Path(folder) / name, f"{script} (--csv)", column)
        for name, (column, script) in FILES.items()
        if (Path(folder) / name).is_file()
    }


def machine(folder):
    """What machine.json says; {} without it."""
    path = Path(folder) / "machine.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def pick(rows, **wanted):
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def fastest(rows, contender):
    """The fastest row of a contender or, such as of "torch", of its forms; None without one."""
    forms = [row for row in rows if str(row["contender"]).startswith(contender)]
    return min(forms, key=lambda row: row["median_ms"], default=None)


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


class Record:
    """Rows of a run of measurements; with a path, a CSV file that is whole after every addition.

    `keys` are the columns that tell one measured point from another; `resume` begins with the rows
    that the file has.
    """

    def __init__(self, path: Path | None, keys: Iterable[str] = (), resume: bool = False):
        if resume and path is None:
            raise ValueError("--resume needs --csv, the file to go on with")
        self.path, self.keys = path, tuple(keys)
        self.rows = read_csv(path) if resume and path.is_file() else []
        self._points = {self._point(row) for row in self.rows}
        if path:
            check_writable(path)

    def _point(self, row: Mapping) -> tuple:
        return tuple(row[key] for key in self.keys)

    def has(self, row: Mapping) -> bool:
        """Whether the point was measured before this run."""
        return self._point(row) in self._points

    def add(self, rows: Iterable[dict]) -> None:
        """Append rows, and write the file anew."""
        self.rows += rows
        if self.path:
            write_csv(self.path, self.rows)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{len(self.rows)} rows are in {self.path or 'no file: give --csv to keep them'}"
            )
