"""The scored part of every window, in genome order, with the tracks over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from denoiseq.distributed import ALONE, Ranks
from denoiseq.models.network import DENOISED, Prediction
from denoiseq.settings import Train
from denoiseq.windows.batches import TileBatches, WindowLoader
from denoiseq.windows.dataset import WindowDataset

Batch = dict[str, Tensor]
Model = nn.Module | Callable[[Tensor], Prediction]
Filter = Callable[[np.ndarray, slice], np.ndarray]
"""(noisy track (L,) of a window, its scored part) -> float32 (n,), a baseline's track."""


@dataclass(frozen=True)
class Scored:
    """The scored part of one window: arrays (n,) from `start` on, and (track, score) by name.

    A model without regression has no denoised track; without a peak head its track is the score.
    """

    chrom: str
    start: int
    coverage: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    tracks: dict[str, tuple[np.ndarray | None, np.ndarray]]

    @property
    def counted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Clean coverage, truth and mask, as metrics take them."""
        return self.coverage, self.truth, self.mask


def device_of(model: Model) -> torch.device:
    """Where a model computes; the CPU for a plain function."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def predictions(
    model: Model, data: WindowDataset, trained: Train, what: str, ranks: Ranks = ALONE
) -> Iterator[tuple[Batch, Prediction]]:
    """Batches and the model's answer, on its device; `what` is done is the progress bar's label."""
    network = model if isinstance(model, nn.Module) else nn.Identity()
    device, was_training = device_of(model), network.training
    network.eval()
    try:
        quiet = None if trained.trainer.progress else True
        batches = window_batches(data, trained, ranks)
        for batch in tqdm(batches, desc=what, unit="batch", leave=False, disable=quiet):
            batch = {name: value.to(device) for name, value in batch.items()}
            with torch.inference_mode():
                pred = model(batch["x"])
            yield batch, pred
    finally:
        network.train(was_training)


def window_batches(data: WindowDataset, trained: Train, ranks: Ranks) -> WindowLoader:
    """This rank's share of the windows in genome order, in batches of the training's size."""
    batches = TileBatches(data, trained.optim.batch_size, None, ranks)
    return WindowLoader(batches, trained.trainer.workers)


def scored_parts(
    data: WindowDataset, batch: Batch, pred: Prediction | None, filters: Mapping[str, Filter]
) -> Iterator[Scored]:
    """The scored parts of a batch, with the denoised track of `pred` and that of every filter."""
    arrays = {name: value.cpu().numpy() for name, value in batch.items()}
    if pred is not None:
        coverage = None if pred.coverage is None else pred.coverage.cpu().numpy()
        score = pred.score.cpu().numpy()
    for row, index in enumerate(arrays["index"]):
        tile = data.tiles[index]
        part = slice(tile.core_start - tile.start, tile.core_end - tile.start)
        tracks: dict[str, tuple[np.ndarray | None, np.ndarray]] = {}
        for name, smooth in filters.items():
            track = smooth(arrays["x"][row, 0], part)
            tracks[name] = track, track
        if pred is not None:
            denoised = None if coverage is None else coverage[row, part]
            tracks[DENOISED] = denoised, score[row, part]
        truth = {name: arrays[name][row, part] for name in ("coverage", "truth", "mask")}
        yield Scored(tile.chrom, tile.core_start, tracks=tracks, **truth)
