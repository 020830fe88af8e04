"""Whether the values of a coverage track are counts, by what they are whole multiples of."""

import numpy as np

# Of the values, so many at least fit a step of 1, or a longer or shorter one.
ALMOST_ALL, MOST = 0.99, 0.95
# How far from it, in steps; files may have rounded the multiples of another step than 1.
NEARLY, ABOUT = 1e-3, 0.05
_SMALL = 20  # steps: smaller values tell the step's length


def unit_of(values: np.ndarray) -> float | None:
    """The step that the values of a track are whole multiples of: 1 of counts, None without one.

    Whole numbers are counts, in whichever windows or bins, unless all are multiples of the least.
    Counts times a constant (RPM, CPM, RPGC, RPKM; a mean over bins or replicates) are multiples of
    the least value, which is one read; of a mean, 1 over a whole number. Ratios, logarithms,
    p values and tracks smoothed with weights have no step. Not told from counts: other tracks that
    were rounded to whole numbers. Not told from means: tracks that were rounded to few decimals.

    values : positive, (M,), such as a sample of the runs; none are counts
    """
    if len(values) == 0:
        return 1.0
    values = values.astype(np.float64)
    whole = _multiples(values, 1.0, NEARLY).mean() >= ALMOST_ALL
    step = float(values.min())
    small = values[values < _SMALL * step]
    step = float(small.sum() / np.rint(small / step).sum())  # the least may be rounded
    if _multiples(values, step, ABOUT).mean() >= MOST and not (whole and step < 1.5):
        return step
    return 1.0 if whole else None


def _multiples(values: np.ndarray, step: float, tolerance: float) -> np.ndarray:
    """Which values are 1, 2, 3 … steps, but for a tolerance in steps: bool (M,)."""
    steps = values / step
    return (steps > 0.5) & (np.abs(steps - np.rint(steps)) <= tolerance)
