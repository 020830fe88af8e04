"""How well a track and its peak score fit a truth: streaming, fixed memory, safe with one class.

Everything is kept as int64 or float64 sums over bins, so results do not depend on how the genome
was cut into updates, and the sums of several processes may be added. Pure numpy, per base.
"""

from collections.abc import Callable

import numpy as np

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
    below 64 being ties only with themselves. Memory: 21 MB, whatever the length of the genome.

    Parameters
    ----------
    logits : bool
        Note that the score is the log-odds of a peak, not a coverage.
    """

    def __init__(self, logits: bool = False):
        self.logits = logits
        self.sums = np.zeros(6)  # n, p, y, pp, yy, py
        self.log_sums = np.zeros(2)  # log1p(y), its square
        self.by_track = np.zeros((3, HALF + 1))  # per bin of p: n, p, log1p(y)
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
        """Add bases; all arrays have one shape.

        Parameters
        ----------
        pred_track, truth_track : float32, >= 0, coverage
            None as prediction: there is none, and its metrics stay nan.
        score : float32, higher is more peak-like (any monotone scale; logits for a network)
        truth_peaks : bool
        mask : bool
            Only True bases count.

        Raises
        ------
        ValueError
            If a counted prediction is not finite.
        """
        p, s = None if pred_track is None else pred_track[mask], score[mask]
        y, inside = truth_track[mask], truth_peaks[mask].astype(bool)
        if not all(np.isfinite(values).all() for values in (p, s) if values is not None):
            raise ValueError(
                "The prediction holds values that are not finite: the weights are broken, "
                "go back to an earlier checkpoint or lower the learning rate."
            )
        if p is not None:
            self._add_track(p, y)
        bins = score_bins(s)
        np.add.at(self.positives, bins[inside], 1)
        np.add.at(self.negatives, bins[~inside], 1)

    def join(self, total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replace each sum by `total` of it: the sum over the processes that shared the bases."""
        for name, sums in vars(self).items():
            if isinstance(sums, np.ndarray):
                setattr(self, name, total(sums))

    def _add_track(self, p: np.ndarray, y: np.ndarray) -> None:
        bins_p = score_bins(np.maximum(p, 0)) - HALF
        bins_y = score_bins(np.maximum(y, 0)) - HALF
        p, y = p.astype(np.float64), y.astype(np.float64)
        log_y = np.log1p(np.maximum(y, 0))
        self.sums += [p.size, p.sum(), y.sum(), p @ p, y @ y, p @ y]
        self.log_sums += [log_y.sum(), log_y @ log_y]
        # add.at costs by the base; bincount would by the bin, of which there are 2 million.
        for row, weights in zip(self.by_track, (1.0, p, log_y), strict=True):
            np.add.at(row, bins_p, weights)
        coarse = _coarse(bins_p, TRACK_SHIFT) * TRUTH_BINS + _coarse(bins_y, TRUTH_SHIFT)
        np.add.at(self.joint, coarse, 1)

    @property
    def bases(self) -> int:
        """How many bases were counted."""
        return int(self.positives.sum() + self.negatives.sum())

    @property
    def scale(self) -> float:
        """The factor a that fits the track to the truth best in squared error."""
        return _ratio(self.sums[5], self.sums[3])

    def result(self) -> dict[str, float]:
        """All metrics by name; nan where one is undefined (one class, constant track, no base)."""
        n, p, y, pp, yy, py = self.sums
        a = self.scale
        return {
            "mse": _ratio(yy - 2 * a * py + a * a * pp, n) if pp else _ratio(yy, n),
            "log1p_pearson": self._log1p_pearson(),
            "pearson": _correlation(n, p, y, pp, yy, py),
            "spearman": self._spearman(),
            **self._ranking(),
        }

    def best_threshold(self) -> float:
        """The score from which on (>=) calling a base a peak gives `best_f1`; nan with no peak."""
        f1 = self._f1()
        return bin_floor(BINS - 1 - int(np.argmax(f1))) if self.positives.any() else float("nan")

    def _log1p_pearson(self) -> float:
        count, total, log_y = self.by_track
        mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        scale = 0.0 if np.isnan(self.scale) else self.scale
        log_p = np.log1p(scale * np.maximum(mean, 0))
        sum_y, sum_yy = self.log_sums
        return _correlation(
            self.sums[0], count @ log_p, sum_y, count @ log_p**2, sum_yy, log_y @ log_p
        )

    def _spearman(self) -> float:
        joint = self.joint.reshape(TRACK_BINS, TRUTH_BINS)
        rank_p, rank_y = _mid_ranks(joint.sum(1)), _mid_ranks(joint.sum(0))
        n_p, n_y = joint.sum(1), joint.sum(0)
        return _correlation(
            joint.sum(), 0.0, 0.0, n_p @ rank_p**2, n_y @ rank_y**2, rank_p @ (joint @ rank_y)
        )

    def _f1(self) -> np.ndarray:
        """F1 of "score in this bin or above" for each bin, best score first."""
        hits = np.cumsum(self.positives[::-1])
        called = hits + np.cumsum(self.negatives[::-1])
        return 2 * hits / np.maximum(called + self.positives.sum(), 1)

    def _ranking(self) -> dict[str, float]:
        positives, negatives = self.positives[::-1], self.negatives[::-1]
        n_pos, n_neg = positives.sum(), negatives.sum()
        if n_pos == 0:
            return dict.fromkeys(("auprc", "auroc", "best_f1"), float("nan"))
        hits, misses = np.cumsum(positives), np.cumsum(negatives)
        precision = hits / np.maximum(hits + misses, 1)
        # Pairs ranked rightly, ties half: each positive against the negatives below its bin.
        pairs = positives @ (n_neg - misses + negatives / 2)
        return {
            "auprc": float(positives @ precision / n_pos),
            "auroc": _ratio(pairs, float(n_pos) * float(n_neg)),
            "best_f1": float(self._f1().max()),
        }


def peak_agreement(called: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict[str, float]:
    """How called peaks fit true ones: precision, recall, f1 (overlap >= 1 bp) and iou_bp.

    Parameters
    ----------
    called, truth : dict of chromosome -> int64 (M, 2)
        Sorted, disjoint, half-open intervals.

    Returns
    -------
    dict
        precision is nan when nothing is called, recall when nothing is true; f1 is 0 when only
        one of them is empty; iou_bp is intersection over union in bases.
    """
    empty = np.zeros((0, 2), dtype=np.int64)
    n_called = n_truth = right = found = 0
    shared = total = 0
    for chrom in sorted(set(called) | set(truth)):
        a, b = called.get(chrom, empty), truth.get(chrom, empty)
        n_called, n_truth = n_called + len(a), n_truth + len(b)
        right += int((_shared_bp(a, b) > 0).sum())
        found += int((_shared_bp(b, a) > 0).sum())
        both = int(_shared_bp(a, b).sum())
        shared += both
        total += int(np.diff(a).sum() + np.diff(b).sum()) - both
    precision, recall = _ratio(right, n_called), _ratio(found, n_truth)
    # From counts, so that it is 0 and not nan when one side is empty.
    both_ways = precision + recall if n_called and n_truth else 0.0
    f1 = 2 * precision * recall / both_ways if both_ways else 0.0
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1 if n_called or n_truth else float("nan"),
        "iou_bp": _ratio(shared, total),
    }


def _shared_bp(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bases of each interval of a (M, 2) that lie in b (sorted, disjoint): int64 (M,)."""
    if not len(b):
        return np.zeros(len(a), dtype=np.int64)
    before = np.concatenate([[0], np.cumsum(b[:, 1] - b[:, 0])])  # bases of b ahead of interval i

    def below(position: np.ndarray) -> np.ndarray:
        i = np.searchsorted(b[:, 0], position, side="right")
        last = np.maximum(i - 1, 0)
        return before[i] - np.where(i > 0, np.maximum(b[last, 1] - position, 0), 0)

    return below(a[:, 1]) - below(a[:, 0])


def _coarse(steps: np.ndarray, shift: int) -> np.ndarray:
    """Merge 2^shift neighbouring steps, keeping 0 (zero coverage) a bin of its own."""
    return (steps + (1 << shift) - 1) >> shift


def _mid_ranks(counts: np.ndarray) -> np.ndarray:
    """Mean rank of each bin's members, centred on 0: float64 (bins,)."""
    return np.cumsum(counts) - (counts - 1) / 2 - (counts.sum() + 1) / 2


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")


def _correlation(n: float, p: float, y: float, pp: float, yy: float, py: float) -> float:
    """Pearson from the six sums; nan where a variance is nothing but rounding."""
    var_p, var_y = n * pp - p * p, n * yy - y * y
    if var_p <= 1e-13 * n * pp or var_y <= 1e-13 * n * yy:
        return float("nan")
    return float((n * py - p * y) / np.sqrt(var_p * var_y))
