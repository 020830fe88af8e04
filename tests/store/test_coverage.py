import numpy as np
import pytest
from denoiseq.evaluation.baselines import gaussian_smooth
from denoiseq.genomics.intervals import Interval, merge
from denoiseq.store.cut_store import CutStore, coverage_of_cuts, write_store
from denoiseq.store.thinning import Thinning
from hypothesis import given
from hypothesis import strategies as st

cut_lists = st.lists(st.integers(0, 99), max_size=30)


def by_hand(cuts, start, end, half):
    return [sum(c - half <= base <= c + half for c in cuts) for base in range(start, end)]


@given(cut_lists, st.integers(-20, 120), st.integers(0, 60), st.integers(0, 15))
def test_coverage_counts_windows_over_each_base(cuts, start, width, half):
    track = coverage_of_cuts(np.array(cuts, dtype=np.int64), start, start + width, half)
    assert track.dtype == np.float32
    assert track.tolist() == by_hand(cuts, start, start + width, half)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("store") / "x.h5"
    positions = np.sort(rng.integers(0, 5_000, 2_000))
    cuts = {"chr1": (positions, rng.permutation(np.repeat(np.arange(1_000), 2)))}
    write_store(path, {"chr1": 5_000}, cuts, merge([Interval("chr1", 0, 9)]), {}, {})
    return CutStore(path)


@given(start=st.integers(0, 4_999), width=st.integers(1, 400), half=st.sampled_from([0, 3, 100]))
def test_a_base_has_one_coverage_whatever_the_window(store, start, width, half):
    end = min(start + width, 5_000)
    for thinning in (None, Thinning(0.3, seed=1)):
        whole = store.coverage("chr1", 0, 5_000, half, thinning)
        part = store.coverage("chr1", start, end, half, thinning)
        np.testing.assert_array_equal(part, whole[start:end])


def test_a_thinning_and_its_complement_add_up(store):
    tracks = [
        store.coverage("chr1", 0, 5_000, 50, thinning)
        for thinning in (None, Thinning(0.3, 1), Thinning(0.3, 1, complement=True))
    ]
    np.testing.assert_array_equal(tracks[0], tracks[1] + tracks[2])
    assert 0.2 < tracks[1].sum() / tracks[0].sum() < 0.4


@pytest.mark.parametrize("sigma", [0.3, 2.0, 7.5])
@pytest.mark.parametrize("width", [1, 5, 200])
def test_gaussian_against_a_sum_by_hand(sigma, width):
    track = np.random.default_rng(0).poisson(2.0, width).astype(np.float32)
    distance = np.arange(width)[:, None] - np.arange(width)  # (W, W)
    reach = np.arange(-np.ceil(4 * sigma), np.ceil(4 * sigma) + 1)
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * (np.abs(distance) <= reach.max())
    expected = weights @ track.astype(np.float64) / np.exp(-0.5 * (reach / sigma) ** 2).sum()
    smoothed = gaussian_smooth(track, sigma)
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed, expected, rtol=2e-7, atol=1e-12)


def test_gaussian_keeps_exact_zeros_and_zero_sigma_is_no_change():
    track = np.zeros(1_000, dtype=np.float32)
    track[500] = 1_000
    smoothed = gaussian_smooth(track, 10)
    assert np.count_nonzero(smoothed) == 81
    assert smoothed.sum() == pytest.approx(1_000, rel=1e-6)
    np.testing.assert_array_equal(gaussian_smooth(track, 0), track)
    assert len(gaussian_smooth(track[:0], 3)) == 0
    with pytest.raises(ValueError, match="sigma_bp"):
        gaussian_smooth(track, -1)
