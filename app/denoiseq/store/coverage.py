"""Cut sites to per-base coverage of a window, and the Gaussian that smooths it. Pure numpy."""

import numpy as np

from denoiseq.errors import UserError


def coverage_of_cuts(cuts: np.ndarray, start: int, end: int, half_window_bp: int) -> np.ndarray:
    """Count, at each base of [start, end), the windows [c - h, c + h] of the cut sites c over it.

    cuts : int64 (M,), in any order. half_window_bp : h (AtacWorks: 100).
    Returns float32 (end - start,), exact integers.
    """
    width = end - start
    cuts = np.asarray(cuts, dtype=np.int64)
    opens = np.clip(cuts - (half_window_bp + start), 0, width)
    closes = np.clip(cuts + (half_window_bp + 1 - start), 0, width)
    # a window that misses [start, end) opens and closes on one index and so cancels
    steps = np.bincount(opens, minlength=width + 1) - np.bincount(closes, minlength=width + 1)
    return np.cumsum(steps[:width]).astype(np.float32)  # (W,)


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
