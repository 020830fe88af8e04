"""Peaks to learn: the Poisson threshold against exact arithmetic, and the peaks that it calls."""

from fractions import Fraction
from math import factorial, log10

import numpy as np
import pytest
from denoiseq.genomics.intervals import Interval, mask, merge
from denoiseq.settings import Data
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.windows import labels
from denoiseq.windows.labels import poisson_peaks, poisson_threshold

RULE = Data(half_window_bp=75, label_neglog10_p=3.0, label_min_length_bp=100, label_max_gap_bp=30)


def exact_threshold(mean: Fraction, neglog10_p: int, terms: int = 400) -> int:
    """Rational arithmetic: P(X <= k) = exp(-mean) * partial sum, exp by its own long series."""
    weights = [mean**j / factorial(j) for j in range(terms)]
    total = sum(weights)
    tail = total
    for k in range(terms):
        tail -= weights[k]
        if k >= 1 and tail / total <= Fraction(1, 10**neglog10_p):
            return k
    raise AssertionError("more terms are needed")


@pytest.mark.parametrize("mean", [Fraction(1, 100), Fraction(1, 3), Fraction(1), Fraction(86, 10)])
@pytest.mark.parametrize("neglog10_p", [0, 1, 3, 20, 60])
def test_threshold_against_rational_arithmetic(mean, neglog10_p):
    assert poisson_threshold(float(mean), neglog10_p) == exact_threshold(mean, neglog10_p)


def test_threshold_where_floats_underflow_and_at_the_edges():
    mean, far = 50.0, poisson_threshold(50.0, 400.0)
    # the first term bounds the tail from below, a geometric series from above
    for k, holds in ((far, True), (far - 1, False)):
        logs = sum(log10(mean / j) for j in range(1, k + 2)) - mean / np.log(10)
        upper = -logs + log10(1 - mean / (k + 2))
        assert (upper >= 400) if holds else (-logs < 400.02)
    assert poisson_threshold(0.0, 3.0) == 1
    assert poisson_threshold(1e-9, 3.0) == 1
    assert 30_000 < poisson_threshold(30_000.0, 3.0) < 30_000 + 4 * 30_000**0.5
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="mean coverage"):
            poisson_threshold(bad, 3.0)


@pytest.fixture
def store(tmp_path):
    """Background, two peaks, and a larger one whose bases are blacklisted but for its skirt."""
    rng = np.random.default_rng(2)
    places = [rng.integers(0, 50_000, 600)]
    places += [rng.integers(centre - 150, centre + 150, 200) for centre in (10_000, 30_300)]
    places += [np.full(3_000, 39_999)]
    positions = np.sort(np.concatenate(places))
    cuts = {"chr1": (positions, np.arange(len(positions)))}
    blacklist = merge([Interval("chr1", 40_000, 45_000)])
    path = tmp_path / "x.h5"
    write_store(path, {"chr1": 50_000, "chr2": 4_000}, cuts, blacklist, {}, {})
    return CutStore(path)


def test_poisson_peaks_find_the_planted_ones_outside_the_blacklist(store):
    found = poisson_peaks(store, RULE)  # the skirt outside is 75 bp, with the rest 151
    assert set(found) == {"chr1", "chr2"}
    assert found["chr2"].shape == (0, 2)
    rows = found["chr1"]
    for centre in (10_000, 30_300):
        assert ((rows[:, 0] < centre) & (centre < rows[:, 1])).sum() == 1
    assert not mask({"chr1": rows}, "chr1", 40_000, 45_000).any()


def test_poisson_peaks_do_not_depend_on_the_chunk(store, monkeypatch):
    whole = poisson_peaks(store, RULE)["chr1"]
    monkeypatch.setattr(labels, "_CHUNK_BP", 997)
    np.testing.assert_array_equal(poisson_peaks(store, RULE)["chr1"], whole)
