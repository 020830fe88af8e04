"""How every figure looks: sizes and lines; a track's colour is in `tracks`."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

INK = "#333333"
WIDTH = 5.4  # inches; one column of the page
DPI = 160
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.grid": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "axes.formatter.limits": (-4, 6),
    "figure.constrained_layout.use": True,
}


def drawn(draw: Callable[Arguments, Figure]) -> Callable[Arguments, bytes]:
    """Make a function that gives a Figure give its PNG, in the style of this module."""

    @wraps(draw)
    def png(*args: Arguments.args, **kwargs: Arguments.kwargs) -> bytes:
        with matplotlib.rc_context(STYLE):
            buffer = io.BytesIO()
            # no Software entry: equal figures are equal bytes
            draw(*args, **kwargs).savefig(buffer, format="png", metadata={"Software": None})
            return buffer.getvalue()

    return png


def canvas(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of one column of the page, `height` inches, and its axes (as `subplots` gives)."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    return figure, figure.subplots(rows, columns, **options)


def legend(axis: Any, **options: Any) -> None:
    """A legend, where anything is drawn that has a label."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(**options)
