"""The metrics as tables of a page: which there are, what they are called, which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from denoiseq.report.metric_text import ORDER, RANKED, TRACK, metric_name, named
from denoiseq.report.page import Cell, Table
from denoiseq.report.style import shown_name

PEAKS = ("precision", "recall", "f1", "iou_bp")

# What gains and chromosomes are told by: key -> heading
HEADINGS = {
    **{key: metric_name(key) for key in (*RANKED, *TRACK)},
    **{f"peaks.{name}": f"peaks: {metric_name(name)}" for name in PEAKS},
}
SIGNS = {"better": "▲", "worse": "▼", "no clear difference": "", "-": ""}
LOWER_IS_BETTER = ("mse", "summit_distance_bp")
GROUPS = {
    "Whole peaks": (
        *("peaks.recall", "peaks.precision", "peaks.f1", "peaks.iou_bp"),
        "peaks.summit_distance_bp",
    ),
    "Bases of true peaks": (*RANKED, "precision", "recall", "f1", "frip"),
    "Coverage, against the clean track": TRACK,
}
PARTS = {
    "Coverage inside true peaks": tuple(f"inside.{name}" for name in TRACK),
    "Coverage outside of them": tuple(f"outside.{name}" for name in TRACK),
}
WORDS = {
    "precision": "precision as called",
    "recall": "recall as called",
    "f1": "F1 as called",
    "frip": "share of cut sites in peaks (FRiP)",
    "peaks.summit_distance_bp": "distance to true summit (bp)",
}


def summary(metrics: Mapping[str, Any], groups: Mapping[str, tuple[str, ...]] = GROUPS) -> Table:
    """Metrics of all tracks, by group, with their intervals, the best of each row marked."""
    tracks = [name for name in ORDER if name in metrics]
    lines: list[tuple[str, list[Cell]]] = []
    for heading, keys in groups.items():
        found = [(key, cells) for key in keys if (cells := _cells(metrics, tracks, key))]
        if found:
            lines.append((heading, []))
            lines += [(_named(_words(key), key), cells) for key, cells in found]
    return Table(["", *map(shown_name, tracks)], lines)


def _words(key: str) -> str:
    return WORDS.get(key) or metric_name(key)


def _named(heading: str, key: str) -> str:
    """The heading and its arrow, which no line break parts."""
    return f"{heading}\N{NO-BREAK SPACE}{_arrow(key)}".rstrip()


def _arrow(key: str) -> str:
    if key == "frip":
        return ""  # more of it is better only where the peaks are true
    return "↓" if key.rpartition(".")[2] in LOWER_IS_BETTER else "↑"


def _cells(metrics: Mapping[str, Any], tracks: list[str], key: str) -> list[Cell]:
    """A row's cells; empty where no track has a value."""
    values = [named(metrics, f"{track}.{key}") for track in tracks]
    if all(value is None for value in values):
        return []
    best = _best(values, key)
    return [
        Cell(_text(value, key), _note(metrics, track, key, value), i in best)
        for i, (track, value) in enumerate(zip(tracks, values, strict=True))
    ]


def _best(values: list[Any], key: str) -> list[int]:
    """Which are best as they are shown, so that what looks equal shares the mark."""
    arrow = _arrow(key)
    known = {i: float(_text(v, key)) for i, v in enumerate(values) if _number(v) is not None}
    if not arrow or len(set(known.values())) < 2:
        return []
    top = min(known.values()) if arrow == "↓" else max(known.values())
    return [i for i, value in known.items() if value == top]


def _number(value: Any) -> float | None:
    return value.get("median") if isinstance(value, Mapping) else value


def _text(value: Any, key: str) -> str:
    number = _number(value)
    if number is None:
        return "-"
    if key.endswith("_bp") and isinstance(value, Mapping):
        return f"{number:.0f}"
    return f"{number:.4g}" if key.endswith("mse") else f"{number:.3f}"


def _note(metrics: Mapping[str, Any], track: str, key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['q1']:.0f} to {value['q3']:.0f}" if value.get("median") is not None else ""
    interval = (named(metrics, f"{track}.intervals") or {}).get(key)
    if not interval or None in interval:
        return ""
    low, high = (_text(bound, key) for bound in interval)
    return f"{low} to {high}"


def gains(metrics: Mapping[str, Any]) -> Table | None:
    """What the denoised track gains over each baseline, signed where the interval excludes 0."""
    found = {name: gain for name, gain in (metrics.get("gain") or {}).items() if gain}
    lines = []
    for key, heading in HEADINGS.items():
        cells = [_gain(gain.get(key) or {}, key) for gain in found.values()]
        if any(cell.text for cell in cells):
            lines.append((_named(heading, key), cells))
    head = ["denoised minus", *map(shown_name, found)]
    return Table(head, lines) if lines else None


def _gain(gain: Mapping[str, float | None], key: str) -> Cell:
    if gain.get("value") is None:
        return Cell("")
    low, high = gain.get("low"), gain.get("high")
    known = low is not None and high is not None
    note = f"{_signed(low, key)} to {_signed(high, key)}" if known else ""
    return Cell(f"{_signed(gain['value'], key)} {SIGNS[verdict(key, gain)]}".rstrip(), note)


def verdict(key: str, gain: Mapping[str, float | None]) -> str:
    """better, worse, or no clear difference."""
    low, high = gain.get("low"), gain.get("high")
    if low is None or high is None:
        return "-"
    if low <= 0 <= high:
        return "no clear difference"
    lower = key.rpartition(".")[2] in LOWER_IS_BETTER
    return "better" if (low > 0) != lower else "worse"


def _signed(value: float | None, key: str) -> str:
    return f"{value:+.3g}" if key.endswith(("mse", "distance_bp")) else f"{value:+.3f}"


def by_chromosome(metrics: Mapping[str, Any]) -> Table | None:
    """A row a chromosome and metric, as far as they were measured apart."""
    found = metrics.get("chromosomes") or {}
    tracks = [name for name in ORDER if any(name in chrom for chrom in found.values())]
    lines: list[tuple[str, list[Cell]]] = []
    for chrom, measured in found.items():
        cells = {key: _cells(measured, tracks, key) for key in HEADINGS}
        named = [(_named(HEADINGS[key], key), row) for key, row in cells.items() if row]
        lines += [(chrom, []), *named] if named else []
    return Table(["", *map(shown_name, tracks)], lines) if lines else None
