"""Whole peaks against brute force: agreement, blocks, summits, truth."""

import numpy as np
import pytest
from denoiseq.evaluation.bootstrap import Blocks
from denoiseq.evaluation.peak_metrics import (
    agreement,
    base_agreement,
    quartiles,
    replicated_counts,
    rows,
    summit_distances,
    total_counts,
    true_peaks,
)
from denoiseq.genomics.intervals import mask
from denoiseq.genomics.peaks import Peak
from denoiseq.settings import Data
from denoiseq.windows.dataset import WindowDataset


def brute_agreement(called, truth):
    pairs = [(c, i) for c in called for i in range(len(called[c]))]
    a = {c: np.zeros(100, dtype=bool) for c in set(called) | set(truth)}
    b = {c: v.copy() for c, v in a.items()}
    for tracks, peaks in ((a, called), (b, truth)):
        for chrom, bounds in peaks.items():
            for s, e in bounds:
                tracks[chrom][s:e] = True
    right = sum(b[c][slice(*called[c][i])].any() for c, i in pairs)
    n_truth = sum(map(len, truth.values()))
    found = sum(a[c][slice(*row)].any() for c in truth for row in truth[c])
    both = sum((a[c] & b[c]).sum() for c in a)
    either = sum((a[c] | b[c]).sum() for c in a)
    precision, recall = right / len(pairs), found / n_truth
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "iou_bp": both / either}


def peak_agreement(called, truth):
    return {name: float(value) for name, value in agreement(total_counts(called, truth)).items()}


@pytest.mark.parametrize("seed", range(20))
def test_peak_agreement_is_brute_force(seed):
    rng = np.random.default_rng(seed)

    def draw():
        edges = np.sort(rng.choice(100, 2 * rng.integers(1, 8), replace=False))
        return edges.reshape(-1, 2).astype(np.int64)

    called, truth = {"1": draw(), "2": draw()}, {"1": draw(), "3": draw()}
    assert peak_agreement(called, truth) == pytest.approx(brute_agreement(called, truth))


def test_touching_peaks_do_not_overlap_and_empties_are_safe():
    one, next_one = {"1": np.array([[0, 10]])}, {"1": np.array([[10, 20]])}
    got = peak_agreement(one, next_one)
    assert got == {"precision": 0, "recall": 0, "f1": 0, "iou_bp": 0}
    nothing = peak_agreement({}, one)
    assert np.isnan(nothing["precision"])
    assert (nothing["recall"], nothing["f1"], nothing["iou_bp"]) == (0, 0, 0)
    assert all(np.isnan(v) for v in peak_agreement({}, {}).values())


def test_bases_in_peaks():
    called, truth = {"1": np.array([[0, 40]])}, {"1": np.array([[30, 50]])}
    got = base_agreement(total_counts(called, truth))
    assert {name: float(value) for name, value in got.items()} == pytest.approx(
        {"precision": 0.25, "recall": 0.5, "f1": 1 / 3}
    )


def test_replicates_repeat_the_peaks_of_their_blocks():
    """Peaks inside blocks: a replicate is the genome with whole blocks repeated."""
    rng = np.random.default_rng(0)
    starts = np.arange(0, 20_000, 500)
    called = {"a": np.stack([starts + 50, starts + 150], 1)[rng.random(40) < 0.6]}
    truth = {"a": np.stack([starts + 100, starts + 220], 1)[rng.random(40) < 0.6]}
    blocks = Blocks(1_000, 20)
    got = agreement(replicated_counts(called, truth, blocks, {"a": "chrA"}))
    weights = blocks.weights([("chrA", number) for number in range(20)])[1:].astype(int)

    def repeated(peaks, times):
        """Each copy of a block on a chromosome of its own."""
        found = {}
        for number, n in enumerate(times):
            inside = peaks["a"][peaks["a"][:, 0] // 1_000 == number]
            found |= {f"{number}.{copy}": inside for copy in range(n)}
        return found

    for draw in range(20):
        expected = peak_agreement(*(repeated(p, weights[draw]) for p in (called, truth)))
        assert {k: float(v[draw]) for k, v in got.items()} == pytest.approx(expected)


def peak(start, end, summit):
    return Peak("1", start, end, "x", 0, 1.0, summit=summit)


def test_summits_are_measured_to_the_peak_that_shares_most():
    truth = {"1": [peak(100, 200, 150), peak(210, 400, 300), peak(900, 950, 920)]}
    called = {"1": [peak(0, 90, 50), peak(160, 320, 290), peak(910, 940, 935)], "2": []}
    assert summit_distances(called, truth).tolist() == [10, 15]  # the first overlaps none
    assert summit_distances(called, {}).tolist() == []
    found = quartiles(np.array([10, 15, 20, 30]))
    assert found == {"median": 17.5, "q1": 13.75, "q3": 22.5, "peaks": 4}
    assert np.isnan(quartiles(np.array([]))["median"])


def test_true_peaks_leave_out_the_blacklist_and_stand_on_the_clean_coverage(store):
    given = {"chrA": np.array([[9_000, 10_000], [12_000, 12_300]])}
    options = Data(interval_bp=1_000, pad_bp=300, half_window_bp=75, thin_fraction=0.3)
    data = WindowDataset(store, ["chrA", "chrB"], options, given, training=False)
    found = true_peaks(data)
    assert rows(found)["chrA"].tolist() == [[9_000, 9_200], [9_700, 10_000], [12_000, 12_300]]
    assert rows(found)["chrB"].shape == (0, 2)
    for one in found["chrA"]:
        clean = store.coverage("chrA", one.start, one.end, 75)
        assert one.signal == clean.max() == clean[one.summit - one.start]
        assert not mask(store.blacklist, "chrA", one.start, one.end).any()
