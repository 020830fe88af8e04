"""Speed of whole training steps: dilconv against torch, the same steps from the same start.

Contenders take turns on one made-up batch; their losses must agree before a time is reported.
"""

import resource
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from denoiseq import models
from denoiseq.distributed import ALONE, Ranks
from denoiseq.doctor.made_batch import SEED, made_batch
from denoiseq.settings import Conv, Loss, Precision, data
from denoiseq.settings.model import DenoisingResNet
from denoiseq.training.losses import atacworks_loss
from denoiseq.training.step import optimizer_step
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from bench.timing import wall_and_cpu
from bench.torch_networks import Phases, Rows, padding_inside

# Forms of torch: the input padded by F.pad beforehand, and those of `torch_networks`.
FORMS = {
    "torch-padded": lambda model: model,
    "torch": padding_inside,
    "torch-phases": Phases,  # needs windows of whole multiples of d
    "torch-conv2d": Rows,
}
CONTENDERS = ("native", "native-bf16", *FORMS)
HOPELESS = 5
LEARNING_RATE = 2e-4
LOSS_TOLERANCE, BF16_TOLERANCE = 1e-4, 1e-2

# What a part of a step is, by the outermost range of the profiler that it lies in.
CONVOLUTIONS = {
    **dict.fromkeys(("dilconv::forward", "aten::conv1d"), "conv_forward"),
    **dict.fromkeys(("dilconv::backward", "aten::convolution_backward"), "conv_backward"),
}
RANGES = {
    "loss": "loss",
    "Optimizer.": "optimizer",
    "autograd::": "other_gradients",
    "step": "rest",
}
PARTS = (*dict.fromkeys(CONVOLUTIONS.values()), *RANGES.values())


@dataclass
class Contender:
    """A network in training; losses of all of its steps, (wall, CPU) seconds of those timed."""

    name: str
    model: nn.Module
    batch: dict[str, Tensor]
    losses: list[float] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)

    def step(self) -> tuple[float, float]:
        """One step; its seconds on the clock and of this process's CPU time."""
        return wall_and_cpu(self._step)

    def _step(self) -> None:
        done = optimizer_step(self.model, self.optimizer, self._loss, self.batch, ranks=self.ranks)
        self.losses.append(done.losses["loss"])

    def _loss(self, prediction, batch):
        with record_function("loss"):
            return atacworks_loss(prediction, batch, Loss(), self.ranks.total)


def contenders(N: int, W: int, only: Sequence[str] = CONTENDERS, **sizes: int) -> list[Contender]:
    """One of each name with the same weights; `sizes` are settings of `DenoisingResNet`."""
    batch = made_batch(N, W)
    return [Contender(name, network(name, **sizes), batch) for name in only]


def network(name: str, rows: data.Rows = data.COVERAGE_ALONE, **sizes: int) -> nn.Module:
    """The network of a contender, always from the same weights; torch's may end in "-bf16"."""
    form = name.removesuffix("-bf16")
    conv = Conv("torch" if form in FORMS else "dilconv")
    precision = Precision("fp32" if form == name else "bf16")
    model = models.build(DenoisingResNet(**sizes), conv, precision, SEED, rows)
    return FORMS[form](model) if form in FORMS else model


def take_turns(entered: Sequence[Contender], rounds: int, native_steps: int) -> list[Contender]:
    """Time rounds, each in another order, of one step of torch's and many of dilconv's.

    An untimed step of each comes first. Returns those that were timed: a form of torch's that takes
    HOPELESS times as long as its best is left out.
    """
    first = {contender.name: contender.step()[0] for contender in entered}
    best = min((s for name, s in first.items() if name in FORMS), default=0)
    order = [c for c in entered if c.name not in FORMS or first[c.name] <= HOPELESS * best]
    timed = list(order)
    for _ in range(rounds):
        for contender in order:
            steps = 1 if contender.name in FORMS else native_steps
            contender.seconds += [contender.step() for _ in range(steps)]
        order = [*order[1:], order[0]]
    return timed


def check_losses(entered: Sequence[Contender]) -> list[list[float]]:
    """Losses of the steps that all have done, a list a step; RuntimeError where they disagree."""
    steps = [list(values) for values in zip(*(c.losses for c in entered), strict=False)]
    for number, values in enumerate(steps, 1):
        for contender, value in zip(entered, values, strict=True):
            bf16 = contender.model.precision == "bf16"
            limit = BF16_TOLERANCE if bf16 else LOSS_TOLERANCE
            if not abs(value - values[0]) <= limit * abs(values[0]):  # NaN too
                shown = ", ".join(f"{c.name} {v:.7g}" for c, v in zip(entered, values, strict=True))
                raise RuntimeError(f"the losses of step {number} disagree: {shown}")
    return steps


def step_memory(name: str, N: int, W: int) -> int:
    """Bytes that one step of a contender adds to this process's peak, in a process of its own.

    What is there before, and what a step of a tiny batch loads, does not count.
    """
    (contender,) = contenders(N, W, (name,))
    (tiny,) = contenders(1, 1_000, (name,))
    tiny.step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contender.step()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def breakdown(contender: Contender, steps: int) -> dict[str, float]:
    """Shares of a step's time by PARTS, as torch's profiler sees it; sum 1.

    dilconv's convolutions include bias, residual and ReLU, the loss is its forward, the optimizer
    is Adam and zero_grad, the rest includes Python between the operators.
    """
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        contender.step()  # the profiler's own first time
        for _ in range(steps):
            with record_function("step"):
                contender.step()
    spent = dict.fromkeys(PARTS, 0.0)
    for event in seen.events():
        if part := _part(event):
            spent[part] += event.self_cpu_time_total
    total = sum(spent.values())
    return {part: microseconds / total for part, microseconds in spent.items()}


def _part(event) -> str | None:
    """The part of a step that an event belongs to; None outside of the steps."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    if names[-1] != "step":
        return None
    for name in names:
        if name in CONVOLUTIONS:
            return CONVOLUTIONS[name]
    return next(p for n in names for start, p in RANGES.items() if n.startswith(start))


def summary(entered: Sequence[Contender]) -> dict[str, dict[str, float]]:
    """Of every contender: steps, median_ms, iqr_ms, cpus_used, speedup over torch's fastest form.

    cpus_used is CPU time over time on the clock: less than the threads where other programs took
    the cores, and then no figure is worth much.
    """
    rows = {}
    for c in entered:
        wall, cpu = zip(*c.seconds, strict=True)
        low, median, high = (1e3 * q for q in statistics.quantiles(wall, n=4))
        rows[c.name] = {
            "steps": len(wall),
            "median_ms": round(median, 3),
            "iqr_ms": round(high - low, 3),
            "cpus_used": round(sum(cpu) / sum(wall), 3),
        }
    fastest = min(row["median_ms"] for name, row in rows.items() if name in FORMS)
    for row in rows.values():
        row["speedup_over_torch"] = round(fastest / row["median_ms"], 3)
    return rows
