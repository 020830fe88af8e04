"""Stretches of a genome as a browser shows them: tracks above each other, called peaks beneath."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from denoiseq.report.style import DPI, WIDTH, drawn
from denoiseq.report.tracks import TRACKS, colour, label

BINS = 1_500  # at most so many points a track: more than a figure has pixels


@dataclass(frozen=True)
class Locus:
    """One example to draw: [start, end) of a chromosome. Coverages share one scale, except the
    input of a prediction, which has another depth.
    """

    chrom: str
    start: int
    end: int
    tracks: dict[str, np.ndarray]  # float (end - start,), drawn top to bottom
    peaks: dict[str, np.ndarray] = field(default_factory=dict)  # int64 (M, 2), on the genome

    @property
    def name(self) -> str:
        return f"{self.chrom}:{self.start:,}-{self.end:,}"


@drawn
def draw_loci(loci: Sequence[Locus], title: str = "") -> Figure:
    """PNG: a column a locus, a row a track on a scale shared within the locus, peaks beneath."""
    size = (1.0 + 3.2 * len(loci), 1.0 + 0.9 * sum(_heights(loci[0])))
    figure = Figure(figsize=size, dpi=0.8 * DPI)
    axes = _fill(figure, loci)
    for axis, locus in zip(axes[0], loci, strict=True):
        axis.set_title(locus.name)
    for axis in axes[-1, 1:]:
        axis.set_yticklabels([])
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


@drawn
def draw_locus(locus: Locus) -> Figure:
    """PNG of one locus, of the width of a column of the page; its name is left to the page."""
    figure = Figure(figsize=(WIDTH, 0.55 + 0.52 * sum(_heights(locus))), dpi=DPI)
    _fill(figure, [locus])
    return figure


def _fill(figure: Figure, loci: Sequence[Locus]) -> np.ndarray:
    """Draw a column a locus, the tracks named at the left; the axes (rows, columns)."""
    heights = _heights(loci[0])
    shape = len(heights), len(loci)
    axes = figure.subplots(*shape, squeeze=False, sharex="col", height_ratios=heights)
    for column, locus in zip(axes.T, loci, strict=True):
        _draw(column, locus)
    style = {"rotation": 0, "ha": "right", "va": "center", "weight": "bold"}
    for axis, name in zip(axes[:, 0], loci[0].tracks, strict=False):
        axis.set_ylabel(label(name).replace(" ", "\n"), color=colour(name), **style)
    figure.align_ylabels(axes[:, 0])
    return axes


def _heights(locus: Locus) -> list[float]:
    """Of a locus' rows: one a track, and the rows of peaks together."""
    return [1.0] * len(locus.tracks) + [0.1 + 0.27 * max(len(locus.peaks), 1)]


def _draw(column: Sequence[Any], locus: Locus) -> None:
    """Fill a column of axes: tracks, then peaks and the position in kb."""
    tops = {name: TRACKS[name].top if name in TRACKS else None for name in locus.tracks}
    shared = [track for name, track in locus.tracks.items() if tops[name] is None]
    shared_top = max([1e-9, *(float(np.max(track, initial=0)) for track in shared)])
    for axis, (name, track) in zip(column, locus.tracks.items(), strict=False):
        x, y = _binned(track, locus.start)
        axis.fill_between(x / 1000, y, color=colour(name), linewidth=0, step="post")
        top = shared_top if tops[name] is None else tops[name]
        limit = top or max(1.0, float(np.max(track, initial=0)))
        axis.set(ylim=(0, 1.05 * limit), xlim=(locus.start / 1000, locus.end / 1000))
        axis.set_yticks([0, limit], ["0", f"{limit:.3g}"])
        axis.tick_params(axis="x", length=0)
    _draw_peaks(column[-1], locus)
    column[-1].xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
    column[-1].xaxis.set_major_formatter("{x:,.10g}")
    column[-1].set_xlabel(f"position on {locus.chrom} (kb)")


def _binned(track: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges (B + 1,) and the maximum of each of at most BINS bins, its last repeated (B + 1,)."""
    width = max(1, -(-len(track) // BINS))
    first = np.arange(0, len(track), width)
    tops = np.maximum.reduceat(track, first)
    return np.append(first, len(track)) + start, np.append(tops, tops[-1])


def _draw_peaks(axis: Any, locus: Locus) -> None:
    """A bar a peak, a row a caller with its name at the left."""
    least = (locus.end - locus.start) / 1000 / 400  # so that a short peak is seen in a long locus
    for row, name in enumerate(reversed(locus.peaks)):
        bounds = np.clip(locus.peaks[name], locus.start, locus.end)
        spans = [(a / 1000, max((b - a) / 1000, least)) for a, b in bounds if b > a]
        axis.broken_barh(spans, (row + 0.18, 0.64), color=colour(name))
    names = ["true peaks" if name == "clean" else f"{label(name)} peaks" for name in locus.peaks]
    names = names[::-1] if len(names) > 1 else ["peaks"] * len(names)
    axis.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=7.5)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(0, max(len(names), 1))
    axis.spines["left"].set_visible(False)
