"""Does bfloat16 learn what float32 learns? The same trainings in both, seed by seed.

    python scripts/bf16_study.py                                  # yeast, seeds 0 1 2
    python scripts/bf16_study.py --experiment smoke --seeds 0     # a minute, synthetic data

Each training is evaluated on the test chromosomes. Leaves in --out study.csv (a row a training),
study.md (the table) and study.png (the losses by epoch). Finished trainings are kept, interrupted
ones are resumed.
"""

import json
import statistics
from itertools import product

from bench.command import ROOT, parser, script
from denoiseq.atomic import write_bytes, write_text
from matplotlib.figure import Figure
from results.figures import png
from results.rows import Record, pick, read_csv, table
from studies.trainings import trained

STYLES = {"fp32": {"color": "#1d4ed8"}, "bf16": {"color": "#c2410c", "linestyle": "--"}}
METRICS = {"auprc": "AUPRC", "auroc": "AUROC", "pearson": "Pearson", "best_f1": "best F1"}
SHOWN = {**METRICS, "best_validation_loss": "best validation loss"}
EVALUATED = "evaluate/test/metrics.json"


def result(folder, experiment, seed):
    metrics = json.loads((folder / EVALUATED).read_text())
    history = read_csv(folder / "history.csv")
    return {
        "experiment": experiment,
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
        p: [statistics.mean(r[name] for r in pick(rows, precision=p)) for name in SHOWN]
        for p in STYLES
    }
    lines = [[r["precision"], r["seed"], *(f"{r[name]:.4f}" for name in SHOWN)] for r in rows]
    lines += [[p, "mean", *(f"{value:.4f}" for value in values)] for p, values in means.items()]
    difference = [f"{b - a:+.4f}" for a, b in zip(means["fp32"], means["bf16"], strict=True)]
    lines.append(["bf16 - fp32", "", *difference])
    return table(["precision", "seed", *SHOWN.values()], lines)


def losses(folders):
    """PNG: losses by epoch, float32 and bfloat16 over each other."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("train_loss", "validation_loss"), strict=True):
        for (seed, precision), folder in folders.items():
            epochs = read_csv(folder / "history.csv")
            points = zip(*((epoch["epoch"], epoch[name]) for epoch in epochs), strict=True)
            label = precision if seed == next(iter(folders))[0] else None
            axes.plot(*points, **STYLES[precision], linewidth=1.2, label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name.replace("_", " "))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return png(figure, dpi=150)


@script
def main():
    made = parser(__doc__, out=ROOT / "outputs" / "bf16_study")
    add = made.add_argument
    add("--experiment", default="yeast", help="what is trained")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a training each")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="of the config")
    arguments = made.parse_args()
    out, record = arguments.out, Record(arguments.out / "study.csv")
    runs = product(arguments.seeds, STYLES)
    folders = {(seed, precision): out / f"{precision}_seed{seed}" for seed, precision in runs}
    for (seed, precision), folder in folders.items():
        common = (f"precision={precision}", f"seed={seed}", "stages=[train,evaluate]")
        trained(folder, arguments.experiment, (*common, *arguments.overrides), done=EVALUATED)
    record.add(result(folder, arguments.experiment, seed) for (seed, _), folder in folders.items())
    write_text(out / "study.md", markdown(record.rows) + "\n")
    write_bytes(out / "study.png", losses(folders))
    print(markdown(record.rows))
