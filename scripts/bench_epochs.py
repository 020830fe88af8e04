#!/usr/bin/env python
"""Benchmark of whole trainings: epochs of AtacWorks' network on segments of 60,000 bp of yeast.

    python scripts/bench_epochs.py                         # some ten minutes on two cores
    python scripts/bench_epochs.py --quick                 # an epoch of a few segments
    python scripts/bench_epochs.py --csv epochs.csv --runs outputs/epochs

The same training (experiment atacworks: data, loss, Adam, windows in the same order, the same
weights at the start) on dilconv and on torch, each in float32 and under bfloat16 autocast. torch
runs in the fastest of its forms (see bench_train.py), each of which takes steps of the same batch
first. A row each: seconds an epoch, without validation; loss, AUROC and AUPRC on the validation
chromosome at the end. Interrupted, it goes on where it was.
"""

import argparse
import json
import os
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import torch
from denoiseq import settings
from denoiseq.atomic import check_writable, write_csv, write_json
from denoiseq.cli import composed, start_logging
from denoiseq.distributed import use_threads
from denoiseq.doctor import speed
from denoiseq.training.loop import Run, Training
from denoiseq.windows.splits import open_stores, splits
from dilconv import bench
from dilconv.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = "atacworks"
# Chromosomes to train on, epochs, windows a step: 42 segments, or 5.
FULL, QUICK = (("chrVII", "chrXIII"), 3, 4), (("chrI",), 1, 2)
RATE = 1e-3  # AtacWorks' own, 2e-4, wants more steps than these few
METRICS = ("loss", "auroc", "auprc", "log1p_pearson")
ON = ("native", "native-bf16", "torch", "torch-bf16")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the arithmetic"
    )
    parser.add_argument("--quick", action="store_true", help="an epoch of a few segments")
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "outputs" / "epochs", help="what is measured already"
    )
    parser.add_argument("--csv", type=Path, help="write the rows here")
    return parser.parse_args()


def configured(arguments):
    """The experiment, on the chromosomes that are asked for."""
    chroms, epochs, batch = QUICK if arguments.quick else FULL
    overrides = [
        f"+experiment={EXPERIMENT}", f"optim.epochs={epochs}", f"out={arguments.runs}",
        f"trainer.threads={arguments.threads}", "trainer.tensorboard=false",
        f"optim.batch_size={batch}", f"optim.lr={RATE}",
    ]  # fmt: skip
    options = settings.parse(settings.Train, composed("train", overrides))
    everything = open_stores(options.data).clean.chroms
    kept = {*chroms, *options.data.validation, *options.data.test}
    unused = [name for name in everything if name not in kept]
    return replace(options, data=replace(options.data, exclude=unused))


def form_of(on, arguments, batch_size):
    """The contender of `speed` that trains: of torch the one whose second step is fastest.

    Which it was is kept in the runs' folder, so that an interrupted benchmark goes on with it.
    """
    if not on.startswith("torch"):
        return on
    path = arguments.runs / f"{on}.json"
    if not path.is_file():
        suffix = on.removeprefix("torch")
        seconds = {}
        for name in speed.TORCH:
            (contender,) = speed.contenders(batch_size, 60_000, only=(name + suffix,))
            first = contender.step()[0]
            hopeless = first > speed.HOPELESS * min(seconds.values(), default=first)
            seconds[name + suffix] = first if hopeless else contender.step()[0]
            print(f"  {name + suffix}: {seconds[name + suffix]:.2f} s a step", flush=True)
        write_json(path, {"form": min(seconds, key=seconds.get), "seconds": seconds})
    return json.loads(path.read_text())["form"]


def trained(on, options, splits, arguments):
    """A row: one training of a contender, gone on with if it was begun."""
    form = form_of(on, arguments, options.optim.batch_size)
    print(f"training on {on} ({form})", flush=True)
    model = speed.network(form)
    folder = arguments.runs / on
    last = folder / "checkpoints" / "last.pt"
    options = replace(
        options,
        out=str(folder),
        resume=str(last) if last.is_file() else None,
        optim=replace(options.optim, monitor="loss"),
    )
    result = Training(
        model, splits, options, Run(evaluation=settings.Evaluate(bootstrap=0))
    ).train()
    seconds = statistics.median(float(epoch["seconds"]) for epoch in result.history)
    end = result.history[-1]
    dtype = torch.bfloat16 if form.endswith("bf16") else torch.float32
    return {
        "on": on, "form": form, "threads": arguments.threads, "W": options.data.window_bp,
        "segments": len(splits.train), "batch": options.optim.batch_size,
        "epochs": len(result.history), "epoch_s": round(seconds, 2),
        "segments_per_second": round(len(splits.train) / seconds, 4),
        **{name: round(float(end[f"validation_{name}"]), 5) for name in METRICS},
        **bench.machine(dtype),
    }  # fmt: skip


def main():
    arguments = parse_arguments()
    try:
        check_writable(arguments.runs / "any")
        options = configured(arguments)
        start_logging()
        keep_freed_memory()
        use_threads(options.trainer.threads)
        windows = splits(options.data, open_stores(options.data), options.seed)
        rows = [trained(on, options, windows, arguments) for on in ON]
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:  # of a training it says how to go on
        sys.exit(f"stopped: {str(stop) or 'interrupted'}")
    for row in rows:
        print(json.dumps(row))
    if arguments.csv:
        write_csv(arguments.csv, rows)


if __name__ == "__main__":
    main()
