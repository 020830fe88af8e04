"""Other people's models on torch and on dilconv: checked first, then timed.

    python scripts/bench_models.py --threads 1 2 --csv models.csv
    python scripts/bench_models.py --models BPNet --dtypes float32 bfloat16

Each model is taken as its author wrote it; a copy goes through `dilconv.convert`, and that is all.
Outputs and every parameter's gradient must be those of the same model in float64 before anything is
timed; torch's own errors are in the rows too. Then forward (no gradients) and a whole training step
(forward, loss, backward, clipped gradients, Adam) run in turn, and the ratio is the median over the
rounds of torch's time to dilconv's: below 1, torch is the faster one. bfloat16 is autocast, for
both. The CSV is whole after every model.
"""

import copy
import statistics
import sys
from dataclasses import dataclass
from itertools import product

import dilconv
import torch
from bench.command import at_least, parser, script
from bench.example_models import EXAMPLES
from dilconv.bench import machine, time_interleaved
from results.rows import Record, show
from tqdm import tqdm

# Largest error as a share of the norm, of the outputs and of each parameter's gradient; or twice
# torch's own.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
# A ReLU whose input is 0 but for rounding may pass in one library and not in the other: in a second
# of WaveNet one of them moves the gradients by 3e-4 of their norm (seen on Cascade Lake).
FLIPPED = 2e-3
CHECKED = 2  # items
POINT = ("model", "N", "threads", "dtype")
SHOWN = (
    "model N threads dtype forward_torch_ms forward_dilconv_ms forward_ratio step_torch_ms "
    "step_dilconv_ms step_ratio gradient_error_torch gradient_error_dilconv"
)


def parse_arguments():
    made = parser(__doc__, resume=True, csv=None)
    add, positive = made.add_argument, at_least(1)
    names = [example.name for example in EXAMPLES]
    only = f"only these: {', '.join(names)}"
    add("--models", nargs="+", metavar="NAME", default=names, help=only)
    add("-N", type=positive, nargs="+", help="batch sizes (default: each model's own)")
    add("--threads", type=positive, nargs="+", default=[1], help="of torch, one run each")
    add("--dtypes", nargs="+", default=["float32"], choices=TOLERANCE, help="of activations")
    add("--rounds", type=at_least(2), default=15, help="timed rounds, at least 2")
    add("--seconds", type=float, default=20.0, help="about what one of the two may take in a pass")
    add("--quick", action="store_true", help="the smallest batch, three rounds")
    arguments = made.parse_args()
    unknown = sorted(set(arguments.models) - set(names))
    if unknown:
        made.error(f"unknown model {unknown[0]!r}: choose from {', '.join(names)}")
    if arguments.quick:
        arguments.rounds = 3
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
        half = self.dtype == "bfloat16"
        self.precision = torch.autocast("cpu", torch.bfloat16, enabled=half)

    def forward(self):
        with torch.no_grad(), self.precision:
            return self.model(*self.inputs)

    def gradients(self):
        """Outputs of the model, with gradients left at its parameters."""
        self.optimizer.zero_grad()
        with self.precision:
            prediction = self.model(*self.inputs)
            self.loss(prediction, self.truth).backward()
        return prediction if isinstance(prediction, tuple) else (prediction,)

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
    outputs = [output.detach() for output in contender.gradients()]
    grads = [p.grad for p in contender.model.parameters() if p.grad is not None]
    return {"output": outputs, "gradient": grads}


def worst(results, expected):
    """The largest of the errors' norms, as shares of what is expected; 0 where that is 0."""
    return max(
        float((a - b).norm() / b.norm()) for a, b in zip(results, expected, strict=True) if b.any()
    )


def check(name, stock, converted):
    """Columns of both models' largest errors against float64; RuntimeError for a wrong one."""
    model, inputs = copy.deepcopy(stock.model).double(), tuple(x.double() for x in stock.inputs)
    exact, columns = results(Contender(model, inputs, stock.truth, stock.loss, "float32")), {}
    for library, contender in (("torch", stock), ("dilconv", converted)):
        for kind, tensors in results(contender).items():
            columns[f"{kind}_error_{library}"] = worst(tensors, exact[kind])
    for kind in exact:
        error = columns[f"{kind}_error_dilconv"]
        limit = max(TOLERANCE[stock.dtype], 2 * columns[f"{kind}_error_torch"])
        if kind == "gradient":
            limit = max(limit, FLIPPED)
        if not error <= limit:
            raise RuntimeError(
                f"{name}: converted, it errs in its {kind}s by {error:.1e} of their norm in "
                f"{stock.dtype}; {limit:.1e} is allowed"
            )
    return {key: float(f"{value:.1e}") for key, value in columns.items()}


def timed(stock, converted, limits):
    columns = {}
    for name in ("forward", "step"):
        runners = {"torch": getattr(stock, name), "dilconv": getattr(converted, name)}
        times, _ = time_interleaved(runners, dilconv.active_isa(), paired=True, **limits)
        for library, taken in times.items():
            columns[f"{name}_{library}_ms"] = round(statistics.median(taken.warm) * 1e3, 3)
        columns[f"{name}_ratio"] = round(times["torch"].ratio(times["dilconv"]), 3)
    return columns


def measure(example, point, limits):
    torch.set_num_threads(point["threads"])
    N, dtype = point["N"], point["dtype"]
    errors = check(example.name, *pair_of(example, min(N, CHECKED), dtype))
    stock, converted = pair_of(example, N, dtype)
    return {
        **point,
        "parameters": sum(p.numel() for p in stock.model.parameters()),
        **timed(stock, converted, limits),
        **errors,
        **machine(getattr(torch, dtype)),
    }


def points_of(arguments):
    """(example, point) of everything that was asked for and can be had."""
    for example in (e for e in EXAMPLES if e.name in arguments.models):
        if not example.available():
            print(f"{example.name} is left out: {example.install}")
            continue
        batches = arguments.N or example.batches[: 1 if arguments.quick else None]
        for dtype, threads, N in product(arguments.dtypes, arguments.threads, batches):
            yield example, {"model": example.name, "N": N, "threads": threads, "dtype": dtype}


@script
def main():
    arguments = parse_arguments()
    dilconv.keep_freed_memory()  # for both alike
    limits = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    with Record(arguments.csv, POINT, arguments.resume) as record:
        for example, point in tqdm([*points_of(arguments)], unit="model", disable=None):
            if record.has(point):
                continue
            try:
                record.add([measure(example, point, limits)])
            except RuntimeError as error:  # a wrong result
                print(f"error: {error}", file=sys.stderr)
                return 1
            show(record.rows[-1:], SHOWN, tqdm.write)
    return 0
