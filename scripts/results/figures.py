"""Figures of the results page."""

import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from results.rows import best_torch, pick

LETTERS = {"W": "width W", "S": "filter taps S", "C": "channels C = K", "d": "dilation d"}
PASSES = {
    "forward": "forward",
    "backward_data": "gradient of x",
    "backward_weight": "gradient of w",
}
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
COLORS = {"auto": "#1f6feb", "direct": "#2f9e6e", "torch": "#c2571a"}


def efficiency(rows, title):
    """PNG: rate over the multiply-add peak against one letter at a time, by pass, on one thread."""
    rows = pick(rows, threads=min(row["threads"] for row in rows))
    figure, axes = plt.subplots(
        len(PASSES), len(LETTERS), figsize=(11, 7), sharey="row", constrained_layout=True
    )
    for line, (name, words) in zip(axes, PASSES.items(), strict=True):
        for axis, (letter, label) in zip(line, LETTERS.items(), strict=True):
            _panel(axis, pick(rows, **{"pass": name}), letter)
            axis.axhline(1, color="0.6", linewidth=0.8, linestyle=":")
            if name == list(PASSES)[-1]:
                axis.set_xlabel(label)
        line[0].set_ylabel(f"{words}\nrate / peak")
    axes[0][-1].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return _png(figure)


def _panel(axis, rows, letter):
    points = along(rows, letter)
    for contender, color in COLORS.items():
        rates = [(value, rate_of(group, contender)) for value, group in points]
        rates = [(value, rate) for value, rate in rates if rate is not None]
        if rates:
            label = "torch, its fastest form" if contender == "torch" else contender
            axis.plot(*zip(*rates, strict=True), "o-", color=color, markersize=3, label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(FixedLocator(TICKS))
    axis.xaxis.set_major_locator(FixedLocator(sorted({value for value, _ in points})[::2]))
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        side.set_minor_locator(NullLocator())
    axis.spines[["top", "right"]].set_visible(False)


def _short(value):
    """1000000 as 1M, 10000 as 10k."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def along(rows, letter):
    """[(value of the letter, its rows)] of the points that differ from AtacWorks in it alone."""
    named = [row for row in rows if row["layer"].startswith((f"{letter}=", f"{letter}=K="))]
    centre = [row for row in rows if row["layer"] == "AtacWorks" and row["N"] == 1]
    values = sorted({row[letter] for row in named + centre})
    return [(value, pick(named + centre, **{letter: value})) for value in values]


def rate_of(rows, contender):
    """The fraction of the peak; of torch the fastest form's."""
    if contender == "torch":
        row = best_torch(rows)
    else:
        row = next(iter(pick(rows, contender=contender)), None)
    return None if row is None else row["fraction_of_peak"]


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
