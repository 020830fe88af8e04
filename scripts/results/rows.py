"""CSV files of measurements: numbers as numbers, whole after every row, and one per benchmark."""

import csv
import json
from collections.abc import Iterable, Mapping
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
