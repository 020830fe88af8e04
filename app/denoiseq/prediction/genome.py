"""The whole genome through a trained network: a bigWig a head and a narrowPeak.

Threads take tiles, from the input's coverage to the encoded answer; the main thread puts the
answers in order, calls peaks and records finished chromosomes. Only the peaks grow with the genome.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from tqdm import tqdm

from denoiseq.distributed import Ranks
from denoiseq.genomics.bigwig_writer import Encoded, encode, write_bigwig
from denoiseq.genomics.cutoffs import CutoffCounter, cutoff_grid, write_cutoffs
from denoiseq.genomics.intervals import Tile, mask
from denoiseq.genomics.peaks import (
    Peak,
    PeakCaller,
    scored_by_height,
    with_q_values,
    write_narrowpeak,
)
from denoiseq.models.network import DENOISED, PROBABILITY, Network
from denoiseq.prediction import resume
from denoiseq.prediction.sample import Source
from denoiseq.prediction.tiles import Denoiser
from denoiseq.settings import Predict

# The output files, by track or by what they hold.
FILES = {
    DENOISED: "coverage.bw",
    PROBABILITY: "peak_probability.bw",
    "peaks": "peaks.narrowPeak",
    "cutoffs": "cutoff_analysis.tsv",
}
# What the bigWigs keep: a tenth of a cut site, a thousandth of a probability.
DECIMALS = {DENOISED: 1, PROBABILITY: 3}
# Tiles at work at once, at most: each takes memory. More threads share the arithmetic of a tile.
MAX_WORKERS = 16
# What a thread takes at once, and what is recorded at once: a chromosome, or many short ones.
GROUP_BP, BATCH_BP = 1 << 16, 1 << 20
SHORT_BP = 2_000  # chromosomes that are shorter on average are computed by one thread
STEPS = ("coverage", "network", "encoding")


def output_file(settings: Predict, kind: str) -> Path:
    """The path of one of FILES."""
    return Path(settings.out or "") / f"{settings.name}.{FILES[kind]}"


@dataclass(frozen=True)
class GenomePrediction:
    """The bigWigs by track, all peaks in the order of the genome, and the time on the clock.

    seconds_of : CPU time of this rank by step; "writing" of the files is time on the clock.
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
    settings: Predict,
    folder: Path,
    ranks: Ranks,
) -> GenomePrediction | None:
    """Predict every chromosome of a store; its tracks and peaks appear when all is done.

    Inside the blacklist tracks are 0, and no peak holds a base of it. Peaks are called from the
    probability; where the model has none from the coverage, and a peak's score is then its height
    beside the highest's. The table of cutoffs has the peaks that other thresholds would give.

    settings : with a name, and the threshold, least length and largest gap of a peak.
    folder : claimed, as `resume` has it: chromosomes finished there are not predicted again.
    ranks : each predicts chromosomes of its own; the first writes, the others return None.
    """
    began = time.perf_counter()
    tracks = {name: output_file(settings, name) for name in model.track_names}
    for path in tracks.values():
        str(path).encode()  # the readers of bigWig files need UTF-8
    rule = _peak_rule(settings)
    cutoffs = cutoff_grid(rule[0], PROBABILITY in tracks)
    sizes = source.store.chroms
    done = ranks.tell(list(resume.finished(folder)))
    mine = _share({chrom: size for chrom, size in sizes.items() if chrom not in done}, ranks)
    pieces = _pieces(Denoiser(model, settings.tile_bp, source.told_depth), source, mine)
    bar = tqdm(
        total=sum(mine.values()),
        unit="bp",
        unit_scale=True,
        desc="predict",
        disable=None if settings.trainer.progress and ranks.main else True,
    )
    with bar, closing(pieces), resume.Writer(folder, ranks.rank, len(tracks)) as writer:
        seconds = _keep(pieces, mine, rule, cutoffs, writer, bar)
    ranks.wait()
    if not ranks.main:
        return None
    writing = time.perf_counter()
    peaks = _write(settings, tracks, sizes, folder, cutoffs)
    seconds["writing"] = time.perf_counter() - writing
    return GenomePrediction(tracks, peaks, time.perf_counter() - began, seconds)


def _peak_rule(settings: Predict) -> tuple[float, int, int]:
    """Threshold, least length and largest gap of a peak."""
    threshold, length = settings.peak_threshold, settings.peak_min_length_bp
    gap = settings.peak_max_gap_bp
    assert threshold is not None and length is not None and gap is not None  # `run` resolved them
    return threshold, length, gap


def _write(
    settings: Predict,
    tracks: dict[str, Path],
    sizes: dict[str, int],
    folder: Path,
    cutoffs: np.ndarray,
) -> list[Peak]:
    """Make the files of a genome from the folder of its finished chromosomes; its peaks."""
    finished = resume.finished(folder)
    peaks = [peak for chrom in sizes for peak in finished[chrom].peaks]
    peaks = with_q_values(peaks) if PROBABILITY in tracks else scored_by_height(peaks)
    for i, path in enumerate(tracks.values()):
        write_bigwig(path, sizes, {chrom: done.tracks[i] for chrom, done in finished.items()})
    write_narrowpeak(output_file(settings, "peaks"), peaks)
    write_cutoffs(output_file(settings, "cutoffs"), cutoffs, resume.counts(folder))
    return peaks


def _share(sizes: dict[str, int], ranks: Ranks) -> dict[str, int]:
    """This rank's chromosomes of `sizes`, in their order: about as many bases as any other's."""
    loads = [0] * ranks.world
    mine = set()
    for chrom in sorted(sizes, key=lambda chrom: -sizes[chrom]):
        rank = loads.index(min(loads))
        loads[rank] += sizes[chrom]
        if rank == ranks.rank:
            mine.add(chrom)
    return {chrom: size for chrom, size in sizes.items() if chrom in mine}


def _pieces(denoiser: Denoiser, source: Source, sizes: dict[str, int]) -> Generator[Piece]:
    """The answers for whole chromosomes, tile by tile in order, a few ahead of the caller.

    Several tiles on a thread each waste less than one on all: there is no barrier to wait at,
    and one thread makes or encodes tracks while another computes. A thread takes short tiles many
    at a time: to hand one over takes longer than it. Results do not depend on it.
    """
    numbers = {chrom: i for i, chrom in enumerate(source.store.chroms)}
    # a FASTA file has one read position
    alone = nullcontext() if source.rows.genome is None else Lock()

    def work(tile: Tile) -> Piece:
        times = [time.thread_time()]
        x = source.read(tile.chrom, tile.start, tile.end, alone)
        times.append(time.thread_time())
        answer = denoiser.answer(x, tile, sizes[tile.chrom])
        times.append(time.thread_time())
        hidden = mask(source.store.blacklist, tile.chrom, tile.core_start, tile.core_end)
        tracks = {name: np.where(hidden, np.float32(0), track) for name, track in answer.items()}
        encoded = [
            encode(numbers[tile.chrom], tile.core_start, track, DECIMALS[name])
            for name, track in tracks.items()
        ]
        times.append(time.thread_time())
        steps = np.diff(times).tolist()
        signal, last = next(iter(tracks.values())), next(reversed(tracks.values()))
        score = np.where(hidden, np.float32(-np.inf), last)
        return Piece(tile, score, signal, encoded, dict(zip(STEPS, steps, strict=True)))

    threads = torch.get_num_threads()
    if sum(sizes.values()) < SHORT_BP * len(sizes):
        threads = 1  # the time goes into Python, which several would only hand to each other
    workers = min(threads, MAX_WORKERS)
    pool = ThreadPoolExecutor(
        workers, initializer=lambda: torch.set_num_threads(threads // workers)
    )
    waiting: deque[Future[list[Piece]]] = deque()
    try:
        for group in _groups(denoiser, sizes):
            waiting.append(pool.submit(lambda tiles: [*map(work, tiles)], group))
            if len(waiting) > workers + 1:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _groups(denoiser: Denoiser, sizes: dict[str, int]) -> Iterator[list[Tile]]:
    """The tiles of chromosomes in order, in groups of at least GROUP_BP or one tile."""
    group: list[Tile] = []
    bp = 0
    for chrom, size in sizes.items():
        for tile in denoiser.tiles(chrom, size):
            group.append(tile)
            bp += tile.end - tile.start
            if bp >= GROUP_BP:
                yield group
                group, bp = [], 0
    if group:
        yield group


def _keep(
    pieces: Iterator[Piece],
    sizes: dict[str, int],
    rule: tuple[float, int, int],
    cutoffs: np.ndarray,
    writer: resume.Writer,
    bar: tqdm,
) -> dict[str, float]:
    """Call peaks and record the finished chromosomes, in batches; CPU time by step."""
    seconds = dict.fromkeys((*STEPS, "peaks"), 0.0)
    counter, bp = CutoffCounter(cutoffs, *rule[1:]), 0
    for piece in pieces:
        tile = piece.tile
        if tile.core_start == 0:
            caller = PeakCaller(tile.chrom, *rule)
        began = time.thread_time()
        caller.add(tile.core_start, piece.score, piece.signal)
        counter.add(tile.core_start, piece.score)
        writer.add(piece.encoded)
        bar.update(len(piece.score))
        for step, taken in {**piece.seconds, "peaks": time.thread_time() - began}.items():
            seconds[step] += taken
        if tile.core_end == sizes[tile.chrom]:
            writer.finish(tile.chrom, caller.finish())
            bp += tile.core_end
            if bp >= BATCH_BP:
                writer.finish_batch(counter.finish())
                counter, bp = CutoffCounter(cutoffs, *rule[1:]), 0
    if bp:
        writer.finish_batch(counter.finish())
    return seconds
