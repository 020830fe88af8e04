"""`denoiseq doctor`: what the machine is, how fast it is at this work, and what to mend."""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import partial
from timeit import repeat
from typing import Any

from denoiseq.doctor import machine
from denoiseq.doctor.layer import layer_ms, measure
from denoiseq.doctor.remedies import warnings
from denoiseq.settings import Conv, Train

STEPS = 3


def run(measures: bool, training: Train | None) -> None:
    """Print the facts, unless not `measures` the measurements, the time of a training, remedies."""
    facts = machine.examine()
    loads = facts["dilconv"]["loaded"]
    measured = measure() if measures and loads else None
    expected = ""
    if training is not None and facts["threads"]["torch"] is not None:
        conv = training.conv if loads else Conv(backend="torch")
        expected = expected_training(replace(training, conv=conv))
    print(report(facts, measured, expected))


def expected_training(settings: Train) -> str:
    """How long the training of `settings` would take here, from a few steps on made-up windows."""
    from denoiseq import models
    from denoiseq.distributed import use_threads
    from denoiseq.doctor.made_batch import made_batch
    from denoiseq.training.losses import atacworks_loss
    from denoiseq.training.optimizer import make_optimizer
    from denoiseq.training.step import optimizer_step
    from denoiseq.windows.splits import count_training_windows

    threads = use_threads(settings.trainer.threads, settings.trainer.workers)
    optim, window_bp = settings.optim, settings.data.window_bp
    windows = count_training_windows(settings.data, settings.seed)
    batch_size = min(optim.batch_size, max(1, windows))
    batch, rows = made_batch(batch_size, window_bp), settings.data.rows
    batch["x"] = batch["x"].repeat(1, rows.total, 1)
    network = models.build(settings.model, settings.conv, settings.precision, settings.seed, rows)
    loss = partial(atacworks_loss, weights=settings.loss)
    arguments = network, make_optimizer(network, optim), loss, batch
    step = partial(optimizer_step, *arguments, micro_batch=optim.micro_batch)
    _, *seconds = repeat(step, number=1, repeat=1 + STEPS)
    window_seconds = statistics.median(seconds) / batch_size
    epoch_seconds = window_seconds * windows
    return (
        f"this training: {windows:,} windows of {window_bp:,} bp, "
        f"{sum(p.numel() for p in network.parameters()):,} parameters, "
        f"{round(1 / window_seconds, 2):g} windows/s on {threads} threads: about "
        f"{duration(epoch_seconds)} an epoch, {duration(epoch_seconds * optim.epochs)} for "
        f"{optim.epochs} epochs, validation not counted"
    )


def report(facts: dict[str, Any], measured: dict[str, Any] | None, training: str) -> str:
    """All of it for a terminal, warnings last."""
    lines = [f"warning: {what}\n  remedy: {how}" for what, how in warnings(facts, measured)]
    advice = "\n".join(lines) or "nothing to mend"
    parts = (_aligned(facts), _measurements(measured) if measured else "", training, advice)
    return "\n\n".join(filter(None, parts))


def _aligned(facts: dict[str, Any], indent: str = "") -> str:
    """Facts as aligned text, nested groups indented."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", _aligned(value, indent + "  ")] if value else []
            continue
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        lines.append(f"{indent}{key:<12} {'-' if shown in (None, '') else shown}")
    return "\n".join(lines)


def _measurements(measured: dict[str, Any]) -> str:
    peaks = ", ".join(f"{name} {value:g}" for name, value in measured["peak_gflops"].items())
    times = layer_ms(measured)
    best = min(ms for name, ms in times.items() if name.startswith("torch"))
    threads = measured["layer"][0]["threads"]
    lines = [
        f"multiply-add peak, GFLOP/s: {peaks}",
        f"memory, GB/s: {measured['bandwidth_gb_s']:g}",
        f"AtacWorks layer (C=K=15, S=51, d=8, W=60,000), forward + backward, {threads} threads:",
    ]
    lines += [f"  {name:<16}{ms:>9.2f} ms{best / ms:>8.1f} x torch" for name, ms in times.items()]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
