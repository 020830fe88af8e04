"""The table of cutoffs against one caller a threshold."""

from itertools import pairwise

import numpy as np
import pytest
from denoiseq.genomics import cutoffs as cutoffs_module
from denoiseq.genomics.cutoffs import CutoffCounter, cutoff_grid, write_cutoffs
from denoiseq.genomics.peaks import PeakCaller
from hypothesis import given
from hypothesis import strategies as st


def by_callers(chunks, thresholds, min_length, max_gap):
    counts = []
    for threshold in thresholds.tolist():
        caller = PeakCaller("chr1", threshold, min_length, max_gap)
        for start, score in chunks:
            caller.add(start, score)
        peaks = caller.finish()
        counts.append([len(peaks), sum(peak.end - peak.start for peak in peaks)])
    return counts


@given(
    st.lists(st.integers(-1, 5), max_size=80),
    st.lists(st.integers(0, 80)),
    st.integers(0, 8),
    st.integers(0, 5),
    st.sampled_from([0, 3, 1 << 16]),
)
def test_each_row_is_what_a_caller_finds(track, seams, min_length, max_gap, waiting):
    thresholds = np.array([1, 2, 3, 5], dtype=np.float32)
    score = np.array(track, dtype=np.float32)
    score[score < 0] = -np.inf
    edges = [0, *sorted(seam for seam in seams if seam < len(track)), len(track)]
    chunks = [(start, score[start:end]) for start, end in pairwise(edges)]
    counter = CutoffCounter(thresholds, min_length, max_gap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutoffs_module, "_WAITING", waiting)
        for chunk in chunks:
            counter.add(*chunk)
    assert counter.finish().tolist() == by_callers(chunks, thresholds, min_length, max_gap)


def test_on_a_track_like_a_network_makes(tmp_path):
    rng = np.random.default_rng(5)
    noise = np.convolve(rng.normal(0, 1, 60_000), np.ones(50) / 7, "same")
    score = (1 / (1 + np.exp(1.5 - 2 * noise))).astype(np.float32)
    thresholds = cutoff_grid(0.4137, probability=True)
    chunks = [(start, score[start : start + 7_001]) for start in range(0, len(score), 7_001)]
    counter = CutoffCounter(thresholds, 50, 30)
    for chunk in chunks:
        counter.add(*chunk)
    counts = counter.finish()
    assert counts.tolist() == by_callers(chunks, thresholds, 50, 30)
    assert counts[:, 1].min() > 0
    write_cutoffs(tmp_path / "x.tsv", thresholds, counts)
    head, *lines = (tmp_path / "x.tsv").read_text().splitlines()
    assert head.split("\t") == ["score", "npeaks", "lpeaks", "avelpeak"]
    rows = np.array([line.split("\t") for line in lines], dtype=float)
    assert rows[0, 0] == 0.98 and (np.diff(rows[:, 0]) < 0).all()
    np.testing.assert_array_equal(rows[::-1, 1:3], counts)
    np.testing.assert_allclose(rows[:, 3], rows[:, 2] / rows[:, 1], atol=0.005)
    assert 0.4137 in rows[:, 0]


def test_thresholds_around_a_coverage():
    grid = cutoff_grid(8.0, probability=False)
    assert len(grid) == 49
    assert (grid[0], grid[24], grid[-1]) == (0.5, 8.0, 128.0)
    np.testing.assert_allclose(grid[6:] / grid[:-6], 2, rtol=1e-6)


def test_no_base_is_no_peak(tmp_path):
    counter = CutoffCounter(cutoff_grid(0.5, probability=True), 1, 0)
    assert not counter.finish().any()
    counter.add(0, np.zeros(0, np.float32))
    write_cutoffs(tmp_path / "x.tsv", np.array([0.5]), np.zeros((1, 2), np.int64))
    assert (tmp_path / "x.tsv").read_text().splitlines()[1] == "0.5\t0\t0\t0.00"
