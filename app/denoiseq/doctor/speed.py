"""Speed of whole training steps: dilconv against torch, the same steps from the same start.

The contenders take turns in one process, each with its own weights and optimizer, on one made-up
batch; their losses must agree before a time counts.
"""

import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from denoiseq import models
from denoiseq.doctor.torch_forms import Phases, Rows, padding_inside
from denoiseq.settings import Conv, Loss, Precision
from denoiseq.settings.model import DenoisingResNet
from denoiseq.training.losses import atacworks_loss
from denoiseq.training.step import optimizer_step

# dilconv, also in bfloat16; torch with the input padded by F.pad beforehand, with `padding=` inside
# the call, and in the forms of `torch_forms`, which need windows of whole multiples of d.
CONTENDERS = ("native", "native-bf16", "torch-padded", "torch", "torch-phases", "torch-conv2d")
TORCH = tuple(name for name in CONTENDERS if name.startswith("torch"))
HOPELESS = 5
FORMS = {"torch": padding_inside, "torch-phases": Phases, "torch-conv2d": Rows}
SEED, LEARNING_RATE = 0, 2e-4
PUBLISHED = DenoisingResNet()
LOSS_TOLERANCE, BF16_TOLERANCE = 1e-4, 1e-2
PAD_SHARE = 12  # one part in so many of a window's columns is context, on each side

# The profiler's ranges by the part of a step that they belong to; the outermost one decides.
CONVOLUTIONS = {
    "dilconv::forward": "conv_forward",
    "aten::conv1d": "conv_forward",
    "dilconv::backward": "conv_backward",
    "aten::convolution_backward": "conv_backward",
}
RANGES = {
    "loss": "loss",
    "Optimizer.": "optimizer",
    "autograd::": "other_gradients",
    "step": "rest",
}
PARTS = (*dict.fromkeys(CONVOLUTIONS.values()), *RANGES.values())


def made_batch(N: int, W: int) -> dict[str, Tensor]:
    """Made-up windows: "x" (N, 1, W), and "coverage" (N, W) ten times as deep, peaks on a floor."""
    generator = torch.Generator().manual_seed(SEED)
    blocks = torch.rand(N, W // 300 + 1, generator=generator) < 0.1
    peaks = blocks.float().repeat_interleave(300, dim=1)[:, :W]
    rate = 0.3 + 5 * peaks
    noisy = torch.poisson(rate, generator=generator)
    mask = torch.zeros(N, W, dtype=torch.bool)
    mask[:, W // PAD_SHARE : W - W // PAD_SHARE] = True
    coverage = noisy + torch.poisson(9 * rate, generator=generator)
    return {"x": noisy[:, None], "coverage": coverage, "peaks": peaks, "mask": mask}


@dataclass
class Contender:
    """A network in training: the losses of all its steps, (wall, CPU) seconds of the timed ones."""

    name: str
    model: nn.Module
    batch: dict[str, Tensor]
    losses: list[float] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)

    def step(self) -> tuple[float, float]:
        """One step; its seconds on the clock and of this process's CPU time."""
        began = time.perf_counter(), time.process_time()
        step = optimizer_step(self.model, self.optimizer, _loss, self.batch)
        ended = time.perf_counter(), time.process_time()
        self.losses.append(step.losses["loss"])
        return ended[0] - began[0], ended[1] - began[1]


def _loss(prediction, batch):
    with record_function("loss"):
        return atacworks_loss(prediction, batch, Loss())


def contenders(
    N: int,
    W: int,
    settings: DenoisingResNet = PUBLISHED,
    *,
    only: Sequence[str] = CONTENDERS,
) -> list[Contender]:
    """One contender of each name, all with the same weights."""
    batch = made_batch(N, W)
    return [Contender(name, network(name, settings), batch) for name in only]


def network(name: str, settings: DenoisingResNet = PUBLISHED) -> nn.Module:
    """The network of a contender; any form of torch's may end in "-bf16"."""
    form = name.removesuffix("-bf16")
    conv = Conv("torch" if form in TORCH else "dilconv")
    precision = Precision("fp32" if form == name else "bf16")
    model = models.build(settings, conv, precision, SEED)
    return FORMS[form](model) if form in FORMS else model


def take_turns(entered: Sequence[Contender], rounds: int, native_steps: int) -> list[Contender]:
    """Time `rounds` rounds, each in another order, of one step of torch's and many of dilconv's.

    Each contender takes an untimed step first. Returns those that were timed: a form of torch's
    that takes HOPELESS times as long as its fastest is left out.
    """
    first = {contender.name: contender.step()[0] for contender in entered}
    best = min((s for name, s in first.items() if name in TORCH), default=0)
    order = [c for c in entered if c.name not in TORCH or first[c.name] <= HOPELESS * best]
    timed = list(order)
    for _ in range(rounds):
        for contender in order:
            steps = 1 if contender.name in TORCH else native_steps
            contender.seconds += [contender.step() for _ in range(steps)]
        order = [*order[1:], order[0]]
    return timed


def check_losses(entered: Sequence[Contender]) -> list[list[float]]:
    """Losses of the steps that all contenders have done, a list for each step.

    Raises
    ------
    RuntimeError
        If one differs from the first's by more than 1 part in 10,000 (bfloat16: 1 in 100).
    """
    steps = [list(values) for values in zip(*(c.losses for c in entered), strict=False)]
    for number, values in enumerate(steps, 1):
        for contender, value in zip(entered, values, strict=True):
            bf16 = contender.model.precision == "bf16"
            limit = BF16_TOLERANCE if bf16 else LOSS_TOLERANCE
            if not abs(value - values[0]) <= limit * abs(values[0]):  # NaN too
                named = ", ".join(f"{c.name} {v:.7g}" for c, v in zip(entered, values, strict=True))
                raise RuntimeError(f"the losses of step {number} disagree: {named}")
    return steps


def step_memory(name: str, N: int, W: int) -> int:
    """Bytes that one step of a contender adds to this process's peak, in a process of its own.

    What was there before (weights, the batch, libraries) does not count, nor does what a step of a
    tiny batch loads.
    """
    (contender,) = contenders(N, W, only=(name,))
    (tiny,) = contenders(1, 1_000, only=(name,))
    tiny.step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contender.step()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def breakdown(contender: Contender, steps: int) -> dict[str, float]:
    """Shares of a step's time by what it is spent on, by torch's profiler; they sum to 1.

    conv_forward, conv_backward : all convolutions, bias, residual and ReLU included with dilconv's
    loss, optimizer : the forward of the loss; Adam and zero_grad
    other_gradients : backward of everything but convolutions, sums of gradients
    rest : everything else, Python between the operators included
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        contender.step()  # the profiler's own first time
        for _ in range(steps):
            with record_function("step"):
                contender.step()
    spent = dict.fromkeys(PARTS, 0.0)
    for event in profiled.events():
        part = _part(event)
        if part is not None:
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
    """Of every contender: steps, median_ms, iqr_ms, cpus_used, speedup_over_torch.

    The speedup is over torch's fastest form; cpus_used is CPU time over time on the clock: where it
    is below the number of threads, other programs took the cores, and no figure can be trusted.
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
    fastest = min(row["median_ms"] for name, row in rows.items() if name in TORCH)
    for row in rows.values():
        row["speedup_over_torch"] = round(fastest / row["median_ms"], 3)
    return rows
