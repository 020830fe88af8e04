"""The metrics of a metrics.json as text: a table for the terminal, and TSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from denoiseq.report.metrics import CALLED, METRICS, SECTIONS, Metric, interval_of, named
from denoiseq.report.tracks import measured_tracks

WIDTH, NAME = 100, 15
BY_SECTION = {section: [m for m in METRICS if m.section == section] for section in SECTIONS}


def _rows(
    metrics: Mapping[str, Any], tracks: Sequence[str], section: Sequence[Metric]
) -> dict[Metric, list[Any]]:
    """The value of each metric in each track; rows that are empty throughout are left out."""
    rows = {metric: [named(metrics[t], metric.key) for t in tracks] for metric in section}
    return {metric: row for metric, row in rows.items() if row.count(None) < len(row)}


def metrics_tsv(metrics: Mapping[str, Any]) -> str:
    """A line a metric: its value in each track, then the intervals' bounds; empty: undefined."""
    tracks = measured_tracks(metrics)
    bounds = [f"{track}_{side}" for track in tracks for side in ("low", "high")]
    lines = ["\t".join(("metric", *tracks, *bounds))]
    for section in BY_SECTION.values():
        for metric, values in _rows(metrics, tracks, section).items():
            pairs = [interval_of(metrics[track], metric.key) for track in tracks]
            cells = [*values, *(bound for pair in pairs for bound in pair)]
            texts = ("" if value is None else f"{value:.6g}" for value in cells)
            lines.append("\t".join([metric.key, *texts]))
    return "\n".join(lines) + "\n"


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """For a terminal of 100 columns, section by section, 95% intervals in brackets."""
    lines, tracks = [], measured_tracks(metrics)
    for title, section in BY_SECTION.items():
        known = [track for track in tracks if _rows(metrics, [track], section)]
        if known:
            lines.append(_line(title, known))
        for metric, values in _rows(metrics, known, section).items():
            bounds = [interval_of(metrics[track], metric.key) for track in known]
            lines.append(_line(f" {metric.label}", list(map(_cell, values, bounds))))
    return "\n".join([*lines, *_gains(metrics)])


def _gains(metrics: Mapping[str, Any]) -> list[str]:
    """What the denoised track gains over each baseline, paired; of whole peaks by F1 alone."""
    gain = {name: gained for name, gained in (metrics.get("gain") or {}).items() if gained}
    baselines = measured_tracks(gain)
    lines = [_line("Gain over", baselines)] if baselines else []
    for metric in (metric for section in BY_SECTION.values() for metric in section):
        gains = [gain[track].get(metric.key) for track in baselines]
        if any(gains) and (metric.section != CALLED or metric.key == "peaks.f1"):
            cells = [_cell(g["value"], (g["low"], g["high"]), "+") if g else "-" for g in gains]
            lines.append(_line(f" {metric.heading}", cells))
    return lines


def _line(name: str, cells: Sequence[str]) -> str:
    width = (WIDTH - NAME) // max(len(cells), 4)
    return f"{name:<{NAME}}" + "".join(f" {cell:>{width - 1}}" for cell in cells)


def _cell(value: float | None, bounds: tuple[float | None, float | None], sign: str = "") -> str:
    if value is None:
        return "-"
    low, high = bounds
    if low is None or high is None:
        return _short(value, sign)
    return f"{_short(value, sign)} [{_short(low)},{_short(high)}]"


def _short(value: float, sign: str = "") -> str:
    """Three digits, without the zero ahead of the point."""
    size = abs(value)
    places = 3 if size < 0.9995 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    text = f"{value:{sign}.{places}f}"
    return text.replace("0.", ".", 1) if size < 0.9995 else text
