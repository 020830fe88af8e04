"""Training steps of AtacWorks' network by several processes, and what that says of many sockets.

    python scripts/bench_ranks.py                       # 1 process of all cores against 1 a core
    python scripts/bench_ranks.py --shapes 1x2 2x1 -N 4 -W 60000 --steps 8 --out outputs/ranks

A shape is PROCESSESxTHREADS. Every shape takes the same batch and must reach the same losses.
Leaves in --out ranks.csv and scaling.md: the table, and a model of training on up to 16 sockets,
from the time of a step and the bytes of its gradient.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

import torch
from bench import training_steps
from bench.command import CORES, ROOT, parser, script
from bench.timing import wall_and_cpu
from denoiseq.atomic import write_text
from denoiseq.distributed import joined, leave
from dilconv.bench import machine
from dilconv.memory import keep_freed_memory
from results.rows import Record, table, table_of

LOSS_TOLERANCE = 1e-3
# The network of the model, from round figures of 10-gigabit Ethernet between hosts.
BYTES_A_SECOND, LATENCY_S = 1.0e9, 50e-6
SOCKETS = (1, 2, 4, 8, 16)
MEASURED = {
    "processes x threads": "{processes} x {threads}",
    "a step": "{step_s:.3f} s",
    "segments/s": "{segments_per_second:.2f}",
    "exchange of gradients": lambda row: f"{1e3 * row['exchange_s']:.1f} ms",
}


def parse_arguments():
    made = parser(__doc__, out=ROOT / "outputs" / "ranks")
    add, shapes = made.add_argument, [f"1x{CORES}", f"{CORES}x1"]
    add("--shapes", nargs="+", default=shapes, metavar="PROCESSESxTHREADS", help="what is compared")
    add("-N", type=int, default=4, help="windows a step, over all processes")
    add("-W", type=int, default=60_000, help="bases of a window")
    add("--steps", type=int, default=8, help="timed steps a turn, after one untimed")
    add("--turns", type=int, default=3, help="of all shapes")
    add("--worker", action="store_true", help=argparse.SUPPRESS)
    return made.parse_args()


def work(arguments):
    """One process: its share of every batch; the first prints the times of all, as JSON."""
    keep_freed_memory()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with joined("cpu") as ranks:
        (training,) = training_steps.contenders(arguments.N, arguments.W, ("native",))
        shares = {name: t[ranks.rank :: ranks.world] for name, t in training.batch.items()}
        training.batch = {name: share.contiguous() for name, share in shares.items()}
        training.ranks, model, seconds = ranks, training.model, []
        for _ in range(1 + arguments.steps):
            ranks.wait()
            seconds.append(training.step()[0])
        exchanges = [wall_and_cpu(ranks.mean_gradients, model)[0] for _ in range(arguments.steps)]
        if ranks.main:
            exchange = statistics.mean(exchanges)
            size = 4 * sum(p.numel() for p in model.parameters())
            print(json.dumps({"seconds": seconds[1:], "losses": training.losses,
                              "exchange": exchange, "bytes": size}))  # fmt: skip


def turn(arguments, shape):
    processes, threads = map(int, shape.split("x"))
    torchrun = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *(f"--nproc-per-node={processes}", __file__, "--worker"),
        *("-N", str(arguments.N), "-W", str(arguments.W), "--steps", str(arguments.steps)),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(torchrun, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{shape} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(arguments):
    """A row a shape, from turns that alternate."""
    turns = {shape: [] for shape in arguments.shapes}
    for shape in arguments.shapes * arguments.turns:
        turns[shape].append(turn(arguments, shape))
    expected = turns[arguments.shapes[0]][0]["losses"]
    for shape, taken in turns.items():
        losses = (pair for t in taken for pair in zip(t["losses"], expected, strict=True))
        worst = max(abs(a - b) for a, b in losses)
        if worst > LOSS_TOLERANCE:
            raise ValueError(f"{shape} trains otherwise: its losses differ by {worst:.2g}")
    return [row(arguments, shape, turns[shape]) for shape in arguments.shapes]


def row(arguments, shape, turns):
    seconds = statistics.median(s for t in turns for s in t["seconds"])
    processes, threads = map(int, shape.split("x"))
    return {
        "processes": processes,
        "threads": threads,
        "N": arguments.N,
        "W": arguments.W,
        "step_s": seconds,
        "segments_per_second": arguments.N / seconds,
        "exchange_s": statistics.median(t["exchange"] for t in turns),
        "gradient_bytes": turns[0]["bytes"],
        **machine(torch.float32),
    }


def ring(sockets, size):
    """Seconds to add `size` bytes over a ring of sockets: every byte travels there and back."""
    steps = 2 * (sockets - 1)
    return steps * (size / sockets / BYTES_A_SECOND + LATENCY_S)


def scaling(row):
    """Lines of the model, where a socket keeps its windows and where all share N."""
    for sockets in SOCKETS:
        for windows in (row["N"], row["N"] / sockets):
            work = row["step_s"] / row["N"] * windows
            step = work + ring(sockets, row["gradient_bytes"])
            if windows >= 1 or sockets == 1:
                yield sockets, f"{windows:g}", f"{step:.3f} s", f"{work / step:.1%}"


def markdown(rows):
    best = min(rows, key=lambda row: row["step_s"])
    measured = (
        "Measured on {cpu} ({isa}), {N} windows of {W:,} bp a step, {gradient_bytes:,} bytes of "
        "gradient:"
    ).format(**best)
    model = (
        "Model, not measurement: each socket is this machine, its step made longer by a ring "
        f"exchange over a network of {BYTES_A_SECOND / 1e9:g} GB/s and {1e6 * LATENCY_S:g} us a "
        "message:"
    )
    heads = ("sockets", "windows a socket", "a step", "efficiency")
    modelled = table(heads, dict.fromkeys(scaling(best)))
    return "\n\n".join([measured, table_of(rows, MEASURED), model, modelled]) + "\n"


@script
def main():
    arguments = parse_arguments()
    if arguments.worker:
        work(arguments)
        leave(0)
    record = Record(arguments.out / "ranks.csv")
    record.add(measure(arguments))
    write_text(arguments.out / "scaling.md", markdown(record.rows))
    print(markdown(record.rows))
