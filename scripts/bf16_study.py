#!/usr/bin/env python
"""Does bfloat16 learn what float32 learns? The same trainings in both, seed by seed.

    python scripts/bf16_study.py                                  # yeast, seeds 0 1 2
    python scripts/bf16_study.py --experiment smoke --seeds 0     # a minute, synthetic data

Each training is evaluated on the test chromosomes. Writes to --out study.csv (a row a
training), study.md (the table) and study.png (the losses by epoch). Finished trainings are kept,
interrupted ones are resumed. Further arguments are overrides of the config.
"""

import json
import statistics

from bench.command import ROOT, parser, script
from denoiseq.atomic import atomic_path, write_text
from matplotlib.figure import Figure
from results.layout import table
from results.rows import Record, pick, read_csv
from studies.trainings import trained

PRECISIONS = {"fp32": "#1d4ed8", "bf16": "#c2410c"}
METRICS = {"auprc": "AUPRC", "auroc": "AUROC", "pearson": "Pearson", "best_f1": "best F1"}
SHOWN = {**METRICS, "best_validation_loss": "best validation loss"}
EVALUATED = "evaluate/test/metrics.json"


def parse_arguments():
    made = parser(__doc__, out=ROOT / "outputs" / "bf16_study")
    add = made.add_argument
    add("--experiment", default="yeast", help="what is trained")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a training each")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="of the config")
    return made.parse_args()


def run_folder(out, precision, seed):
    return out / f"{precision}_seed{seed}"


def result(arguments, precision, seed):
    """The row of one training."""
    folder = run_folder(arguments.out, precision, seed)
    metrics = json.loads((folder / EVALUATED).read_text())
    history = read_csv(folder / "history.csv")
    return {
        "experiment": arguments.experiment,
        "precision": metrics["precision"],
        "seed": seed,
        **{name: metrics["denoised"][name] for name in METRICS},
        "epochs": len(history),
        "last_train_loss": float(history[-1]["train_loss"]),
        "best_validation_loss": min(float(epoch["validation_loss"]) for epoch in history),
    }


def markdown(rows):
    """A line a seed and precision, then the means and their differences."""
    means = {
        p: {name: statistics.mean(r[name] for r in pick(rows, precision=p)) for name in SHOWN}
        for p in PRECISIONS
    }
    lines = [[r["precision"], r["seed"], *(f"{r[name]:.4f}" for name in SHOWN)] for r in rows]
    lines += [[p, "mean", *(f"{m[name]:.4f}" for name in SHOWN)] for p, m in means.items()]
    difference = [f"{means['bf16'][name] - means['fp32'][name]:+.4f}" for name in SHOWN]
    lines.append(["bf16 - fp32", "", *difference])
    return table(["precision", "seed", *SHOWN.values()], lines)


def draw_losses(arguments, path):
    """Losses by epoch, float32 and bfloat16 over each other."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("train_loss", "validation_loss"), strict=True):
        for precision, colour in PRECISIONS.items():
            for seed in arguments.seeds:
                history = read_csv(run_folder(arguments.out, precision, seed) / "history.csv")
                axes.plot(
                    [epoch["epoch"] for epoch in history],
                    [epoch[name] for epoch in history],
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


@script
def main():
    arguments = parse_arguments()
    runs = [(precision, seed) for seed in arguments.seeds for precision in PRECISIONS]
    record = Record(arguments.out / "study.csv")
    for precision, seed in runs:
        made = (f"precision={precision}", f"seed={seed}", "stages=[train,evaluate]")
        folder, overrides = run_folder(arguments.out, precision, seed), arguments.overrides
        trained(folder, arguments.experiment, (*made, *overrides), done=EVALUATED)
    record.add([result(arguments, precision, seed) for precision, seed in runs])
    write_text(arguments.out / "study.md", markdown(record.rows) + "\n")
    draw_losses(arguments, arguments.out / "study.png")
    print(markdown(record.rows))


if __name__ == "__main__":
    main()
