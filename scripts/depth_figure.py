#!/usr/bin/env python
"""The table and the figure of scripts/depth_study.py, from its depth.csv alone.

    python scripts/depth_figure.py                     # docs/depth/depth.csv
    python scripts/depth_figure.py --folder outputs/depth

depth.csv has a row a metric, depth and what was measured there: the score of a track, or the depth
whose noisy (worth_noisy) or smoothed (worth_gaussian) score equals the denoised one. Leaves
depth.md and depth.png beside it.
"""

import argparse
import csv
import math
import sys
from itertools import product
from pathlib import Path

from denoiseq.atomic import write_bytes, write_text
from denoiseq.report.style import drawn
from denoiseq.report.tracks import colour, label
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
METRICS = {"auprc": "AUPRC", "best_f1": "best F1", "log1p_pearson": "log1p-Pearson"}
TRACKS = ("noisy", "gaussian", "macs3", "denoised")
RULERS = ("noisy", "gaussian")  # along whose curves the denoised scores are placed
BELOW, ABOVE = 0.0, math.inf  # a worth beyond the measured depths
WORDS = ("metric", "what", "truth", "trained")  # columns that hold no number
ARROW = 0.1  # the depth whose worth the figure shows


def read_rows(path):
    """The rows of depth.csv by metric, what and depth, numbers as numbers."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or "what" not in rows[0]:
        raise ValueError(f"{path} holds no rows of scripts/depth_study.py")
    rows = [{k: v if k in WORDS else float(v) for k, v in row.items()} for row in rows]
    return {(row["metric"], row["what"], row["fraction"]): row for row in rows}


def depths(rows):
    """The measured depths, ascending."""
    return sorted({fraction for _, _, fraction in rows})


def percent(depth, fractions):
    """A depth in words: 27%, or beyond which of the measured ones it lies."""
    if depth == BELOW:
        return f"<{100 * fractions[0]:g}%"
    if depth == ABOVE:
        return f">{100 * fractions[-1]:g}%"
    return f"{100 * depth:.2g}%"


def table(rows):
    """Markdown: what was measured, then a line a metric and depth."""
    heads = ["metric", "fragments", *map(label, TRACKS)]
    heads += [f"denoised equals {label(ruler)} at" for ruler in RULERS]
    lines = [heads, ["---"] * len(heads)]
    for metric, fraction in product(METRICS, depths(rows)):
        noisy = rows[metric, "noisy", fraction]
        line = [METRICS[metric], f"{100 * fraction:g}% ({noisy['fragments']:,.0f})"]
        line += [cell(rows, (metric, track, fraction), "{:.4f}") for track in TRACKS]
        line += [cell(rows, (metric, f"worth_{ruler}", fraction)) for ruler in RULERS]
        lines.append(line)
    return described(rows) + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


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
    """The sentences above the table."""
    one = next(iter(rows.values()))
    draws = max(int(row["draws"]) for row in rows.values())
    trained = " to ".join(f"{100 * float(f):g}%" for f in one["trained"].split("-"))
    peaks = {"macs3": "MACS3's (q 0.05)", "poisson": "Poisson labels"}[one["truth"]]
    said = [
        "One half of the fragments is the truth, inputs come from the other; percentages and counts"
        " are of all fragments.",
        f"True peaks: {peaks} of the first half, {one['true_peaks']:,.0f} on the test chromosomes.",
        f"One network, trained at {trained} of a whole sample, denoises every depth.",
        f"Means of {draws} draw{'s' * (draws > 1)} (at 50% there is one); in brackets 95% intervals"
        " of a bootstrap over blocks of 50 kb.",
    ]
    if any(what == "macs3" for _, what, _ in rows):
        home = ", and the truth is its own" if one["truth"] == "macs3" else ""
        said.append(f"MACS3's F1 is that of its peaks{home}; the others' of their best threshold.")
    return " ".join(said) + "\n\n"


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
                style = {"color": colour(track), "marker": "o", "markersize": 3.5}
                axes.plot(fractions, values, label=label(track), **style)
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
    fractions, ours = depths(rows), colour("denoised")
    end = min(max(depth, fractions[0]), fractions[-1])
    arrow = {"arrowstyle": "->", "color": ours, "linestyle": "--", "shrinkA": 3, "shrinkB": 0}
    axes.annotate("", xy=(end, score), xytext=(ARROW, score), arrowprops=arrow)
    low, high = axes.get_ylim()
    foot = low - 0.08 * (high - low)  # room for the words
    axes.set_ylim(foot, high)
    if end == depth:
        axes.vlines(end, foot, score, color=ours, linestyle=":", linewidth=1)
    left = end > ARROW  # the side of the line that has room
    place = {"xytext": (-4 if left else 4, 4), "textcoords": "offset points"}
    words = percent(depth, fractions)
    words = f"{100 * ARROW:g}% denoised {words if end != depth else f'= {words}'} noisy"
    axes.annotate(words, (end, foot), color=ours, ha="right" if left else "left", **place)


def write(folder):
    """depth.md and depth.png of the depth.csv in a folder; returns the table."""
    rows = read_rows(folder / "depth.csv")
    write_text(folder / "depth.md", table(rows))
    write_bytes(folder / "depth.png", picture(rows))
    return table(rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "docs" / "depth", help="where depth.csv lies"
    )
    try:
        print(write(parser.parse_args().folder))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
