#!/usr/bin/env python
"""Benchmark of whole training steps of AtacWorks' network: dilconv against torch.

    python scripts/bench_train.py                      # one segment of 60,000 bp, one thread
    python scripts/bench_train.py --threads 1 2 -N 1 --csv train.csv
    python scripts/bench_train.py -N 8 --memory        # peak memory of a step, float32 and bfloat16

A step is forward, loss, backward and Adam. The same network with the same weights takes the same
steps on dilconv ("native") and on torch: with the input padded beforehand ("torch-padded"), with
padding inside the call ("torch"), with the phases of the dilation in the batch ("torch-phases") and
as conv2d in channels_last ("torch-conv2d"). Losses must agree to four digits at every step, to
two with activations in bfloat16 ("native-bf16"). Ratios are to the fastest of torch's forms.
ONEDNN_MAX_CPU_ISA=AVX2 in the environment holds torch to AVX2; the CSV says so in `onednn_isa`.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from denoiseq.atomic import write_csv
from denoiseq.doctor import speed
from dilconv import bench
from dilconv.memory import keep_freed_memory

OTHERS_MOST = 0.20


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-N", type=int, default=1, help="segments in the batch")
    parser.add_argument("-W", type=int, default=60_000, help="bases of a segment")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="counts to run with")
    parser.add_argument(
        "--rounds", type=int, default=3, help="timed steps of torch's forms, at least 2"
    )
    parser.add_argument("--steps", type=int, default=10, help="timed steps of dilconv a round")
    parser.add_argument(
        "--memory", action="store_true", help="what a step adds to the peak memory, not its time"
    )
    parser.add_argument("--csv", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    if min(arguments.N, arguments.W, *arguments.threads) < 1:
        parser.error("-N, -W and --threads must be at least 1")
    if arguments.rounds < 2 or arguments.steps < 1:
        parser.error("--rounds must be at least 2 and --steps at least 1")
    return arguments


def measure(arguments, threads):
    """Rows of one number of threads, a contender each; prints what was found."""
    torch.set_num_threads(threads)
    everyone = speed.contenders(arguments.N, arguments.W)
    entered = speed.take_turns(everyone, arguments.rounds, arguments.steps)
    for left_out in (c.name for c in everyone if c not in entered):
        print(f"{left_out}: left out, its first step took {speed.HOPELESS} times torch's best")
    losses = speed.check_losses(entered)
    times, shares = speed.summary(entered), speed.breakdown(entered[0], arguments.steps)
    shares = {part: round(share, 4) for part, share in shares.items()}
    rows = [
        {
            "contender": c.name,
            "N": arguments.N,
            "W": arguments.W,
            "parameters": sum(p.numel() for p in c.model.parameters()),
            "threads": threads,
            **times[c.name],
            "loss": c.losses[len(losses) - 1],
            **{f"share_{p}": s if c.name == "native" else "" for p, s in shares.items()},
            **bench.machine(torch.bfloat16 if c.name == "native-bf16" else torch.float32),
        }
        for c in entered
    ]
    print_rows(rows, losses)
    print_shares(shares, times["native"]["median_ms"])
    return rows


def print_rows(rows, losses):
    first = rows[0]
    print(
        f"a training step of {first['parameters']:,} parameters: N={first['N']} W={first['W']}, "
        f"{first['threads']} thread(s), {first['isa']} on {first['cpu']}"
    )
    heads = ("ms", "IQR", "x torch", "CPUs")
    print("{:14}{:>10}{:>9}{:>9}{:>6}   loss of the steps that all have done".format("", *heads))
    for row, values in zip(rows, zip(*losses, strict=True), strict=True):
        shown = " ".join(f"{value:.6f}" for value in values)
        print(
            f"{row['contender']:14}{row['median_ms']:10.1f}{row['iqr_ms']:9.1f}"
            f"{row['speedup_over_torch']:9.2f}{row['cpus_used']:6.2f}   {shown}"
        )


def print_shares(shares, milliseconds):
    print("where a step of dilconv's goes:")
    for part, share in shares.items():
        print(f"  {part.replace('_', ' '):18}{share:7.1%}{share * milliseconds:9.1f} ms")
    others = 1 - shares["conv_forward"] - shares["conv_backward"]
    verdict = "MORE THAN" if others > OTHERS_MOST else "at most"
    print(f"everything but convolutions: {others:.1%}, {verdict} {OTHERS_MOST:.0%}\n")


def measure_memory(arguments):
    """Prints the peak memory of a step of dilconv's, each in a process of its own."""
    torch.set_num_threads(arguments.threads[0])
    found = {}
    for name in ("native", "native-bf16"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[name] = pool.submit(speed.step_memory, name, arguments.N, arguments.W).result()
        print(
            f"{name:14} a step adds {found[name] / 2**20:8.0f} MiB to the peak, "
            f"{found[name] / found['native']:.2f} of native's"
        )


def main():
    arguments = parse_arguments()
    if arguments.memory:
        measure_memory(arguments)
        return
    keep_freed_memory()  # for all contenders alike
    rows = [row for threads in arguments.threads for row in measure(arguments, threads)]
    if arguments.csv:
        write_csv(arguments.csv, rows)


if __name__ == "__main__":
    main()
