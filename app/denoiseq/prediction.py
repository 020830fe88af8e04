"""One genome through a trained network: a bigWig a head and a narrowPeak, written as it streams.

Takes objects, never configs. Nothing here grows with a chromosome but its list of peaks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from denoiseq.denoise import DenoiseOptions, denoise_chromosome
from denoiseq.genomics.coverage import window_coverage
from denoiseq.genomics.cutoffs import CutoffCounter, cutoff_grid, write_cutoffs
from denoiseq.genomics.intervals import mask
from denoiseq.genomics.peaks import (
    Peak,
    PeakCaller,
    scored_by_height,
    with_q_values,
    write_narrowpeak,
)
from denoiseq.genomics.sequence import Genome, input_channels
from denoiseq.genomics.store import Store, Thinning
from denoiseq.genomics.tracks import BigWigWriter
from denoiseq.learning.models import Network

# What the bigWigs keep: a tenth of a cut site, a thousandth of a probability.
DECIMALS = {"denoised": 1, "peak probability": 3}


@dataclass(frozen=True)
class Source:
    """What is predicted from: a store, a draw of its fragments (None: all), the model's bases."""

    store: Store
    thinning: Thinning | None = None
    genome: Genome | None = None

    def read(self, chrom: str, start: int, end: int, half_window_bp: int) -> np.ndarray:
        """The network's input of a window: float32 (1, end - start), or (5, ...) with bases."""
        where = (self.store, chrom, start, end, half_window_bp)
        return input_channels(window_coverage(*where, self.thinning), self.genome, chrom, start)


@dataclass(frozen=True)
class PredictSettings:
    """How a genome is predicted; lengths in bp.

    `peak_threshold` is a probability, or a coverage where the model has no peak head.
    """

    half_window_bp: int
    peak_threshold: float
    peak_min_length_bp: int
    peak_max_gap_bp: int
    tile_bp: int
    batch_size: int
    progress: bool = True


@dataclass(frozen=True)
class Outputs:
    """The files that a prediction leaves in `folder`, as far as the model has heads for them."""

    folder: Path
    name: str

    @property
    def coverage(self) -> Path:
        return self.folder / f"{self.name}.coverage.bw"

    @property
    def probability(self) -> Path:
        return self.folder / f"{self.name}.peak_probability.bw"

    @property
    def peaks(self) -> Path:
        return self.folder / f"{self.name}.peaks.narrowPeak"

    @property
    def cutoffs(self) -> Path:
        return self.folder / f"{self.name}.cutoff_analysis.tsv"


@dataclass(frozen=True)
class GenomePrediction:
    """What was found: all peaks in the order of the genome, and the time that it took.

    tracks : what a reader calls a track -> its bigWig, of the tracks that were written
    """

    tracks: dict[str, Path]
    peaks: list[Peak]
    seconds: float


def predict_genome(
    model: Network, source: Source, settings: PredictSettings, outputs: Outputs
) -> GenomePrediction:
    """Predict every chromosome of a store; its tracks and peaks appear when all is done.

    Inside the blacklist tracks are 0, and no peak holds a base of it. Peaks are called from the
    probability; where the model has none from the coverage, and a peak's score is then its height
    beside the highest's. The table of cutoffs has the peaks that other thresholds would give.
    """
    store = source.store
    began = time.perf_counter()
    peaks: list[Peak] = []
    probable = model.task != "regression"
    cutoffs = cutoff_grid(settings.peak_threshold, probable)
    counts = np.zeros((len(cutoffs), 2), dtype=np.int64)
    rule = settings.peak_min_length_bp, settings.peak_max_gap_bp
    tracks = {}
    if model.task != "classification":
        tracks["denoised"] = outputs.coverage
    if probable:
        tracks["peak probability"] = outputs.probability
    with (
        ExitStack() as stack,
        tqdm(
            total=sum(store.chroms.values()),
            unit="bp",
            unit_scale=True,
            desc="predict",
            disable=None if settings.progress else True,
        ) as bar,
    ):
        files = [
            stack.enter_context(BigWigWriter(path, store.chroms, decimals=DECIMALS[name]))
            for name, path in tracks.items()
        ]
        for chrom in store.chroms:
            caller = PeakCaller(chrom, settings.peak_threshold, *rule)
            counter = CutoffCounter(cutoffs, *rule)
            for start, values in _stream(model, source, settings, chrom):
                for file, track in zip(files, values, strict=True):
                    file.add(chrom, start, track)
                hidden = mask(store.blacklist, chrom, start, start + len(values[-1]))
                score = np.where(hidden, -np.inf, values[-1])
                caller.add(start, score, signal=values[0])
                counter.add(start, score)
                bar.update(len(values[0]))
            peaks += caller.finish()
            counts += counter.finish()
    peaks = with_q_values(peaks) if probable else scored_by_height(peaks)
    write_narrowpeak(outputs.peaks, peaks)
    write_cutoffs(outputs.cutoffs, cutoffs, counts)
    return GenomePrediction(tracks, peaks, time.perf_counter() - began)


def _stream(
    model: Network, source: Source, settings: PredictSettings, chrom: str
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(start, tracks) along a chromosome, 0 inside the blacklist.

    tracks : coverage (n,), probability (n,), or the only one that the model has
    """

    def fetch(start: int, end: int) -> np.ndarray:
        return source.read(chrom, start, end, settings.half_window_bp)

    options = DenoiseOptions(settings.tile_bp, settings.batch_size)
    size = source.store.chroms[chrom]
    for start, *tracks in denoise_chromosome(model, fetch, chrom, size, options):
        given = [track for track in tracks if track is not None]
        hidden = mask(source.store.blacklist, chrom, start, start + len(given[0]))
        yield start, [np.where(hidden, 0, track) for track in given]
