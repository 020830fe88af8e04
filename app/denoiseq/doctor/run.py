"""`denoiseq doctor`: what the machine is, how fast it is at this work, and what to mend.

`machine` looks up the facts; here they are measured against and judged.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError
from denoiseq.settings import Train

COPIED_BYTES = 256 * 2**20
PEAK_ROUNDS = 3
LAYER = ("AtacWorks", 1, 15, 15, 51, 8, 60_000)  # name, N, C, K, S, d, W
FORMS = ("torch-padded", "torch-phases", "torch-conv2d", "direct", "spectral", "auto")
# Below these shares of what the machine should give, something is in the way.
BUSY_SHARE, SHARED_PEAK, LITTLE_MEMORY_GIB = 0.3, 0.7, 2.0
BF16_SLOWER = 1.25
STEPS = 3


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Peak, bandwidth, and the AtacWorks layer; seconds in all. `say` tells what is under way.

    Returns
    -------
    dict
        peak_gflops : float32 multiply-adds of one core, and of all threads together
        bandwidth_gb_s : reading and writing in a large copy, all threads
        layer : rows of `dilconv.bench`, forward and backward, all threads, both dtypes
    """
    import torch
    from dilconv import active_isa, bench

    threads = torch.get_num_threads()
    say("measuring the peak and the memory")
    isa = active_isa()
    peak = {"one core": peak_gflops(isa, 1), "together": peak_gflops(isa, threads)}
    bandwidth = copy_gb_s()
    say("measuring the AtacWorks layer, each result verified first")
    layer, rows = bench.Layer(*LAYER), []
    for dtype in (torch.float32, torch.bfloat16):
        names = [name for name in FORMS if dtype == torch.float32 or name == "auto"]
        found = bench.bench_layer(layer, names, threads=threads, rounds=7, seconds=1, dtype=dtype)
        rows += [row for row in found if row["pass"] == "forward_backward"]
    return {"peak_gflops": peak, "bandwidth_gb_s": bandwidth, "layer": rows}


def peak_gflops(isa: str, threads: int) -> float:
    """float32 multiply-adds of so many threads at once, in GFLOP/s: the best round."""
    from dilconv.bench import measure_peak

    with ThreadPoolExecutor(threads) as pool:
        rounds = [
            sum(pool.map(lambda _: measure_peak(isa), range(threads))) for _ in range(PEAK_ROUNDS)
        ]
    return round(max(rounds), 1)


def copy_gb_s() -> float:
    """GB read and written a second by a copy that no cache holds, the best of five."""
    import torch

    source = torch.ones(COPIED_BYTES // 4)
    target, seconds = torch.empty_like(source), []
    for _ in range(6):
        began = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - began)
    return round(2 * COPIED_BYTES / min(seconds[1:]) / 1e9, 1)


def expected_training(settings: Train) -> dict[str, Any]:
    """How long the training of `options` would take here, from a few of its steps.

    The steps are taken on made-up windows of the same size; validation comes on top.
    """
    import torch

    from denoiseq import models
    from denoiseq.distributed import use_threads
    from denoiseq.doctor.made_batch import made_batch
    from denoiseq.training.losses import LossWeights, atacworks_loss
    from denoiseq.training.optimizer import make_optimizer
    from denoiseq.training.run import train_options
    from denoiseq.training.step import optimizer_step
    from denoiseq.windows.splits import open_stores, splits

    threads = use_threads(settings.trainer.threads)
    windows = splits(settings.data, open_stores(settings.data), settings.seed).train
    train = train_options(settings)
    batch_size = min(train.batch_size, len(windows))
    batch = made_batch(batch_size, windows.options.length_bp)
    channels = models.in_channels(settings.data)
    batch["x"] = batch["x"].repeat(1, channels, 1)
    network = models.build(
        settings.model, settings.conv, settings.precision, settings.seed, channels
    )
    loss = partial(atacworks_loss, weights=LossWeights(**vars(settings.loss)))
    optimizer, seconds = make_optimizer(network, train), []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        optimizer_step(network, optimizer, loss, batch, micro_batch=train.micro_batch)
        seconds.append(time.perf_counter() - began)
    a_window = statistics.median(seconds[1:]) / batch_size
    return {
        "windows": len(windows),
        "window_bp": windows.options.length_bp,
        "parameters": sum(p.numel() for p in network.parameters()),
        "epochs": train.epochs,
        "threads": threads,
        "torch": torch.__version__,
        "segments_per_second": round(1 / a_window, 2),
        "epoch_seconds": round(a_window * len(windows), 1),
        "hours": round(a_window * len(windows) * train.epochs / 3600, 2),
    }


def warnings(facts: dict[str, Any], measured: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What stands in the way of full speed, and the remedy of each."""
    return [*_of_installation(facts), *_of_threads(facts), *_of_speed(facts, measured or {})]


def _of_installation(facts: dict[str, Any]) -> list[tuple[str, str]]:
    found, state = [], facts["dilconv"]
    if not state["loaded"]:
        found.append((
            f"dilconv does not load ({state['reason']}), so everything runs on torch",
            "reinstall with `pip install --force-reinstall --no-deps .` and a C++17 compiler",
        ))  # fmt: skip
    elif facts["threads"]["environment"].get("DILCONV_ISA"):
        found.append((
            f"DILCONV_ISA holds dilconv to {state['active']}; here there are "
            f"{', '.join(state['isas'])}",
            "unset DILCONV_ISA",
        ))  # fmt: skip
    elif state["active"] == "generic":
        found.append((
            "the CPU has no AVX2, so the plainest kernels run, at about a third of the speed",
            "use a machine of 2015 or later where there is one",
        ))  # fmt: skip
    available = facts["memory_gib"].get("available", LITTLE_MEMORY_GIB)
    if available < LITTLE_MEMORY_GIB:
        found.append((
            f"{available} GiB of memory are free",
            "close other programs, or lower optim.micro_batch (training) and trainer.threads "
            "(prediction)",
        ))  # fmt: skip
    return found


def _of_threads(facts: dict[str, Any]) -> list[tuple[str, str]]:
    found, threads, cores = [], facts["threads"], facts["cpu"]["cores"]
    runtimes = {Path(path).resolve() for path in threads.get("openmp", ())}
    if len(runtimes) > 1:
        names = " and ".join(sorted(path.name for path in runtimes))
        found.append((
            f"{len(runtimes)} OpenMP runtimes are loaded ({names}): each starts its own threads, "
            "and they fight for the cores",
            "install torch, numpy and denoiseq with pip in one fresh environment, not from conda "
            "and pip mixed",
        ))  # fmt: skip
    usable = min(cores, facts["cpu"]["quota"] or cores)
    if threads["torch"] and threads["torch"] > usable:
        found.append((
            f"torch takes {threads['torch']} threads, but this process may use {usable:g} cores",
            f"set OMP_NUM_THREADS={max(1, int(usable))}, or trainer.threads",
        ))  # fmt: skip
    if threads["torch"] and "OMP_NUM_THREADS" in threads["environment"] and (
        threads["torch"] < usable // 2
    ):  # fmt: skip
        found.append((
            f"OMP_NUM_THREADS holds torch to {threads['torch']} of {usable:g} cores",
            "unset OMP_NUM_THREADS, or set trainer.threads",
        ))  # fmt: skip
    return found


def _of_speed(facts: dict[str, Any], measured: dict[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    cores = facts["cpu"]["cores"]
    if facts["load"] > BUSY_SHARE * cores:  # then nothing that is measured can be judged
        return [(
            f"other programs use about {facts['load']:.1f} of {cores} cores: what is measured here "
            "is too low, and trainings will be as slow",
            "wait for them, or give this one fewer cores with trainer.threads",
        )]  # fmt: skip
    if not measured:
        return found
    threads = measured["layer"][0]["threads"]
    one, together = measured["peak_gflops"]["one core"], measured["peak_gflops"]["together"]
    if together < SHARED_PEAK * threads * one:
        found.append((
            f"{threads} threads together reach {together / one:.1f} times one thread's peak: some "
            "are two of one core (hyperthreads), or a limit of the machine holds them back",
            f"try trainer.threads={max(1, round(together / one))}; fewer threads are often faster",
        ))  # fmt: skip
    times = layer_ms(measured)
    if times["auto"] > min(ms for name, ms in times.items() if name.startswith("torch")):
        found.append((
            "dilconv is slower than torch on the AtacWorks layer here",
            "measure again; if it stays so, train with conv=torch and tell us what "
            "`denoiseq bench` prints",
        ))  # fmt: skip
    if times["auto, bfloat16"] > BF16_SLOWER * times["auto"]:
        found.append((
            "bfloat16 is slower than float32 here: the CPU has no instructions for it, or they "
            "are slow",
            "train with precision=fp32 unless memory is short",
        ))  # fmt: skip
    return found


def layer_ms(measured: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of the layer's forward and backward by contender."""
    names = {"float32": "", "bfloat16": ", bfloat16"}
    return {row["contender"] + names[row["dtype"]]: row["median_ms"] for row in measured["layer"]}


def report(
    facts: dict[str, Any], measured: dict[str, Any] | None, training: dict[str, Any] | None
) -> str:
    """All of it for a terminal, warnings last."""
    parts = [render(facts)]
    if measured:
        parts.append(_measured(measured))
    if training:
        parts.append(_training(training))
    found = warnings(facts, measured)
    lines = [f"warning: {what}\n  remedy: {remedy}" for what, remedy in found]
    parts.append("\n".join(lines) if lines else "nothing to mend")
    return "\n\n".join(parts)


def _measured(measured: dict[str, Any]) -> str:
    peaks = ", ".join(f"{name} {value:g}" for name, value in measured["peak_gflops"].items())
    times = layer_ms(measured)
    best = min(ms for name, ms in times.items() if name.startswith("torch"))
    row = measured["layer"][0]
    lines = [
        f"multiply-add peak, GFLOP/s: {peaks}",
        f"memory, GB/s: {measured['bandwidth_gb_s']:g}",
        f"AtacWorks layer (C=K=15, S=51, d=8, W=60,000), forward + backward, {row['threads']} "
        "threads:",
    ]
    lines += [f"  {name:<16}{ms:>9.2f} ms{best / ms:>8.1f} x torch" for name, ms in times.items()]
    return "\n".join(lines)


def _training(found: dict[str, Any]) -> str:
    return (
        f"this training: {found['windows']:,} windows of {found['window_bp']:,} bp, "
        f"{found['parameters']:,} parameters, {found['segments_per_second']:g} windows/s on "
        f"{found['threads']} threads: about {duration(found['epoch_seconds'])} an epoch, "
        f"{duration(3600 * found['hours'])} for {found['epochs']} epochs, validation not counted"
    )


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def render(facts: dict[str, Any], indent: str = "") -> str:
    """Facts as aligned text, nested groups indented."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", render(value, indent + "  ")] if value else []
            continue
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        lines.append(f"{indent}{key:<12} {'-' if shown in (None, '') else shown}")
    return "\n".join(lines)


def bench(threads: int, batch: int, rounds: int) -> list[dict[str, Any]]:
    """Times of the AtacWorks layer (C=K=15, S=51, d=8, W=60,000), a row a pass and contender."""
    try:
        from dilconv import bench as layers
    except (ImportError, OSError) as error:
        raise UserError(f"the benchmark needs dilconv, which does not load: {error}") from error
    layer = replace(layers.Layer(*LAYER), N=batch)
    contenders = list(layers.CONTENDERS)
    return layers.bench_layer(layer, contenders, threads=threads, rounds=max(rounds, 2))


def render_bench(rows: list[dict[str, Any]]) -> str:
    """The rows of `bench` for a terminal; ratios are to the fastest of torch's forms."""
    first = rows[0]
    lines = [
        "N={N} C={C} K={K} S={S} d={d} W={W}, {threads} thread(s), {isa}, {cpu}".format(**first),
        f"{'pass':<18}{'contender':<14}{'ms':>10}{'GFLOP/s':>10}{'of peak':>9}{'x torch':>9}",
    ]
    for row in rows:
        lines.append(
            f"{row['pass']:<18}{row['contender']:<14}{row['median_ms']:>10.2f}"
            f"{row['gflops']:>10.1f}{row['fraction_of_peak']:>9.2f}"
            f"{row['speedup_over_torch']:>9.2f}"
        )
    return "\n".join(lines)
