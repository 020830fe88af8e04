"""`denoiseq bench`: how fast each contender computes AtacWorks' layer on this machine."""

from __future__ import annotations

from typing import Any

from denoiseq.doctor.layer import bench
from denoiseq.errors import UserError

HELP = """\
Times of the AtacWorks layer on this machine, each result checked against a reference first.

  denoiseq bench threads=2 batch=8

  threads=1                   of dilconv and of torch
  batch=1                     items, of 60,000 bp each
  rounds=9                    that every contender is timed"""


def run(arguments: list[str]) -> int:
    """Measure with `threads=1 batch=1 rounds=9`, print a table, and return the exit code."""
    numbers = {"threads": 1, "batch": 1, "rounds": 9}
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in numbers or not value.isdecimal() or int(value) < 1:
            raise UserError(
                f"could not read the argument '{argument}': bench takes "
                f"{', '.join(f'{name}=NUMBER' for name in numbers)}"
            )
        numbers[key] = int(value)
    print(table(bench(**numbers)))
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of `layer.bench` for a terminal; ratios are to the fastest of torch's forms."""
    lines = [
        "N={N} C={C} K={K} S={S} d={d} W={W}, {threads} thread(s), {isa}, {cpu}".format(**rows[0]),
        f"{'pass':<18}{'contender':<14}{'ms':>10}{'GFLOP/s':>10}{'of peak':>9}{'x torch':>9}",
    ]
    for row in rows:
        lines.append(
            f"{row['pass']:<18}{row['contender']:<14}{row['median_ms']:>10.2f}"
            f"{row['gflops']:>10.1f}{row['fraction_of_peak']:>9.2f}"
            f"{row['speedup_over_torch']:>9.2f}"
        )
    return "\n".join(lines)
