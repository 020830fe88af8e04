"""From a run to its page: gathers the plain data that `report` draws, and writes the page.

Reads what the run left (curves.json, the cutoff analysis), its store and its tracks; what is
absent is left out of the page.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from denoiseq import report
from denoiseq.atomic import write_bytes, write_text
from denoiseq.examples import CHOSEN, SPREAD, Choice, Panels
from denoiseq.examples import of_evaluation as of_loci
from denoiseq.genomics.coverage import window_coverage
from denoiseq.genomics.peaks import Peak
from denoiseq.genomics.quality import fragment_sizes
from denoiseq.genomics.samples import samples_of
from denoiseq.genomics.tracks import read_bigwig
from denoiseq.learning.dataset import WindowDataset
from denoiseq.learning.evaluation import EvaluateOptions
from denoiseq.learning.loop import TrainResult
from denoiseq.learning.network import Network
from denoiseq.learning.tuned import Tuned
from denoiseq.prediction import GenomePrediction, Source

PICTURED_LOCI = 3
STRONGEST = 20
PROFILE_PEAKS, PROFILE_BP, PROFILE_STEP_BP = 2_000, 1_000, 10


def write(folder: Path, page: report.Page) -> None:
    """`report.html`, and its figures in `figures/`; loci of an earlier page there go."""
    figures = folder / "figures"
    for old in figures.glob("locus_*.png"):
        old.unlink()
    for name, png in page.files().items():
        write_bytes(figures / name, png)
    write_text(folder / "report.html", page.html())


def write_loci(path: Path, panels: Panels, title: str) -> None:
    """One figure of the loci that are chosen or spread over the ranking, if there are any."""
    loci = [locus for how in (CHOSEN, SPREAD) for locus in panels.get(how, ())]
    path.unlink(missing_ok=True)
    if loci:
        write_bytes(path, report.draw_loci(loci, title))


def picture(
    data: WindowDataset, options: EvaluateOptions, model: Network, tuned: Tuned, scale: float
) -> bytes | None:
    """Example loci while a model is trained, as a PNG; None where there is no peak to show."""
    scales = {"noisy": None, "gaussian": None, "denoised": scale}
    metrics = {"tuned": asdict(tuned), "scale": scales}
    was_training = model.training
    panels = of_loci(model.eval(), data, metrics, options, Choice(PICTURED_LOCI, random=0))
    model.train(was_training)
    return report.draw_loci(panels[SPREAD]) if panels else None


def of_training(
    title: str, result: TrainResult, panels: Panels, facts: Mapping[str, Any]
) -> report.Page:
    """The page of a training that has ended."""
    best = result.best.get("epoch")
    return report.training_page(title, result.metrics, result.history, best, panels, facts)


def of_evaluation(
    folder: Path,
    title: str,
    metrics: Mapping[str, Any],
    data: WindowDataset,
    panels: Panels,
    facts: Mapping[str, Any],
) -> report.Page:
    """The page of an evaluation whose metrics and curves lie in `folder`."""
    curves = folder / "curves.json"
    found = json.loads(curves.read_text(encoding="utf-8")) if curves.is_file() else {}
    names, sizes = data.chroms, np.zeros(0, dtype=np.int64)
    if len(samples_of(data.noisy)) == 1:
        sizes = fragment_sizes(samples_of(data.noisy)[0], chroms=names)
    return report.evaluation_page(title, metrics, found, panels, facts, sizes.tolist(), names)


def of_prediction(
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
        fragment_sizes=fragment_sizes(source.store).tolist(),
        cutoffs=_columns(folder / f"{summary['name']}.cutoff_analysis.tsv"),
        profile=_profile(source, result, summary["settings"]["half_window_bp"]),
        trained_range=trained_range,
    )
    facts = {key.capitalize(): summary[key] for key in ("settings", "input", "model", "software")}
    return report.prediction_page(summary, found, panels, facts)


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
                total += window_coverage(source.store, *window, half_window_bp, source.thinning)
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
