"""Figures of an evaluation and of a training, from the lists of curves.json and history.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from denoiseq.report.style import INK, canvas, drawn, legend
from denoiseq.report.tracks import GREY, colour, label

Curves = Mapping[str, Mapping[str, Any]]  # track -> name of a series -> its numbers
Areas = Mapping[str, float | None]  # track -> the area under its curve
History = Sequence[Mapping[str, float]]  # a row an epoch
SQUARE = 4.3  # inches high: axes from 0 to 1 on both sides
METRIC_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#b8568f", "#e69f00", "#56b4e9", "#333333")
MARKS = ("o", "s", "^", "D", "v", "P", "X")


@drawn
def precision_recall(curves: Curves, areas: Areas, points: Curves) -> Figure:
    """curves : track -> recall, precision. points : caller without a score -> recall, precision."""
    figure, axis = _unit_square(curves, "recall", "precision", areas)
    for name, point in points.items():
        axis.plot(point["recall"], point["precision"], "X", ms=9, mec="white", color=colour(name),
                  label=f"{label(name)} as called")  # fmt: skip
    axis.set(xlabel="recall: share of true-peak bases found",
             ylabel="precision: share of found bases that are true")  # fmt: skip
    legend(axis, loc="lower left")
    return figure


@drawn
def roc(curves: Curves, areas: Areas) -> Figure:
    """curves : track -> fpr, tpr."""
    figure, axis = _unit_square(curves, "fpr", "tpr", areas)
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", zorder=1.9)  # behind
    axis.set(xlabel="share of other bases called by mistake",
             ylabel="share of true-peak bases found")  # fmt: skip
    legend(axis, loc="lower right")
    return figure


@drawn
def reliability(predicted: Sequence[float], observed: Sequence[float], bases: Any) -> Figure:
    """Predicted probability against the share of bases that are true, and how many bases."""
    figure, (axis, counts) = canvas(SQUARE, 2, sharex=True, height_ratios=[3.2, 1])
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="perfect")
    axis.plot(predicted, observed, "o-", ms=4, color=colour("denoised"), label="denoised")
    axis.set(ylabel="share of bases in true peaks", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.grid(True)
    legend(axis, loc="upper left")
    width = 0.8 / max(len(predicted), 1)
    counts.bar(predicted, bases, width=width, color=colour("denoised"), alpha=0.6)
    counts.set(yscale="log", ylabel="bases", xlabel="predicted peak probability")
    return figure


@drawn
def profile(
    offset_bp: Sequence[float], tracks: Mapping[str, Sequence[float]], apart: bool = False
) -> Figure:
    """Mean coverage around summits; `apart` gives every track a scale of its own."""
    rows = len(tracks) if apart else 1
    figure, axes = canvas(3.5, rows, sharex=True, squeeze=False)
    for i, (name, values) in enumerate(tracks.items()):
        axis = axes[i if apart else 0, 0]
        axis.plot(offset_bp, values, color=colour(name), label=label(name))
        axis.set(ylabel="mean coverage", xlim=(offset_bp[0], offset_bp[-1]))
        legend(axis, loc="upper right")
        axis.grid(True)
    for axis in axes[:, 0]:
        axis.set_ylim(bottom=0)
        axis.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    axes[-1, 0].set_xlabel("distance from the peak's summit (bp)")
    return figure


@drawn
def summit_distances(edges: Sequence[float], counts: Sequence[int]) -> Figure:
    """Histogram of the distance between called and true summits: counts (B,), edges (B + 1,)."""
    figure, axis = canvas(3.2)
    axis.stairs(counts, edges, fill=True, color=colour("denoised"), alpha=0.85)
    axis.set(xlabel="distance to the true summit (bp)", ylabel="denoised peaks", ylim=(0, None))
    axis.grid(True, axis="y")
    return figure


@drawn
def losses(history: History, best_epoch: int | None) -> Figure:
    """The loss, each of its terms and the learning rate by epoch, each on a scale of its own."""
    columns = dict.fromkeys(key for row in history for key in row)
    names = [key.removeprefix("train_") for key in columns if key.startswith("train_loss")]
    rows = math.ceil((len(names) + 1) / 2)
    figure, axes = canvas(0.5 + 1.5 * rows, rows, 2, sharex=True, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        for kind, line in (("train", "--"), ("validation", "-")):
            x, y = _series(history, f"{kind}_{name}")
            if len(x):
                shade = GREY if kind == "train" else colour("denoised")
                axis.plot(x, y, line, marker="o", ms=3, color=shade, label=kind)
        title = name.removeprefix("loss_").replace("_", " ")
        axis.set_title("loss (weighted sum)" if title == "loss" else title)
        _epochs(axis, best_epoch)
    last, *spare = axes.flat[len(names) :]
    last.plot(*_series(history, "lr"), marker="o", ms=3, color=INK)
    last.set(title="learning rate", ylim=(0, None))
    _epochs(last, best_epoch)
    for axis in spare:
        axis.set_visible(False)
        axes[-2, -1].tick_params(labelbottom=True)  # nothing is below it
    legend(axes.flat[0], loc="best")
    figure.supxlabel("epoch", fontsize=9)
    return figure


@drawn
def validation_scores(history: History, names: Mapping[str, str], best_epoch: int | None) -> Figure:
    """names : metric of the validation columns -> its heading."""
    figure, axis = canvas(3.5)
    for (name, heading), shade, mark in zip(names.items(), METRIC_COLOURS, MARKS, strict=False):
        x, y = _series(history, f"validation_{name}")
        if len(x):
            axis.plot(x, y, marker=mark, ms=4, color=shade, label=heading)
    axis.set(xlabel="epoch", ylabel="score (1 is perfect)")
    _epochs(axis, best_epoch)
    legend(axis, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _unit_square(curves: Curves, across: str, up: str, areas: Areas) -> tuple[Figure, Any]:
    """A square figure of shares, with a curve a track and its area in the legend."""
    figure, axis = canvas(SQUARE)
    for name, curve in curves.items():
        area = "" if areas.get(name) is None else f" ({areas[name]:.3f})"
        axis.plot(curve[across], curve[up], color=colour(name), label=label(name) + area)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.grid(True)
    return figure, axis


def _series(history: History, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and finite values of a column; empty where there is none."""
    pairs = np.array([(row["epoch"], row.get(key)) for row in history], np.float64)  # None: nan
    epochs, values = pairs[np.isfinite(pairs[:, 1])].T
    return epochs, values


def _epochs(axis: Any, best_epoch: int | None) -> None:
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axis.grid(True)
    if best_epoch is not None:
        axis.axvline(best_epoch, color=colour("clean"), linewidth=1.6, linestyle=":", zorder=1)
