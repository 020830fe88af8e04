"""The linear filter: it finds a filter that is there, is the best one, and meets no seams."""

import numpy as np
import pytest
from denoiseq.evaluation.baselines import TAP_BP, fit_linear, linear
from denoiseq.evaluation.thresholds import LinearWeights
from denoiseq.genomics.intervals import mask
from denoiseq.settings import Data
from denoiseq.store.thinning import Thinning
from denoiseq.windows.dataset import WindowDataset

REACH = 44


def training(store, peaks, pad_bp=REACH + TAP_BP, **more):
    options = Data(interval_bp=1_000, pad_bp=pad_bp, half_window_bp=75, thin_fraction=0.3, **more)
    return WindowDataset(store, ["chrA", "chrC"], options, peaks, training=True)


def brute(noisy, weights):
    """Every base by itself, from the definition."""
    padded = np.pad(noisy.astype(float), 2_000)
    half, middle = TAP_BP // 2, len(weights.taps) // 2
    out = []
    for base in range(2_000, 2_000 + len(noisy)):
        means = [
            padded[base + TAP_BP * k - half : base + TAP_BP * k + half + 1].mean()
            for k in range(-middle, middle + 1)
        ]
        out.append(max(np.dot(means, weights.taps) + weights.intercept, 0))
    return np.array(out)


@pytest.mark.parametrize("length", [1, 7, TAP_BP, 400])
def test_the_filter_is_the_definition(length):
    rng = np.random.default_rng(length)
    noisy = rng.poisson(2, length).astype(np.float32)
    weights = LinearWeights(tuple(rng.normal(size=9)), 0.5)
    whole = linear(noisy, slice(0, length), weights)
    np.testing.assert_allclose(whole, brute(noisy, weights), rtol=1e-5, atol=1e-6)
    core = slice(length // 3, length - length // 3)
    np.testing.assert_array_equal(linear(noisy, core, weights), whole[core])


def test_empty_stretches_stay_ties():
    noisy = np.zeros(2_000, dtype=np.float32)
    noisy[:50] = 7
    track = linear(noisy, slice(0, 2_000), LinearWeights((0.1,) * 9, 0.25))
    assert set(track[200:]) == {np.float32(0.25)}


def test_the_fit_is_numpys_on_the_same_bases(store, peaks):
    data = training(store, peaks)
    weights = fit_linear(data)
    assert len(weights.taps) == 2 * REACH // TAP_BP + 1
    features, clean = [], []
    for chrom in ("chrA", "chrC"):
        size = store.chroms[chrom]
        noisy = store.coverage(chrom, 0, size, 75, Thinning(0.3, 0))
        counted = ~mask(store.blacklist, chrom, 0, size)
        padded = np.convolve(np.pad(noisy, REACH), np.ones(TAP_BP) / TAP_BP, "same")
        bases = [
            base
            for tile in data.tiles
            if tile.chrom == chrom
            for base in range(tile.core_start, tile.core_end, TAP_BP)
            if counted[base]
        ]
        features += [np.append(padded[b : b + 2 * REACH + 1 : TAP_BP], 1) for b in bases]
        clean += store.coverage(chrom, 0, size, 75)[bases].tolist()
    expected = np.linalg.lstsq(np.array(features), np.array(clean), rcond=None)[0]
    assert [*weights.taps, weights.intercept] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_no_room_for_a_tap_is_no_filter(store, peaks):
    assert fit_linear(training(store, peaks, pad_bp=TAP_BP)) is None


def test_taps_reach_no_further_than_a_kilobase(store, peaks):
    weights = fit_linear(training(store, peaks, pad_bp=2_000))
    assert len(weights.taps) == 2 * (1_000 // TAP_BP) + 1
