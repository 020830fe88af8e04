"""Counts are told from normalised tracks, as the programs that write bigWigs leave them."""

import numpy as np
import pytest
from denoiseq.store.counts import unit_of
from hypothesis import given
from hypothesis import strategies as st

RNG = np.random.default_rng(0)
COUNTS = RNG.negative_binomial(1, 0.05, 20_000) + 1.0
CONTINUOUS = RNG.lognormal(0, 1, 20_000)


def written(values, form):
    """The values as a text file and then a bigWig have them."""
    return np.array([float(form % value) for value in values]).astype(np.float32)


@pytest.mark.parametrize(
    "values",
    [
        COUNTS,
        RNG.integers(40, 900, 5_000),  # no base without many
        np.where(RNG.random(20_000) < 0.005, CONTINUOUS, COUNTS),  # a few are not whole
        COUNTS * (1 + 1e-6),  # scaled and scaled back
        np.append(COUNTS, 3e38),
        np.array([]),
    ],
    ids=["counts", "deep", "almost all", "rounding", "huge", "empty"],
)
def test_whole_numbers_are_counts(values):
    assert unit_of(np.asarray(values, np.float32)) == 1


@pytest.mark.parametrize(
    ("step", "form"),
    [
        (1e6 / 939_281, "%g"),  # deepTools, CPM
        (21.29299, "%g"),  # RPKM
        (0.02137, "%.5f"),  # MACS3, per million
        (0.001404, "%.5f"),  # as the file has it, the least is far from it
        (1e-4, "%g"),
        (2.0, "%g"),
        (0.1, "%g"),  # means over 10 bp
        (1 / 3, "%.5f"),  # the mean of three replicates
    ],
)
def test_counts_times_a_constant_have_its_step(step, form):
    values = written(COUNTS * step, form)
    assert unit_of(values) == pytest.approx(step, rel=1e-3)
    assert unit_of(values) != 1


@given(st.floats(1e-6, 1e6))
def test_no_constant_is_taken_for_counts_but_1(factor):
    step = unit_of((COUNTS * factor).astype(np.float32))
    assert step == pytest.approx(factor, rel=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        CONTINUOUS,
        np.log2(COUNTS + 1),
        np.log10(COUNTS + 1),
        COUNTS[:-1] / (COUNTS[1:] + 3.7),
        np.convolve(COUNTS, np.exp(-(np.linspace(-2, 2, 21) ** 2)), "valid"),
        np.where(np.arange(20_000) % 2, CONTINUOUS + 1, 1),  # a floor between
    ],
    ids=["continuous", "log2", "log10", "fold change", "smoothed", "floor"],
)
def test_other_tracks_have_no_step(values):
    assert unit_of(values.astype(np.float32)) is None
