"""One genome through a trained network: two bigWigs and a narrowPeak, written as it streams.

Takes objects, never configs. Nothing here grows with a chromosome but its list of peaks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from denoiseq.denoise import DenoiseOptions, denoise_chromosome
from denoiseq.genomics.coverage import window_coverage
from denoiseq.genomics.intervals import mask
from denoiseq.genomics.peaks import Peak, PeakCaller, write_narrowpeak
from denoiseq.genomics.sequence import Genome, input_channels
from denoiseq.genomics.store import Store, Thinning
from denoiseq.genomics.tracks import BigWigWriter


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
    """How a genome is predicted; lengths in bp, `peak_threshold` a probability."""

    half_window_bp: int
    peak_threshold: float
    peak_min_length_bp: int
    peak_max_gap_bp: int
    tile_bp: int
    batch_size: int
    progress: bool = True


@dataclass(frozen=True)
class Outputs:
    """The files that a prediction leaves in `folder`."""

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


@dataclass(frozen=True)
class GenomePrediction:
    """What was found: all peaks in the order of the genome, and the time that it took."""

    outputs: Outputs
    peaks: list[Peak]
    seconds: float


def predict_genome(
    model: nn.Module, source: Source, settings: PredictSettings, outputs: Outputs
) -> GenomePrediction:
    """Predict every chromosome of a store; both tracks and the peaks appear when all is done.

    Inside the blacklist both tracks are 0 and no peak is called.
    """
    store = source.store
    began = time.perf_counter()
    peaks: list[Peak] = []
    with (
        BigWigWriter(outputs.coverage, store.chroms, decimals=1) as coverage_file,
        BigWigWriter(outputs.probability, store.chroms, decimals=3) as probability_file,
        tqdm(
            total=sum(store.chroms.values()),
            unit="bp",
            unit_scale=True,
            desc="predict",
            disable=None if settings.progress else True,
        ) as bar,
    ):
        for chrom in store.chroms:
            caller = PeakCaller(
                chrom,
                settings.peak_threshold,
                settings.peak_min_length_bp,
                settings.peak_max_gap_bp,
            )
            for start, coverage, probability in _stream(model, source, settings, chrom):
                coverage_file.add(chrom, start, coverage)
                probability_file.add(chrom, start, probability)
                caller.add(start, probability, coverage)
                bar.update(len(coverage))
            peaks += caller.finish()
    write_narrowpeak(outputs.peaks, peaks)
    return GenomePrediction(outputs, peaks, time.perf_counter() - began)


def _stream(
    model: nn.Module, source: Source, settings: PredictSettings, chrom: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(start, coverage (n,), probability (n,)) along a chromosome, 0 inside the blacklist."""

    def fetch(start: int, end: int) -> np.ndarray:
        return source.read(chrom, start, end, settings.half_window_bp)

    options = DenoiseOptions(settings.tile_bp, settings.batch_size)
    size = source.store.chroms[chrom]
    for start, coverage, probability in denoise_chromosome(model, fetch, chrom, size, options):
        hidden = mask(source.store.blacklist, chrom, start, start + len(coverage))
        yield start, np.where(hidden, 0, coverage), np.where(hidden, 0, probability)
