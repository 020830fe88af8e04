#!/usr/bin/env python
"""Does bfloat16 learn what float32 learns? The same trainings in both, seed by seed.

    python scripts/bf16_study.py                                  # yeast, seeds 0 1 2
    python scripts/bf16_study.py --experiment smoke --seeds 0     # a minute, synthetic data

Each training is evaluated on the test chromosomes. Leaves in --out study.csv (a row a training),
study.md (the table) and study.png (the losses by epoch). Trainings that are done are not repeated,
one that was interrupted goes on. Further arguments are overrides of the config.
"""

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path

from denoiseq.atomic import atomic_path, check_writable, write_csv, write_text
from matplotlib.figure import Figure
from trainings import trained

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = {"fp32": "#1d4ed8", "bf16": "#c2410c"}
METRICS = {"auprc": "AUPRC", "auroc": "AUROC", "pearson": "Pearson", "best_f1": "best F1"}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", default="yeast", help="what is trained")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a training each")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "outputs" / "bf16_study", help="output folder"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the config")
    return parser.parse_args()


def run_folder(out, precision, seed):
    return out / f"{precision}_seed{seed}"


def result(arguments, precision, seed):
    """The row of one training."""
    folder = run_folder(arguments.out, precision, seed)
    metrics = json.loads((folder / "evaluate" / "test" / "metrics.json").read_text())
    history = read_history(folder)
    return {
        "experiment": arguments.experiment,
        "precision": metrics["precision"],
        "seed": seed,
        **{name: metrics["denoised"][name] for name in METRICS},
        "epochs": len(history),
        "last_train_loss": float(history[-1]["train_loss"]),
        "best_validation_loss": min(float(row["validation_loss"]) for row in history),
    }


def read_history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows):
    """Markdown: a line a seed and precision, then the means and their differences."""
    names = {**METRICS, "best_validation_loss": "best validation loss"}
    lines = [["precision", "seed", *names.values()], ["---"] * (2 + len(names))]
    lines += [[r["precision"], r["seed"], *(f"{r[name]:.4f}" for name in names)] for r in rows]
    means = {
        precision: {
            name: statistics.mean(r[name] for r in rows if r["precision"] == precision)
            for name in names
        }
        for precision in PRECISIONS
    }
    lines += [[p, "mean", *(f"{m[name]:.4f}" for name in names)] for p, m in means.items()]
    difference = {name: means["bf16"][name] - means["fp32"][name] for name in names}
    lines.append(["bf16 - fp32", "", *(f"{d:+.4f}" for d in difference.values())])
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def draw_losses(arguments, path):
    """Losses by epoch, float32 and bfloat16 over each other."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("train_loss", "validation_loss"), strict=True):
        for precision, colour in PRECISIONS.items():
            for seed in arguments.seeds:
                history = read_history(run_folder(arguments.out, precision, seed))
                axes.plot(
                    [int(row["epoch"]) for row in history],
                    [float(row[name]) for row in history],
                    color=colour,
                    linestyle="-" if precision == "fp32" else "--",
                    linewidth=1.2,
                    label=precision if seed == arguments.seeds[0] else None,
                )
        axes.set_xlabel("epoch")
        axes.set_ylabel(name.replace("_", " "))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def main():
    arguments = parse_arguments()
    runs = [(precision, seed) for seed in arguments.seeds for precision in PRECISIONS]
    try:
        check_writable(arguments.out / "study.csv")
        for precision, seed in runs:
            made = (f"precision={precision}", f"seed={seed}", "stages=[train,evaluate]")
            folder = run_folder(arguments.out, precision, seed)
            overrides = (*made, *arguments.overrides)
            trained(folder, arguments.experiment, overrides, done="evaluate/test/metrics.json")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    rows = [result(arguments, precision, seed) for precision, seed in runs]
    write_csv(arguments.out / "study.csv", rows)
    write_text(arguments.out / "study.md", table(rows) + "\n")
    draw_losses(arguments, arguments.out / "study.png")
    print(table(rows))


if __name__ == "__main__":
    main()
