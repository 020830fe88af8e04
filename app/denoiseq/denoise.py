"""Whole-chromosome inference in tiles, with no seam between them.

Each tile carries the model's full context, cut at the chromosome's ends and never filled beyond
them, so the joined cores equal one run over the whole chromosome. Writes nothing; memory does not
grow with the chromosome.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from denoiseq.genomics.intervals import Tile, tile_chromosome
from denoiseq.learning.models import Network

Fetch = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class DenoiseOptions:
    """core_bp : bases that a tile answers for; batch_size : tiles in flight. Both trade memory."""

    core_bp: int = 50_000
    batch_size: int = 4


def denoise_chromosome(
    model: Network, fetch: Fetch, chrom: str, size: int, options: DenoiseOptions
) -> Iterator[tuple[int, np.ndarray | None, np.ndarray | None]]:
    """Denoise a chromosome from its first base to its last.

    Parameters
    ----------
    model : Network
        Or alike, with `context_bp()` and `tile_step_bp`; put into eval mode.
    fetch : callable
        (start, end) -> float32 (C, end - start), what the model reads: the noisy coverage of the
        chromosome and, with C=5, its bases.
    chrom, size : name (for messages) and length in bp
    options : DenoiseOptions

    Yields
    ------
    start : int
        Where the piece begins; pieces follow each other without gap or overlap.
    coverage : float32 (n,), >= 0
    probability : float32 (n,)
        That a base lies in a peak. Either is None where the model has no head for it.

    Raises
    ------
    ValueError
        If the model's answer is not finite.
    """
    model.eval()
    step_bp = model.tile_step_bp
    tiles = tile_chromosome(chrom, size, options.core_bp, model.context_bp(), step_bp=step_bp)
    for group in _groups(tiles, options.batch_size):
        tracks = _predict(model, fetch, group)
        for row, tile in enumerate(group):
            core = slice(tile.core_start - tile.start, tile.core_end - tile.start)
            coverage, probability = (None if t is None else t[row, core] for t in tracks)
            pieces = [piece for piece in (coverage, probability) if piece is not None]
            if not np.isfinite(pieces).all():
                raise ValueError(
                    f"The model's answer at {chrom}:{tile.core_start}-{tile.core_end} is not "
                    "finite: the checkpoint is broken, or the input is far from what it learned."
                )
            yield tile.core_start, coverage, probability


def _groups(tiles: list[Tile], batch_size: int) -> Iterator[list[Tile]]:
    """Batches of tiles of one length, in order; those at a chromosome's end may be longer."""
    for _, run in groupby(tiles, key=lambda tile: tile.end - tile.start):
        same = list(run)
        yield from (same[k : k + batch_size] for k in range(0, len(same), batch_size))


def _predict(
    model: Network, fetch: Fetch, tiles: list[Tile]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Coverage and probability of whole tiles, float32 (N, L) each; None without a head for it."""
    device = next(model.parameters()).device
    read = np.stack([fetch(tile.start, tile.end) for tile in tiles])  # (N, C, L)
    with torch.inference_mode():
        x: Tensor = torch.from_numpy(read.astype(np.float32, copy=False)).to(device)
        pred = model(x)
        probability = None if pred.peak_logits is None else torch.sigmoid(pred.peak_logits)
    coverage = None if pred.coverage is None else pred.coverage.cpu().numpy()
    return coverage, None if probability is None else probability.cpu().numpy()
