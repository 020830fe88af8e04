"""The numbers of a metrics.json for reading: a table for the terminal, and TSV.

Takes plain dictionaries and gives text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ORDER = ("noisy", "gaussian", "linear", "denoised", "macs3")
# The last part of a metric's key -> how it is called.
METRICS = {
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "best_f1": "best F1",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "iou_bp": "IoU (bp)",
    "median": "to summit (bp)",
    "frip": "FRiP",
    "log1p_pearson": "log1p Pearson",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "mse": "MSE",
}
RANKED = ("auprc", "auroc", "best_f1")
TRACK = ("log1p_pearson", "pearson", "spearman", "mse")
PARTED = ("log1p_pearson", "pearson", "mse")
# theme -> keys of a track's metrics
SECTIONS = {
    "Bases ranked": RANKED,
    "Called peaks": (
        *(f"peaks.{name}" for name in ("precision", "recall", "f1", "iou_bp")),
        "peaks.summit_distance_bp.median",
        "frip",
    ),
    "Track": TRACK,
    "Inside peaks": tuple(f"inside.{name}" for name in PARTED),
    "Outside peaks": tuple(f"outside.{name}" for name in PARTED),
}
WIDTH, NAME = 100, 15


def named(metrics: Mapping[str, Any], key: str) -> Any:
    """A value by its dotted key; None where there is none."""
    found: Any = metrics
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def metric_name(key: str) -> str:
    """What a metric is called beneath its theme, by its dotted key."""
    return METRICS[key.rpartition(".")[2]]


def _tracks(metrics: Mapping[str, Any]) -> list[str]:
    return [track for track in ORDER if track in metrics]


def _rows(metrics: Mapping[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """(key, a value a track), without rows that are empty throughout."""
    for key in keys:
        values = [named(metrics[track], key) for track in _tracks(metrics)]
        if any(value is not None for value in values):
            yield key, values


def metrics_tsv(metrics: Mapping[str, Any]) -> str:
    """A line a metric: its value in each track, then the intervals' bounds; empty: undefined."""
    tracks = _tracks(metrics)
    bounds = [f"{track}_{side}" for track in tracks for side in ("low", "high")]
    lines = ["\t".join(("metric", *tracks, *bounds))]
    for keys in SECTIONS.values():
        for key, values in _rows(metrics, keys):
            pairs = [_interval(metrics[track], key) or (None, None) for track in tracks]
            cells = [*values, *(bound for pair in pairs for bound in pair)]
            lines.append("\t".join([key, *("" if v is None else f"{v:.6g}" for v in cells)]))
    return "\n".join(lines) + "\n"


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """For a terminal of 100 columns: a section a theme, 95% intervals in brackets."""
    lines = []
    for title, keys in SECTIONS.items():
        known = [t for t in _tracks(metrics) if any(named(metrics[t], k) is not None for k in keys)]
        if known:
            lines.append(_line(title, known))
        for key, _ in _rows(metrics, keys):
            found = [(named(metrics[t], key), _interval(metrics[t], key)) for t in known]
            lines.append(_line(f" {metric_name(key)}", [_cell(*one) for one in found]))
    return "\n".join([*lines, *_gains(metrics)])


def _gains(metrics: Mapping[str, Any]) -> list[str]:
    """What the denoised track gains over each baseline, paired."""
    gain = metrics.get("gain") or {}
    baselines = [track for track in ORDER if gain.get(track)]
    lines = [_line("Gain over", baselines)] if baselines else []
    for key in (*RANKED, "peaks.f1", *TRACK):
        found = [gain[track].get(key) for track in baselines]
        if any(found):
            cells = [_cell(g["value"], (g["low"], g["high"]), "+") if g else "-" for g in found]
            heading = "peaks: F1" if key == "peaks.f1" else metric_name(key)
            lines.append(_line(f" {heading}", cells))
    return lines


def _line(name: str, cells: Sequence[str]) -> str:
    width = (WIDTH - NAME) // max(len(cells), 4)
    return f"{name:<{NAME}}" + "".join(f" {cell:>{width - 1}}" for cell in cells)


def _interval(track: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """The two bounds; None where there are none."""
    found = (track.get("intervals") or {}).get(key)
    return None if found is None or found[0] is None else (found[0], found[1])


def _cell(value: float | None, bounds: Sequence[float | None] | None, sign: str = "") -> str:
    if value is None:
        return "-"
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return _short(value, sign)
    return f"{_short(value, sign)} [{_short(bounds[0])},{_short(bounds[1])}]"


def _short(value: float, sign: str = "") -> str:
    """Three digits, without the zero ahead of the point."""
    size = abs(value)
    places = 3 if size < 0.9995 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    text = f"{value:{sign}.{places}f}"
    return text.replace("0.", ".", 1) if size < 0.9995 else text
