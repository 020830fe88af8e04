"""The rows of a network's input, against sums base by base."""

from typing import ClassVar

import numpy as np
import pytest
from denoiseq.store.cut_store import CutStore
from denoiseq.store.input_rows import InputRows
from denoiseq.store.thinning import Thinning


@pytest.mark.parametrize(("start", "end"), [(0, 300), (5_000, 5_777), (-200, None)])
def test_surroundings_are_means_of_the_bases_in_the_chromosome(store, start, end):
    reaches, draw = (7, 250), Thinning(0.5, 3)
    rows = InputRows(store, 75, surroundings_bp=reaches)
    size = store.chroms["chrA"]
    start, end = start % size, end or size
    whole = store.coverage("chrA", 0, size, 75, draw).astype(np.float64)
    x = rows.read("chrA", start, end, draw)
    assert x.shape == (3, end - start) and x.dtype == np.float32
    np.testing.assert_array_equal(x[0], whole[start:end])
    for row, reach in zip(x[1:], reaches, strict=True):
        expected = [whole[max(b - reach, 0) : b + reach + 1].mean() for b in range(start, end)]
        np.testing.assert_allclose(row, expected, rtol=1e-6)


@pytest.mark.parametrize(("start", "end"), [(0, 300), (5_000, 5_777), (9_100, 9_800), (-200, None)])
def test_the_background_is_told_by_the_bases_without_coverage(store, start, end):
    reach, draw = 250, Thinning(0.05, 3)
    size = store.chroms["chrA"]
    start, end = start % size, end or size
    out = np.zeros(size, bool)
    for first, last in store.blacklist.get("chrA", ()):
        out[first:last] = True
    assert out.any()
    whole = store.coverage("chrA", 0, size, 75, draw)
    x = InputRows(store, 75, background_bp=reach).read("chrA", start, end, draw)
    assert x.shape == (2, end - start) and x.dtype == np.float32
    for base, value in zip(range(start, end), x[1], strict=True):
        near = slice(max(base - reach, 0), base + reach + 1)
        counted = whole[near][~out[near]]
        share = (1 + (counted == 0).sum()) / (1 + len(counted))
        assert value == pytest.approx(-16 * np.log(share), rel=1e-5)


class Cuts:
    """A store of one chromosome with given cut sites."""

    blacklist: ClassVar[dict] = {}

    def __init__(self, cuts, size):
        self.cuts, self.chroms = np.sort(cuts), {"chr1": size}

    def coverage(self, chrom, start, end, half_window_bp, draw):
        bases = np.arange(start, end)
        above = np.searchsorted(self.cuts, bases + half_window_bp, "right")
        return (above - np.searchsorted(self.cuts, bases - half_window_bp)).astype(np.float32)


def test_peaks_hardly_raise_the_background():
    """Cuts at random on 100 kb: the background is their coverage, whatever a peak adds to it."""
    rng = np.random.default_rng(0)
    flat, peak = rng.integers(0, 100_000, 500), rng.integers(49_500, 50_500, 2_000)
    expected = 16 * 500 / 100_000 * 201
    for cuts in (flat, np.concatenate([flat, peak])):
        rows = InputRows(Cuts(cuts, 100_000), 100, background_bp=25_000)
        assert rows.read("chr1", 49_000, 51_000)[1] == pytest.approx(expected, rel=0.15)


def test_a_base_has_one_value_in_whatever_window_it_is_read(store):
    rows = InputRows(store, 75, background_bp=700, surroundings_bp=(100, 5_000))
    x = rows.read("chrA", 2_000, 4_000, depth=0.25)
    np.testing.assert_array_equal(rows.read("chrA", 3_000, 3_500, depth=0.25), x[:, 1_000:1_500])
    assert (x[-1] == -2).all()


def test_alone_the_coverage_is_the_input(store):
    assert isinstance(store, CutStore)
    x = InputRows(store, 75).read("chrA", 100, 400)
    np.testing.assert_array_equal(x, store.coverage("chrA", 100, 400, 75)[None])
