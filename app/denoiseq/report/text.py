"""The numbers of a metrics.json for reading: a table for the terminal, and TSV.

Takes plain dictionaries and gives text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ORDER = ("noisy", "gaussian", "linear", "denoised", "macs3")
# theme -> key of a track's metrics -> how it is called
SECTIONS = {
    "Bases ranked": {"auprc": "AUPRC", "auroc": "AUROC", "best_f1": "best F1"},
    "Called peaks": {
        "peaks.precision": "precision",
        "peaks.recall": "recall",
        "peaks.f1": "F1",
        "peaks.iou_bp": "IoU (bp)",
        "peaks.summit_distance_bp.median": "to summit (bp)",
        "frip": "FRiP",
    },
    "Track": {
        "log1p_pearson": "log1p Pearson",
        "pearson": "Pearson",
        "spearman": "Spearman",
        "mse": "MSE",
    },
    "Inside peaks": {
        "inside.log1p_pearson": "log1p Pearson",
        "inside.pearson": "Pearson",
        "inside.mse": "MSE",
    },
    "Outside peaks": {
        "outside.log1p_pearson": "log1p Pearson",
        "outside.pearson": "Pearson",
        "outside.mse": "MSE",
    },
}
WIDTH, NAME = 100, 15


def named(metrics: Mapping[str, Any], key: str) -> Any:
    """A value by its dotted key; None where there is none."""
    found: Any = metrics
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _tracks(metrics: Mapping[str, Any]) -> list[str]:
    return [track for track in ORDER if track in metrics]


def _rows(
    metrics: Mapping[str, Any], keys: Mapping[str, str]
) -> Iterator[tuple[str, str, list[Any]]]:
    """(key, heading, a value a track), without rows that are empty throughout."""
    for key, heading in keys.items():
        values = [named(metrics[track], key) for track in _tracks(metrics)]
        if any(value is not None for value in values):
            yield key, heading, values


def metrics_tsv(metrics: Mapping[str, Any]) -> str:
    """A line a metric: its value in each track, then the intervals' bounds; empty: undefined."""
    tracks = _tracks(metrics)
    bounds = [f"{track}_{side}" for track in tracks for side in ("low", "high")]
    lines = ["\t".join(("metric", *tracks, *bounds))]
    for keys in SECTIONS.values():
        for key, _, values in _rows(metrics, keys):
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
        for key, heading, _ in _rows(metrics, keys):
            found = [(named(metrics[t], key), _interval(metrics[t], key)) for t in known]
            lines.append(_line(f" {heading}", [_cell(*one) for one in found]))
    return "\n".join([*lines, *_gains(metrics)])


def _gains(metrics: Mapping[str, Any]) -> list[str]:
    """What the denoised track gains over each baseline, paired."""
    gain = metrics.get("gain") or {}
    baselines = [track for track in ORDER if gain.get(track)]
    lines = [_line("Gain over", baselines)] if baselines else []
    headings = {**SECTIONS["Bases ranked"], "peaks.f1": "peaks: F1", **SECTIONS["Track"]}
    for key, heading in headings.items():
        found = [gain[track].get(key) for track in baselines]
        if any(found):
            cells = [_cell(g["value"], (g["low"], g["high"]), "+") if g else "-" for g in found]
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
