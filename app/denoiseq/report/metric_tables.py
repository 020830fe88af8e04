"""The metrics as tables of a page: with their intervals, the best of each row, and the gains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from denoiseq.report.metrics import METRICS, PAGE_SECTIONS, Metric, interval_of, named
from denoiseq.report.page import MOST_ROWS, Cell, Table
from denoiseq.report.tracks import label, measured_tracks

ARROWS = {"more": "↑", "less": "↓", "": ""}
Group = tuple[str, Mapping[str, Any], list[tuple[str, Metric]]]
"""A heading, the metrics of tracks, and the rows: each a metric and what it is called there."""
SIGNS = {"better": "▲", "worse": "▼", "no clear difference": "", "-": ""}


def summary(metrics: Mapping[str, Any], sections: Sequence[str] = PAGE_SECTIONS) -> Table:
    """Metrics of all tracks, by section, with their intervals, the best of each row marked."""
    groups = []
    for section in sections:
        headings = [(m.page_label or m.label, m) for m in METRICS if m.page_section == section]
        groups.append((section, metrics, headings))
    return _table(measured_tracks(metrics), groups)


def by_chromosome(metrics: Mapping[str, Any]) -> Table | None:
    """A row a chromosome and metric, as far as they were measured apart; of many the first."""
    measured_apart, headings = metrics.get("chromosomes") or {}, [(m.heading, m) for m in METRICS]
    chroms = dict(islice(measured_apart.items(), MOST_ROWS))
    tracks = measured_tracks({name for chrom in chroms.values() for name in chrom})
    table = _table(tracks, [(chrom, measured, headings) for chrom, measured in chroms.items()])
    if more := len(measured_apart) - len(chroms):
        table.rows.append((f"and {more:,} more in metrics.json", []))
    return table if table.rows else None


def _table(tracks: list[str], groups: Iterable[Group]) -> Table:
    lines: list[tuple[str, list[Cell]]] = []
    for name, metrics, headings in groups:
        rows = [(_with_arrow(text, m), _cells(metrics, tracks, m)) for text, m in headings]
        rows = [(text, cells) for text, cells in rows if cells]
        lines += [(name, []), *rows] if rows else []
    return Table(["", *map(label, tracks)], lines)


def _with_arrow(heading: str, metric: Metric) -> str:
    """The heading and its arrow, which no line break parts."""
    return f"{heading}\N{NO-BREAK SPACE}{ARROWS[metric.better]}".rstrip()


def _cells(metrics: Mapping[str, Any], tracks: list[str], metric: Metric) -> list[Cell]:
    """A row's cells; empty where no track has a value."""
    values = [named(metrics, f"{track}.{metric.key}") for track in tracks]
    if all(value is None for value in values):
        return []
    texts = ["-" if value is None else metric.text(value) for value in values]
    best = _best(texts, metric)
    return [
        Cell(text, "" if text == "-" else _note(metrics[track], metric), text in best)
        for track, text in zip(tracks, texts, strict=True)
    ]


def _best(texts: list[str], metric: Metric) -> list[str]:
    """The best of a row as it is shown, so that what looks equal shares the mark."""
    known = {text: float(text) for text in texts if text != "-"}
    if not metric.better or len(set(known.values())) < 2:
        return []
    top = min(known.values()) if metric.better == "less" else max(known.values())
    return [text for text, value in known.items() if value == top]


def _note(track: Mapping[str, Any], metric: Metric) -> str:
    """The quartiles of a median; the 95% interval of another metric."""
    if metric.key.endswith(".median"):
        quartiles = named(track, metric.key.removesuffix(".median"))
        bounds = quartiles.get("q1"), quartiles.get("q3")
    else:
        bounds = interval_of(track, metric.key)
    if None in bounds:
        return ""
    low, high = map(metric.text, bounds)
    return f"{low} to {high}"


def gains(metrics: Mapping[str, Any]) -> Table | None:
    """What the denoised track gains over each baseline, signed where the interval excludes 0."""
    by_baseline = {name: gain for name, gain in (metrics.get("gain") or {}).items() if gain}
    lines = []
    for metric in METRICS:
        cells = [_gain(gain.get(metric.key) or {}, metric) for gain in by_baseline.values()]
        if any(cell.text for cell in cells):
            lines.append((_with_arrow(metric.heading, metric), cells))
    head = ["denoised minus", *map(label, by_baseline)]
    return Table(head, lines) if lines else None


def _gain(gain: Mapping[str, float | None], metric: Metric) -> Cell:
    value, low, high = (gain.get(name) for name in ("value", "low", "high"))
    if value is None:
        return Cell("")
    note = ""
    if low is not None and high is not None:
        note = f"{_signed(low, metric)} to {_signed(high, metric)}"
    return Cell(f"{_signed(value, metric)} {SIGNS[metric.verdict(gain)]}".rstrip(), note)


def _signed(value: float, metric: Metric) -> str:
    return f"{value:+.3f}" if metric.digits == ".3f" else f"{value:+.3g}"
