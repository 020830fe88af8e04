#!/usr/bin/env python
"""What each setting of experiment yeast is worth, on validation chromosomes of two folds or three.

    python scripts/yeast_ablation.py                        # 12 settings x 2 folds, 2 at a time
    python scripts/yeast_ablation.py --only as-it-is no-sequence --folds A

Every training is that of the experiment with one setting changed, and shorter (--epochs). Folds
hold out other chromosomes; the test chromosomes chrIV and chrXV are never read. The gains are over
the Gaussian of the same draw, its bandwidth tuned on the same chromosomes. Leaves ablation.csv (a
row a training) and ablation.md in --out. Trainings that are done are not repeated.
"""

import argparse
import csv
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from denoiseq.atomic import check_writable, write_csv, write_text
from tqdm import tqdm
from trainings import trained

ROOT = Path(__file__).resolve().parents[1]
FOLDS = {"A": "[chrII,chrXI]", "B": "[chrVII,chrIX]", "C": "[chrXII,chrVIII]"}
SETTINGS = {
    "as-it-is": ("experiment yeast", []),
    "no-sequence": ("coverage alone", ["data.sequence=false"]),
    "no-stem": ("no dense stem", ["model.stem_kernel_size=0"]),
    "one-strand": ("one strand at evaluation", ["model.both_strands=false"]),
    "no-reverse": ("no reversed training windows", ["data.reverse_complement=false"]),
    "no-average": ("no average of the weights", ["optim.ema_decay=0"]),
    "peaks-from-track": ("peaks from the track alone", ["model.peak_input=track"]),
    "no-add-input": ("track from nothing", ["model.add_input=false"]),
    "dilation-8": ("twice the field", ["model.dilation=8", "data.pad_bp=1200"]),
    "channels-24": ("24 channels", ["model.channels=24"]),
    "depth-range": ("trained at 2 to 30%", ["data.thin_range=[0.02,0.3]"]),
    "atacworks-loss": ("AtacWorks' loss", ["loss.log1p_mse=0", "loss.poisson=0"]),
}
METRICS = {
    "auprc": "AUPRC",
    "best_f1": "best F1",
    "log1p_pearson": "log1p-Pearson",
    "mse": "MSE",
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="settings to change"
    )
    parser.add_argument(
        "--folds", nargs="+", choices=FOLDS, default=["A", "B"], help="of held-out chromosomes"
    )
    parser.add_argument("--epochs", type=int, default=6, help="of a training")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, a thread each")
    parser.add_argument(
        "--runs",
        type=Path,
        default=ROOT / "outputs" / "yeast_ablation",
        help="what is trained already",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "yeast", help="output folder")
    return parser.parse_args()


def train(arguments, setting, fold):
    """One training; its folder."""
    folder = arguments.runs / f"{setting}_{fold}_{arguments.epochs}"
    common = (f"data.validation={FOLDS[fold]}", f"optim.epochs={arguments.epochs}")
    return trained(folder, "yeast", (*common, *SETTINGS[setting][1]), quiet=True)


def row(folder, setting, fold):
    """What a training's validation says: the denoised track, and its gain over the Gaussian."""
    metrics = json.loads((folder / "metrics.json").read_text())
    denoised, gaussian = metrics["denoised"], metrics["gaussian"]
    gains = {f"{name}_gain": denoised[name] - gaussian[name] for name in METRICS}
    gains["mse_gain"] = denoised["mse"] / gaussian["mse"] - 1
    values = {name: denoised[name] for name in METRICS}
    with (folder / "history.csv").open(newline="") as file:
        seconds = sum(float(epoch["seconds"]) for epoch in csv.DictReader(file))
    found = {name: round(value, 5) for name, value in (values | gains).items()}
    return {"setting": setting, "fold": fold, **found, "seconds": round(seconds)}


def table(rows, epochs):
    """Markdown: a line a setting, means over the folds that all of them have."""
    folds = {name: {r["fold"] for r in rows if r["setting"] == name} for name in SETTINGS}
    common = set.intersection(*(found for found in folds.values() if found))
    heads = ["setting", *(f"{name} gain" for name in METRICS.values())]
    lines = [heads, ["---"] * len(heads)]
    for name, (words, _) in SETTINGS.items():
        mine = [r for r in rows if r["setting"] == name and r["fold"] in common]
        if mine:
            mean = {key: statistics.mean(float(r[key]) for r in mine) for key in mine[0]
                    if key not in ("setting", "fold")}  # fmt: skip
            gains = [f"{mean[f'{key}_gain']:+.4f}" for key in list(METRICS)[:3]]
            gains += [f"{100 * mean['mse_gain']:+.1f}%"]
            lines.append([words, *gains])
    said = (
        f"Gains over the tuned Gaussian at 10% of the fragments, means over {len(common)} "
        f"validation folds, {epochs} epochs on one thread.\n\n"
    )
    return said + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main():
    arguments = parse_arguments()
    try:
        check_writable(arguments.out / "ablation.csv")
        runs = [(setting, fold) for fold in arguments.folds for setting in arguments.only]
        rows = []
        with ThreadPoolExecutor(arguments.jobs) as pool:
            folders = pool.map(lambda run: train(arguments, *run), runs)
            for run, folder in zip(runs, tqdm(folders, total=len(runs), disable=None), strict=True):
                rows.append(row(folder, *run))
                write_csv(arguments.out / "ablation.csv", rows)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    write_text(arguments.out / "ablation.md", table(rows, arguments.epochs))
    print(table(rows, arguments.epochs))


if __name__ == "__main__":
    main()
