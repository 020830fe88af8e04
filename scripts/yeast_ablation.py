"""What each setting of experiment yeast is worth, on validation chromosomes of two folds or three.

    python scripts/yeast_ablation.py                        # 12 settings x 2 folds, 2 at a time
    python scripts/yeast_ablation.py --only as-it-is no-sequence --folds A

Every training is that of the experiment with one setting changed, and shorter. Folds hold out other
chromosomes; the test chromosomes chrIV and chrXV are never read. The gains are over the Gaussian of
the same draw, its bandwidth tuned on the same chromosomes. Leaves ablation.csv (a row a training)
and ablation.md in --out. Finished trainings are kept.
"""

import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from bench.command import ROOT, parser, script
from denoiseq.atomic import write_text
from results.rows import Record, pick, read_csv, table_of
from studies import METRICS
from studies.trainings import trained
from tqdm import tqdm

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
SHOWN = {
    "setting": "{words}",
    **{f"{words} gain": f"{{{name}_gain:+.4f}}" for name, words in METRICS.items()},
    "MSE gain": "{mse_gain:+.1%}",
}


def row(arguments, fold, setting):
    """What a training's validation says: the denoised track, and its gain over the Gaussian."""
    folder = arguments.runs / f"{setting}_{fold}_{arguments.epochs}"
    common = (f"data.validation={FOLDS[fold]}", f"optim.epochs={arguments.epochs}")
    trained(folder, "yeast", (*common, *SETTINGS[setting][1]), quiet=True)
    metrics = json.loads((folder / "metrics.json").read_text())
    denoised, gaussian = metrics["denoised"], metrics["gaussian"]
    gains = {f"{name}_gain": denoised[name] - gaussian[name] for name in METRICS}
    gains["mse_gain"] = denoised["mse"] / gaussian["mse"] - 1
    values = {name: denoised[name] for name in METRICS} | gains
    seconds = sum(epoch["seconds"] for epoch in read_csv(folder / "history.csv"))
    rounded = {name: round(value, 5) for name, value in values.items()}
    return {"setting": setting, "fold": fold, **rounded, "seconds": round(seconds)}


def markdown(rows, epochs):
    """A line a setting, means over the folds that all of them have."""
    by_setting = {name: pick(rows, setting=name) for name in SETTINGS}
    by_setting = {name: trainings for name, trainings in by_setting.items() if trainings}
    folds = set.intersection(*({row["fold"] for row in t} for t in by_setting.values()))
    means = []
    for name, trainings in by_setting.items():
        shared = [row for row in trainings if row["fold"] in folds]
        gains = {f"{m}_gain": statistics.mean(row[f"{m}_gain"] for row in shared) for m in METRICS}
        means.append({"words": SETTINGS[name][0], **gains})
    return (
        f"Gains over the tuned Gaussian at 10% of the fragments, means over {len(folds)} "
        f"validation folds, {epochs} epochs on one thread.\n\n{table_of(means, SHOWN)}\n"
    )


@script
def main():
    made = parser(__doc__, runs=ROOT / "outputs" / "yeast_ablation", out=ROOT / "docs" / "yeast")
    add, names = made.add_argument, list(SETTINGS)
    add("--only", nargs="+", choices=names, default=names, help="settings to change")
    add("--folds", nargs="+", choices=FOLDS, default=["A", "B"], help="of held-out chromosomes")
    add("--epochs", type=int, default=6, help="of a training")
    add("--jobs", type=int, default=2, help="trainings at a time, a thread each")
    arguments = made.parse_args()
    record = Record(arguments.out / "ablation.csv")
    runs = [*product(arguments.folds, arguments.only)]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = pool.map(lambda run: row(arguments, *run), runs)
        for measured in tqdm(rows, total=len(runs), disable=None):
            record.add([measured])
    write_text(arguments.out / "ablation.md", markdown(record.rows, arguments.epochs))
    print(markdown(record.rows, arguments.epochs))
