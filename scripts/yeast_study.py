"""Experiment yeast against its baselines on the test chromosomes: 3 seeds, 5 draws, 6 depths.

    python scripts/yeast_study.py                       # trains three networks first: hours
    python scripts/yeast_study.py --seeds 0 --draws 1 --fractions 0.1

A network serves every depth. It is measured with all fragments as truth and with those not drawn
(complement). At each fraction the baselines are tuned anew on the validation chromosomes. Gains are
paired: the same draws and the same replicates of a bootstrap over blocks of 50 kb, averaged over
seeds and draws. MACS3 is called on the same input where it is installed.

Leaves study.csv and study.md in --out. What was trained or measured before is kept.
"""

import math
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context

import numpy as np
from bench.command import ROOT, parser, script
from denoiseq.atomic import write_text
from denoiseq.distributed import use_threads
from denoiseq.evaluation.bootstrap import interval
from denoiseq.evaluation.measure import tune
from denoiseq.settings import DataOverrides
from denoiseq.windows.splits import open_stores, overridden, splits
from results.rows import Record, table
from studies import METRICS
from studies.measurements import Subject, keep, mean
from studies.trainings import trained
from tqdm import tqdm

BASELINES = ("noisy", "gaussian", "linear")
TARGETS = ("all", "complement")
SHOWN = {"noisy": "noisy", "gaussian": "Gaussian", "linear": "linear", "macs3": "MACS3",
         "denoised": "denoised"}  # fmt: skip


def measured(folder, fraction, draws):
    """Measure one network at one fraction; {target: files of its figures, one a draw}."""
    files = {
        target: [folder / "study" / f"{fraction:g}_{draw}_{target}.npz" for draw in range(draws)]
        for target in TARGETS
    }
    if all(file.is_file() for paths in files.values() for file in paths):
        return files
    os.chdir(ROOT)
    use_threads(1)
    subject = Subject(folder / "checkpoints" / "best.pt")
    data = overridden(subject.trained.data, DataOverrides(thin_fraction=fraction))
    stores = open_stores(data)
    windows, trained = splits(data, stores, subject.trained.seed), subject.trained
    tuned = tune(subject.network, windows.validation, trained, windows.train)
    for draw, target in product(range(draws), TARGETS):
        file = files[target][draw]
        if not file.is_file():
            keep(file, subject.measure(replace(data, target=target), stores, draw, tuned), METRICS)
    return files


def summary(files):
    """Rows: the mean of each track and its paired gain, over seeds and draws, with intervals.

    files : (fraction, target) -> files
    """
    rows = []
    for (fraction, target), paths in files.items():
        measurements = [np.load(path) for path in paths]
        common = {"fraction": fraction, "truth": target, "runs": len(paths)}
        for metric, track in product(METRICS, (*BASELINES, "denoised")):
            denoised, values = (mean(measurements, f"{t}/{metric}") for t in ("denoised", track))
            gain = denoised / values - 1 if metric == "mse" else denoised - values
            numbers = columns(values[0], gain[0], *interval(gain[1:]))
            rows.append({**common, "metric": metric, "track": track, **numbers})
        if (f1 := mean(measurements, "macs3/called_f1")) is not None:
            rows.append({**common, "metric": "best_f1", "track": "macs3", **columns(f1[0])})
    return rows


def columns(value, gain=math.nan, low=math.nan, high=math.nan):
    numbers = {"value": value, "gain": gain, "low": low, "high": high}
    return {name: round(float(number), 5) for name, number in numbers.items()}


def markdown(rows):
    """Values of the tracks, and the gain over the Gaussian with its interval."""
    cells = {}
    for row in rows:
        cells.setdefault((row["fraction"], row["truth"], row["metric"]), {})[row["track"]] = row
    lines = []
    for (fraction, truth, metric), tracks in cells.items():
        score, gain = ("{:.2f}", "{:+.1%}") if metric == "mse" else ("{:.4f}", "{:+.4f}")
        scores = [score.format(tracks[t]["value"]) if t in tracks else "" for t in SHOWN]
        gained, low, high = (gain.format(tracks["gaussian"][n]) for n in ("gain", "low", "high"))
        line = [f"{fraction:.0%}", truth, METRICS[metric], *scores]
        lines.append([*line, f"{gained} [{low}, {high}]"])
    heads = ["fragments", "truth", "metric", *SHOWN.values(), "gain over the Gaussian"]
    return table(heads, lines) + "\n"


@script
def main():
    made = parser(__doc__, runs=ROOT / "outputs" / "yeast_study", out=ROOT / "docs" / "yeast")
    add, fractions = made.add_argument, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a training each")
    add("--draws", type=int, default=5, help="of fragments, at each fraction")
    add("--fractions", type=float, nargs="+", default=fractions, help="of all fragments")
    add("--jobs", type=int, default=2, help="measured at a time, a thread each")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="of the trainings")
    arguments = made.parse_args()
    record = Record(arguments.out / "study.csv")
    for seed in arguments.seeds:
        overrides = (f"seed={seed}", *arguments.overrides)
        trained(arguments.runs / f"seed{seed}", "yeast", overrides)
    tasks = [(arguments.runs / f"seed{s}", f) for f in arguments.fractions for s in arguments.seeds]
    files = {}
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(measured, *task, arguments.draws) for task in tasks]
        for (_, fraction), job in zip(tasks, tqdm(jobs, disable=None), strict=True):
            for target, paths in job.result().items():
                files.setdefault((fraction, target), []).extend(paths)
    record.add(summary(files))
    write_text(arguments.out / "study.md", markdown(record.rows))
    print(markdown(record.rows))
