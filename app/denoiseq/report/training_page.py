"""The page of a training: its curves, and its metrics on the validation chromosomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from denoiseq.report import curve_figures, evaluation_page, metric_tables
from denoiseq.report.loci import Panels, loci_section
from denoiseq.report.metrics import METRICS
from denoiseq.report.page import Facts, Page, Picture, Section, filled


def training_page(
    title: str,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    best_epoch: int | None,
    panels: Panels,
    facts: Facts,
) -> Page:
    """metrics : of validation. history : a row an epoch, as in history.csv."""
    trained = [row for row in history if row["step"]]  # not that of weights taken as given
    sections = filled(
        Section("Training curves", pictures=_curves(trained, best_epoch) if trained else []),
        Section("Validation", evaluation_page.SUMMARY_TEXT, metric_tables.summary(metrics)),
        loci_section(panels),
        evaluation_page.parts_section(metrics),
    )
    lead = [_trained(len(trained), best_epoch), *evaluation_page.sentences(metrics)]
    return Page("denoiseq training", title, lead, sections, facts)


def _curves(history: Sequence[Mapping[str, float]], best_epoch: int | None) -> list[Picture]:
    dotted = "" if best_epoch is None else " The dotted line is the epoch that was kept."
    scores = {
        metric.key: metric.heading
        for metric in METRICS
        if metric.better == "more" and f"validation_{metric.key}" in history[0]
    }
    png = curve_figures.losses(history, best_epoch)
    text = "By epoch, on training and on validation chromosomes: lower is better." + dotted
    loss = Picture("losses", "Loss, its terms, and the learning rate", png, text)
    png = curve_figures.validation_scores(history, scores, best_epoch)
    text = "How the denoised track does on the validation chromosomes: higher is better." + dotted
    return [loss, Picture("validation_scores", "Validation scores", png, text)]


def _trained(epochs: int, best_epoch: int | None) -> str:
    if not epochs:
        return "The weights were taken as given and measured; nothing was trained."
    chosen = f"; epoch {best_epoch} was best and is kept" if best_epoch and epochs > 1 else ""
    return f"Trained for {epochs:,} epoch{'s' * (epochs != 1)}{chosen}."
