"""Figures of one sample: its fragment sizes, its peaks' lengths, its peaks by threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from denoiseq.report.page import Picture
from denoiseq.report.style import canvas, drawn
from denoiseq.report.tracks import GREY, colour

# Fragments over one and two nucleosomes as Buenrostro et al. (2013) bound them, bp.
NUCLEOSOMES = {"1 nucleosome": (180, 247), "2": (315, 473)}
NUCLEOSOME_FREE_BP = 100
SHOWN_BP = 1_000


@drawn
def fragment_sizes(histogram: Sequence[int]) -> Figure:
    """histogram[n] = fragments of n bp; above on a linear scale, below on a logarithmic one."""
    share = 100 * np.asarray(histogram, dtype=np.float64) / max(np.sum(histogram), 1)
    filled = np.flatnonzero(np.cumsum(share) < 99.9)
    last = min(int(filled[-1]) + 20 if len(filled) else len(share), SHOWN_BP, len(share) - 1)
    x, share = np.arange(last + 1), share[: last + 1]
    figure, axes = canvas(4.2, 2, sharex=True)
    for axis in axes:
        for start, end in NUCLEOSOMES.values():
            axis.axvspan(start, min(end, last), color="#eef3f7", zorder=0)
        axis.grid(True, axis="y")
    axes[0].fill_between(x, share, color=colour("gaussian"), linewidth=0, step="mid")
    axes[1].plot(x, np.where(share > 0, share, np.nan), color=colour("gaussian"), linewidth=1)
    axes[0].set(ylabel="% of fragments", ylim=(0, None), xlim=(0, last))
    axes[1].set(yscale="log", ylabel="the same, log", xlabel="fragment length (bp)")
    axes[1].yaxis.set_major_formatter("{x:g}")
    for name, (start, end) in NUCLEOSOMES.items():
        if end <= last:
            axes[0].text((start + end) / 2, 0.98, name, ha="center", va="top", fontsize=7.5,
                         transform=axes[0].get_xaxis_transform())  # fmt: skip
    return figure


def fragment_pictures(histogram: Sequence[int]) -> list[Picture]:
    """The figure of fragment sizes with what to look for in it; none where they are unknown."""
    if not any(histogram):
        return []
    text = (
        f"Good ATAC-seq shows many fragments below {NUCLEOSOME_FREE_BP} bp and steps at one and "
        "two nucleosomes (shaded: the lengths that Buenrostro et al., 2013, take for them)."
    )
    png = fragment_sizes(histogram)
    return [Picture("fragment_sizes", "Fragment lengths of the input", png, text)]


@drawn
def peak_lengths(lengths_bp: Sequence[int]) -> Figure:
    """Histogram on a logarithmic axis, the median marked."""
    lengths = np.asarray(lengths_bp)
    edges = np.geomspace(lengths.min(), max(lengths.max(), lengths.min() + 1) * 1.001, 41)
    figure, axis = canvas(3.2)
    counts, edges = np.histogram(lengths, edges)
    axis.stairs(counts, edges, fill=True, color=colour("denoised"), alpha=0.85)
    axis.axvline(np.median(lengths), color=GREY, linewidth=1, linestyle=":")
    axis.text(np.median(lengths), 0.98, f" median {np.median(lengths):,.0f} bp", va="top",
              fontsize=8, transform=axis.get_xaxis_transform())  # fmt: skip
    axis.set(xscale="log", xlabel="peak length (bp)", ylabel="peaks", ylim=(0, 1.15 * counts.max()))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_formatter(_few_minor)
    axis.grid(True, axis="y")
    return figure


def _few_minor(value: float, _: int) -> str:
    """Label 200 and 500 (2,000 and 5,000, ...) between the powers of ten."""
    return f"{value:,.0f}" if f"{value:e}"[0] in "25" else ""


@drawn
def cutoffs(columns: Mapping[str, Sequence[float]], threshold: float) -> Figure:
    """Peaks and bases in them by threshold (columns score, npeaks, lpeaks); marks that in use."""
    figure, axes = canvas(3.8, 2, sharex=True)
    x = columns["score"]
    for axis, key, label in zip(axes, ("npeaks", "lpeaks"), ("peaks", "Mb in peaks"), strict=True):
        values = np.asarray(columns[key], dtype=np.float64) / (1e6 if key == "lpeaks" else 1)
        axis.plot(x, values, color=colour("denoised"), marker="o", ms=2.5)
        axis.set(ylabel=label, ylim=(0, None))
        axis.yaxis.set_major_formatter("{x:,.4g}")
        axis.grid(True)
        axis.axvline(threshold, color=GREY, linewidth=1, linestyle=":")
    axes[0].text(threshold, 0.98, f" in use: {threshold:.3g}", va="top", fontsize=8,
                 transform=axes[0].get_xaxis_transform())  # fmt: skip
    axes[-1].set_xlabel("threshold of the peak score")
    return figure
