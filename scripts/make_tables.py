#!/usr/bin/env python
"""Write the speed tables of README.md and kernels/README.md from the benchmark's CSV files.

    python scripts/make_tables.py                # docs/bench/*.csv into both pages
    python scripts/make_tables.py --check        # exit 1 if they are not what the files give

The tables lie between two markers; nothing there is typed by hand. The files come from
scripts/bench_layer.py, training*.csv from scripts/bench_train.py, models*.csv, for
kernels/README.md, from scripts/bench_models.py: whoever replaces one runs this again. Where two
files hold the same layer, threads and pass, the first by name counts.
"""

import argparse
import csv
import statistics
import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPEN, CLOSE = "<!-- speed tables -->", "<!-- /speed tables -->"
LETTERS = ("N", "C", "K", "S", "d", "W")
ATACWORKS = {"C": 15, "K": 15, "S": 51, "d": 8, "W": 60_000}
PASS_WORDS = {
    "forward": "forward",
    "backward_data": "gradient of x",
    "backward_weight": "gradient of w",
    "forward_backward": "forward + backward",
}
MODELS = ("<!-- models table -->", "<!-- /models table -->")
NOTHING = "-"
LATER = {"onednn_isa": "", "dtype": "float32"}  # columns that early files lack


def read_file(path, column, script):
    """The rows that `script` wrote, known by one of its columns."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or column not in rows[0]:
        raise ValueError(f"{path} holds no rows of {script} (--csv)")
    return rows


def read_rows(paths):
    """Rows of the benchmark, numbers as numbers; a (layer, threads, pass) from one file only."""
    rows, owner = [], {}
    for path in paths:
        for row in read_file(path, "fraction_of_peak", "scripts/bench_layer.py"):
            for key in (*LETTERS, "threads"):
                row[key] = int(row[key])
            for key in ("median_ms", "fraction_of_peak", "speedup_over_torch", "peak_gflops"):
                row[key] = float(row[key])
            run = (*machine_of(row), *(row[k] for k in (*LETTERS, "threads", "pass")))
            if owner.setdefault(run, path) == path:
                rows.append(row)
    return rows


def read_training(paths):
    """Rows of whole training steps."""
    return [row for path in paths for row in read_file(path, "loss", "scripts/bench_train.py")]


def training_table(rows):
    """One machine's training steps: a line for every run and contender."""
    body = [
        [
            *(row[key] for key in ("N", "threads", "contender")),
            f"{float(row['median_ms']):.0f}",
            f"{float(row['speedup_over_torch']):.1f}",
            f"{float(row['loss']):.4f}",
        ]
        for row in rows
    ]
    parameters, width = (int(rows[0][key]) for key in ("parameters", "W"))
    text = (
        f"Whole training steps of the AtacWorks network ({parameters:,} parameters, W={width:,}, "
        f"Adam; `scripts/bench_train.py`) on {words_of(machine_of(rows[0]))}: the same "
        "steps from the same weights on dilconv (native), on torch with the input padded "
        "beforehand, and on torch with `padding=` in the call, as users write it."
    )
    head = ["N", "threads", "on", "ms a step", "x the fastest torch", "loss after the steps"]
    return f"{text}\n\n{table(head, body)}"


def models_table(rows):
    """Models before and after: a line for every model, N, type and threads."""
    body = [
        [
            *(row[key] for key in ("model", "N", "dtype", "threads")),
            *(
                f"{float(row[f'{name}_torch_ms']):.0f} -> {float(row[f'{name}_dilconv_ms']):.0f} "
                f"({float(row[f'{name}_ratio']):.2f})"
                for name in ("forward", "step")
            ),
            " -> ".join(row[f"gradient_error_{who}"] for who in ("torch", "dilconv")),
        ]
        for row in rows
    ]
    text = (
        f"On {rows[0]['cpu']}, torch {rows[0]['torch']}: milliseconds on torch -> on dilconv, and "
        "in brackets how many times as fast (the median of the rounds; below 1 torch is faster). "
        "The last column is the largest error of a parameter's gradient, as a share of its norm, "
        "against float64."
    )
    head = ["model", "N", "type", "threads", "forward", "training step", "error of gradients"]
    return f"{text}\n\n{table(head, body)}"


def machine_of(row):
    return (
        *(row[key] for key in ("cpu", "isa", "torch")),
        *(row.get(*later) for later in LATER.items()),
    )


def words_of(machine):
    cpu, isa, torch, onednn_isa, dtype = machine
    held = f" with its oneDNN held to {onednn_isa}" if onednn_isa else ""
    return f"{cpu}, {dtype}, kernels for {isa}, torch {torch}{held}"


def is_atacworks(row):
    return all(row[letter] == value for letter, value in ATACWORKS.items())


def table(head, body):
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def caption(rows):
    peak = statistics.median(row["peak_gflops"] / row["threads"] for row in rows)
    return f"{words_of(machine_of(rows[0]))}; multiply-add peak {peak:.0f} GFLOP/s a core"


def layer_table(rows):
    """The AtacWorks layer: a line for every N, threads and pass, a column for every contender."""
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    body = []
    order = sorted(rows, key=lambda r: (r["N"], r["threads"], list(PASS_WORDS).index(r["pass"])))
    for (N, threads, name), group in groupby(order, lambda r: (r["N"], r["threads"], r["pass"])):
        cells = {
            row["contender"]: f"{row['speedup_over_torch']:.2f} ({row['fraction_of_peak']:.2f})"
            for row in group
        }
        body.append([N, threads, PASS_WORDS[name], *(cells.get(c, NOTHING) for c in contenders)])
    text = (
        f"The AtacWorks layer (C=K=15, S=51, d=8, W=60,000) on {caption(rows)}. Entries: times as "
        "fast as the fastest form of torch in the same run, and in brackets the rate of "
        "2·N·C·K·S·W operations a pass as a fraction of the peak of the threads used."
    )
    return f"{text}\n\n{table(['N', 'threads', 'pass', *contenders], body)}"


def sweep_table(rows):
    """`auto` at every layer: how many times as fast as the fastest torch, by pass and threads."""
    found = {(point_of(r), r["threads"], r["pass"]): r for r in rows if r["contender"] == "auto"}
    threads = sorted({key[1] for key in found})
    columns = [(t, name) for name in ("forward", "forward_backward") for t in threads]
    head = ["layer", *LETTERS, *(f"{PASS_WORDS[name]}, {t} thr." for t, name in columns)]
    body = []
    for point in dict.fromkeys(key[0] for key in found):
        cells = [found.get((point, *column)) for column in columns]
        body.append([*point, *(NOTHING if r is None else sweep_cell(r) for r in cells)])
    text = (
        f"The sweep on {caption(rows)}. Entries: `auto` in milliseconds, and in brackets times as "
        "fast as the fastest form of torch in the same run."
    )
    return f"{text}\n\n{table([*head], body)}"


def point_of(row):
    return (row["layer"], *(row[letter] for letter in LETTERS))


def sweep_cell(row):
    return f"{row['median_ms']:.3g} ({row['speedup_over_torch']:.2f})"


def machines(rows):
    """The rows machine by machine."""
    for machine in dict.fromkeys(map(machine_of, rows)):
        yield [row for row in rows if machine_of(row) == machine]


def make_tables(rows):
    """Both tables of layers for every machine in the rows; "" without rows."""
    parts = []
    for here in machines(rows):
        layer = [row for row in here if is_atacworks(row)]
        if layer:
            parts.append(layer_table(layer))
        if len({point_of(row)[1:] for row in here if not is_atacworks(row)}):
            parts.append(sweep_table(here))
    return "\n\n".join(parts)


def replace_tables(text, tables, markers=(OPEN, CLOSE)):
    """`text` with the tables between its markers; a missing closing marker is added.

    Raises
    ------
    ValueError
        If the opening marker is missing.
    """
    opening, closing = markers
    before, marker, after = text.partition(opening)
    if not marker:
        raise ValueError(f"no line {opening} to put the tables behind")
    after = after.partition(closing)[2] if closing in after else after
    inside = f"\n\n{tables}\n\n" if tables else "\n"
    return f"{before}{opening}{inside}{closing}\n\n{after.lstrip()}"


def pages(arguments):
    """(path, its text, what its tables make of it): README.md, and the page of the models' table.

    The second is left alone where there is no models*.csv.
    """
    paths = sorted(arguments.folder.glob("*.csv"))
    training = [path for path in paths if path.name.startswith("training")]
    models = [path for path in paths if path.name.startswith("models")]
    layers = [path for path in paths if path not in (*training, *models)]
    tables = [
        make_tables(read_rows(layers)),
        *(training_table(rows) for rows in machines(read_training(training))),
    ]
    old = arguments.readme.read_text(encoding="utf-8")
    yield arguments.readme, old, replace_tables(old, "\n\n".join(filter(None, tables)))
    if models:
        found = [row for path in models for row in read_file(path, "step_ratio", "bench_models.py")]
        old = arguments.models_page.read_text(encoding="utf-8")
        yield arguments.models_page, old, replace_tables(old, models_table(found), MODELS)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "bench")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--models-page", type=Path, default=ROOT / "kernels" / "README.md")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    try:
        found = list(pages(arguments))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.check:
        stale = [path for path, old, new in found if new != old]
        for path in stale:
            print(f"{path} is not what {arguments.folder} gives", file=sys.stderr)
        return int(bool(stale))
    for path, _, new in found:
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(new, encoding="utf-8")
        temporary.replace(path)
        print(f"{path}: its tables are those of {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
