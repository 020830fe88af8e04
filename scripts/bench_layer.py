"""Benchmark of the convolution layer: every contender is verified, then timed interleaved.

    python scripts/bench_layer.py --threads 1 2 -N 1 8 --csv layer.csv
    python scripts/bench_layer.py --sweep --threads 1 2 --csv sweep.csv
    python scripts/bench_layer.py --planner            # auto against each algorithm

A rate counts 2*N*C*K*S*W operations a pass (three passes for forward_backward);
`fraction_of_peak` is that of the machine's FMA peak measured in the same run, `speedup_over_torch`
is over the fastest of torch's forms: input padded beforehand, padded inside the call, the phases of
the dilation in the batch, conv2d in channels_last. JAX and onnxruntime take part where installed.
Each contender's turn is two runs, in an order shuffled anew each round: `cold_ms` right behind
another contender, `median_ms` right behind itself. ONEDNN_MAX_CPU_ISA=AVX2 in the environment holds
torch to AVX2; the CSV says so in `onednn_isa`. It is whole after every point.
"""

import statistics
from dataclasses import replace

import bench.other_libraries  # noqa: F401  adds contenders
import torch
from bench.command import at_least, parser, script
from bench.sweep import ATACWORKS, affordable, sweep_layers
from dilconv import _native
from dilconv.bench import bench_layer, machine, time_interleaved, torch_threads
from dilconv.contenders import CONTENDERS, RESULTS, Tensors
from results.rows import Record, show
from tqdm import tqdm

LETTERS = {"C": "input channels", "K": "filters", "S": "taps", "d": "dilation", "W": "input width"}
POINT = ("layer", "N", *LETTERS, "threads", "dtype")
SHOWN = "pass contender median_ms iqr_ms cold_ms gflops fraction_of_peak speedup_over_torch"


def parse_arguments():
    made = parser(__doc__, resume=True, csv=None)
    add, points = made.add_argument, [layer.name for layer in sweep_layers()]
    add("-N", type=int, nargs="+", default=[1], help="batch sizes (one layer)")
    for letter, words in LETTERS.items():
        add(f"-{letter}", type=int, default=getattr(ATACWORKS, letter), help=words)
    sweeps = made.add_mutually_exclusive_group().add_argument
    sweeps("--sweep", action="store_true", help="one letter at a time, and named corners")
    sweeps("--planner", action="store_true", help="at these, auto's time over the best algorithm's")
    only = f"only these: {', '.join(points)}"
    add("--points", nargs="+", metavar="NAME", choices=points, help=only)
    add("--threads", type=int, nargs="+", default=[1], help="counts to run with")
    add("--rounds", type=at_least(2), help="timed (default 15; 101 with --sweep, --planner)")
    seconds = (
        "about what a contender may take in a pass: slow ones run in fewer rounds (default: no "
        "limit; 0.5 with --sweep, --planner)"
    )
    add("--seconds", type=float, help=seconds)
    names = list(CONTENDERS)
    add("--contenders", nargs="+", default=names, choices=names, help="what is timed")
    add("--dtype", default="float32", choices=["float32", "bfloat16"], help="of x, y and gradients")
    arguments = made.parse_args()
    arguments.many = arguments.sweep or arguments.planner
    arguments.rounds = arguments.rounds or (101 if arguments.many else 15)
    arguments.seconds = arguments.seconds or (0.5 if arguments.many else float("inf"))
    if arguments.points and not arguments.many:
        made.error("--points selects from --sweep or --planner")
    if arguments.planner and arguments.dtype != "float32":
        made.error("--planner measures float32")
    return arguments


def layers_of(arguments):
    """The layers asked for, each at most 50 GFLOP a pass in a sweep."""
    if not arguments.many:
        letters = {letter: getattr(arguments, letter) for letter in LETTERS}
        name = "AtacWorks" if replace(ATACWORKS, **letters) == ATACWORKS else "layer"
        return [replace(ATACWORKS, name=name, N=N, **letters) for N in arguments.N]
    layers = []
    for layer in sweep_layers():
        if arguments.points and layer.name not in arguments.points:
            continue
        smaller = affordable(layer)
        if smaller is None:
            print(f"{layer.name}: left out, more than 50 GFLOP a pass")
            continue
        if smaller != layer:
            print(f"{layer.name}: N={smaller.N}, W={smaller.W} to stay below 50 GFLOP a pass")
        layers.append(smaller)
    return layers


def show_layer(rows):
    sizes = "{layer}: N={N} C={C} K={K} S={S} d={d} W={W} {dtype}"
    print((sizes + ", {threads} thread(s), {isa} on {cpu}").format(**rows[0]))
    show(rows, SHOWN)


def show_point(rows):
    """One line of a sweep: forward+backward of auto, or of the fastest contender without it."""
    both = [r for r in rows if r["pass"] == "forward_backward"]
    best = min(both, key=lambda r: (r["contender"] != "auto", r["median_ms"]))
    tqdm.write(
        "{layer:16} {threads} thread(s): {contender} {median_ms:.3f} ms forward+backward, "
        "{speedup_over_torch:.2f} x torch, {fraction_of_peak:.2f} of peak".format(**best)
    )


def measure(arguments, record):
    """Point after point; JAX wants all points of one thread count together."""
    layers = layers_of(arguments)
    points = [(threads, layer) for threads in arguments.threads for layer in layers]
    for threads, layer in tqdm(points, unit="point", disable=None if len(points) > 1 else True):
        if record.has({**layer.columns, "threads": threads, "dtype": arguments.dtype}):
            continue
        limits = {"rounds": arguments.rounds, "seconds": arguments.seconds}
        if arguments.planner:
            record.add(planner_rows(layer, threads, limits))
            continue
        dtype = getattr(torch, arguments.dtype)
        rows = bench_layer(layer, arguments.contenders, threads=threads, dtype=dtype, **limits)
        (show_point if arguments.sweep else show_layer)(rows)
        record.add(rows)


def planner_rows(layer, threads, limits):
    """Rows (one a pass); `ratio`: auto's time over the best algorithm's, median over the rounds."""
    with torch_threads(threads):
        tensors, isa, rows = Tensors.of(layer), _native.active_isa(), []
        made = {name: CONTENDERS[name](tensors) for name in _native.ALGORITHMS}
        for pass_name in RESULTS:
            runners = {n: c.passes[pass_name] for n, c in made.items() if pass_name in c.passes}
            times, _ = time_interleaved(runners, isa, paired=True, **limits)
            auto = times.pop("auto")
            ratios = {name: auto.ratio(other) for name, other in times.items()}
            better = max(ratios, key=ratios.get)
            rows.append({
                **layer.columns, "pass": pass_name, "threads": threads,
                "chosen": "+".join(layer.algorithms(pass_name, torch.float32)),
                "better": better, "ratio": round(ratios[better], 4),
                "auto_ms": round(statistics.median(auto.warm) * 1e3, 4), **machine(),
            })  # fmt: skip
    return rows


def show_planner(rows):
    worst = sorted(rows, key=lambda row: -row["ratio"])[:12]
    print()
    show(worst, "layer threads pass chosen better auto_ms ratio")
    for limit in (1.10, 1.25):
        share = sum(row["ratio"] <= limit for row in rows) / len(rows)
        print(f"within {limit - 1:.0%} of the better algorithm: {share:.1%} of {len(rows)} passes")


@script
def main():
    arguments = parse_arguments()
    with Record(arguments.csv, POINT, arguments.resume) as record:
        try:
            measure(arguments, record)
        finally:
            if arguments.planner and record.rows:
                show_planner(record.rows)
