#!/usr/bin/env python
"""Benchmark of the convolution layer: every contender is verified, then timed interleaved.

    python scripts/bench_layer.py                      # the AtacWorks layer, one thread
    python scripts/bench_layer.py --threads 1 2 -N 1 8 --csv bench.csv

A rate counts 2*N*C*K*S*W operations a pass (three passes for forward_backward); `peak` is the
fraction of the machine's FMA peak measured in the same run, `x torch` the ratio to the faster of
torch's two forms (input padded beforehand, or padded inside the call).
"""

import argparse
import csv
import sys
from pathlib import Path

from dilconv import bench

ATACWORKS = {"C": 15, "K": 15, "S": 51, "d": 8, "W": 60_000}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-N", type=int, nargs="+", default=[1], help="batch sizes")
    for letter, value in ATACWORKS.items():
        parser.add_argument(f"-{letter}", type=int, default=value)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds (at least 2)")
    parser.add_argument(
        "--contenders", nargs="+", default=list(bench.CONTENDERS), choices=list(bench.CONTENDERS)
    )
    parser.add_argument("--csv", type=Path, help="write the rows here")
    return parser.parse_args()


def print_rows(rows):
    first = rows[0]
    print(
        f"{first['layer']}: N={first['N']} C={first['C']} K={first['K']} S={first['S']} "
        f"d={first['d']} W={first['W']}, {first['threads']} thread(s), {first['isa']} on "
        f"{first['cpu']}"
    )
    print(
        f"{'pass':18}{'contender':14}{'ms':>10}{'IQR':>9}{'GFLOP/s':>10}{'peak':>8}{'x torch':>9}"
    )
    for r in rows:
        print(
            f"{r['pass']:18}{r['contender']:14}{r['median_ms']:10.2f}{r['iqr_ms']:9.2f}"
            f"{r['gflops']:10.1f}{r['fraction_of_peak']:8.3f}{r['speedup_over_torch']:9.2f}"
        )


def write_csv(path, rows):
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def main():
    arguments = parse_arguments()
    rows = []
    for threads in arguments.threads:
        for N in arguments.N:
            layer = bench.Layer("layer", N, **{k: getattr(arguments, k) for k in ATACWORKS})
            found = bench.bench_layer(
                layer, arguments.contenders, threads=threads, rounds=arguments.rounds
            )
            print_rows(found)
            rows += found
    if arguments.csv:
        write_csv(arguments.csv, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
