#!/usr/bin/env python
"""Experiment yeast against its baselines on the test chromosomes: 3 seeds, 5 draws, 4 depths.

    python scripts/yeast_study.py                       # trains three networks first: half an hour
    python scripts/yeast_study.py --seeds 0 --draws 1 --fractions 0.1

Networks learn at 10% of the fragments. Each is measured on the held-out chromosomes at every
fraction and draw of fragments, with all fragments as truth and with those not drawn (complement).
At each fraction the baselines are tuned anew on the validation chromosomes. Gains are paired: the
same draws and, for the intervals, the same replicates of a bootstrap over blocks of 50 kb, averaged
over seeds and draws. MACS3 is called on the same input where it is installed.

Leaves study.csv (a row a fraction, truth, baseline and metric) and study.md in --out. What is
trained or measured already is not done again.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from denoiseq import settings
from denoiseq.atomic import atomic_path, check_writable, write_csv, write_text
from denoiseq.distributed import use_threads
from denoiseq.evaluation import external_peaks
from denoiseq.evaluation.baselines import fit_linear, tune_baselines
from denoiseq.evaluation.bootstrap import interval
from denoiseq.evaluation.measure import measure, validate
from denoiseq.models.checkpoint import open_checkpoint, trained_network
from tqdm import tqdm
from trainings import trained

ROOT = Path(__file__).resolve().parents[1]
METRICS = {"auprc": "AUPRC", "best_f1": "best F1", "log1p_pearson": "log1p-Pearson", "mse": "MSE"}
BASELINES = ("noisy", "gaussian", "linear")
TARGETS = ("all", "complement")
FIRST_DRAW = 1000  # seeds of the draws: none that a training had
BOOTSTRAP = 1000


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a training each")
    parser.add_argument("--draws", type=int, default=5, help="of fragments, at each fraction")
    parser.add_argument(
        "--fractions",
        type=float,
        nargs="+",
        default=[0.01, 0.02, 0.05, 0.1],
        help="of all fragments",
    )
    parser.add_argument("--jobs", type=int, default=2, help="measured at a time, a thread each")
    parser.add_argument(
        "--runs",
        type=Path,
        default=ROOT / "outputs" / "yeast_study",
        help="what is trained already",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "yeast", help="output folder")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the trainings")
    return parser.parse_args()


def measured(folder, fraction, draws):
    """Measure one network at one fraction; the files of its figures, one a draw and target."""
    files = [
        folder / "study" / f"{fraction:g}_{draw}_{target}.npz"
        for draw in range(draws)
        for target in TARGETS
    ]
    if all(file.is_file() for file in files):
        return files
    os.chdir(ROOT)
    payload, config = open_checkpoint(str(folder / "checkpoints" / "best.pt"))
    use_threads(1)
    network = trained_network(payload, config, settings.Conv(), settings.Precision(), "auto")
    config = replace(config, trainer=settings.Trainer(progress=False))
    evaluation = settings.Evaluate(bootstrap=BOOTSTRAP)
    data = replace(config.data, thin_fraction=fraction, thin_range=None)
    given = data.open_sources(data)
    tuned = tuned_at(network, data, given, config)
    for file in files:
        if not file.is_file():
            _, draw, target = file.stem.split("_")
            there = replace(data, target=target)
            split = data.held_out(there, given, FIRST_DRAW + int(draw), "test")
            external = external_peaks.called(split, "auto")
            keep(file, measure(network, split, evaluation, config, tuned, external))
    return files


def tuned_at(network, data, given, config):
    """Bandwidth, filter and thresholds for the fraction of `data`; the test split is not read."""
    splits = data.splits(data, given, config.seed)
    tuned = tune_baselines(splits.validation, config, weights=fit_linear(splits.train))
    return tuned.with_denoised(validate(network, splits.validation, None, config)[1])


def keep(file, found):
    """One measurement as a file: the values as they are, then the replicates."""
    arrays = {
        f"{track}/{metric}": np.append(found.metrics[track][metric], rows[metric])
        for track, rows in found.replicates.items()
        for metric in METRICS
        if metric in rows
    }
    others = {"macs3": found.metrics.get("macs3"), "tuned": found.metrics["tuned"]}
    with atomic_path(file) as temporary, temporary.open("wb") as raw:
        np.savez_compressed(raw, others=json.dumps(others), **arrays)


def summary(arguments, files):
    """Rows: the mean of each track and its paired gain, over seeds and draws, with intervals.

    files : (fraction, target) -> files
    """
    rows = []
    for (fraction, target), some in files.items():
        loaded = [np.load(file) for file in some]
        common = {"fraction": fraction, "truth": target, "runs": len(some)}
        for metric in METRICS:
            mean = {
                track: np.mean([one[f"{track}/{metric}"] for one in loaded], axis=0)
                for track in (*BASELINES, "denoised")
            }
            for track, values in mean.items():
                gain = (
                    mean["denoised"] / values - 1 if metric == "mse" else mean["denoised"] - values
                )
                low, high = interval(gain[1:])
                found = {"value": values[0], "gain": gain[0], "low": low, "high": high}
                rows.append({**common, "metric": metric, "track": track, **rounded(found)})
        macs3 = [json.loads(str(one["others"]))["macs3"] for one in loaded]
        if all(macs3):
            found = {"value": float(np.mean([one["f1"] for one in macs3])), "gain": float("nan")}
            found |= {"low": float("nan"), "high": float("nan")}
            rows.append({**common, "metric": "best_f1", "track": "macs3", **rounded(found)})
    return rows


def rounded(values):
    return {name: round(float(value), 5) for name, value in values.items()}


def table(rows):
    """Markdown: values of the tracks, and the gain over the Gaussian with its interval."""
    heads = ["fragments", "truth", "metric", "noisy", "Gaussian", "linear", "MACS3", "denoised",
             "gain over the Gaussian"]  # fmt: skip
    lines = [heads, ["---"] * len(heads)]
    cells = {(r["fraction"], r["truth"], r["metric"], r["track"]): r for r in rows}
    for fraction, truth, metric in dict.fromkeys(key[:3] for key in cells):
        places = 2 if metric == "mse" else 4
        values = [
            f"{cells[fraction, truth, metric, track]['value']:.{places}f}"
            if (fraction, truth, metric, track) in cells
            else ""
            for track in (*BASELINES, "macs3", "denoised")
        ]
        one = cells[fraction, truth, metric, "gaussian"]
        show = "{:+.1%}" if metric == "mse" else "{:+.4f}"
        gain, low, high = (show.format(float(one[name])) for name in ("gain", "low", "high"))
        what = [f"{fraction:.0%}", truth, METRICS[metric]]
        lines.append([*what, *values, f"{gain} [{low}, {high}]"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main():
    arguments = parse_arguments()
    try:
        check_writable(arguments.out / "study.csv")
        for seed in arguments.seeds:
            overrides = (f"seed={seed}", *arguments.overrides)
            trained(arguments.runs / f"seed{seed}", "yeast", overrides)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    tasks = [(arguments.runs / f"seed{s}", f) for f in arguments.fractions for s in arguments.seeds]
    files = {}
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(measured, *task, arguments.draws) for task in tasks]
        for (_, fraction), job in zip(tasks, tqdm(jobs, disable=None), strict=True):
            for file in job.result():
                files.setdefault((fraction, file.stem.split("_")[2]), []).append(file)
    rows = summary(arguments, files)
    write_csv(arguments.out / "study.csv", rows)
    write_text(arguments.out / "study.md", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
