"""Cut sites to per-base coverage of a window, and the Gaussian that smooths it.

Pure numpy; coverage is made on the fly for any window and never stored.
"""

import numpy as np

from denoiseq.errors import UserError
from denoiseq.store.coverage_store import CoverageStore
from denoiseq.store.cut_store import Store
from denoiseq.store.samples import Samples, samples_of
from denoiseq.store.thinning import Thinning


def coverage(cuts: np.ndarray, start: int, end: int, half_window_bp: int) -> np.ndarray:
    """Count, at each base of [start, end), the windows [c - h, c + h] of the cut sites c over it.

    Parameters
    ----------
    cuts : integers (M,), positions of cut sites in any order; those whose window misses
        [start, end) add nothing.
    half_window_bp : h; a window is 2h + 1 bp wide (AtacWorks: h = 100).

    Returns
    -------
    float32 (end - start,), exact integers.
    """
    width = end - start
    cuts = np.asarray(cuts, dtype=np.int64)
    opens = np.clip(cuts - (half_window_bp + start), 0, width)
    closes = np.clip(cuts + (half_window_bp + 1 - start), 0, width)
    # a window that misses [start, end) opens and closes on one index and so cancels
    steps = np.bincount(opens, minlength=width + 1) - np.bincount(closes, minlength=width + 1)
    return np.cumsum(steps[:width]).astype(np.float32)  # (W,)


def window_coverage(
    store: Store | Samples,
    chrom: str,
    start: int,
    end: int,
    half_window_bp: int,
    thinning: Thinning | None = None,
) -> np.ndarray:
    """Coverage of [start, end) from a store, of all fragments or of those a thinning keeps.

    Cuts up to half_window_bp outside the window are fetched too, so a base has the same value
    whatever window it is asked through. A coverage store gives its track as it is, and cannot be
    thinned: ValueError. Returns float32 (end - start,).
    """
    if isinstance(store, Samples):
        store, chrom = store.home(chrom)
    if isinstance(store, CoverageStore):
        if thinning is not None:
            raise UserError(f"{store.path} holds coverage, not fragments: it cannot be thinned.")
        return store.coverage(chrom, start, end)
    positions, fragments = store.cuts(chrom, start - half_window_bp, end + half_window_bp)
    if thinning is not None:
        positions = positions[thinning.keep(fragments)]
    return coverage(positions, start, end, half_window_bp)


def depths(store: Store | Samples, half_window_bp: int) -> list[float]:
    """Cut sites per Mb of each sample, over the bases outside the blacklist.

    Of a coverage store, the number that gives its mean coverage with windows of 2h + 1 bp.
    """
    return [
        1e6 * sample.mean_coverage / (2 * half_window_bp + 1)
        if isinstance(sample, CoverageStore)
        else sample.cuts_per_mb
        for sample in samples_of(store)
    ]


def gaussian_smooth(track: np.ndarray, sigma_bp: float) -> np.ndarray:
    """Smooth a track (W,) with a Gaussian of `sigma_bp` (cut at 4 sigma, sum 1): float32 (W,).

    The track counts as zero beyond its ends. Summed directly, not by FFT: empty stretches stay
    exactly zero, so the ties in them stay ties when bases are ranked.
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
