"""The table and the figure of scripts/depth_study.py, from its depth.csv alone.

    python scripts/depth_figure.py                     # docs/depth/depth.csv
    python scripts/depth_figure.py --folder outputs/depth

depth.csv has a row a metric, depth and what was measured there: the score of a track, or the depth
whose noisy (worth_noisy) or smoothed (worth_gaussian) score equals the denoised one. Leaves
depth.md and depth.png beside it.
"""

import math
from itertools import product
from pathlib import Path

from bench.command import ROOT, parser, script
from denoiseq.atomic import write_bytes, write_text
from denoiseq.report.style import drawn
from denoiseq.report.tracks import colour, label
from matplotlib.figure import Figure
from results.rows import read_csv, table

METRICS = {
    "auprc": "AUPRC",
    "called_f1": "F1 of called peaks",
    "log1p_pearson": "log1p-Pearson",
}
TRACKS = ("noisy", "gaussian", "macs3", "denoised")
RULERS = ("noisy", "gaussian")  # along whose curves the denoised scores are placed
BELOW, ABOVE = 0.0, math.inf  # a worth beyond the measured depths
ARROW = 0.1  # the depth whose worth the figure shows


def depths(rows):
    return sorted({fraction for _, _, fraction in rows})


def percent(depth, fractions):
    """A depth in words: 27%, or beyond which of the measured ones it lies."""
    if depth == BELOW:
        return f"<{100 * fractions[0]:g}%"
    if depth == ABOVE:
        return f">{100 * fractions[-1]:g}%"
    return f"{100 * depth:.2g}%"


def markdown(rows):
    lines = []
    for metric, fraction in product(METRICS, depths(rows)):
        noisy = rows[metric, "noisy", fraction]
        line = [METRICS[metric], f"{100 * fraction:g}% ({noisy['fragments']:,.0f})"]
        line += [cell(rows, (metric, track, fraction), "{:.4f}") for track in TRACKS]
        line += [cell(rows, (metric, f"worth_{ruler}", fraction)) for ruler in RULERS]
        lines.append(line)
    worths = [f"denoised equals {label(ruler)} at" for ruler in RULERS]
    heads = ["metric", "fragments", *map(label, TRACKS), *worths]
    return f"{described(rows)}\n\n{table(heads, lines)}\n"


def cell(rows, key, form=None):
    """A score in a format, or (without one) a depth with its interval; empty where unknown."""
    row = rows.get(key)
    if row is None or math.isnan(row["value"]):
        return ""
    if form:
        return form.format(row["value"])
    value, low, high = (percent(row[n], depths(rows)) for n in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def described(rows):
    first = next(iter(rows.values()))
    true_peaks = f"{first['true_peaks']:,.0f} on the test chromosomes"
    draws = max(int(row["draws"]) for row in rows.values())
    trained = " to ".join(f"{100 * float(f):g}%" for f in first["trained"].split("-"))
    peaks = {"macs3": "MACS3's (q 0.05)", "poisson": "Poisson labels"}[first["truth"]]
    text = (
        "One half of the fragments is the truth, inputs come from the other; percentages and counts"
        f" are of all fragments. True peaks: {peaks} of the first half, {true_peaks}. One network,"
        f" trained at {trained} of a whole sample, denoises every depth. Means of {draws}"
        f" draw{'s' * (draws > 1)} (at 50% there is one); in brackets 95% intervals of a bootstrap"
        " over blocks of 50 kb."
    )
    text = (
        f"{text} F1 is of the bases in the peaks that were called, at thresholds chosen on the"
        " validation chromosomes"
    )
    if all(what != "macs3" for _, what, _ in rows):
        return f"{text}."
    home = ", and the truth is its own" if first["truth"] == "macs3" else ""
    return f"{text}; MACS3's at its own cutoff{home}."


@drawn
def picture(rows):
    """Each metric against depth, and what the denoised track at ARROW is worth."""
    fractions = depths(rows)
    figure = Figure(figsize=(10, 3.4), dpi=160)
    panels = figure.subplots(1, len(METRICS))
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        for track in TRACKS:
            if (metric, track, fractions[0]) in rows:
                values = [rows[metric, track, fraction]["value"] for fraction in fractions]
                axes.plot(fractions, values, "o-", ms=3.5, color=colour(track), label=label(track))
        axes.set_xscale("log")
        axes.set_xticks(fractions, [f"{100 * f:g}%" for f in fractions])
        axes.minorticks_off()
        axes.set_xlabel("share of all fragments")
        axes.set_title(title)
        if (metric, "worth_noisy", ARROW) in rows:
            draw_worth(axes, rows, metric)
    panels[1].legend(loc="upper left")  # the panel that has MACS3
    return figure


def draw_worth(axes, rows, metric):
    """From the denoised score at ARROW to where the noisy curve has it, and down to the depth."""
    score, depth = (rows[metric, what, ARROW]["value"] for what in ("denoised", "worth_noisy"))
    if math.isnan(depth):
        return
    fractions, shade = depths(rows), colour("denoised")
    end = min(max(depth, fractions[0]), fractions[-1])
    arrow = {"arrowstyle": "->", "color": shade, "linestyle": "--", "shrinkA": 3, "shrinkB": 0}
    axes.annotate("", xy=(end, score), xytext=(ARROW, score), arrowprops=arrow)
    low, high = axes.get_ylim()
    foot = low - 0.08 * (high - low)  # room for the words
    axes.set_ylim(foot, high)
    if end == depth:
        axes.vlines(end, foot, score, color=shade, linestyle=":", linewidth=1)
    left = end > ARROW  # the side of the line that has room
    place = {"xytext": (-4 if left else 4, 4), "textcoords": "offset points"}
    words = percent(depth, fractions)
    words = f"{100 * ARROW:g}% denoised {words if end != depth else f'= {words}'} noisy"
    axes.annotate(words, (end, foot), color=shade, ha="right" if left else "left", **place)


def write(folder):
    """depth.md and depth.png of the depth.csv in a folder; returns the table."""
    rows = read_csv(folder / "depth.csv", "scripts/depth_study.py", "what")
    rows = {(row["metric"], row["what"], row["fraction"]): row for row in rows}
    text = markdown(rows)
    write_text(folder / "depth.md", text)
    write_bytes(folder / "depth.png", picture(rows))
    return text


@script
def main():
    made, folder = parser(__doc__), ROOT / "docs" / "depth"
    made.add_argument("--folder", type=Path, default=folder, help="where depth.csv lies")
    print(write(made.parse_args().folder))
