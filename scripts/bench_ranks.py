#!/usr/bin/env python
"""Training steps of AtacWorks' network by several processes, and what that says of many sockets.

    python scripts/bench_ranks.py                       # 1 process of all cores against 1 a core
    python scripts/bench_ranks.py --shapes 1x2 2x1 -N 4 -W 60000 --steps 8 --out outputs/ranks

A shape is PROCESSESxTHREADS. Every shape takes the same batch and must come to the same losses.
Leaves in --out ranks.csv (a row a shape) and scaling.md: the table, and a model of training on up
to 16 sockets, from the time of a step and the bytes of its gradient.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from denoiseq.atomic import check_writable, write_csv, write_text
from denoiseq.distributed import joined, leave
from denoiseq.doctor import speed
from denoiseq.settings import Loss
from denoiseq.training.losses import atacworks_loss
from denoiseq.training.step import optimizer_step
from dilconv import bench
from dilconv.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
LOSS_TOLERANCE = 1e-3
# The network of the model, from round figures of 10-gigabit Ethernet between hosts.
BYTES_A_SECOND, LATENCY_S = 1.0e9, 50e-6
SOCKETS = (1, 2, 4, 8, 16)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    shapes = [f"1x{cores}", f"{cores}x1"]
    parser.add_argument(
        "--shapes", nargs="+", default=shapes, metavar="PROCESSESxTHREADS", help="what is compared"
    )
    parser.add_argument("-N", type=int, default=4, help="windows a step, over all processes")
    parser.add_argument("-W", type=int, default=60_000, help="bases of a window")
    parser.add_argument(
        "--steps", type=int, default=8, help="timed steps a turn, after one untimed"
    )
    parser.add_argument("--turns", type=int, default=3, help="of all shapes")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "outputs" / "ranks", help="output folder"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def work(arguments):
    """One process: its share of every batch; the first prints what all found, as JSON."""
    keep_freed_memory()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with joined("cpu") as ranks:
        model = speed.network("native")
        optimizer = torch.optim.Adam(model.parameters(), lr=speed.LEARNING_RATE)
        whole = speed.made_batch(arguments.N, arguments.W)
        batch = {name: t[ranks.rank :: ranks.world].contiguous() for name, t in whole.items()}
        loss = partial(atacworks_loss, weights=Loss(), total=ranks.total)
        seconds, losses = [], []
        for _ in range(1 + arguments.steps):
            ranks.wait()
            began = time.perf_counter()
            losses.append(optimizer_step(model, optimizer, loss, batch, ranks=ranks).losses["loss"])
            seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(arguments.steps):
            ranks.mean_gradients(model)
        exchange = (time.perf_counter() - began) / arguments.steps
        if ranks.main:
            size = 4 * sum(p.numel() for p in model.parameters())
            print(json.dumps({"seconds": seconds[1:], "losses": losses, "exchange": exchange,
                              "bytes": size}))  # fmt: skip


def turn(arguments, shape):
    """The JSON of one shape, run by torchrun."""
    processes, threads = map(int, shape.split("x"))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *(f"--nproc-per-node={processes}", __file__, "--worker"),
        *("-N", str(arguments.N), "-W", str(arguments.W), "--steps", str(arguments.steps)),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {shape} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(arguments):
    """A row a shape, from turns that alternate."""
    found = {shape: [] for shape in arguments.shapes}
    for _ in range(arguments.turns):
        for shape in arguments.shapes:
            found[shape].append(turn(arguments, shape))
    first = found[arguments.shapes[0]][0]["losses"]
    rows = []
    for shape, turns in found.items():
        for one in turns:
            worst = max(abs(a - b) for a, b in zip(one["losses"], first, strict=True))
            if worst > LOSS_TOLERANCE:
                sys.exit(f"error: {shape} trains otherwise: its losses differ by {worst:.2g}")
        seconds = statistics.median(s for one in turns for s in one["seconds"])
        processes, threads = map(int, shape.split("x"))
        rows.append(
            {
                "processes": processes,
                "threads": threads,
                "N": arguments.N,
                "W": arguments.W,
                "step_s": seconds,
                "segments_per_second": arguments.N / seconds,
                "exchange_s": statistics.median(one["exchange"] for one in turns),
                "gradient_bytes": turns[0]["bytes"],
                **bench.machine(torch.float32),
            }
        )
    return rows


def ring(sockets, size):
    """Seconds to add `size` bytes over a ring of sockets: every byte travels there and back."""
    steps = 2 * (sockets - 1)
    return steps * (size / sockets / BYTES_A_SECOND + LATENCY_S)


def scaling(row):
    """(sockets, windows each, step, efficiency) where a socket keeps its windows, and shares N."""
    a_window, size = row["step_s"] / row["N"], row["gradient_bytes"]
    for sockets in SOCKETS:
        for windows in (row["N"], row["N"] / sockets):
            work = a_window * windows
            step = work + ring(sockets, size)
            yield sockets, windows, step, work / step


def markdown(rows):
    """scaling.md."""
    best = min(rows, key=lambda row: row["step_s"])
    lines = ["| processes x threads | a step | segments/s | exchange of gradients |"]
    lines.append("|---|---|---|---|")
    for row in rows:
        lines.append(
            f"| {row['processes']} x {row['threads']} | {row['step_s']:.3f} s "
            f"| {row['segments_per_second']:.2f} | {1e3 * row['exchange_s']:.1f} ms |"
        )
    text = (
        f"Measured on {best['cpu']} ({best['isa']}), {best['N']} windows of {best['W']:,} bp a "
        f"step, {best['gradient_bytes']:,} bytes of gradient:\n\n" + "\n".join(lines)
    )
    lines = ["| sockets | windows a socket | a step | efficiency |", "|---|---|---|---|"]
    for sockets, windows, step, efficiency in scaling(best):
        if windows >= 1 or sockets == 1:
            lines.append(f"| {sockets} | {windows:g} | {step:.3f} s | {efficiency:.1%} |")
    return (
        f"{text}\n\nModel, not measurement: each socket is this machine, its step made longer by a "
        f"ring exchange over a network of {BYTES_A_SECOND / 1e9:g} GB/s and "
        f"{1e6 * LATENCY_S:g} us a message:\n\n" + "\n".join(dict.fromkeys(lines)) + "\n"
    )


def main():
    arguments = parse_arguments()
    if arguments.worker:
        work(arguments)
        leave(0)
    try:
        check_writable(arguments.out / "ranks.csv")
    except OSError as error:
        sys.exit(f"error: {error}")
    rows = measure(arguments)
    write_csv(arguments.out / "ranks.csv", rows)
    write_text(arguments.out / "scaling.md", markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
