#!/usr/bin/env python
"""Benchmark of the convolution layer: every contender is verified, then timed interleaved.

    python scripts/bench_layer.py                      # the AtacWorks layer, one thread
    python scripts/bench_layer.py --threads 1 2 -N 1 8 --csv layer.csv
    python scripts/bench_layer.py --sweep --threads 1 2 --csv sweep.csv
    python scripts/bench_layer.py --planner            # auto against each algorithm

A rate counts 2*N*C*K*S*W operations a pass (three passes for forward_backward); `peak` is the
fraction of the machine's FMA peak measured in the same run, `x torch` the ratio to the fastest of
torch's forms: input padded beforehand, padded inside the call, the phases of the dilation in the
batch, conv2d in channels_last. JAX and onnxruntime take part where they are installed.
Each contender's turn is two runs, in an order shuffled anew each round: `cold` right behind another
contender, `ms` right behind itself. ONEDNN_MAX_CPU_ISA=AVX2 in the environment holds torch to AVX2;
the CSV says so in `onednn_isa`.

The sweep varies one letter at a time around the AtacWorks layer and adds named corners. Its file
is whole after every point: an interrupted sweep keeps the points done, --resume goes on.
"""

import argparse
import csv
import sys
from dataclasses import replace
from pathlib import Path

import torch
from denoiseq.atomic import write_csv
from dilconv import bench
from dilconv.sweep import ATACWORKS, affordable, sweep_layers
from tqdm import tqdm

LETTERS = {
    "C": "input channels",
    "K": "filters",
    "S": "taps",
    "d": "dilation",
    "W": "input width",
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-N", type=int, nargs="+", default=[1], help="batch sizes (one layer)")
    for letter, words in LETTERS.items():
        default = getattr(ATACWORKS, letter)
        parser.add_argument(f"-{letter}", type=int, default=default, help=words)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--sweep", action="store_true", help="the sweep's points, not one layer")
    kind.add_argument(
        "--planner",
        action="store_true",
        help="at the sweep's points, auto's time over that of the best algorithm",
    )
    names = [layer.name for layer in sweep_layers()]
    parser.add_argument(
        "--points", nargs="+", metavar="NAME", choices=names, help=f"only these: {', '.join(names)}"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="counts to run with")
    parser.add_argument(
        "--rounds", type=int, help="timed rounds, at least 2 (default 15; 101 with --sweep, ...)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="about what a contender may take in a pass: slow ones run in fewer rounds "
        "(default: no limit; 0.5 with --sweep, --planner)",
    )
    parser.add_argument(
        "--contenders",
        nargs="+",
        default=list(bench.CONTENDERS),
        choices=list(bench.CONTENDERS),
        help="what is timed",
    )
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of x, y and gradients"
    )
    parser.add_argument("--csv", type=Path, help="write the rows here")
    parser.add_argument("--resume", action="store_true", help="keep the points that --csv has")
    arguments = parser.parse_args()
    many = arguments.sweep or arguments.planner
    arguments.rounds = arguments.rounds or (101 if many else 15)
    arguments.seconds = arguments.seconds or (0.5 if many else float("inf"))
    if arguments.rounds < 2:
        parser.error(f"--rounds must be at least 2, got {arguments.rounds}")
    if arguments.points and not many:
        parser.error("--points selects from --sweep or --planner")
    if arguments.planner and arguments.dtype != "float32":
        parser.error("--planner measures float32")
    if arguments.resume and not arguments.csv:
        parser.error("--resume needs --csv, the file to go on with")
    return arguments


def layers_of(arguments):
    """The layers asked for, each at most 50 GFLOP a pass in a sweep."""
    if not (arguments.sweep or arguments.planner):
        letters = {letter: getattr(arguments, letter) for letter in LETTERS}
        layers = [replace(ATACWORKS, name="layer", N=N, **letters) for N in arguments.N]
        return [
            replace(a, name="AtacWorks") if replace(a, name="AtacWorks", N=1) == ATACWORKS else a
            for a in layers
        ]
    kept = []
    for layer in sweep_layers():
        if arguments.points and layer.name not in arguments.points:
            continue
        smaller = affordable(layer)
        if smaller is None:
            print(f"{layer.name}: left out, more than 50 GFLOP a pass")
            continue
        if smaller != layer:
            print(f"{layer.name}: N={smaller.N}, W={smaller.W} to stay below 50 GFLOP a pass")
        kept.append(smaller)
    return kept


def print_rows(rows):
    first = rows[0]
    print(
        f"{first['layer']}: N={first['N']} C={first['C']} K={first['K']} S={first['S']} "
        f"d={first['d']} W={first['W']} {first['dtype']}, {first['threads']} thread(s), "
        f"{first['isa']} on {first['cpu']}"
    )
    heads = ("pass", "contender", "ms", "IQR", "cold", "GFLOP/s", "peak", "x torch")
    print("{:18}{:14}{:>10}{:>9}{:>10}{:>10}{:>8}{:>9}".format(*heads))
    for r in rows:
        print(
            f"{r['pass']:18}{r['contender']:14}{r['median_ms']:10.2f}{r['iqr_ms']:9.2f}"
            f"{r['cold_ms']:10.2f}{r['gflops']:10.1f}{r['fraction_of_peak']:8.3f}{r['speedup_over_torch']:9.2f}"
        )


def print_point(rows):
    """One line of a sweep: forward+backward of auto, or of the fastest contender without it."""
    both = [r for r in rows if r["pass"] == "forward_backward"]
    best = min(both, key=lambda r: (r["contender"] != "auto", r["median_ms"]))
    tqdm.write(
        f"{best['layer']:16} {best['threads']} thread(s): {best['contender']} "
        f"{best['median_ms']:.3f} ms forward+backward, {best['speedup_over_torch']:.2f} x torch, "
        f"{best['fraction_of_peak']:.2f} of peak"
    )


def print_planner(rows):
    """The points where auto loses most, and the shares within bounds."""
    heads = ("auto took", "better", "ms", "ratio")
    print("\n{:16} {:>7} {:18}{:20}{:10}{:>9}{:>8}".format("point", "threads", "pass", *heads))
    for r in sorted(rows, key=lambda r: -float(r["ratio"]))[:12]:
        print(
            f"{r['layer']:16} {r['threads']:>7} {r['pass']:18}{r['chosen']:20}{r['better']:10}"
            f"{float(r['auto_ms']):9.3f}{float(r['ratio']):8.3f}"
        )
    for limit in (1.10, 1.25):
        share = sum(float(r["ratio"]) <= limit for r in rows) / len(rows)
        print(f"within {limit - 1:.0%} of the better algorithm: {share:.1%} of {len(rows)} passes")


def read_csv(path):
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def point_of(row):
    """What tells measured points apart, as text: rows come from a file or from a measurement."""
    return tuple(str(row[key]) for key in ("layer", "N", *LETTERS, "threads", "dtype"))


def measure(arguments, layers, rows):
    """Appends to `rows`, point after point; JAX wants all points of one thread count together."""
    done = {point_of(row) for row in rows}
    show = print_point if arguments.sweep else print_rows
    points = [(layer, threads) for threads in arguments.threads for layer in layers]
    for layer, threads in tqdm(points, unit="point", disable=None if len(points) > 1 else True):
        here = {"layer": layer.name, "threads": threads, "dtype": arguments.dtype}
        if point_of({**vars(layer), **here}) in done:
            continue
        options = {"threads": threads, "rounds": arguments.rounds, "seconds": arguments.seconds}
        if arguments.planner:
            found = bench.bench_planner(layer, **options)
        else:
            dtype = getattr(torch, arguments.dtype)
            found = bench.bench_layer(layer, arguments.contenders, dtype=dtype, **options)
            show(found)
        rows += found
        if arguments.csv:
            write_csv(arguments.csv, rows)


def main():
    arguments = parse_arguments()
    layers = layers_of(arguments)
    rows = read_csv(arguments.csv) if arguments.resume else []
    interrupted = False
    try:
        measure(arguments, layers, rows)
    except KeyboardInterrupt:
        interrupted = True
        kept = f"{len(rows)} rows are in {arguments.csv}" if arguments.csv and rows else "no file"
        print(f"interrupted: {kept}", file=sys.stderr)
    if arguments.planner and rows:
        print_planner(rows)
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
