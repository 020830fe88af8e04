"""Batches of windows: the order in which they come, each rank's share, and the loader."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate

from denoiseq.distributed import ALONE, Ranks
from denoiseq.windows.dataset import WindowDataset
from denoiseq.workers import fork_server, start_worker

SHARED_MEMORY = "/dev/shm"
_PREFETCHED = 2  # batches of each worker, torch's default


class TileBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) keys: every window once, windows of one length together.

    `start` an epoch before iterating. `seed` shuffles by (seed, epoch), None keeps genome order.
    `batches` and the length are of all ranks together; iterating gives this rank's share of each
    batch, or one window that counts nothing if a batch has none for this rank.
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


class WindowLoader:
    """Iterates over `batches` as tensors; `workers` processes, or this one, make the windows.

    Workers live on between epochs and run no torch arithmetic. Windows come in shared memory; where
    /dev/shm is too small for it, as in many containers, through pipes: a full /dev/shm would end
    the process, but a worker that is killed while it writes to a pipe leaves the reader waiting.
    """

    def __init__(self, batches: TileBatches, workers: int) -> None:
        self._loader = DataLoader(
            batches.data,
            batch_sampler=batches,
            num_workers=workers,
            multiprocessing_context=fork_server() if workers else None,
            persistent_workers=workers > 0,
            collate_fn=default_collate if _fits_shared_memory(batches, workers) else _stacked,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # of its own: iterating draws a seed for the workers
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for arrays in self._loader:
            yield {name: torch.as_tensor(array) for name, array in arrays.items()}


def _fits_shared_memory(batches: TileBatches, workers: int) -> bool:
    """Whether /dev/shm has room for twice the batches that may be there at the same time."""
    if not workers or not len(batches.data.tiles) or not Path(SHARED_MEMORY).is_dir():
        return True
    tiles = batches.data.tiles
    longest = max(range(len(tiles)), key=lambda i: tiles[i].end - tiles[i].start)
    window = batches.data[batches.data.epoch, longest]
    batch_bytes = batches.batch_size * sum(t.nbytes for t in window.values())
    at_once = _PREFETCHED * workers + 2  # and what is being written and read
    return shutil.disk_usage(SHARED_MEMORY).free >= 2 * at_once * batch_bytes


def _stacked(windows: Sequence[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    """The windows as one array for each name, windows along the first axis."""
    return {name: np.stack([window[name].numpy() for window in windows]) for name in windows[0]}
