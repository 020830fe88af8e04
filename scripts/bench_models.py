#!/usr/bin/env python
"""Other people's models on torch and on dilconv: checked first, then timed.

    python scripts/bench_models.py --quick                     # a minute or two, one thread
    python scripts/bench_models.py --threads 1 2 --csv models.csv
    python scripts/bench_models.py --models BPNet --dtypes float32 bfloat16

Each model is taken as its author wrote it; a copy goes through `dilconv.convert`, and that is all.
Outputs and every parameter's gradient must be those of the same model in float64 (on two items at
most) before anything is timed; torch's own errors are in the rows too. Then forward (no gradients)
and a whole training step (forward, loss, backward, clipped gradients, Adam) run in turn, in an
order shuffled anew each round, and the ratio is the median over the rounds of torch's time to
dilconv's in the same round: below 1, torch is the faster one. bfloat16 is autocast, for both.

A model whose package is missing is left out, with the command that installs it. The CSV is whole
after every model: an interrupted run keeps what is done, --resume goes on.
"""

import argparse
import copy
import csv
import statistics
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import dilconv
import torch
from denoiseq.atomic import write_csv
from dilconv import _native, bench
from dilconv.memory import keep_freed_memory
from example_models import EXAMPLES
from tqdm import tqdm

# Largest error as a share of the norm, of the outputs and of each parameter's gradient; or twice
# torch's own.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
INSTALL = {
    "bpnet-lite": "pip install --no-deps bpnet-lite tangermeme && pip install pandas numba scipy"
}
CHECKED = 2  # items
POINT = ("model", "N", "threads", "dtype")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [example.name for example in EXAMPLES]
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", default=names, help=f"only these: {', '.join(names)}"
    )
    parser.add_argument("-N", type=int, nargs="+", help="batch sizes (default: each model's own)")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1], help="of torch, one run each"
    )
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32"], choices=list(TOLERANCE), help="of activations"
    )
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds, at least 2")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="about what one of the two may take in a pass"
    )
    parser.add_argument("--quick", action="store_true", help="the smallest batch, three rounds")
    parser.add_argument("--csv", type=Path, help="write the rows here")
    parser.add_argument("--resume", action="store_true", help="keep the rows that --csv has")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.models) - set(names))
    if unknown:
        parser.error(f"unknown model {unknown[0]!r}: choose from {', '.join(names)}")
    if arguments.quick:
        arguments.rounds = 3
    if arguments.rounds < 2 or min(*arguments.threads, *(arguments.N or [1])) < 1:
        parser.error("--rounds must be at least 2, --threads and -N at least 1")
    if arguments.resume and not arguments.csv:
        parser.error("--resume needs --csv, the file to go on with")
    return arguments


@dataclass
class Contender:
    """A model in training on one batch."""

    model: torch.nn.Module
    inputs: tuple
    truth: torch.Tensor
    loss: object
    dtype: str

    def __post_init__(self):
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def precision(self):
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast("cpu", getattr(torch, self.dtype))

    def forward(self):
        with torch.no_grad(), self.precision():
            return self.model(*self.inputs)

    def gradients(self):
        """Output of the model, and its parameters' gradients."""
        self.optimizer.zero_grad()
        with self.precision():
            prediction = self.model(*self.inputs)
            self.loss(prediction, self.truth).backward()
        return prediction

    def step(self):
        self.gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1)
        self.optimizer.step()


def pair_of(example, N, dtype):
    """The model on torch and its copy on dilconv, with the same weights and batch."""
    torch.manual_seed(0)
    model = example.build()
    inputs, truth = example.batch(N)
    converted = dilconv.convert(copy.deepcopy(model))
    return tuple(Contender(m, inputs, truth, example.loss(m), dtype) for m in (model, converted))


def results(contender):
    """Outputs of the model, and the gradients that its parameters get."""
    outputs = contender.gradients()
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    grads = [p.grad for p in contender.model.parameters() if p.grad is not None]
    return [t.detach() for t in outputs], grads


def in_float64(stock):
    """The same model, weights and batch in float64, which both are held to."""
    inputs = tuple(x.double() for x in stock.inputs)
    return Contender(
        copy.deepcopy(stock.model).double(), inputs, stock.truth, stock.loss, "float32"
    )


def worst(found, expected):
    """The largest of the errors' norms, as shares of what is expected; 0 where that is 0."""
    return max(
        float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True) if b.any()
    )


def check(name, stock, converted):
    """Columns of the largest errors of both; RuntimeError where the converted model is wrong."""
    exact, columns = results(in_float64(stock)), {}
    for who, contender in (("torch", stock), ("dilconv", converted)):
        for what, found, expected in zip(
            ("output", "gradient"), results(contender), exact, strict=True
        ):
            columns[f"{what}_error_{who}"] = worst(found, expected)
    for what in ("output", "gradient"):
        error, torchs = (columns[f"{what}_error_{who}"] for who in ("dilconv", "torch"))
        limit = max(TOLERANCE[stock.dtype], 2 * torchs)
        if not error <= limit:
            raise RuntimeError(
                f"{name}: converted, it errs in its {what}s by {error:.1e} of their norm in "
                f"{stock.dtype}; {limit:.1e} is allowed"
            )
    return {key: f"{value:.1e}" for key, value in columns.items()}


def timed(stock, converted, effort):
    """Columns of the times of both passes."""
    columns = {}
    for name in ("forward", "step"):
        runners = {"torch": getattr(stock, name), "dilconv": getattr(converted, name)}
        found, _ = bench.time_interleaved(runners, _native.active_isa(), effort, paired=True)
        pairs = list(zip(found["torch"].warm, found["dilconv"].warm, strict=True))
        for who, times in found.items():
            columns[f"{name}_{who}_ms"] = round(statistics.median(times.warm) * 1e3, 3)
        columns[f"{name}_ratio"] = round(statistics.median(a / b for a, b in pairs), 3)
    return columns


def measure(example, point, effort):
    """One row: example at point = (model, N, threads, dtype)."""
    _, N, threads, dtype = point
    torch.set_num_threads(threads)
    errors = check(example.name, *pair_of(example, min(N, CHECKED), dtype))
    stock, converted = pair_of(example, N, dtype)
    return {
        **dict(zip(POINT, point, strict=True)),
        "parameters": sum(p.numel() for p in stock.model.parameters()),
        **timed(stock, converted, effort),
        **errors,
        **bench.machine(getattr(torch, dtype)),
    }


def print_row(row):
    parts = [
        f"{name} {row[f'{name}_torch_ms']:.1f} -> {row[f'{name}_dilconv_ms']:.1f} ms "
        f"({row[f'{name}_ratio']:.2f} x)"
        for name in ("forward", "step")
    ]
    tqdm.write(
        f"{row['model']}, N={row['N']}, {row['threads']} thread(s), {row['dtype']}: "
        f"{', '.join(parts)}; gradients err by {row['gradient_error_torch']} -> "
        f"{row['gradient_error_dilconv']}"
    )


def points_of(arguments):
    """(example, point) of everything that was asked for and can be had."""
    found = []
    for example in (e for e in EXAMPLES if e.name in arguments.models):
        if not example.available():
            print(f"{example.name} is left out: {INSTALL[example.needs]}")
            continue
        batches = arguments.N or example.batches[: 1 if arguments.quick else None]
        found += [
            (example, (example.name, N, threads, dtype))
            for dtype in arguments.dtypes
            for threads in arguments.threads
            for N in batches
        ]
    return found


def run(arguments, rows):
    """Appends to `rows`, point after point."""
    done = {tuple(str(row[key]) for key in POINT) for row in rows}
    effort = bench.Effort(arguments.rounds, arguments.seconds)
    for example, point in tqdm(points_of(arguments), unit="model", disable=None):
        if tuple(map(str, point)) in done:
            continue
        rows.append(measure(example, point, effort))
        print_row(rows[-1])
        if arguments.csv:
            write_csv(arguments.csv, rows)


def main():
    arguments = parse_arguments()
    keep_freed_memory()  # for both alike
    rows = []
    if arguments.resume and arguments.csv.exists():
        with arguments.csv.open(newline="") as file:
            rows = list(csv.DictReader(file))
    try:
        run(arguments, rows)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {len(rows)} row(s) are done", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
