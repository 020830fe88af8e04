"""Windows of a cut-site store as tensors: noisy coverage in, clean coverage and peaks out.

A window depends on (options, epoch, index) alone, so workers, resumed runs and restarts see the
same ones. Samplers and the loader are here too; no model is.
"""

import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from denoiseq.genomics.coverage import coverage
from denoiseq.genomics.intervals import Tile, mask, tile_chromosome
from denoiseq.genomics.store import CutStore, Thinning
from denoiseq.learning.ranks import ALONE, Ranks

log = logging.getLogger(__name__)
TARGETS = ("all", "complement")


@dataclass(frozen=True)
class WindowOptions:
    """How windows are cut and thinned; lengths in bp.

    target "all" takes every fragment as truth; "complement" those that the thinning left out, so
    that noisy and clean share none.
    """

    interval_bp: int = 50_000
    pad_bp: int = 5_000
    half_window_bp: int = 100
    thin_fraction: float = 0.1
    target: str = "all"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"target={self.target!r} is unknown: choose all or complement.")
        if not 0 < self.thin_fraction <= 1:
            raise ValueError(
                f"thin_fraction is {self.thin_fraction}, expected above 0 and up to 1."
            )
        if self.target == "complement" and self.thin_fraction == 1:
            raise ValueError("target=complement leaves no truth at thin_fraction=1: thin more.")

    @property
    def length_bp(self) -> int:
        """Bases of a window, context included."""
        return self.interval_bp + 2 * self.pad_bp


class WindowDataset(Dataset):
    """Fixed-length windows over chromosomes.

    Training moves the windows by a random offset per chromosome and draws new fragments each
    epoch; otherwise windows and draw are fixed (epoch 0's draw), in genome order, and
    chromosomes shorter than a window are whole.

    Parameters
    ----------
    store : CutStore
    chroms : list of str
    options : WindowOptions
    peaks : dict of chromosome -> int64 (M, 2)
        Labels that the peak head learns.
    training : bool
    truth : dict like `peaks`, optional
        Peaks that metrics are computed against; the labels where not given.

    Raises
    ------
    ValueError
        If there is no window, or no labelled base in any.
    """

    def __init__(
        self,
        store: CutStore,
        chroms: list[str],
        options: WindowOptions,
        peaks: dict[str, np.ndarray],
        *,
        training: bool,
        truth: dict[str, np.ndarray] | None = None,
    ):
        self.store, self.options, self.training = store, options, training
        self.chroms = list(chroms)
        self.peaks = peaks
        self.truth = peaks if truth is None else truth
        if training:
            self.chroms = self._long_enough()
        self.set_epoch(0)
        if not self.tiles:
            raise ValueError(
                f"No window of {options.length_bp} bp is left to train on in {', '.join(chroms)}: "
                "choose other chromosomes, a smaller data.interval_bp, or a smaller blacklist."
            )
        if training and not any(len(peaks.get(c, ())) for c in self.chroms):
            raise ValueError(
                f"The labels hold no peaks on the training chromosomes ({', '.join(chroms)}): "
                "check the chromosome names of the BED, or lower the label threshold."
            )

    def _long_enough(self) -> list[str]:
        short = [c for c in self.chroms if self.store.chroms[c] < self.options.length_bp]
        if short:
            log.info(
                "not trained on, shorter than a window of %d bp: %s",
                self.options.length_bp,
                ", ".join(short),
            )
        return [c for c in self.chroms if c not in short]

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch: new offsets and a new draw in training, nothing otherwise."""
        self.epoch = epoch if self.training else 0
        self.tiles = [tile for chrom in self.chroms for tile in self._tile(chrom)]

    def _tile(self, chrom: str) -> list[Tile]:
        options, offset = self.options, 0
        if self.training:
            key = [options.seed, self.epoch, list(self.store.chroms).index(chrom)]
            offset = int(np.random.default_rng(key).integers(options.interval_bp))
        size = self.store.chroms[chrom]
        tiles = tile_chromosome(chrom, size, options.interval_bp, options.pad_bp, offset)
        if not self.training:
            return tiles
        # A core that is all blacklist teaches nothing.
        return [t for t in tiles if not self._blacklisted(t)[t.core_start - t.start :].all()]

    def _blacklisted(self, tile: Tile) -> np.ndarray:
        """bool, from the tile's start to its core's end."""
        return mask(self.store.blacklist, tile.chrom, tile.start, tile.core_end)

    @property
    def input_cuts_per_mb(self) -> float:
        """Depth of the noisy input: cut sites per million unmasked bases."""
        return self.store.cuts_per_mb * self.options.thin_fraction

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        """One window by index in the current epoch, or by (epoch, index).

        A negative index gives the window ~index with an empty mask: it takes part in a batch and
        counts nothing.

        Returns
        -------
        dict
            x float32 (1, L) noisy coverage; coverage float32 (L,) clean; peaks float32 (L,) and
            truth bool (L,) 1 inside a label / a true peak; mask bool (L,) True on the tile's
            core outside the blacklist; index int64 ().
        """
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if self.training and epoch != self.epoch:
            self.set_epoch(epoch)
        idle, index = index < 0, max(index, ~index)
        tile = self.tiles[index]
        noisy, clean = self._tracks(tile)
        inside = mask(self.peaks, tile.chrom, tile.start, tile.end)
        truth = inside
        if self.truth is not self.peaks:
            truth = mask(self.truth, tile.chrom, tile.start, tile.end)
        counted = np.zeros(tile.end - tile.start, dtype=bool)
        core = slice(tile.core_start - tile.start, tile.core_end - tile.start)
        if not idle:
            counted[core] = ~self._blacklisted(tile)[core]
        return {
            "x": torch.from_numpy(noisy)[None],  # (1, L)
            "coverage": torch.from_numpy(clean),
            "peaks": torch.from_numpy(inside.astype(np.float32)),
            "truth": torch.from_numpy(truth),
            "mask": torch.from_numpy(counted),
            "index": torch.tensor(index),
        }

    def _tracks(self, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
        """Noisy and clean coverage of a tile, float32 (L,) each, from one read of the store."""
        options, h = self.options, self.options.half_window_bp
        cuts, fragments = self.store.cuts(tile.chrom, tile.start - h, tile.end + h)
        drawn = Thinning(options.thin_fraction, options.seed, self.epoch).keep(fragments)
        noisy = coverage(cuts[drawn], tile.start, tile.end, h)
        left = cuts if options.target == "all" else cuts[~drawn]
        return noisy, coverage(left, tile.start, tile.end, h)


class TileBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) keys: every window once, windows of one length together.

    Set `epoch`, and `skip` to leave out the first batches of it, before iterating. `batches` and
    the length are of all ranks together; iterating gives this rank's share of each batch, or one
    window that counts nothing where a batch has none for it.

    Parameters
    ----------
    data : WindowDataset
    batch_size : int
    seed : int or None
        Shuffles by (seed, epoch); None keeps genome order.
    ranks : Ranks
    """

    def __init__(
        self, data: WindowDataset, batch_size: int, seed: int | None, ranks: Ranks = ALONE
    ):
        self.data, self.batch_size, self.seed, self.ranks = data, batch_size, seed, ranks
        self.skip = 0

    def start(self, epoch: int, skip: int = 0) -> None:
        """Move the dataset to an epoch and the iteration past its first `skip` batches."""
        self.data.set_epoch(epoch)
        self.skip = skip

    def batches(self) -> list[list[tuple[int, int]]]:
        """All batches of the epoch."""
        tiles, epoch = self.data.tiles, self.data.epoch
        order = np.arange(len(tiles))
        if self.seed is not None:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        plan = []
        for _, run in groupby(order.tolist(), key=lambda i: tiles[i].end - tiles[i].start):
            keys = [(epoch, i) for i in run]
            plan += [keys[k : k + self.batch_size] for k in range(0, len(keys), self.batch_size)]
        return plan

    def __len__(self) -> int:
        return len(self.batches()) - self.skip

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        ranks = self.ranks
        for keys in self.batches()[self.skip :]:
            epoch, first = keys[0]
            yield keys[ranks.rank :: ranks.world] or [(epoch, ~first)]


def window_loader(batches: TileBatches, workers: int) -> DataLoader:
    """A loader over `batches`; workers live on between epochs and run no torch arithmetic.

    They come from a fork server, never a fork of this process: an OpenMP call or an open file
    would not survive that.
    """
    return DataLoader(
        batches.data,
        batch_sampler=batches,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator(),  # of its own: iterating draws a seed for the workers
    )


def _ignore_interrupt(_worker: int) -> None:
    """Ctrl-C reaches the whole process group; only the main process should answer it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
