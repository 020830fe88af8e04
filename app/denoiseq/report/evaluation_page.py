"""The page of an evaluation: what came out in sentences, then tables, curves and loci."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from denoiseq.errors import listed
from denoiseq.report import curve_figures, metric_tables
from denoiseq.report.count_figures import fragment_pictures
from denoiseq.report.loci import Panels, loci_section
from denoiseq.report.metrics import BY_KEY, PAGE_PARTS, named
from denoiseq.report.page import Facts, Page, Picture, Section, filled
from denoiseq.report.tracks import MEASURED, label

SUMMARY_TEXT = (
    "● marks the best of a row; ↑ more is better, ↓ less is better. Small figures are 95% "
    "intervals where they were estimated."
)
GAIN_TEXT = (
    "Differences with their 95% intervals, over the same resampled stretches of the genome. "
    "▲ better and ▼ worse where the interval excludes 0; no sign: no clear difference."
)
# What follows "it ranks bases", by the verdict of the gain's interval.
JUDGED = {
    "better": " better than the Gaussian",
    "worse": " worse than the Gaussian",
    "no clear difference": " neither clearly better nor clearly worse than the Gaussian",
}


def evaluation_page(
    title: str,
    metrics: Mapping[str, Any],
    curves: Mapping[str, Any],
    panels: Panels,
    facts: Facts,
    fragment_sizes: Sequence[int] = (),
) -> Page:
    """curves : a curves.json. fragment_sizes : of the whole sample."""
    sections = filled(
        Section("Summary", SUMMARY_TEXT, metric_tables.summary(metrics)),
        Section("Gains", GAIN_TEXT, metric_tables.gains(metrics)),
        Section("Curves", pictures=_curves(metrics, curves)),
        loci_section(panels),
        Section("Fragments", pictures=fragment_pictures(fragment_sizes)),
        parts_section(metrics),
        Section("By chromosome", table=metric_tables.by_chromosome(metrics), folded=True),
    )
    return Page("denoiseq evaluation", title, sentences(metrics), sections, facts)


def parts_section(metrics: Mapping[str, Any]) -> Section:
    """The coverage inside and outside of true peaks, where they were measured apart."""
    table = metric_tables.summary(metrics, PAGE_PARTS)
    return Section("Inside and outside of peaks", table=table if table.rows else None, folded=True)


def _curves(metrics: Mapping[str, Any], curves: Mapping[str, Any]) -> list[Picture]:
    """The figures that `curves` has data for."""
    pictures = []
    if curves.get("pr"):
        points = {name: curves[name] for name in MEASURED if curves.get(name)}
        areas = {name: named(metrics, f"{name}.auprc") for name in MEASURED}
        png = curve_figures.precision_recall(curves["pr"], areas, points)
        text = "Up and to the right is better; in brackets the area (AUPRC)."
        pictures.append(Picture("precision_recall", "Precision and recall of bases", png, text))
    if curves.get("roc"):
        areas = {name: named(metrics, f"{name}.auroc") for name in MEASURED}
        png = curve_figures.roc(curves["roc"], areas)
        text = "Up and to the left is better; in brackets the area (AUROC)."
        pictures.append(Picture("roc", "ROC of bases", png, text))
    if curves.get("reliability"):
        text = "On the dotted line, of the bases given 70%, 70% lie in true peaks."
        error = named(metrics, "calibration.ece")
        text += "" if error is None else f" Mean distance from it: {error:.3f}."
        png = curve_figures.reliability(**curves["reliability"])
        pictures.append(Picture("reliability", "Are the probabilities right?", png, text))
    if curves.get("profile"):
        tracks = {name: v for name, v in curves["profile"].items() if name != "offset_bp" and v}
        text = "Mean over the true peaks; the closer to the clean track, the better."
        png = curve_figures.profile(curves["profile"]["offset_bp"], tracks)
        pictures.append(Picture("profile", "Coverage around summits", png, text))
    if curves.get("summit_distance_bp"):
        png = curve_figures.summit_distances(**curves["summit_distance_bp"])
        text = "How far the summits of called peaks lie from the true ones."
        pictures.append(Picture("summit_distance", "Distance to the true summit", png, text))
    return pictures


def sentences(metrics: Mapping[str, Any]) -> list[str]:
    """What the held-out chromosomes say of the denoised track, without knowledge of the method."""
    chroms = list(metrics.get("chromosomes") or {})
    names = f" ({listed(chroms)})" if chroms else ""
    if metrics.get("split") == "test":
        where = f"On chromosomes that the network never saw{names}"
    else:
        where = f"On the validation chromosomes{names}, which chose the best epoch and thresholds"
    lead, compared = [f"{where}, {_peaks_found(metrics)}."], []
    for name, who in (("gaussian", "the best Gaussian smoothing"), ("macs3", label("macs3"))):
        recall, precision = _recall_precision(metrics, name)
        if recall is not None and precision is not None:
            compared.append(f"{who} {recall:.0%} and {precision:.0%}")
    if compared:
        lead.append(f"For comparison: {'; '.join(compared)}.")
    return [*lead, *_without_cuts(metrics), *_against_gaussian(metrics)]


def _recall_precision(metrics: Mapping[str, Any], name: str) -> list[float | None]:
    return [named(metrics, f"{name}.peaks.{key}") for key in ("recall", "precision")]


def _peaks_found(metrics: Mapping[str, Any]) -> str:
    recall, precision = _recall_precision(metrics, "denoised")
    if recall is None:
        return "there was no true peak to find"
    if precision is None:
        return "the denoised track calls no peak at all"
    return (
        f"the denoised track finds {recall:.0%} of the true peaks, "
        f"and {precision:.0%} of the peaks that it calls are true"
    )


def _without_cuts(metrics: Mapping[str, Any]) -> list[str]:
    """One sentence on the peaks that the input does not show; none where nothing is called."""
    share, right = (
        named(metrics, f"denoised.peaks.without_cuts{what}") for what in ("", "_precision")
    )
    if share is None:
        return []
    true = "" if right is None else f"; {right:.0%} of these are true"
    return [f"Of the denoised track's peaks, {share:.1%} hold not one cut site of the input{true}."]


def _against_gaussian(metrics: Mapping[str, Any]) -> list[str]:
    """One sentence on the two metrics that matter most; judged only where there are intervals."""
    parts = []
    for key, what in (("log1p_pearson", "follows the clean coverage"), ("auprc", "ranks bases")):
        denoised, gaussian = (named(metrics, f"{name}.{key}") for name in ("denoised", "gaussian"))
        if denoised is None or gaussian is None:
            continue
        metric, gain = BY_KEY[key], named(metrics, f"gain.gaussian.{key}") or {}
        values = f"{metric.label} {denoised:.3f}, the Gaussian {gaussian:.3f}"
        parts.append(f"{what}{JUDGED.get(metric.verdict(gain), '')} ({values})")
    return [f"The denoised track {' and '.join(parts)}."] if parts else []
