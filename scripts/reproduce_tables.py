"""Run all benchmarks of the results page, one after the other, and make the page.

    python scripts/reproduce_tables.py --quick          # a quarter of an hour: does it all work?
    python scripts/reproduce_tables.py                  # three hours on two cores

Each leaves a CSV in --out (outputs/results/quick or outputs/results/full) and is not run again
while that is there; sweeps continue at the point that they had reached. Ctrl-C stops, the same
command continues. Close other programs first: they distort the measurement.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from bench.command import CORES, ROOT, parser, script
from denoiseq.atomic import check_writable, write_json
from denoiseq.doctor import machine
from denoiseq.doctor.layer import peak_and_bandwidth
from denoiseq.doctor.run import duration

SCRIPTS = ROOT / "scripts"
QUICK_POINTS = ("AtacWorks", "W=10000", "S=9", "S=101", "C=K=64", "d=1", "BPNet d=8")
BF16_CONTENDERS = ("torch-padded", "torch", "torch-conv2d", "direct", "auto")
BF16 = ("--dtype", "bfloat16", "--contenders", *BF16_CONTENDERS)
HELD = {"ONEDNN_MAX_CPU_ISA": "AVX2"}  # torch as on a CPU without AVX-512


@dataclass(frozen=True)
class Step:
    """One benchmark: its file, its name in words, its command, and its minutes on two cores."""

    file: str
    words: str
    command: tuple
    minutes: float
    environment: dict = field(default_factory=dict)

    def kept(self, out):
        """Whether it is done; a command that resumes knows itself what is done."""
        return (out / self.file).is_file() and "--resume" not in self.command


def steps(quick, out, threads):
    """All benchmarks in order; `threads`: of this machine."""
    counts = ("--threads", *([threads] if quick else sorted({1, threads})))
    small = ("--quick",) if quick else ()
    sweep = ("bench_layer.py", "--sweep", "--resume", "--seconds", 0.05 if quick else 0.15,
             *(("--points", *QUICK_POINTS) if quick else ()))  # fmt: skip
    shapes = dict.fromkeys(["1x1", f"1x{threads}", f"{threads}x1"])  # the first is compared with
    ranks = ("bench_ranks.py", "--shapes", *shapes, "--out", out,
             *(("--turns", 1, "--steps", 3) if quick else ()))  # fmt: skip
    predict = ("bench_predict.py", "--checkpoint", ROOT / "data/yeast/denoiser.pt",
               "--mbp", 5 if quick else 150)  # fmt: skip
    train = ("bench_train.py", "--rounds", 2 if quick else 3, *counts)
    epochs = ("bench_epochs.py", "--runs", out / "runs", *small)
    half = (*sweep, *BF16, "--threads", 1)
    models = ("bench_models.py", "--resume", *counts, *small)
    everything = [
        Step("steps.csv", "training steps", train, 2 if quick else 5),
        Step("epochs.csv", "whole trainings", epochs, 3 if quick else 20),
        Step("ranks.csv", "threads and processes", ranks, 1 if quick else 3),
        Step("predict.csv", "prediction", predict, 1.5 if quick else 3),
        Step("layers.csv", "layers, float32", (*sweep, *counts), 3 if quick else 60),
        Step("layers_bf16.csv", "layers, bfloat16", half, 2 if quick else 25),
        Step("models.csv", "other people's models", models, 3 if quick else 20),
    ]
    if not quick and "avx512f" in machine.cpu()["features"]:
        layer = ("bench_layer.py", "--threads", threads, "--rounds", 9, "--seconds", 1)
        train = ("bench_train.py", "--threads", threads)
        everything += [
            Step("layers_onednn_avx2.csv", "the layer, torch held to AVX2", layer, 1, HELD),
            Step("steps_onednn_avx2.csv", "training steps, torch held to AVX2", train, 2, HELD),
        ]
    return everything


def command_of(step, out):
    return step.command if step.file == "ranks.csv" else (*step.command, "--csv", out / step.file)


def run(step, out):
    """Run one; a sentence and an exit where it fails."""
    name, *options = command_of(step, out)
    command = [sys.executable, str(SCRIPTS / name), *map(str, options)]
    status = subprocess.run(command, env={**os.environ, **step.environment}).returncode
    if status:
        sys.exit(f"error: {name} ended with {status}; the same command goes on from there")


def time_left(todo, spent, done):
    """The time left in words, from the steps' minutes and the pace of this machine so far."""
    pace = spent / done if done else 60.0
    return duration(pace * sum(step.minutes for step in todo))


def measure_all(todo, out):
    began, done = time.perf_counter(), 0.0
    for number, step in enumerate(todo):
        left = time_left(todo[number:], time.perf_counter() - began, done)
        print(f"\n== {number + 1}/{len(todo)} {step.words}: about {left} left in all", flush=True)
        run(step, out)
        done += step.minutes


def describe_machine(out):
    """machine.json: what this machine is, its peak and its bandwidth, unless it is there."""
    path = out / "machine.json"
    if path.is_file():
        return
    facts = machine.examine()
    facts["threads"]["openmp"] = [Path(name).name for name in facts["threads"]["openmp"]]
    write_json(path, {"date": date.today().isoformat(), "facts": facts, **peak_and_bandwidth()})


@script
def main():
    made = parser(__doc__)
    made.add_argument("--quick", action="store_true", help="few points, small sizes")
    made.add_argument("--out", type=Path, help="folder of the CSV files and of the page")
    made.add_argument("--again", action="store_true", help="measure anew what is there")
    arguments = made.parse_args()
    kind = "quick" if arguments.quick else "full"
    out = (arguments.out or ROOT / "outputs" / "results" / kind).resolve()
    os.chdir(ROOT)
    check_writable(out / "machine.json")
    everything = steps(arguments.quick, out, CORES)
    if arguments.again:
        for name in ("machine.json", *(step.file for step in everything)):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "runs", ignore_errors=True)
    describe_machine(out)
    for step in everything:
        if step.kept(out):
            print(f"kept: {step.words} ({step.file})")
    try:
        measure_all([step for step in everything if not step.kept(out)], out)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same command goes on from there") from stop
    shutil.rmtree(out / "runs", ignore_errors=True)
    make_page = [sys.executable, str(SCRIPTS / "make_tables.py"), "--folder", str(out)]
    return subprocess.run(make_page, check=False).returncode
