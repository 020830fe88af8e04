"""Benchmark of whole training steps of AtacWorks' network: dilconv against torch.

    python scripts/bench_train.py --threads 1 2 -N 1 --csv train.csv
    python scripts/bench_train.py -N 8 --memory        # peak memory of a step, float32 and bfloat16

A step is forward, loss, backward and Adam. The same network with the same weights takes the same
steps on dilconv ("native") and on torch: with the input padded beforehand ("torch-padded"), with
padding inside the call ("torch"), with the phases of the dilation in the batch ("torch-phases") and
as conv2d in channels_last ("torch-conv2d"). Losses must agree to four digits at every step, to
two with activations in bfloat16 ("native-bf16"). Ratios are to the fastest of torch's forms.
ONEDNN_MAX_CPU_ISA=AVX2 in the environment holds torch to AVX2; the CSV says so in `onednn_isa`.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from bench import training_steps
from bench.command import at_least, parser, script
from dilconv.bench import machine
from dilconv.memory import keep_freed_memory
from results.rows import Record, show

OTHERS_MOST = 0.20


def parse_arguments():
    made = parser(__doc__, csv=None)
    add, positive = made.add_argument, at_least(1)
    add("-N", type=positive, default=1, help="segments in the batch")
    add("-W", type=positive, default=60_000, help="bases of a segment")
    add("--threads", type=positive, nargs="+", default=[1], help="counts to run with")
    add("--rounds", type=at_least(2), default=3, help="timed steps of torch's forms, at least 2")
    add("--steps", type=positive, default=10, help="timed steps of dilconv a round")
    add("--memory", action="store_true", help="what a step adds to the peak memory, not its time")
    return made.parse_args()


def measure(arguments, threads):
    """Rows of one number of threads, a contender each; prints what was measured."""
    torch.set_num_threads(threads)
    everyone = training_steps.contenders(arguments.N, arguments.W)
    timed = training_steps.take_turns(everyone, arguments.rounds, arguments.steps)
    for left_out in (c.name for c in everyone if c not in timed):
        hopeless = f"its first step took {training_steps.HOPELESS} times torch's best"
        print(f"{left_out}: left out, {hopeless}")
    losses = training_steps.check_losses(timed)
    times = training_steps.summary(timed)
    shares = training_steps.breakdown(timed[0], arguments.steps)
    rows = [
        {
            "contender": c.name,
            "N": arguments.N,
            "W": arguments.W,
            "parameters": sum(p.numel() for p in c.model.parameters()),
            "threads": threads,
            **times[c.name],
            "loss": c.losses[len(losses) - 1],
            **{f"share_{p}": round(s, 4) if c is timed[0] else "" for p, s in shares.items()},
            **machine(torch.bfloat16 if c.name == "native-bf16" else torch.float32),
        }
        for c in timed
    ]
    heads = "a training step of {parameters:,} parameters: N={N} W={W}, {threads} thread(s), "
    print((heads + "{isa} on {cpu}").format(**rows[0]))
    show(rows, "contender median_ms iqr_ms speedup_over_torch cpus_used loss")
    show_shares(shares, times["native"]["median_ms"])
    return rows


def show_shares(shares, milliseconds):
    print("where a step of dilconv's goes:")
    for part, share in shares.items():
        print(f"  {part.replace('_', ' '):18}{share:7.1%}{share * milliseconds:9.1f} ms")
    others = 1 - shares["conv_forward"] - shares["conv_backward"]
    verdict = "MORE THAN" if others > OTHERS_MOST else "at most"
    print(f"everything but convolutions: {others:.1%}, {verdict} {OTHERS_MOST:.0%}\n")


def measure_memory(arguments):
    """Prints the peak memory of a step of dilconv's, each in a process of its own."""
    torch.set_num_threads(arguments.threads[0])
    added = {}
    for name in ("native", "native-bf16"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            job = pool.submit(training_steps.step_memory, name, arguments.N, arguments.W)
            added[name] = job.result()
        mib, share = added[name] / 2**20, added[name] / added["native"]
        print(f"{name:14} a step adds {mib:8.0f} MiB to the peak, {share:.2f} of native's")


@script
def main():
    arguments = parse_arguments()
    if arguments.memory:
        measure_memory(arguments)
        return
    keep_freed_memory()  # for all contenders alike
    record = Record(arguments.csv)
    for threads in arguments.threads:
        record.add(measure(arguments, threads))
