"""What each setting of experiment yeast is worth, on validation chromosomes of two folds or three.

    python scripts/yeast_ablation.py                        # 10 settings x 2 folds, 2 at a time
    python scripts/yeast_ablation.py --only as-it-is no-sequence --folds A
    python scripts/yeast_ablation.py --epochs 60 --folds D --only as-it-is only-2 only-10 only-50

Every training is that of the experiment with one setting changed, and shorter. Folds hold out other
chromosomes; the test chromosomes chrIV and chrXV are never read. Each network is measured at 2, 10
and 50% of the fragments, one trained for a single depth only there. The gains are over the Gaussian
of the same draw, its bandwidth tuned on the same chromosomes. Leaves ablation.csv (a row a training
and depth) and ablation.md in --out. What was trained or measured before is kept.
"""

import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from bench.command import ROOT, parser, script
from denoiseq.atomic import write_text
from results.rows import Record, pick, read_csv, table_of
from studies import METRICS
from studies.trainings import evaluated, trained
from tqdm import tqdm

FOLDS = {"A": "[chrII,chrXI]", "B": "[chrVII,chrIX]", "C": "[chrXII,chrVIII]", "D": "[chrII]"}
FRACTIONS = (0.02, 0.1, 0.5)
UNTOLD = ["data.tell_depth=false", "data.validation_fractions=null"]
SINGLE = {"only-2": 0.02, "only-10": 0.1, "only-50": 0.5}  # trained for one depth
SETTINGS = {
    "as-it-is": ("experiment yeast", []),
    "not-told": ("not told the depth", UNTOLD),
    "no-surroundings": ("no surroundings", ["data.surroundings_bp=[]"]),
    "no-sequence": ("coverage alone", ["data.sequence=false"]),
    "no-stem": ("no dense stem", ["model.stem_kernel_size=0"]),
    "peaks-from-track": ("peaks from the track alone", ["model.peak_input=track"]),
    "no-add-input": ("track from nothing", ["model.add_input=false"]),
    "dilation-8": ("twice the field", ["model.dilation=8", "data.pad_bp=1200"]),
    "channels-24": ("24 channels", ["model.channels=24"]),
    "atacworks-loss": ("AtacWorks' loss", ["loss.log1p_mse=0", "loss.poisson=0"]),
}
SETTINGS |= {
    name: (
        f"trained at {fraction:.0%} alone",
        [*UNTOLD, "data.thin_range=null", f"data.thin_fraction={fraction}"],
    )
    for name, fraction in SINGLE.items()
}
PEAKS = {"without_cuts": "peaks without a cut", "reproducibility": "peaks found again"}
SHOWN = {
    "fragments": "{fraction:.0%}",
    "setting": "{words}",
    **{f"{words} gain": f"{{{name}_gain:+.4f}}" for name, words in METRICS.items()},
    "MSE gain": "{mse_gain:+.1%}",
    **{words: f"{{{name}:.1%}}" for name, words in PEAKS.items()},
}


def rows_of(arguments, fold, setting):
    """What the denoised track has on the validation chromosomes, a row a depth."""
    folder = arguments.runs / f"{setting}_{fold}_{arguments.epochs}"
    common = (f"data.validation={FOLDS[fold]}", f"optim.epochs={arguments.epochs}")
    trained(folder, "yeast", (*common, *SETTINGS[setting][1]), quiet=True)
    seconds = sum(epoch["seconds"] for epoch in read_csv(folder / "history.csv"))
    about = {"setting": setting, "fold": fold, "epochs": arguments.epochs}
    rows = []
    for fraction in [SINGLE[setting]] if setting in SINGLE else FRACTIONS:
        options = ("split=validation", "retune=true", "reproducibility=true", "bootstrap=0")
        options = (*options, "macs3=false", f"data.thin_fraction={fraction}")
        metrics = json.loads(evaluated(folder, f"at_{fraction:g}", options).read_text())
        denoised, gaussian = metrics["denoised"], metrics["gaussian"]
        values = {name: denoised[name] for name in METRICS}
        values |= {f"{name}_gain": denoised[name] - gaussian[name] for name in METRICS}
        values["mse_gain"] = denoised["mse"] / gaussian["mse"] - 1
        values |= {name: denoised["peaks"][name] for name in PEAKS}
        rounded = {name: round(value, 5) for name, value in values.items()}
        rows.append({**about, "fraction": fraction, **rounded, "seconds": round(seconds)})
    return rows


def markdown(rows):
    """A table for each length of the trainings: a line a depth and setting, means over the folds
    that all settings have.
    """
    parts = []
    for epochs in sorted({row["epochs"] for row in rows}):
        of_length = pick(rows, epochs=epochs)
        measured = {row["setting"] for row in of_length}
        folds = [{row["fold"] for row in pick(of_length, setting=name)} for name in measured]
        shared = set.intersection(*folds)
        kept = [row for row in of_length if row["fold"] in shared]
        means = [
            {"fraction": fraction, "words": words, **mean(lines)}
            for fraction, (name, (words, _)) in product(FRACTIONS, SETTINGS.items())
            if (lines := pick(kept, setting=name, fraction=fraction))
        ]
        held_out = ", ".join(FOLDS[fold][1:-1] for fold in sorted(shared))
        parts.append(
            f"{epochs:g} epochs on one thread; gains over the tuned Gaussian on {held_out}, means "
            f"over the folds.\n\n{table_of(means, SHOWN)}\n"
        )
    return "\n".join(parts)


def mean(lines):
    names = [*(f"{name}_gain" for name in METRICS), *PEAKS]
    return {name: statistics.mean(line[name] for line in lines) for name in names}


@script
def main():
    made = parser(__doc__, runs=ROOT / "outputs" / "yeast_ablation", out=ROOT / "docs" / "yeast")
    add, names = made.add_argument, [name for name in SETTINGS if name not in SINGLE]
    add("--only", nargs="+", choices=SETTINGS, default=names, help="settings to change")
    add("--folds", nargs="+", choices=FOLDS, default=["A", "B"], help="of held-out chromosomes")
    add("--epochs", type=int, default=6, help="of a training")
    add("--jobs", type=int, default=2, help="trainings at a time, a thread each")
    arguments = made.parse_args()
    keys = ("setting", "fold", "epochs", "fraction")
    record = Record(arguments.out / "ablation.csv", keys, resume=True)
    runs = [*product(arguments.folds, arguments.only)]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        measured = pool.map(lambda run: rows_of(arguments, *run), runs)
        for rows in tqdm(measured, total=len(runs), disable=None):
            record.add([row for row in rows if not record.has(row)])
    write_text(arguments.out / "ablation.md", markdown(record.rows))
    print(markdown(record.rows))
