"""The page of a prediction: how many peaks there are, loci, and figures of peaks and reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from denoiseq.report import count_figures, curve_figures
from denoiseq.report.loci import Panels, loci_section
from denoiseq.report.page import Cell, Facts, Page, Picture, Section, Table, filled

Columns = Mapping[str, Sequence[float]]
# Depths within this factor of the training's are as good as equal.
EQUAL_DEPTH = 1.1


@dataclass(frozen=True)
class Findings:
    """What a prediction found, as its page needs it beside the summary.json; empty: unknown."""

    genome_bp: int
    peaks: Sequence[Mapping[str, Any]] = ()  # the strongest, with the fields of a `Peak`
    lengths_bp: Sequence[int] = ()  # of all peaks
    fragment_sizes: Sequence[int] = ()  # [n] = fragments of n bp
    cutoffs: Columns = field(default_factory=dict)  # score (the threshold), npeaks, lpeaks (bases)
    profile: Columns = field(default_factory=dict)  # offset_bp; the mean of each track at summits
    trained_range: tuple[float, float] | None = None  # depths, cut sites per Mb


def prediction_page(
    summary: Mapping[str, Any], findings: Findings, panels: Panels, facts: Facts
) -> Page:
    """summary : a summary.json."""
    depth = depth_sentence(summary["depth"], findings.trained_range)
    sections = filled(
        loci_section(panels),
        Section("Peaks and reads", pictures=_pictures(summary, findings)),
        Section("Strongest peaks", table=_strongest(findings.peaks) if findings.peaks else None),
    )
    lead, tiles = [_peaks_sentence(summary, findings), depth], _tiles(summary, findings)
    title, warnings = summary["name"], summary.get("warnings", [])
    return Page("denoiseq prediction", title, lead, sections, facts, tiles, warnings)


def _tiles(summary: Mapping[str, Any], findings: Findings) -> list[tuple[str, str]]:
    tiles = [
        (f"{summary['peaks']:,}", "peaks"),
        (f"{summary['peak_bp'] / max(findings.genome_bp, 1):.1%}", "of the genome in peaks"),
    ]
    if len(findings.lengths_bp):
        tiles.append((f"{np.median(findings.lengths_bp):,.0f} bp", "median peak length"))
    tiles.append((f"{summary['depth']['used_cuts_per_mb']:,.0f}", "cut sites per Mb read"))
    if any(findings.fragment_sizes):
        sizes = np.asarray(findings.fragment_sizes)
        short = sizes[: count_figures.NUCLEOSOME_FREE_BP].sum() / sizes.sum()
        tiles.append((f"{short:.0%}", f"of fragments below {count_figures.NUCLEOSOME_FREE_BP} bp"))
    return tiles


def _pictures(summary: Mapping[str, Any], findings: Findings) -> list[Picture]:
    pictures = []
    if findings.profile:
        tracks = {name: v for name, v in findings.profile.items() if name != "offset_bp"}
        png = curve_figures.profile(findings.profile["offset_bp"], tracks, apart=True)
        text = "Mean over up to 2,000 called peaks; each track has its own scale."
        pictures.append(Picture("profile", "Coverage around called summits", png, text))
    pictures += count_figures.fragment_pictures(findings.fragment_sizes)
    if len(findings.lengths_bp):
        png = count_figures.peak_lengths(findings.lengths_bp)
        pictures.append(Picture("peak_lengths", "Lengths of the peaks", png))
    if findings.cutoffs:
        png = count_figures.cutoffs(findings.cutoffs, summary["settings"]["peak_threshold"])
        text = "What another threshold would give (peak_threshold=)."
        pictures.append(Picture("cutoffs", "Peaks by threshold", png, text))
    return pictures


def _strongest(peaks: Sequence[Mapping[str, Any]]) -> Table:
    lines = []
    for peak in peaks:
        summit = "-" if peak.get("summit") is None else f"{peak['summit']:,}"
        cells = [Cell(f"{peak['end'] - peak['start']:,}"), Cell(summit),
                 Cell(f"{peak['signal']:,.1f}"), Cell(f"{peak['score']:.0f}")]  # fmt: skip
        lines.append((f"{peak['chrom']}:{peak['start']:,}-{peak['end']:,}", cells))
    return Table(["peak", "length (bp)", "summit", "height there", "score (of 1000)"], lines)


def _peaks_sentence(summary: Mapping[str, Any], findings: Findings) -> str:
    """How many peaks, how much of the genome, how long."""
    peaks, genome_bp = summary["peaks"], findings.genome_bp
    if not peaks:
        return f"No peak reached the threshold in {genome_bp / 1e6:,.1f} Mb."
    share = summary["peak_bp"] / max(genome_bp, 1)
    ordered = sorted(findings.lengths_bp)
    low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    middle = f"; the middle half of them is {low:,} to {high:,} bp long" if len(ordered) > 3 else ""
    plural = "peaks cover" if peaks > 1 else "peak covers"
    return f"{peaks:,} {plural} {share:.1%} of the genome ({genome_bp / 1e6:,.1f} Mb){middle}."


def depth_sentence(depth: Mapping[str, Any], trained_range: tuple[float, float] | None) -> str:
    """The input's depth beside the training's."""
    used, trained = depth["used_cuts_per_mb"], depth["trained_cuts_per_mb"]
    whole, kept = depth.get("given_cuts_per_mb"), depth.get("thinning_fraction") or 1.0
    low, high = trained_range or (trained, trained)
    if not used or not low:
        return "The input holds no cut sites."
    thinned = f", thinned from {whole:,.0f} (a share of {kept:.0%})" if kept < 1 else ""
    read = f"The network read {used:,.0f} cut sites per Mb{thinned}"
    if (answer := depth.get("answer_cuts_per_mb")) is not None:
        read += f" and was told so; its answer is the coverage at {answer:,.0f}"
    if low / EQUAL_DEPTH <= used <= high * EQUAL_DEPTH:
        return f"{read}: a depth that it was trained for."
    bound = low if used < low else high
    return f"{read}: {used / bound:.0%} of the depth that it was trained for ({bound:,.0f})."
