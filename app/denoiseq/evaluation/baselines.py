"""What a denoiser has to beat: the noisy track itself, a Gaussian, and the best linear filter.

The linear filter, an exact least-squares fit from noisy to clean on the training chromosomes,
bounds what any fixed smoothing can do for `mse` and `pearson`.
"""

from __future__ import annotations

import logging
import math
from functools import partial

import numpy as np
import torch

from denoiseq.distributed import ALONE, Ranks
from denoiseq.errors import UserError, listed
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.scored import Filter, scored_parts, window_batches
from denoiseq.evaluation.thresholds import LinearWeights, Tuned
from denoiseq.genomics.intervals import Tile, mask
from denoiseq.settings import Train
from denoiseq.windows.dataset import WindowDataset

log = logging.getLogger(__name__)
# Bandwidths that the Gaussian baseline chooses from.
SIGMAS_BP = (20, 40, 60, 80, 100, 120, 160, 200)
# The linear filter's taps are means of 11 bp (odd, so centred): finer than any cut site's window.
TAP_BP = 11
REACH_BP = 1_000
# Bases to fit it on, at most: spikes are rare and weigh, so a tenth of them would show.
ROWS = 1_000_000
CHUNK_ROWS = 1 << 15


def gaussian_smooth(track: np.ndarray, sigma_bp: float) -> np.ndarray:
    """Smooth a track (W,) with a Gaussian of `sigma_bp` (cut at 4 sigma, sum 1): float32 (W,).

    It counts as 0 beyond its ends. Summed directly, not by FFT: empty stretches stay exactly zero,
    so the ties in them stay ties when bases are ranked.
    """
    if sigma_bp < 0:
        raise UserError(f"sigma_bp must not be negative, got {sigma_bp}.")
    reach = int(np.ceil(4 * sigma_bp))
    if reach == 0 or len(track) == 0:
        return np.array(track, dtype=np.float32)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma_bp) ** 2)
    kernel /= kernel.sum()
    full = np.convolve(np.asarray(track, dtype=np.float64), kernel)  # (W + 2 * reach,)
    return full[reach : reach + len(track)].astype(np.float32)


def gaussian(track: np.ndarray, part: slice, sigma_bp: float) -> np.ndarray:
    """A part of a window smoothed, float32 (n,), from its reach around it."""
    near, inner = _around(track, part, math.ceil(4 * sigma_bp))
    return gaussian_smooth(near, sigma_bp)[inner]


def linear(track: np.ndarray, part: slice, weights: LinearWeights) -> np.ndarray:
    """A part of a window through the linear filter: float32 (n,), not negative."""
    reach = len(weights.taps) // 2 * TAP_BP
    near, inner = _around(track, part, reach + TAP_BP)
    means = _tap_means(np.pad(near, reach))
    out, taps = np.empty(len(near)), np.array(weights.taps)
    for phase in range(min(TAP_BP, len(near))):
        out[phase::TAP_BP] = np.correlate(means[phase::TAP_BP], taps, "valid")
    return np.maximum(out[inner] + weights.intercept, 0).astype(np.float32)


def _around(track: np.ndarray, part: slice, reach: int) -> tuple[np.ndarray, slice]:
    """The track up to `reach` around the part, and where the part is in it."""
    first, last = max(part.start - reach, 0), min(part.stop + reach, len(track))
    return track[first:last], slice(part.start - first, part.stop - first)


def _tap_means(track: np.ndarray) -> np.ndarray:
    """Mean of the TAP_BP bases around each base: float64 (L,); zero beyond the ends."""
    half = TAP_BP // 2
    sums = np.concatenate([[0.0], np.cumsum(np.pad(track.astype(np.float64), half))])
    return (sums[TAP_BP:] - sums[:-TAP_BP]) / TAP_BP


def filters(tuned: Tuned) -> dict[str, Filter]:
    """The baselines by name."""
    baselines: dict[str, Filter] = {
        "noisy": lambda track, part: track[part],
        "gaussian": partial(gaussian, sigma_bp=tuned.gaussian_sigma_bp),
    }
    if tuned.linear is not None:
        baselines["linear"] = partial(linear, weights=tuned.linear)
    return baselines


def fit_linear(data: WindowDataset, ranks: Ranks = ALONE) -> LinearWeights | None:
    """The filter from noisy to clean that has the least squared error over the windows of `data`.

    Taps reach up to 1 kb as far as the windows' context does; None where it holds none. At most
    ROWS bases take part, evenly spread: windows are left out, and every TAP_BP-th base is taken.
    """
    reach = (min(REACH_BP, data.settings.pad_bp - TAP_BP) // TAP_BP) * TAP_BP
    if reach < TAP_BP:
        return None
    n = 2 * reach // TAP_BP + 1
    gram, moment = np.zeros((n + 1, n + 1)), np.zeros(n + 1)
    step = max(1, math.ceil(len(data.tiles) * data.settings.interval_bp / TAP_BP / ROWS))
    tiles = data.tiles[::step][ranks.rank :: ranks.world]
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    for number, tile in enumerate(tiles, start=1):
        waiting.append(_equations(data, tile, n))
        # Many windows at a time: small matrix products would wait for threads.
        if sum(len(y) for _, y in waiting) >= CHUNK_ROWS or number == len(tiles):
            stacked = (np.concatenate(arrays) for arrays in zip(*waiting, strict=True))
            features, clean = map(torch.from_numpy, stacked)
            gram += (features.T @ features).numpy()
            moment += (features.T @ clean).numpy()
            waiting.clear()
    solved = np.linalg.lstsq(ranks.total_array(gram), ranks.total_array(moment), rcond=1e-12)[0]
    return LinearWeights(tuple(solved[:n].tolist()), float(solved[n]))


def _equations(data: WindowDataset, tile: Tile, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of m counted bases of a window what n taps see and a 1, (m, n + 1); clean coverage, (m,)."""
    x, clean = data.tracks(tile.chrom, tile.start, tile.end)
    counted = ~mask(data.store.blacklist, tile.chrom, tile.start, tile.end)
    means = _tap_means(np.pad(x[0], n // 2 * TAP_BP))[tile.core_start - tile.start :: TAP_BP]
    bases = np.arange(tile.core_start, tile.core_end, TAP_BP) - tile.start
    features = np.ones((len(bases), n + 1))
    features[:, :n] = np.lib.stride_tricks.sliding_window_view(means, n)[: len(bases)]
    kept = counted[bases]
    return features[kept], clean[bases][kept].astype(np.float64)


def tune_baselines(
    data: WindowDataset, trained: Train, ranks: Ranks = ALONE, weights: LinearWeights | None = None
) -> Tuned:
    """Choose the Gaussian's bandwidth, and the thresholds of the baselines, on `data`.

    The bandwidth is that of SIGMAS_BP with the best AUPRC, or with the least MSE where no base is
    a true peak. Only bandwidths whose reach (4 sigma) fits into the windows' context take part.
    """
    grid = [float(s) for s in SIGMAS_BP if 4 * s <= data.settings.pad_bp]
    if not grid:
        raise UserError(
            f"No Gaussian bandwidth of {SIGMAS_BP} bp fits the context of "
            f"{data.settings.pad_bp} bp: raise data.pad_bp to 4 times the smallest."
        )
    if len(grid) < len(SIGMAS_BP):
        log.warning("Gaussian bandwidths above %g bp left out: data.pad_bp is small.", max(grid))
    smoothed: dict[str, Filter] = {f"{s:g}": partial(gaussian, sigma_bp=s) for s in grid}
    fixed = filters(Tuned(grid[0], {}, weights))
    del fixed["gaussian"]
    scores = {name: TrackMetrics() for name in (*smoothed, *fixed)}
    for batch in window_batches(data, trained, ranks):
        for part in scored_parts(data, batch, None, smoothed | fixed):
            for name, (track, score) in part.tracks.items():
                scores[name].update(track, score, *part.counted)
    for metrics in scores.values():
        metrics.join(ranks.total_array)
    if scores["noisy"].positives.any():
        sigma = max(grid, key=lambda s: scores[f"{s:g}"].result()["auprc"])
    else:
        log.warning("no true peak on %s: no threshold can be tuned there.", listed(data.chroms))
        sigma = min(grid, key=lambda s: scores[f"{s:g}"].result()["mse"])
    chosen = {name: scores[name] for name in fixed} | {"gaussian": scores[f"{sigma:g}"]}
    thresholds = {name: metrics.best_threshold() for name, metrics in chosen.items()}
    return Tuned(sigma, thresholds, weights)
