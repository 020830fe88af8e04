"""The rows of a network's input, against sums base by base."""

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


def test_a_base_has_one_value_in_whatever_window_it_is_read(store):
    rows = InputRows(store, 75, surroundings_bp=(100, 5_000))
    x = rows.read("chrA", 2_000, 4_000, depth=0.25)
    np.testing.assert_array_equal(rows.read("chrA", 3_000, 3_500, depth=0.25), x[:, 1_000:1_500])
    assert (x[-1] == -2).all()


def test_alone_the_coverage_is_the_input(store):
    assert isinstance(store, CutStore)
    x = InputRows(store, 75).read("chrA", 100, 400)
    np.testing.assert_array_equal(x, store.coverage("chrA", 100, 400, 75)[None])
