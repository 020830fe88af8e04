"""What the report of a prediction shows: example loci, the profile around summits, the tables."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from denoiseq import report
from denoiseq.genomics.bigwig_reader import read_bigwig
from denoiseq.genomics.peaks import Peak
from denoiseq.prediction.genome import GenomePrediction, PredictSettings, Source
from denoiseq.report import Locus
from denoiseq.report.loci import Choice, Panels, Window, panels, windows
from denoiseq.store.store import Store
from denoiseq.store.thinning import Thinning

STRONGEST = 20
PROFILE_PEAKS, PROFILE_BP, PROFILE_STEP_BP = 2_000, 1_000, 10


def page_of(
    folder: Path,
    summary: Mapping[str, Any],
    source: Source,
    result: GenomePrediction,
    panels: Panels,
    trained_range: tuple[float, float] | None,
) -> report.Page:
    """The page of a prediction whose files lie in `folder`."""
    strongest = sorted(result.peaks, key=lambda peak: -peak.signal)[:STRONGEST]
    found = report.Found(
        genome_bp=sum(source.store.chroms.values()),
        peaks=[asdict(peak) for peak in strongest],
        lengths_bp=[peak.end - peak.start for peak in result.peaks],
        fragment_sizes=source.store.fragment_sizes().tolist(),
        cutoffs=_columns(folder / f"{summary['name']}.cutoff_analysis.tsv"),
        profile=_profile(source, result, summary["settings"]["half_window_bp"]),
        trained_range=trained_range,
    )
    facts = {key.capitalize(): summary[key] for key in ("settings", "input", "model", "software")}
    return report.prediction_page(summary, found, panels, facts)


def example_loci(
    store: Store,
    thinning: Thinning | None,
    settings: PredictSettings,
    result: GenomePrediction,
    choice: Choice,
) -> Panels:
    """The input as the model saw it, the tracks as they were written, and the called peaks."""
    ranked = [(p.signal, p.chrom, (p.start + p.end) // 2) for p in result.peaks]

    def seen(window: Window) -> np.ndarray:
        return store.coverage(*window, settings.half_window_bp, thinning)

    def locus(window: Window) -> Locus:
        tracks = {"input": seen(window)}
        tracks |= {name: read_bigwig(path, *window) for name, path in result.tracks.items()}
        return Locus(*window, tracks, {"denoised": _rows(result.peaks, *window)})

    def has_reads(window: Window) -> bool:
        return bool(seen(window).any())

    return panels(windows(ranked, store.chroms, choice, has_reads), locus)


def _rows(peaks: list[Peak], chrom: str, start: int, end: int) -> np.ndarray:
    rows = [(p.start, p.end) for p in peaks if p.chrom == chrom and p.end > start and p.start < end]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _columns(path: Path) -> dict[str, list[float]]:
    """The columns of a TSV of numbers; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}


def _profile(
    source: Source, result: GenomePrediction, half_window_bp: int
) -> dict[str, list[float]]:
    """The mean of the input and of the denoised track around summits, in steps of some bp."""
    tracks = {"input": None} | {n: p for n, p in result.tracks.items() if n == "denoised"}
    windows = _around_summits(result.peaks, source.store.chroms)
    if not windows:
        return {}
    profile: dict[str, list[float]] = {
        "offset_bp": list(range(-PROFILE_BP, PROFILE_BP, PROFILE_STEP_BP))
    }
    for name, path in tracks.items():
        total = np.zeros(2 * PROFILE_BP)
        for window in windows:
            if path is None:
                total += source.store.coverage(*window, half_window_bp, source.thinning)
            else:
                total += read_bigwig(path, *window)
        means = total.reshape(-1, PROFILE_STEP_BP).mean(axis=1) / len(windows)
        profile[name] = means.tolist()
    return profile


def _around_summits(peaks: Sequence[Peak], sizes: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Windows around evenly picked summits that lie far enough from the chromosomes' ends."""
    whole = [
        (peak.chrom, peak.summit - PROFILE_BP, peak.summit + PROFILE_BP)
        for peak in peaks
        if peak.summit is not None and PROFILE_BP <= peak.summit <= sizes[peak.chrom] - PROFILE_BP
    ]
    step = max(1, -(-len(whole) // PROFILE_PEAKS))
    return whole[::step]
