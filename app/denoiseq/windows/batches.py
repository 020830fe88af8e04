"""Batches of windows: the order in which they come, each rank's share, and the loader."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from denoiseq.distributed import ALONE, Ranks
from denoiseq.windows.dataset import WindowDataset
from denoiseq.workers import fork_server, start_worker


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

    Workers live on between epochs and run no torch arithmetic. Their arrays come through pipes:
    torch's way, shared memory, ends the process where /dev/shm is small, as in a container, and
    takes an open file for each tensor.
    """

    def __init__(self, batches: TileBatches, workers: int) -> None:
        self._loader = DataLoader(
            batches.data,
            batch_sampler=batches,
            num_workers=workers,
            multiprocessing_context=fork_server() if workers else None,
            persistent_workers=workers > 0,
            collate_fn=_stacked,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # of its own: iterating draws a seed for the workers
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for arrays in self._loader:
            yield {name: torch.from_numpy(array) for name, array in arrays.items()}


def _stacked(windows: Sequence[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    """The windows as one array for each name, windows along the first axis."""
    return {name: np.stack([window[name].numpy() for window in windows]) for name in windows[0]}
