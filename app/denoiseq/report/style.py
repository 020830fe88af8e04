"""How every figure looks: one palette that colour-blind readers can tell apart, one set of sizes.

Colours are those of Okabe and Ito (2008); what was learned is always vermilion, what is true green.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

GREY = "#8a8a8a"
INK = "#333333"
COLOURS = {
    "noisy": GREY,
    "input": GREY,
    "gaussian": "#0072b2",
    "linear": "#e69f00",
    "denoised": "#d55e00",
    "peak probability": "#d55e00",
    "macs3": "#b8568f",
    "clean": "#009e73",
    "true": "#009e73",
}
NAMES = {"gaussian": "Gaussian", "linear": "linear filter", "macs3": "MACS3"}
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


def shown_name(name: str) -> str:
    """What a reader calls a track."""
    return NAMES.get(name, name)


def colour(name: str) -> str:
    """A track's colour in every figure."""
    return COLOURS.get(name, GREY)


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
