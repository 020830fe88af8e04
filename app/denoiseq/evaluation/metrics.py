"""How well a track and its peak score fit a truth, per base: streaming, in fixed memory.

All is kept as sums over bins, so results do not depend on how the genome was cut into updates.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from denoiseq.errors import UserError

# Score bins: the float32 number itself, cut to MANTISSA bits and to magnitudes 2^-12 .. 2^20, so
# integers to 4,096 (coverages) have bins, and so ties, of their own.
MANTISSA = 11
EXPONENTS = 32
HALF = EXPONENTS << MANTISSA
BINS = 2 * HALF + 1
DROP = 23 - MANTISSA
OFFSET = (127 - 12) << 23
SMALLEST = np.float32(2.0**-12)
LARGEST = np.nextafter(np.float32(2.0**20), np.float32(0))
# The joint histogram for Spearman: 64 bins an octave of the track, 32 of the truth.
TRACK_SHIFT, TRUTH_SHIFT = 5, 6
TRACK_BINS = (HALF >> TRACK_SHIFT) + 1
TRUTH_BINS = (HALF >> TRUTH_SHIFT) + 1
OUTSIDE, INSIDE = 0, 1


def score_bins(values: np.ndarray) -> np.ndarray:
    """Order-preserving bin of each float32 value, in [0, BINS); values below 2^-12 count as 0.

    Within a bin values differ by less than 2^-11 of their size.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    magnitude = np.minimum(np.abs(values), LARGEST)
    steps = ((magnitude.view(np.int32) - OFFSET) >> DROP).astype(np.int64) + 1
    steps[magnitude < SMALLEST] = 0
    return np.where(values < 0, HALF - steps, HALF + steps)


def bin_floor(index: int) -> float:
    """The smallest float32 of a bin: `value >= bin_floor(i)` is `score_bins(value) >= i`."""
    step = int(index) - HALF
    if step == -HALF:
        return float("-inf")
    if step == 0:
        return float(np.nextafter(-SMALLEST, np.float32(0)))
    bits = OFFSET + ((abs(step) - 1) << DROP)
    if step < 0:
        bits += (1 << DROP) - 1
    return float(np.copysign(np.int32(bits).view(np.float32), np.float32(step)))


def bin_middles(bins: np.ndarray) -> np.ndarray:
    """A value in the middle of each bin: float64, the shape of `bins`; 0 in the bin of 0."""
    steps = np.asarray(bins, dtype=np.int64) - HALF
    bits = OFFSET + ((np.abs(steps) - 1) << DROP) + (1 << (DROP - 1))
    magnitude = bits.astype(np.int32).view(np.float32).astype(np.float64)
    return np.where(steps == 0, 0.0, np.copysign(magnitude, steps))


class TrackMetrics:
    """Accumulates the metrics of one track and its peak score against truth.

    mse, log1p_pearson : of the track scaled by its best single factor a = sum(p*y)/sum(p*p)
    pearson, spearman : of the track as it is
    auprc, auroc, best_f1 : of the score; auprc is the step-wise average precision, ties together

    mse and pearson are exact to float64 sums. The others are computed on bins: the score's and
    log1p's are 2^-11 of the value wide, Spearman's 2^-6 (track) and 2^-5 (truth), equal integers
    below 64 being ties only with themselves. Memory: 23 MB, whatever the length of the genome.
    """

    def __init__(self, logits: bool = False):
        self.logits = logits  # the score is the log-odds of a peak, not a coverage
        # Outside and inside true peaks; their sum is the whole.
        self.sums = np.zeros((2, 6))  # n, p, y, pp, yy, py
        self.log_sums = np.zeros((2, 2))  # log1p(y), its square
        self.by_track = np.zeros((2, 3, HALF + 1))  # per bin of p: n, p, log1p(y)
        self.joint = np.zeros(TRACK_BINS * TRUTH_BINS, dtype=np.int64)
        self.positives = np.zeros(BINS, dtype=np.int64)
        self.negatives = np.zeros(BINS, dtype=np.int64)

    def update(
        self,
        pred_track: np.ndarray | None,
        score: np.ndarray,
        truth_track: np.ndarray,
        truth_peaks: np.ndarray,
        mask: np.ndarray,
    ) -> None:
        """Add the bases that `mask` counts; all arrays (n,), the bool ones truth_peaks and mask.

        Tracks are coverages, float32, >= 0; without `pred_track` its metrics stay nan. A higher
        score is more peak-like, on any monotone scale. UserError: a prediction is not finite.
        """
        p, s = None if pred_track is None else pred_track[mask], score[mask]
        y, inside = truth_track[mask], truth_peaks[mask].astype(bool)
        if not all(np.isfinite(values).all() for values in (p, s) if values is not None):
            raise UserError(
                "The prediction holds values that are not finite: the weights are broken, "
                "go back to an earlier checkpoint or lower the learning rate."
            )
        if p is not None:
            for part, where in ((OUTSIDE, ~inside), (INSIDE, inside)):
                self._add_track(part, p[where], y[where])
        bins = score_bins(s)
        np.add.at(self.positives, bins[inside], 1)
        np.add.at(self.negatives, bins[~inside], 1)

    def join(self, total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replace each sum by `total` of it: the sum over the processes that shared the bases."""
        for name, sums in vars(self).items():
            if isinstance(sums, np.ndarray):
                setattr(self, name, total(sums))

    def add(self, other: TrackMetrics) -> None:
        """Count the bases of `other` too."""
        for name, sums in vars(self).items():
            if isinstance(sums, np.ndarray):
                sums += getattr(other, name)

    def _add_track(self, part: int, p: np.ndarray, y: np.ndarray) -> None:
        bins_p = score_bins(np.maximum(p, 0)) - HALF
        bins_y = score_bins(np.maximum(y, 0)) - HALF
        p, y = p.astype(np.float64), y.astype(np.float64)
        log_y = np.log1p(np.maximum(y, 0))
        self.sums[part] += [p.size, p.sum(), y.sum(), p @ p, y @ y, p @ y]
        self.log_sums[part] += [log_y.sum(), log_y @ log_y]
        # add.at costs by the base; bincount would by the bin, of which there are 2 million.
        for row, weights in zip(self.by_track[part], (1.0, p, log_y), strict=True):
            np.add.at(row, bins_p, weights)
        joint = coarse(bins_p, TRACK_SHIFT) * TRUTH_BINS + coarse(bins_y, TRUTH_SHIFT)
        np.add.at(self.joint, joint, 1)

    @property
    def scale(self) -> float:
        """The factor a that fits the track to the truth best in squared error."""
        sums = self.sums.sum(0)
        return float(ratio(sums[5], sums[3]))

    def result(self) -> dict[str, float]:
        """All metrics by name; nan where one is undefined (one class, constant track, no base)."""
        tracks = self._of_parts([OUTSIDE, INSIDE])
        ranking = {name: float(value) for name, value in self.sweep().ranking().items()}
        return {**tracks, "spearman": self._spearman(), **ranking}

    def parts(self) -> dict[str, dict[str, float]]:
        """mse, pearson and log1p_pearson "inside" and "outside" true peaks, by the one scale."""
        return {"inside": self._of_parts([INSIDE]), "outside": self._of_parts([OUTSIDE])}

    def _of_parts(self, parts: list[int]) -> dict[str, float]:
        count, total, log_y = self.by_track[parts].sum(0)
        mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        scale = self.scale
        log_p = np.log1p((0.0 if np.isnan(scale) else scale) * np.maximum(mean, 0))
        fitted = fit(self.sums[parts].sum(0), scale)
        log_sums = self.log_sums[parts].sum(0)
        both = count @ log_p, log_sums[0], count @ log_p**2, log_sums[1], log_y @ log_p
        fitted["log1p_pearson"] = correlation(count.sum(), *both)
        return {name: float(fitted[name]) for name in ("mse", "log1p_pearson", "pearson")}

    def sweep(self) -> Sweep:
        """The score's thresholds, the strictest first: at index i bin_floor(BINS - 1 - i)."""
        return Sweep(self.positives[::-1], self.negatives[::-1])

    def best_threshold(self) -> float:
        """The threshold that gives `best_f1`; nan where there is no true peak."""
        if not self.positives.any():
            return float("nan")
        return bin_floor(BINS - 1 - int(np.argmax(self.sweep().f1())))

    def _spearman(self) -> float:
        joint = self.joint.reshape(TRACK_BINS, TRUTH_BINS)
        n_p, n_y = joint.sum(1), joint.sum(0)
        order_p, order_y = _mean_orders(n_p), _mean_orders(n_y)
        both = n_p @ order_p**2, n_y @ order_y**2, order_p @ (joint @ order_y)
        return float(correlation(float(joint.sum()), 0.0, 0.0, *both))


def fit(sums: np.ndarray, scale: np.ndarray | float) -> dict[str, np.ndarray]:
    """mse of a track scaled by `scale` and pearson, from sums (..., 6) of n, p, y, pp, yy, py."""
    n, p, y, pp, yy, py = np.moveaxis(np.asarray(sums), -1, 0)
    a = np.nan_to_num(scale)
    return {
        "mse": ratio(yy - 2 * a * py + a * a * pp, n),
        "pearson": correlation(n, p, y, pp, yy, py),
    }


class Sweep:
    """What calling bases at or above each threshold gives, from the strictest threshold on.

    positives, negatives : bases inside and outside true peaks by score, (..., bins), the best first
    hits, misses : of the called bases, those inside and outside true peaks, (..., bins)
    """

    def __init__(self, positives: np.ndarray, negatives: np.ndarray):
        self.positives, self.negatives = positives, negatives
        self.hits, self.misses = np.cumsum(positives, axis=-1), np.cumsum(negatives, axis=-1)

    def precision(self) -> np.ndarray:
        return self.hits / np.maximum(self.hits + self.misses, 1)

    def recall(self) -> np.ndarray:
        """nan where no base is inside a true peak."""
        return ratio(self.hits, self.hits[..., -1:])

    def false_positive_rate(self) -> np.ndarray:
        """nan where every base is inside a true peak."""
        return ratio(self.misses, self.misses[..., -1:])

    def f1(self) -> np.ndarray:
        called = self.hits + self.misses
        return 2 * self.hits / np.maximum(called + self.hits[..., -1:], 1)

    def ranking(self) -> dict[str, np.ndarray]:
        """auprc, auroc and best_f1; nan where no base is inside a true peak."""
        n_pos, n_neg = (n[..., -1].astype(np.float64) for n in (self.hits, self.misses))
        # Pairs ranked rightly, ties half: each positive against the negatives below its bin.
        below = self.misses[..., -1:] - self.misses + self.negatives / 2
        pairs = np.einsum("...i,...i->...", self.positives, below)
        area = np.einsum("...i,...i->...", self.positives, self.precision())
        return {
            "auprc": ratio(area, n_pos),
            "auroc": ratio(pairs, n_pos * n_neg),
            "best_f1": np.where(n_pos > 0, self.f1().max(axis=-1), np.nan),
        }


def coarse(steps: np.ndarray, shift: int) -> np.ndarray:
    """Merge 2^shift neighbouring steps, keeping 0 (zero coverage) a bin of its own."""
    return (steps + (1 << shift) - 1) >> shift


def _mean_orders(counts: np.ndarray) -> np.ndarray:
    """Mean place of each bin's members in the order of all, centred on 0: float64 (bins,)."""
    return np.cumsum(counts) - (counts - 1) / 2 - (counts.sum() + 1) / 2


def ratio(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """a / b, nan where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.divide(a, b, out=np.full(b.shape, np.nan), where=b != 0)


def correlation(n, p, y, pp, yy, py) -> np.ndarray:
    """Pearson from the six sums, of any shape; nan where a variance is nothing but rounding."""
    var_p, var_y = n * pp - p * p, n * yy - y * y
    constant = (var_p <= 1e-13 * n * pp) | (var_y <= 1e-13 * n * yy)
    spread = np.sqrt(np.where(constant, 1.0, var_p * var_y))
    return np.where(constant, np.nan, (n * py - p * y) / spread)
