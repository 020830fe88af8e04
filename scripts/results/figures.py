"""Figures of the results page, and how scripts make a PNG."""

import io

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from results.rows import fastest, pick
from results.tables import PASSES

LETTERS = {"W": "width W", "S": "filter taps S", "C": "channels C = K", "d": "dilation d"}
SINGLE = [name for name in PASSES if name != "forward_backward"]
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
COLORS = {"auto": "#1f6feb", "direct": "#2f9e6e", "torch": "#c2571a"}


def efficiency(rows, title):
    """PNG: rate over the multiply-add peak against one letter at a time, by pass, on one thread."""
    rows = pick(rows, threads=min(row["threads"] for row in rows))
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(len(SINGLE), len(LETTERS), sharey="row")
    for line, name in zip(axes, SINGLE, strict=True):
        for axis, letter in zip(line, LETTERS, strict=True):
            _panel(axis, pick(rows, **{"pass": name}), letter)
        line[0].set_ylabel(f"{PASSES[name]}\nrate / peak")
    for axis, label in zip(axes[-1], LETTERS.values(), strict=True):
        axis.set_xlabel(label)
    axes[0][-1].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return png(figure, dpi=110)


def _panel(axis, rows, letter):
    points = along(rows, letter)
    for contender, color in COLORS.items():
        best = {value: fastest(group, contender) for value, group in points.items()}
        rates = {value: row["fraction_of_peak"] for value, row in best.items() if row}
        if rates:
            label = "torch, its fastest form" if contender == "torch" else contender
            axis.plot(rates.keys(), rates.values(), "o-", color=color, markersize=3, label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(FixedLocator(TICKS))
    axis.xaxis.set_major_locator(FixedLocator([*points][::2]))
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(FuncFormatter(_short))
        side.set_minor_locator(NullLocator())
    axis.spines[["top", "right"]].set_visible(False)
    axis.axhline(1, color="0.6", linewidth=0.8, linestyle=":")


def _short(value, _):
    """1000000 as 1M, 10000 as 10k."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def along(rows, letter):
    """{value of the letter: its rows} of the points that differ from AtacWorks in it alone."""
    named = [row for row in rows if row["layer"].startswith((f"{letter}=", f"{letter}=K="))]
    points = named + pick(rows, layer="AtacWorks", N=1)
    return {value: pick(points, **{letter: value}) for value in sorted({r[letter] for r in points})}


def png(figure, dpi):
    """The bytes of a figure; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
