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

import json
import statistics
from dataclasses import replace

import torch
from bench import training_steps
from bench.command import CORES, ROOT, parser, script
from denoiseq import settings
from denoiseq.atomic import check_writable, write_json
from denoiseq.cli import composed, start_logging
from denoiseq.distributed import use_threads
from denoiseq.training.loop import Training
from denoiseq.windows.splits import open_stores, splits
from dilconv.bench import machine
from dilconv.memory import keep_freed_memory
from results.layout import show
from results.rows import Record

EXPERIMENT = "atacworks"
# Chromosomes to train on, epochs, windows a step: 42 segments, or 5.
FULL, QUICK = (("chrVII", "chrXIII"), 3, 4), (("chrI",), 1, 2)
RATE = 1e-3  # AtacWorks' own, 2e-4, wants more steps than these few
METRICS = ("loss", "auroc", "auprc", "log1p_pearson")
ON = ("native", "native-bf16", "torch", "torch-bf16")


def parse_arguments():
    made = parser(__doc__, csv=True, runs=ROOT / "outputs" / "epochs")
    made.add_argument("--threads", type=int, default=CORES, help="of the arithmetic")
    made.add_argument("--quick", action="store_true", help="an epoch of a few segments")
    return made.parse_args()


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
    """The contender of `training_steps` that trains: of torch the one with the fastest second step.

    Which it was is kept in the runs' folder, so that an interrupted benchmark goes on with it.
    """
    if not on.startswith("torch"):
        return on
    path = arguments.runs / f"{on}.json"
    if not path.is_file():
        seconds = {}
        for name in training_steps.TORCH:
            form = name + on.removeprefix("torch")
            (contender,) = training_steps.contenders(batch_size, 60_000, only=(form,))
            first = contender.step()[0]
            limit = training_steps.HOPELESS * min(seconds.values(), default=first)
            seconds[form] = first if first > limit else contender.step()[0]
            print(f"  {form}: {seconds[form]:.2f} s a step", flush=True)
        write_json(path, {"form": min(seconds, key=seconds.get), "seconds": seconds})
    return json.loads(path.read_text())["form"]


def trained(on, options, splits, arguments):
    """A row: one training of a contender, gone on with if it was begun."""
    form = form_of(on, arguments, options.optim.batch_size)
    print(f"training on {on} ({form})", flush=True)
    model = training_steps.network(form)
    folder = arguments.runs / on
    last = folder / "checkpoints" / "last.pt"
    options = replace(
        options,
        out=str(folder),
        resume=str(last) if last.is_file() else None,
        optim=replace(options.optim, monitor="loss"),
    )
    training = Training(model, splits, options)
    training.evaluation = settings.Evaluate(bootstrap=0)
    training.train()
    history = training.state.done.history
    seconds = statistics.median(float(epoch["seconds"]) for epoch in history)
    end = history[-1]
    dtype = torch.bfloat16 if form.endswith("bf16") else torch.float32
    return {
        "on": on, "form": form, "threads": arguments.threads, "W": options.data.window_bp,
        "segments": len(splits.train), "batch": options.optim.batch_size,
        "epochs": len(history), "epoch_s": round(seconds, 2),
        "segments_per_second": round(len(splits.train) / seconds, 4),
        **{name: round(float(end[f"validation_{name}"]), 5) for name in METRICS},
        **machine(dtype),
    }  # fmt: skip


@script
def main():
    arguments = parse_arguments()
    check_writable(arguments.runs / "any")
    record = Record(arguments.csv)
    options = configured(arguments)
    start_logging()
    keep_freed_memory()
    use_threads(options.trainer.threads)
    windows = splits(options.data, open_stores(options.data), options.seed)
    record.add([trained(on, options, windows, arguments) for on in ON])
    show(record.rows, " ".join(["on", "form", "epoch_s", "segments_per_second", *METRICS]))


if __name__ == "__main__":
    main()
