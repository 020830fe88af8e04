"""What a person reads: tables, figures of loci, and one HTML page that needs nothing else.

Takes plain arrays and dictionaries and gives text and PNG bytes; opens no file and no model.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")

COLOURS = {"gaussian": "#6b7a99", "denoised": "#c2410c", "clean": "#166534"}
GREY = "#8a8a8a"
# Tracks that do not share the locus' scale, and the top of theirs; 0: their own maximum.
OWN_SCALE = {"input": 0.0, "peak probability": 1.0}


@dataclass(frozen=True)
class Locus:
    """One example to draw: [start, end) of a chromosome.

    tracks : name -> float (end - start,), drawn top to bottom; coverages share one scale, but for
        the input of a prediction, which is of another depth
    peaks : name -> int64 (M, 2), genome coordinates, drawn as bars beneath
    """

    chrom: str
    start: int
    end: int
    tracks: dict[str, np.ndarray]
    peaks: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.chrom}:{self.start:,}-{self.end:,}"


def draw_loci(loci: Sequence[Locus], title: str = "") -> bytes:
    """PNG: a column a locus, a row a track on a scale shared within the locus, peaks beneath."""
    names = list(loci[0].tracks)
    figure = Figure(figsize=(0.6 + 3.6 * len(loci), 1.0 + 1.1 * (len(names) + 0.5)), dpi=110)
    heights = [1.0] * len(names) + [0.45]
    axes = figure.subplots(
        len(heights), len(loci), squeeze=False, sharex="col", height_ratios=heights
    )
    for column, locus in zip(axes.T, loci, strict=True):
        shared = [t for name, t in locus.tracks.items() if name not in OWN_SCALE]
        top = max([1e-9, *(float(np.max(track, initial=0)) for track in shared)])
        for axis, (name, track) in zip(column, locus.tracks.items(), strict=False):
            x = np.arange(locus.start, locus.end) / 1000
            axis.fill_between(x, track, color=COLOURS.get(name, GREY), linewidth=0, step="mid")
            limit = OWN_SCALE.get(name, top) or max(1.0, float(track.max()))
            axis.set(ylim=(0, 1.05 * limit), xlim=(x[0], x[-1]))
        column[0].set_title(locus.name, fontsize=9)
        _draw_peaks(column[-1], locus, names=locus is loci[-1] and len(locus.peaks) > 1)
        column[-1].set_xlabel("kb", fontsize=8)
    for axis, name in zip(axes[:, 0], [*names, "peaks"], strict=True):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    return _png(figure)


def _draw_peaks(axis: Any, locus: Locus, names: bool) -> None:
    """A bar a peak, a row a caller; the rows' names, if wanted, stand at the right."""
    for row, name in enumerate(reversed(locus.peaks)):
        bounds = np.clip(locus.peaks[name], locus.start, locus.end)
        spans = [(a / 1000, (b - a) / 1000) for a, b in bounds if b > a]
        axis.broken_barh(spans, (row + 0.2, 0.6), color=COLOURS.get(name, GREY))
        height = (row + 0.5) / len(locus.peaks)
        if names:
            axis.text(1.01, height, name, transform=axis.transAxes, fontsize=7, va="center")
    axis.set(ylim=(0, max(len(locus.peaks), 1)), yticks=[])


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem; }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere; }}
img {{ max-width: 100%; }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def html_page(title: str, sections: dict[str, dict[str, Any]], figure: bytes | None) -> str:
    """One offline page: a table a section, the figure (PNG) embedded."""
    parts = []
    if figure:
        data = base64.b64encode(figure).decode("ascii")
        parts.append(f'<img alt="example loci" src="data:image/png;base64,{data}">')
    for heading, entries in sections.items():
        lines = "".join(
            f"<tr><td>{html.escape(key)}</td><td>{html.escape(_shown(value))}</td></tr>"
            for key, value in _flat(entries).items()
        )
        parts.append(f"<h2>{html.escape(heading)}</h2><table>{lines}</table>")
    return PAGE.format(title=html.escape(title), body="\n".join(parts))


def prediction_page(
    summary: dict[str, Any], top_peaks: list[dict[str, Any]], figure: bytes | None
) -> str:
    """The report of one prediction: what came out, the strongest peaks, how it was made."""
    overview = {
        "peaks": summary["peaks"],
        "bases in peaks": summary["peak_bp"],
        **summary["depth"],
        "seconds": summary["seconds"],
    }
    strongest = {f"{p['chrom']}:{p['start']:,}-{p['end']:,}": p["signal"] for p in top_peaks}
    sections = {"Overview": overview, "Strongest peaks (height at the summit)": strongest}
    for key in ("settings", "input", "model", "software"):
        sections[key.capitalize()] = summary[key]
    return html_page(f"denoiseq: {summary['name']}", sections, figure)


def _flat(entries: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in entries.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return str(value)
