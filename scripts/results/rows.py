"""The CSV files of a results folder, numbers as numbers."""

import csv
import json
from pathlib import Path

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
WORDS = {"layer", "pass", "contender", "cpu", "isa", "dtype", "torch", "onednn_isa", "commit"}
WORDS |= {"on", "form", "what", "model", "variant", "package"}


def read(folder):
    """{file without .csv: rows} of those that are there.

    Raises
    ------
    ValueError
        If a file is not its script's.
    """
    found = {}
    for name, (column, script) in FILES.items():
        path = Path(folder) / name
        if not path.is_file():
            continue
        with path.open(newline="") as file:
            rows = [
                {key: _value(key, text) for key, text in r.items()} for r in csv.DictReader(file)
            ]
        if not rows or column not in rows[0]:
            raise ValueError(f"{path} holds no rows of {script} (--csv)")
        found[path.stem] = rows
    return found


def machine(folder):
    """What machine.json says; {} without it."""
    path = Path(folder) / "machine.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _value(key, text):
    if key in WORDS:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and "." not in text else number


def pick(rows, **wanted):
    """The rows whose columns have these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def best_torch(rows):
    """The fastest row of torch's forms, None without one."""
    forms = [row for row in rows if str(row["contender"]).startswith("torch")]
    return min(forms, key=lambda row: row["median_ms"], default=None)
