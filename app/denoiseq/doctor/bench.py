"""`denoiseq bench`: how fast each contender computes AtacWorks' layer on this machine."""

from __future__ import annotations

from dataclasses import replace

from denoiseq.doctor.layer import LAYER
from denoiseq.errors import UserError

HELP = """\
Times of the AtacWorks layer on this machine, each result checked against a reference first.

  denoiseq bench --threads 2 --batch 8

  --threads 1                 of dilconv and of torch
  --batch 1                   items, of 60,000 bp each
  --rounds 9                  that every contender is timed"""
NUMBERS = {"threads": 1, "batch": 1, "rounds": 9}


def run(arguments: list[str]) -> int:
    """Measure with `threads=1 batch=1 rounds=9`, print a table, and return the exit code."""
    numbers = dict(NUMBERS)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in numbers or not value.isdecimal() or int(value) < 1:
            raise UserError(
                f"could not read the argument '{argument}': bench takes "
                f"{', '.join(f'{name}=NUMBER' for name in numbers)}"
            )
        numbers[key] = int(value)
    try:
        from dilconv.bench import CONTENDERS, Layer, bench_layer
    except (ImportError, OSError) as error:
        raise UserError(f"the benchmark needs dilconv, which does not load: {error}") from error
    layer, rounds = replace(Layer(*LAYER), N=numbers["batch"]), max(numbers["rounds"], 2)
    rows = bench_layer(layer, list(CONTENDERS), threads=numbers["threads"], rounds=rounds)
    head = "N={N} C={C} K={K} S={S} d={d} W={W}, {threads} thread(s), {isa}, {cpu}"
    print(head.format(**rows[0]))
    print(f"{'pass':<18}{'contender':<14}{'ms':>10}{'GFLOP/s':>10}{'of peak':>9}{'x torch':>9}")
    line = (
        "{pass:<18}{contender:<14}{median_ms:>10.2f}{gflops:>10.1f}{fraction_of_peak:>9.2f}"
        "{speedup_over_torch:>9.2f}"
    )
    print(*(line.format(**row) for row in rows), sep="\n")
    return 0
