"""Benchmark of whole trainings: epochs of AtacWorks' network on segments of 60,000 bp of yeast.

    python scripts/bench_epochs.py                         # some ten minutes on two cores
    python scripts/bench_epochs.py --csv epochs.csv --runs outputs/epochs

The same training (experiment atacworks, the same weights at the start) on dilconv and on torch, in
float32 and under bfloat16 autocast; torch in the form whose second step is fastest. Seconds an
epoch are without validation; the scores are of the validation chromosome at the end. Interrupted,
it goes on where it was.
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
from results.rows import Record, show

# Chromosomes to train on, epochs, windows a step: 42 segments, or 5.
FULL, QUICK = (("chrVII", "chrXIII"), 3, 4), (("chrI",), 1, 2)
RATE = 1e-3  # AtacWorks' own, 2e-4, wants more steps than these few
METRICS = ("loss", "auroc", "auprc", "log1p_pearson")
ON = ("native", "native-bf16", "torch", "torch-bf16")


def parse_arguments():
    made = parser(__doc__, csv=None, runs=ROOT / "outputs" / "epochs")
    made.add_argument("--threads", type=int, default=CORES, help="of the arithmetic")
    made.add_argument("--quick", action="store_true", help="an epoch of a few segments")
    return made.parse_args()


def configured(arguments):
    """The settings of the experiment, on the chromosomes that are asked for."""
    chroms, epochs, batch = QUICK if arguments.quick else FULL
    overrides = [
        "+experiment=atacworks", f"optim.epochs={epochs}", f"out={arguments.runs}",
        f"trainer.threads={arguments.threads}", "trainer.tensorboard=false",
        f"optim.batch_size={batch}", f"optim.lr={RATE}", "optim.monitor=loss",
    ]  # fmt: skip
    train = settings.parse(settings.Train, composed("train", overrides))
    kept = {*chroms, *train.data.validation, *train.data.test}
    unused = [name for name in open_stores(train.data).clean.chroms if name not in kept]
    return replace(train, data=replace(train.data, exclude=unused))


def form_of(on, runs, batch_size):
    """The contender of `training_steps` that trains, kept in `runs` for the same choice again."""
    if not on.startswith("torch"):
        return on
    path = runs / f"{on}.json"
    if not path.is_file():
        seconds = {}
        for name in training_steps.FORMS:
            form = name + on.removeprefix("torch")
            (contender,) = training_steps.contenders(batch_size, 60_000, (form,))
            first = contender.step()[0]
            limit = training_steps.HOPELESS * min(seconds.values(), default=first)
            seconds[form] = first if first > limit else contender.step()[0]
            print(f"  {form}: {seconds[form]:.2f} s a step", flush=True)
        write_json(path, {"form": min(seconds, key=seconds.get), "seconds": seconds})
    return json.loads(path.read_text())["form"]


def trained(on, train, splits, runs):
    """A row: one training of a contender, gone on with if it was begun."""
    form = form_of(on, runs, train.optim.batch_size)
    print(f"training on {on} ({form})", flush=True)
    last = runs / on / "checkpoints" / "last.pt"
    train = replace(train, out=str(runs / on), resume=str(last) if last.is_file() else None)
    training = Training(training_steps.network(form), splits, train)
    training.evaluation = settings.Evaluate(bootstrap=0)
    training.train()
    history = training.state.done.history
    seconds = statistics.median(float(epoch["seconds"]) for epoch in history)
    scores = {name: round(float(history[-1][f"validation_{name}"]), 5) for name in METRICS}
    return {
        "on": on, "form": form, "threads": train.trainer.threads, "W": train.data.window_bp,
        "segments": len(splits.train), "batch": train.optim.batch_size,
        "epochs": len(history), "epoch_s": round(seconds, 2),
        "segments_per_second": round(len(splits.train) / seconds, 4), **scores,
        **machine(torch.bfloat16 if form.endswith("bf16") else torch.float32),
    }  # fmt: skip


@script
def main():
    arguments = parse_arguments()
    check_writable(arguments.runs / "any")
    record = Record(arguments.csv)
    train = configured(arguments)
    start_logging()
    keep_freed_memory()
    use_threads(train.trainer.threads)
    windows = splits(train.data, open_stores(train.data), train.seed)
    record.add([trained(on, train, windows, arguments.runs) for on in ON])
    show(record.rows, " ".join(["on", "form", "epoch_s", "segments_per_second", *METRICS]))
