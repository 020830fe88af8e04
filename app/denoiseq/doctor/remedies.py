"""What stands in the way of full speed, judged by the facts of `machine` and times of `layer`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from denoiseq.doctor.layer import layer_ms

# Beyond these shares of what the machine should give, something is in the way.
BUSY_SHARE, SHARED_PEAK, LITTLE_MEMORY_GIB, BF16_SLOWER = 0.3, 0.7, 2.0, 1.25

Warnings = Iterator[tuple[str, str]]  # what is wrong, and its remedy


def warnings(facts: dict[str, Any], measured: dict[str, Any] | None) -> Warnings:
    """All warnings, those that explain others first."""
    yield from _of_installation(facts["dilconv"], facts["threads"])
    yield from _of_memory_and_threads(facts["memory_gib"], facts["threads"], facts["cpu"])
    cores = facts["cpu"]["cores"]
    if facts["load"] > BUSY_SHARE * cores:  # then nothing that is measured can be judged
        yield (
            f"other programs use about {facts['load']:.1f} of {cores} cores: what is measured here "
            "is too low, and trainings will be as slow",
            "wait for them, or give this one fewer cores with trainer.threads",
        )
    elif measured is not None:
        yield from _of_speed(measured)


def _of_installation(dilconv: dict[str, Any], threads: dict[str, Any]) -> Warnings:
    if threads["torch"] is None:
        yield (
            f"torch does not load ({threads['reason']}), so only `denoiseq prepare` works",
            "reinstall it: `pip install --force-reinstall torch`",
        )
    elif not dilconv["loaded"]:
        yield (
            f"dilconv does not load ({dilconv['reason']}), so only conv=torch works",
            "reinstall with `pip install --force-reinstall --no-deps .` and a C++17 compiler",
        )
    elif threads["environment"].get("DILCONV_ISA"):
        yield (
            f"DILCONV_ISA holds dilconv to {dilconv['active']}; here there are "
            f"{', '.join(dilconv['isas'])}",
            "unset DILCONV_ISA",
        )
    elif dilconv["active"] == "generic":
        yield (
            "the CPU has no AVX2, so the plainest kernels run, at about a third of the speed",
            "use a machine of 2015 or later where there is one",
        )


def _of_memory_and_threads(
    memory_gib: dict[str, float], threads: dict[str, Any], cpu: dict[str, Any]
) -> Warnings:
    available = memory_gib.get("available", LITTLE_MEMORY_GIB)
    if available < LITTLE_MEMORY_GIB:
        yield (
            f"{available} GiB of memory are free",
            "close other programs, or lower optim.micro_batch (training) and trainer.threads "
            "(prediction)",
        )
    runtimes = {Path(path).resolve() for path in threads.get("openmp", ())}
    if len(runtimes) > 1:
        names = " and ".join(sorted(path.name for path in runtimes))
        yield (
            f"{len(runtimes)} OpenMP runtimes are loaded ({names}): each starts its own threads, "
            "and they fight for the cores",
            "install torch, numpy and denoiseq with pip in one fresh environment, not from conda "
            "and pip mixed",
        )
    used, usable = threads["torch"] or 0, min(cpu["cores"], cpu["quota"] or cpu["cores"])
    if used > math.ceil(usable):
        yield (
            f"torch takes {used} threads, but this process may use {usable:g} cores",
            f"set OMP_NUM_THREADS={math.ceil(usable)}, or trainer.threads",
        )
    elif usable < cpu["cores"]:
        yield (
            f"a CPU quota (cgroup) lets this process use {usable:g} of its {cpu['cores']} cores",
            "ask the container, the batch system or systemd for more, for example "
            "`docker run --cpus`; threads and processes are chosen to fit",
        )
    if "OMP_NUM_THREADS" in threads["environment"] and 0 < used < usable // 2:
        yield (
            f"OMP_NUM_THREADS holds torch to {used} of {usable:g} cores",
            "unset OMP_NUM_THREADS, or set trainer.threads",
        )


def _of_speed(measured: dict[str, Any]) -> Warnings:
    threads = measured["layer"][0]["threads"]
    one, together = measured["peak_gflops"]["one core"], measured["peak_gflops"]["together"]
    if together < SHARED_PEAK * threads * one:
        yield (
            f"{threads} threads together reach {together / one:.1f} times one thread's peak: some "
            "are two of one core (hyperthreads), or a limit of the machine holds them back",
            f"try trainer.threads={max(1, round(together / one))}; fewer threads are often faster",
        )
    times = layer_ms(measured)
    if times["auto"] > min(ms for name, ms in times.items() if name.startswith("torch")):
        yield (
            "dilconv is slower than torch on the AtacWorks layer here",
            "measure again; if it stays so, train with conv=torch and tell us what "
            "`denoiseq bench` prints",
        )
    if times["auto, bfloat16"] > BF16_SLOWER * times["auto"]:
        yield (
            "bfloat16 is slower than float32 here: the CPU has no instructions for it, or they "
            "are slow",
            "train with precision=fp32 unless memory is short",
        )
