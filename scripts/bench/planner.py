"""How well `auto` chooses: its time beside that of every algorithm, pass by pass."""

import statistics

import torch
from dilconv import _native
from dilconv.bench import Effort, machine, runners_of, time_interleaved, torch_threads
from dilconv.contenders import CONTENDERS, RESULTS, Layer, Tensors
from results.layout import show


def planner_rows(layer: Layer, threads: int, effort: Effort) -> list[dict]:
    """Rows (one a pass); `ratio`: auto's time over the best algorithm's, median over the rounds."""
    with torch_threads(threads):
        tensors, isa, rows = Tensors.of(layer), _native.active_isa(), []
        made = {name: CONTENDERS[name](tensors) for name in _native.ALGORITHMS}
        for pass_name in RESULTS:
            runners = runners_of(made, pass_name, made)
            times, _ = time_interleaved(runners, isa, effort, paired=True)
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


def show_planner(rows: list[dict]) -> None:
    """The points where auto loses most, and the shares within bounds."""
    worst = sorted(rows, key=lambda row: -row["ratio"])[:12]
    print()
    show(worst, "layer threads pass chosen better auto_ms ratio")
    for limit in (1.10, 1.25):
        share = sum(row["ratio"] <= limit for row in rows) / len(rows)
        print(f"within {limit - 1:.0%} of the better algorithm: {share:.1%} of {len(rows)} passes")
