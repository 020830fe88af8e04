"""The pages of a training, an evaluation and a prediction, from plain data alone.

What is absent is left out: a section appears where there is something to show in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from denoiseq.report import count_figures, curve_figures, metric_tables, sentences
from denoiseq.report.locus_figures import Locus, draw_locus
from denoiseq.report.metric_text import ORDER, named
from denoiseq.report.page import Cell, Page, Picture, Section, Table

Panels = Mapping[str, Sequence[Locus]]  # how the loci were chosen -> the loci
Facts = Mapping[str, Mapping[str, Any]]

PANEL_TEXT = (
    "Coverages of one locus share their scale; an input has its own. Random loci lie anywhere: "
    "between peaks the tracks should be quiet."
)
SUMMARY_TEXT = (
    "● marks the best of a row; ↑ more is better, ↓ less is better. Small figures are 95% "
    "intervals where they were estimated."
)

GAIN_TEXT = (
    "Differences with their 95% intervals, over the same resampled stretches of the genome. "
    "▲ better and ▼ worse where the interval excludes 0; no sign: no clear difference."
)


@dataclass(frozen=True)
class Found:
    """What a prediction found, as its page needs it.

    peaks : of the strongest, chrom, start, end, summit, score, signal each
    lengths_bp : of all peaks
    fragment_sizes : histogram[n] = fragments of n bp; empty where they are unknown
    cutoffs : columns score (the threshold), npeaks, lpeaks (bases); empty where there are none
    profile : offset_bp, and the mean of each track around summits; empty where there is none
    trained_range : least and largest depth of the training, cut sites per Mb
    """

    genome_bp: int
    peaks: Sequence[Mapping[str, Any]] = ()
    lengths_bp: Sequence[int] = ()
    fragment_sizes: Sequence[int] = ()
    cutoffs: Mapping[str, Sequence[float]] = field(default_factory=dict)
    profile: Mapping[str, Sequence[float]] = field(default_factory=dict)
    trained_range: tuple[float, float] | None = None


def training_page(
    title: str,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    best_epoch: int | None,
    panels: Panels,
    facts: Facts,
) -> Page:
    """metrics : of validation. history : a row an epoch, as in history.csv."""
    sections = []
    history = [row for row in history if row["step"]]  # not that of weights taken as given
    if history:
        sections.append(Section("Training curves", pictures=_history(history, best_epoch)))
    sections.append(Section("Validation", SUMMARY_TEXT, metric_tables.summary(metrics)))
    sections += _panels(panels)
    sections += _inside(metrics)
    lead = sentences.of_training(metrics, len(history), best_epoch)
    return Page("denoiseq training", title, lead, sections, facts)


def _history(history: Sequence[Mapping[str, float]], best_epoch: int | None) -> list[Picture]:
    dotted = "" if best_epoch is None else " The dotted line is the epoch that was kept."
    scores = {
        name: heading
        for name, heading in metric_tables.HEADINGS.items()
        if name != "mse" and f"validation_{name}" in history[0]
    }
    loss = "By epoch, on training and on validation chromosomes: lower is better."
    validation = "How the denoised track does on the validation chromosomes: higher is better."
    return [
        Picture(
            "losses",
            "Loss, its terms, and the learning rate",
            curve_figures.losses(history, best_epoch),
            loss + dotted,
        ),
        Picture(
            "validation_scores",
            "Validation scores",
            curve_figures.validation_scores(history, scores, best_epoch),
            validation + dotted,
        ),
    ]


def evaluation_page(
    title: str,
    metrics: Mapping[str, Any],
    curve_data: Mapping[str, Any],
    panels: Panels,
    facts: Facts,
    fragment_sizes: Sequence[int] = (),
    chroms: Sequence[str] = (),
) -> Page:
    """curve_data : a curves.json. fragment_sizes : of the whole sample. chroms : evaluated."""
    sections = [Section("Summary", SUMMARY_TEXT, metric_tables.summary(metrics))]
    gained = metric_tables.gains(metrics)
    if gained:
        sections.append(Section("Gains", GAIN_TEXT, gained))
    drawn = _curves(metrics, curve_data)
    if drawn:
        sections.append(Section("Curves", pictures=drawn))
    sections += _panels(panels)
    if any(fragment_sizes):
        sections.append(Section("Fragments", pictures=[_fragments(fragment_sizes)]))
    sections += _inside(metrics)
    apart = metric_tables.by_chromosome(metrics)
    if apart:
        sections.append(Section("By chromosome", table=apart, folded=True))
    lead = sentences.of_evaluation(metrics, chroms)
    return Page("denoiseq evaluation", title, lead, sections, facts)


def _curves(metrics: Mapping[str, Any], data: Mapping[str, Any]) -> list[Picture]:
    """The figures that curve_figures.json has data for."""

    def areas(key: str) -> dict[str, float | None]:
        return {track: named(metrics, f"{track}.{key}") for track in ORDER}

    pictures = []
    if data.get("pr"):
        points = {"macs3": data["macs3"]} if data.get("macs3") else {}
        png = curve_figures.precision_recall(data["pr"], areas("auprc"), points)
        text = "Up and to the right is better; in brackets the area (AUPRC)."
        pictures.append(Picture("precision_recall", "Precision and recall of bases", png, text))
    if data.get("roc"):
        png = curve_figures.roc(data["roc"], areas("auroc"))
        text = "Up and to the left is better; in brackets the area (AUROC)."
        pictures.append(Picture("roc", "ROC of bases", png, text))
    if data.get("reliability"):
        text = _calibration(metrics.get("calibration") or {})
        png = curve_figures.reliability(**data["reliability"])
        pictures.append(Picture("reliability", "Are the probabilities right?", png, text))
    if data.get("profile"):
        tracks = {name: v for name, v in data["profile"].items() if name != "offset_bp" and v}
        text = "Mean over the true peaks; the closer to the clean track, the better."
        png = curve_figures.profile(data["profile"]["offset_bp"], tracks)
        pictures.append(Picture("profile", "Coverage around summits", png, text))
    if data.get("summit_distance_bp"):
        png = curve_figures.summit_distances(**data["summit_distance_bp"])
        text = "How far the summits of found peaks lie from the true ones."
        pictures.append(Picture("summit_distance", "Distance to the true summit", png, text))
    return pictures


def _inside(metrics: Mapping[str, Any]) -> list[Section]:
    table = metric_tables.summary(metrics, metric_tables.PARTS)
    return [Section("Inside and outside of peaks", table=table, folded=True)] if table.rows else []


def _calibration(found: Mapping[str, float | None]) -> str:
    text = "On the dotted line, of the bases given 70%, 70% lie in true peaks."
    error = found.get("ece")
    return text if error is None else f"{text} Mean distance from it: {error:.3f}."


def prediction_page(summary: Mapping[str, Any], found: Found, panels: Panels, facts: Facts) -> Page:
    """summary : a summary.json."""
    depth, warning = sentences.of_depth(summary["depth"], found.trained_range)
    lead = [sentences.of_prediction(summary, found.genome_bp, found.lengths_bp), depth]
    sections = _panels(panels)
    pictures = _of_peaks(summary, found)
    if pictures:
        sections.append(Section("Peaks and reads", pictures=pictures))
    if found.peaks:
        sections.append(Section("Strongest peaks", table=_strongest(found.peaks)))
    return Page(
        "denoiseq prediction",
        summary["name"],
        lead,
        sections,
        facts,
        tiles=_tiles(summary, found),
        warnings=[warning] if warning else [],
    )


def _tiles(summary: Mapping[str, Any], found: Found) -> list[tuple[str, str]]:
    tiles = [
        (f"{summary['peaks']:,}", "peaks"),
        (f"{summary['peak_bp'] / max(found.genome_bp, 1):.1%}", "of the genome in peaks"),
    ]
    if len(found.lengths_bp):
        tiles.append((f"{np.median(found.lengths_bp):,.0f} bp", "median peak length"))
    tiles.append((f"{summary['depth']['used_cuts_per_mb']:,.0f}", "cut sites per Mb read"))
    if any(found.fragment_sizes):
        sizes = np.asarray(found.fragment_sizes)
        short = sizes[: count_figures.NUCLEOSOME_FREE_BP].sum() / sizes.sum()
        tiles.append((f"{short:.0%}", f"of fragments below {count_figures.NUCLEOSOME_FREE_BP} bp"))
    return tiles


def _of_peaks(summary: Mapping[str, Any], found: Found) -> list[Picture]:
    pictures = []
    if found.profile:
        tracks = {name: v for name, v in found.profile.items() if name != "offset_bp"}
        png = curve_figures.profile(found.profile["offset_bp"], tracks, apart=True)
        text = "Mean over up to 2,000 called peaks; each track has its own scale."
        pictures.append(Picture("profile", "Coverage around called summits", png, text))
    if any(found.fragment_sizes):
        pictures.append(_fragments(found.fragment_sizes))
    if len(found.lengths_bp):
        png = count_figures.peak_lengths(found.lengths_bp)
        pictures.append(Picture("peak_lengths", "Lengths of the peaks", png))
    if found.cutoffs:
        png = count_figures.cutoffs(found.cutoffs, summary["settings"].get("peak_threshold"))
        text = "What another threshold would give (peak_threshold=)."
        pictures.append(Picture("cutoffs", "Peaks by threshold", png, text))
    return pictures


def _fragments(histogram: Sequence[int]) -> Picture:
    text = (
        "Good ATAC-seq shows many fragments below 100 bp and steps at one and two nucleosomes "
        "(shaded: the lengths that Buenrostro et al., 2013, take for them)."
    )
    png = count_figures.fragment_sizes(histogram)
    return Picture("fragment_sizes", "Fragment lengths of the input", png, text)


def _strongest(peaks: Sequence[Mapping[str, Any]]) -> Table:
    lines = []
    for peak in peaks:
        summit = "-" if peak.get("summit") is None else f"{peak['summit']:,}"
        cells = [Cell(f"{peak['end'] - peak['start']:,}"), Cell(summit),
                 Cell(f"{peak['signal']:,.1f}"), Cell(f"{peak['score']:.0f}")]  # fmt: skip
        lines.append((f"{peak['chrom']}:{peak['start']:,}-{peak['end']:,}", cells))
    return Table(["peak", "length (bp)", "summit", "height there", "score (of 1000)"], lines)


def _panels(panels: Panels) -> list[Section]:
    pictures = [
        Picture(f"locus_{i}", locus.name, draw_locus(locus), how)
        for i, (how, locus) in enumerate(
            ((how, locus) for how, loci in panels.items() for locus in loci), start=1
        )
    ]
    return [Section("Loci", PANEL_TEXT, pictures=pictures)] if pictures else []
