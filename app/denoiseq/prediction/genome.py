"""One genome through a trained network: a bigWig a head and a narrowPeak.

Threads take tiles, from the input's coverage to the encoded answer; this one puts what
they give in order, calls peaks and keeps a journal. Takes objects, never configs. Nothing here
grows with the genome but the list of peaks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from tqdm import tqdm

from denoiseq.distributed import Ranks
from denoiseq.genomics.bigwig_writer import Encoded, encode, write_bigwig
from denoiseq.genomics.cutoffs import CutoffCounter, cutoff_grid, write_cutoffs
from denoiseq.genomics.fasta import Genome, input_channels
from denoiseq.genomics.intervals import Tile, mask
from denoiseq.genomics.peaks import (
    Peak,
    PeakCaller,
    scored_by_height,
    with_q_values,
    write_narrowpeak,
)
from denoiseq.models.network import Network
from denoiseq.prediction import resume
from denoiseq.prediction.tiles import Denoiser
from denoiseq.store.coverage import window_coverage
from denoiseq.store.cut_store import Store
from denoiseq.store.thinning import Thinning

# What the bigWigs keep: a tenth of a cut site, a thousandth of a probability.
DECIMALS = {"denoised": 1, "peak probability": 3}
# Tiles at work at once, at most: each takes memory. More threads share the arithmetic of a tile.
MAX_WORKERS = 16
STEPS = ("coverage", "network", "encoding")


@dataclass(frozen=True)
class Source:
    """What is predicted from: a store, a draw of its fragments (None: all), the model's bases."""

    store: Store
    thinning: Thinning | None = None
    genome: Genome | None = None

    def read(
        self, chrom: str, start: int, end: int, half_window_bp: int, alone: AbstractContextManager
    ) -> np.ndarray:
        """The network's input of a window: float32 (1, end - start), or (5, ...) with bases.

        `alone` is held while the bases are read.
        """
        where = (self.store, chrom, start, end, half_window_bp)
        coverage = window_coverage(*where, self.thinning)
        with alone:
            return input_channels(coverage, self.genome, chrom, start)


@dataclass(frozen=True)
class PredictSettings:
    """How a genome is predicted; lengths in bp, `tile_bp` None: what suits the model.

    `peak_threshold` is a probability, or a coverage where the model has no peak head.
    """

    half_window_bp: int
    peak_threshold: float
    peak_min_length_bp: int
    peak_max_gap_bp: int
    tile_bp: int | None = None
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
    seconds : on the clock
    seconds_of : CPU time of this process by step, of the chromosomes that it did; "writing" is
        that on the clock of making the files from the finished chromosomes
    """

    tracks: dict[str, Path]
    peaks: list[Peak]
    seconds: float
    seconds_of: dict[str, float]


@dataclass(frozen=True)
class Piece:
    """The answer for a tile's core of n bases.

    score (n,) : what peaks are called from, -inf inside the blacklist.
    signal (n,) : a peak's height. encoded : the tracks, 0 inside the blacklist.
    seconds : CPU time of each of STEPS.
    """

    tile: Tile
    score: np.ndarray
    signal: np.ndarray
    encoded: list[Encoded]
    seconds: dict[str, float]


def predict_genome(
    model: Network,
    source: Source,
    settings: PredictSettings,
    outputs: Outputs,
    folder: Path,
    ranks: Ranks,
) -> GenomePrediction | None:
    """Predict every chromosome of a store; its tracks and peaks appear when all is done.

    Inside the blacklist tracks are 0, and no peak holds a base of it. Peaks are called from the
    probability; where the model has none from the coverage, and a peak's score is then its height
    beside the highest's. The table of cutoffs has the peaks that other thresholds would give.

    Parameters
    ----------
    folder : Path
        A journal's, claimed: chromosomes that it holds are not predicted again.
    ranks : Ranks
        Each predicts chromosomes of its own; the first writes the outputs, the others return None.
    """
    began = time.perf_counter()
    probable = model.task != "regression"
    cutoffs = cutoff_grid(settings.peak_threshold, probable)
    tracks = {}
    if model.task != "classification":
        tracks["denoised"] = outputs.coverage
    if probable:
        tracks["peak probability"] = outputs.probability
    sizes = source.store.chroms
    done = ranks.tell(list(resume.finished(folder)))
    mine = _share({chrom: size for chrom, size in sizes.items() if chrom not in done}, ranks)
    denoiser = Denoiser(model, settings.tile_bp)
    pieces = _pieces(
        denoiser, source, settings.half_window_bp, mine, [DECIMALS[name] for name in tracks]
    )
    bar = tqdm(
        total=sum(mine.values()),
        unit="bp",
        unit_scale=True,
        desc="predict",
        disable=None if settings.progress and ranks.main else True,
    )
    with bar, closing(pieces), resume.Writer(folder, ranks.rank, len(tracks)) as writer:
        seconds = _keep(pieces, settings, cutoffs, writer, bar)
    ranks.wait()
    if not ranks.main:
        return None
    writing = time.perf_counter()
    peaks = _write(outputs, tracks, sizes, resume.finished(folder), cutoffs)
    seconds["writing"] = time.perf_counter() - writing
    return GenomePrediction(tracks, peaks, time.perf_counter() - began, seconds)


def _write(
    outputs: Outputs,
    tracks: dict[str, Path],
    sizes: dict[str, int],
    found: dict[str, resume.Finished],
    cutoffs: np.ndarray,
) -> list[Peak]:
    """Make the files of a genome from its finished chromosomes; its peaks."""
    peaks = [peak for chrom in sizes for peak in found[chrom].peaks]
    peaks = with_q_values(peaks) if "peak probability" in tracks else scored_by_height(peaks)
    for i, path in enumerate(tracks.values()):
        write_bigwig(path, sizes, {chrom: one.tracks[i] for chrom, one in found.items()})
    write_narrowpeak(outputs.peaks, peaks)
    write_cutoffs(outputs.cutoffs, cutoffs, np.sum([one.counts for one in found.values()], axis=0))
    return peaks


def _share(sizes: dict[str, int], ranks: Ranks) -> dict[str, int]:
    """This process's chromosomes of `sizes`, in their order: about as many bases as any other's."""
    loads = [0] * ranks.world
    mine = set()
    for chrom in sorted(sizes, key=lambda chrom: -sizes[chrom]):
        rank = loads.index(min(loads))
        loads[rank] += sizes[chrom]
        if rank == ranks.rank:
            mine.add(chrom)
    return {chrom: size for chrom, size in sizes.items() if chrom in mine}


def _pieces(
    denoiser: Denoiser,
    source: Source,
    half_window_bp: int,
    sizes: dict[str, int],
    decimals: list[int],
) -> Generator[Piece]:
    """The answers for whole chromosomes, tile by tile in order, a few ahead of the caller.

    Several tiles on a thread each waste less than one on all: there is no barrier to wait at,
    and one thread makes or encodes tracks while another computes. Results do not depend on it.
    """

    numbers = {chrom: i for i, chrom in enumerate(source.store.chroms)}
    # a FASTA has one place that it is read at
    alone = nullcontext() if source.genome is None else Lock()

    def work(tile: Tile) -> Piece:
        times = [time.thread_time()]
        x = source.read(tile.chrom, tile.start, tile.end, half_window_bp, alone)
        times.append(time.thread_time())
        given = denoiser.answer(x, tile, sizes[tile.chrom])
        times.append(time.thread_time())
        hidden = mask(source.store.blacklist, tile.chrom, tile.core_start, tile.core_end)
        tracks = [np.where(hidden, np.float32(0), track) for track in given if track is not None]
        encoded = [
            encode(numbers[tile.chrom], tile.core_start, track, places)
            for track, places in zip(tracks, decimals, strict=True)
        ]
        times.append(time.thread_time())
        steps = np.diff(times).tolist()
        score = np.where(hidden, np.float32(-np.inf), tracks[-1])
        return Piece(tile, score, tracks[0], encoded, dict(zip(STEPS, steps, strict=True)))

    threads = torch.get_num_threads()
    workers = min(threads, MAX_WORKERS)
    pool = ThreadPoolExecutor(
        workers, initializer=lambda: torch.set_num_threads(threads // workers)
    )
    waiting: deque[Future[Piece]] = deque()
    try:
        for chrom, size in sizes.items():
            for tile in denoiser.tiles(chrom, size):
                waiting.append(pool.submit(work, tile))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _keep(
    pieces: Iterator[Piece],
    settings: PredictSettings,
    cutoffs: np.ndarray,
    writer: resume.Writer,
    bar: tqdm,
) -> dict[str, float]:
    """Call peaks and put chromosome after chromosome into the journal; CPU time by step."""
    seconds = dict.fromkeys((*STEPS, "peaks"), 0.0)
    rule = settings.peak_min_length_bp, settings.peak_max_gap_bp
    for chrom, parts in groupby(pieces, key=lambda piece: piece.tile.chrom):
        caller = PeakCaller(chrom, settings.peak_threshold, *rule)
        counter = CutoffCounter(cutoffs, *rule)
        for piece in parts:
            began = time.thread_time()
            caller.add(piece.tile.core_start, piece.score, piece.signal)
            counter.add(piece.tile.core_start, piece.score)
            writer.add(piece.encoded)
            bar.update(len(piece.score))
            for step, taken in {**piece.seconds, "peaks": time.thread_time() - began}.items():
                seconds[step] += taken
        writer.finish(chrom, caller.finish(), counter.finish())
    return seconds
