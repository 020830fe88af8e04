"""What is scored: the counted part of every window, in genome order, with the tracks over it.

One streaming path for validation, test and the tuning of baselines; keeps no metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from denoiseq.distributed import ALONE, Ranks
from denoiseq.evaluation.options import EvaluateOptions
from denoiseq.models.network import Prediction
from denoiseq.windows.batches import TileBatches, window_loader
from denoiseq.windows.dataset import WindowDataset

Batch = dict[str, Tensor]
Model = nn.Module | Callable[[Tensor], Prediction]
Filter = Callable[[np.ndarray, slice], np.ndarray]
"""(noisy track (L,) of a window, its core) -> float32 (core,), a baseline's track."""


@dataclass(frozen=True)
class Core:
    """The counted part of one window: arrays (n,) from `start` on, and (track, score) by name.

    A model without regression has no denoised track, one without peaks has it as the score.
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
    """Where a model computes; the CPU, if it is no network."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def predictions(
    model: Model, data: WindowDataset, options: EvaluateOptions, what: str, ranks: Ranks = ALONE
) -> Iterator[tuple[Batch, Prediction]]:
    """Batches in genome order with the model's answer, without gradient, on the model's device."""
    batches = TileBatches(data, options.batch_size, None, ranks)
    loader = window_loader(batches, options.workers)
    network = model if isinstance(model, nn.Module) else nn.Identity()
    device, was_training = device_of(model), network.training
    network.eval()
    try:
        quiet = None if options.progress else True
        for batch in tqdm(loader, desc=what, unit="batch", leave=False, disable=quiet):
            batch = {name: value.to(device) for name, value in batch.items()}
            with torch.inference_mode():
                pred = model(batch["x"])
            yield batch, pred
    finally:
        network.train(was_training)


def cores(
    data: WindowDataset,
    batch: Batch,
    pred: Prediction | None = None,
    filters: Mapping[str, Filter] | None = None,
) -> Iterator[Core]:
    """The cores of a batch, with the denoised track of `pred` and a track of every filter."""
    arrays = {name: value.cpu().numpy() for name, value in batch.items()}
    if pred is not None:
        answer = [None if t is None else t.cpu().numpy() for t in pred]
        score = next(track for track in reversed(answer) if track is not None)
    for row, index in enumerate(arrays["index"]):
        tile = data.tiles[index]
        core = slice(tile.core_start - tile.start, tile.core_end - tile.start)
        tracks: dict[str, tuple[np.ndarray | None, np.ndarray]] = {}
        for name, smooth in (filters or {}).items():
            track = smooth(arrays["x"][row, 0], core)
            tracks[name] = track, track
        if pred is not None:
            denoised = None if answer[0] is None else answer[0][row, core]
            tracks["denoised"] = denoised, score[row, core]
        truth = {name: arrays[name][row, core] for name in ("coverage", "truth", "mask")}
        yield Core(tile.chrom, tile.core_start, tracks=tracks, **truth)


def each_core(
    data: WindowDataset,
    options: EvaluateOptions,
    filters: Mapping[str, Filter],
    ranks: Ranks = ALONE,
) -> Iterator[Core]:
    """Every core of `data` with the tracks of `filters` alone."""
    batches = TileBatches(data, options.batch_size, None, ranks)
    for batch in window_loader(batches, options.workers):
        yield from cores(data, batch, None, filters)
