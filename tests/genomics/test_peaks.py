from itertools import groupby, pairwise
from math import log10

import numpy as np
import pytest
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.intervals import Interval
from denoiseq.genomics.peaks import (
    Peak,
    PeakCaller,
    runs_above,
    scored_by_height,
    with_q_values,
    write_narrowpeak,
)
from hypothesis import given
from hypothesis import strategies as st

tracks = st.lists(st.integers(0, 4), max_size=60)


def by_hand(track, threshold, min_length, max_gap):
    called = [i for i, value in enumerate(track) if value >= threshold]
    peaks: list[list[int]] = []
    for base in called:
        if peaks and base - peaks[-1][1] <= max_gap:
            peaks[-1][1] = base + 1
        else:
            peaks.append([base, base + 1])
    return [peak for peak in peaks if peak[1] - peak[0] >= min_length]


@given(tracks, st.integers(1, 4), st.integers(0, 8), st.integers(0, 5))
def test_runs_join_over_gaps_then_must_be_long_enough(track, threshold, min_length, max_gap):
    found = runs_above(np.array(track), threshold, min_length, max_gap)
    assert found.shape[1:] == (2,)
    assert found.tolist() == by_hand(track, threshold, min_length, max_gap)


@given(tracks, st.lists(st.integers(0, 60)), st.integers(0, 8), st.integers(0, 5), st.data())
def test_no_seam_between_chunks_shows(track, seams, min_length, max_gap, data):
    score = np.array(track, dtype=np.float32) / 4
    wide = st.lists(st.integers(0, 9), min_size=len(track), max_size=len(track))
    signal = np.array(data.draw(wide), dtype=np.float32)
    edges = [0, *sorted(seam for seam in seams if seam < len(track)), len(track)]
    caller = PeakCaller("chr1", 0.5, min_length, max_gap)
    for start, end in pairwise(edges):
        caller.add(100 + start, score[start:end], signal[start:end])
    found = caller.finish()
    expected = 100 + runs_above(score, 0.5, min_length, max_gap)
    assert [[peak.start, peak.end] for peak in found] == expected.tolist()
    for peak in found:
        inside = slice(peak.start - 100, peak.end - 100)
        called = np.where(score[inside] >= 0.5, signal[inside], -1)
        assert peak.signal == called.max()
        top = called == called.max()
        first = int(top.argmax())
        plateau = int(np.append(~top[first:], True).argmax())
        assert peak.summit == peak.start + first + (plateau - 1) // 2
        assert peak.score == 1000 * score[inside].max()


@given(
    st.lists(st.integers(-1, 4), max_size=60),
    st.lists(st.integers(0, 60)),
    st.integers(0, 8),
    st.integers(0, 5),
)
def test_no_peak_holds_or_spans_a_barred_base(track, seams, min_length, max_gap):
    """What a barred base (-1 here) splits is called as if there were two chromosomes."""
    expected = []
    for barred, part in groupby(enumerate(track), key=lambda item: item[1] < 0):
        places, values = zip(*part, strict=True)
        if not barred:
            pairs = by_hand(values, 2, min_length, max_gap)
            expected += [[places[0] + start, places[0] + end] for start, end in pairs]
    score = np.array(track, dtype=np.float32)
    score[score < 0] = -np.inf
    assert runs_above(score, 2, min_length, max_gap).tolist() == expected
    caller = PeakCaller("chr1", 2, min_length, max_gap)
    edges = [0, *sorted(seam for seam in seams if seam < len(track)), len(track)]
    for start, end in pairwise(edges):
        caller.add(start, score[start:end])
    assert [[peak.start, peak.end] for peak in caller.finish()] == expected


def test_the_summit_is_the_middle_of_the_first_plateau():
    score = np.ones(12, dtype=np.float32)
    signal = np.array([1, 5, 5, 5, 5, 2, 5, 5, 5, 5, 5, 5], dtype=np.float32)
    for cut in range(1, 12):  # also where a chunk's edge cuts the plateau
        caller = PeakCaller("chr1", 0.5, 1, 0)
        caller.add(0, score[:cut], signal[:cut])
        caller.add(cut, score[cut:], signal[cut:])
        (peak,) = caller.finish()
        assert (peak.summit, peak.signal) == (2, 5)


def test_q_values_are_the_false_ones_to_expect():
    highest = [0.5, 0.9, 0.99, 0.9, 1.0]
    called = [Peak("chr1", i, i + 1, "x", 1000 * p, 1.0) for i, p in enumerate(highest)]
    found = with_q_values(called)
    # ranked 1.0, 0.99, 0.9, 0.9, 0.5: chances to be false 0, 0.01, 0.1, 0.1, 0.5
    share = {1.0: 1e-10, 0.99: 0.01 / 2, 0.9: 0.21 / 4, 0.5: 0.71 / 5}
    expected = [-log10(share[p]) for p in highest]
    assert [peak.neglog10_q for peak in found] == pytest.approx(expected)
    assert [(p.start, p.score) for p in found] == [(p.start, p.score) for p in called]
    assert {peak.neglog10_p for peak in found} == {-1.0}
    assert with_q_values([]) == []


@pytest.mark.parametrize(
    ("signals", "scores"), [([2.0, 8.0], [250, 1000]), ([0.0, 0.0], [0, 0]), ([], [])]
)
def test_scores_by_height_are_shares_of_the_highest(signals, scores):
    called = [Peak("chr1", i, i + 1, f"p{i}", 5.0, signal) for i, signal in enumerate(signals)]
    assert [peak.score for peak in scored_by_height(called)] == scores


def test_chunks_must_follow_each_other():
    caller = PeakCaller("chr1", 0.5, 1, 0)
    caller.add(10, np.ones(5))
    with pytest.raises(ValueError, match="a chunk at 15 was due, got 16"):
        caller.add(16, np.ones(5))


def test_narrowpeak_lines(tmp_path):
    peaks = [
        Peak("chr1", 100, 300, "a", 1234.5, 7.25, summit=150),
        Peak("chr1", 400, 500, "b", 12.4, 1e-7, 3.0, 2.0),
    ]
    path = tmp_path / "x.narrowPeak"
    write_narrowpeak(path, peaks)
    assert path.read_text() == (
        "chr1\t100\t300\ta\t1000\t.\t7.25\t-1\t-1\t50\nchr1\t400\t500\tb\t12\t.\t1e-07\t3\t2\t-1\n"
    )
    assert read_bed(path) == [Interval("chr1", 100, 300), Interval("chr1", 400, 500)]
    write_narrowpeak(path, [])
    assert path.read_text() == ""
