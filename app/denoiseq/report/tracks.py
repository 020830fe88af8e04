"""Every track that figures and tables show.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart: what was
learned is always vermilion, what is true green.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

GREY = "#8a8a8a"
VERMILION, GREEN = "#d55e00", "#009e73"


@dataclass(frozen=True)
class Track:
    """A track, or the peaks of an external caller."""

    name: str
    label: str
    colour: str
    measured: bool = False  # whether it has metrics, and so a column in their tables
    top: float | None = None  # of its own scale in a locus, 0: its maximum; None: a shared scale


TRACKS = {
    track.name: track
    for track in (
        Track("noisy", "noisy", GREY, measured=True),
        Track("gaussian", "Gaussian", "#0072b2", measured=True),
        Track("linear", "linear filter", "#e69f00", measured=True),
        Track("denoised", "denoised", VERMILION, measured=True),
        Track("macs3", "MACS3", "#b8568f", measured=True),
        Track("input", "input", GREY, top=0.0),
        Track("peak probability", "peak probability", VERMILION, top=1.0),
        Track("clean", "clean", GREEN),
    )
}
# The columns of tables of metrics, in order.
MEASURED = tuple(track.name for track in TRACKS.values() if track.measured)


def measured_tracks(metrics: Container[str]) -> list[str]:
    """The columns of a table of `metrics`, in order."""
    return [name for name in MEASURED if name in metrics]


def label(name: str) -> str:
    """What a reader calls a track."""
    return TRACKS[name].label if name in TRACKS else name


def colour(name: str) -> str:
    """A track's colour in every figure."""
    return TRACKS[name].colour if name in TRACKS else GREY
