"""What the report of a prediction shows of the genome: example loci, the mean around summits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from denoiseq.genomics.bigwig_reader import read_bigwig, read_windows
from denoiseq.genomics.peaks import Peak
from denoiseq.models.network import DENOISED
from denoiseq.prediction.genome import GenomePrediction
from denoiseq.prediction.sample import Source
from denoiseq.report.loci import Panels, Window, example_loci
from denoiseq.report.locus_figures import Locus
from denoiseq.settings import Predict

PROFILE_PEAKS, PROFILE_BP, PROFILE_STEP_BP = 2_000, 1_000, 10


def of_prediction(source: Source, settings: Predict, prediction: GenomePrediction) -> Panels:
    """The input as the model saw it, the tracks as they were written, and the called peaks."""
    ranked = [(p.signal, p.chrom, (p.start + p.end) // 2) for p in prediction.peaks]

    def locus(window: Window) -> Locus:
        tracks = {"input": source.coverage(*window)}
        tracks |= {name: read_bigwig(path, *window) for name, path in prediction.tracks.items()}
        return Locus(*window, tracks, {DENOISED: _overlapping(prediction.peaks, *window)})

    def has_reads(window: Window) -> bool:
        return bool(source.coverage(*window).any())

    return example_loci(ranked, source.store.chroms, settings, settings.seed, has_reads, locus)


def _overlapping(peaks: list[Peak], chrom: str, start: int, end: int) -> np.ndarray:
    rows = [(p.start, p.end) for p in peaks if p.chrom == chrom and p.end > start and p.start < end]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def profile(source: Source, prediction: GenomePrediction) -> dict[str, list[float]]:
    """The mean of the input and of the denoised track around summits; empty without a summit."""
    windows = around_summits(prediction.peaks, source.store.chroms)
    if not windows:
        return {}
    means: dict[str, list[float]] = {
        "offset_bp": list(range(-PROFILE_BP, PROFILE_BP, PROFILE_STEP_BP)),
        "input": _mean(source.coverage(*window) for window in windows),
    }
    if DENOISED in prediction.tracks:
        path = prediction.tracks[DENOISED]
        means[DENOISED] = _mean(read_windows(path, windows))
    return means


def _mean(tracks: Iterable[np.ndarray]) -> list[float]:
    """The mean of tracks of 2 * PROFILE_BP bases, in steps of PROFILE_STEP_BP."""
    total, n = np.zeros(2 * PROFILE_BP), 0
    for track in tracks:
        total += track
        n += 1
    return (total.reshape(-1, PROFILE_STEP_BP).mean(axis=1) / n).tolist()


def around_summits(peaks: Sequence[Peak], sizes: Mapping[str, int]) -> list[Window]:
    """Windows around evenly picked summits that lie far enough from the chromosomes' ends."""
    whole = [
        (peak.chrom, peak.summit - PROFILE_BP, peak.summit + PROFILE_BP)
        for peak in peaks
        if peak.summit is not None and PROFILE_BP <= peak.summit <= sizes[peak.chrom] - PROFILE_BP
    ]
    step = max(1, -(-len(whole) // PROFILE_PEAKS))
    return whole[::step]
