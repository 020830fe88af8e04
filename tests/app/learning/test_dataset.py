import logging

import numpy as np
import pytest
import torch
from denoiseq.genomics.coverage import window_coverage
from denoiseq.genomics.store import Thinning
from denoiseq.learning.dataset import TileBatches, WindowDataset, WindowOptions, window_loader

OPTIONS = WindowOptions(interval_bp=1_000, pad_bp=200, half_window_bp=75, thin_fraction=0.3, seed=5)


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a) and a.keys() == b.keys()


@pytest.fixture
def training(store, peaks):
    return WindowDataset(store, ["chrA", "chrB"], OPTIONS, peaks, training=True)


@pytest.fixture
def fixed(store, peaks):
    return WindowDataset(store, ["chrA", "chrShort"], OPTIONS, peaks, training=False)


def test_a_window_holds_what_the_store_says(fixed, store, peaks):
    item, tile = fixed[9], fixed.tiles[9]
    where = tile.chrom, tile.start, tile.end, 75
    noisy = window_coverage(store, *where, Thinning(0.3, 5, 0))
    assert item["x"].shape == (1, 1_400)
    assert np.array_equal(item["x"][0], noisy)
    assert np.array_equal(item["coverage"], window_coverage(store, *where))
    assert 0 < noisy.sum() < item["coverage"].sum()
    inside = np.zeros(1_400, dtype=np.float32)
    for start, end in peaks["chrA"] - tile.start:
        inside[max(start, 0) : max(end, 0)] = 1
    assert inside.any()
    assert np.array_equal(item["peaks"], inside)
    assert item["peaks"].dtype == torch.float32
    # Core 9,000-10,000 after 200 of context; 9,200-9,700 is blacklisted.
    counted = np.zeros(1_400, dtype=bool)
    counted[200:400] = counted[900:1_200] = True
    assert np.array_equal(item["mask"], counted)


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_unmasked_base_counts_once_an_epoch(training, store, epoch):
    training.set_epoch(epoch)
    for chrom in training.chroms:
        seen = np.zeros(store.chroms[chrom], dtype=int)
        for i, tile in enumerate(training.tiles):
            if tile.chrom == chrom:
                seen[tile.start : tile.end] += training[i]["mask"].numpy()
        expected = np.ones_like(seen)
        for start, end in store.blacklist[chrom]:
            expected[start:end] = 0
        assert np.array_equal(seen, expected)


def test_training_moves_and_draws_anew_each_epoch(training, fixed):
    def tiles(data, epoch):
        data.set_epoch(epoch)
        return list(data.tiles)

    assert tiles(training, 0) != tiles(training, 1) != tiles(training, 2)
    assert tiles(fixed, 0) == tiles(fixed, 1)
    training.set_epoch(0)
    where = training.tiles[3]
    first = training[3]["x"]
    training.set_epoch(1)
    training.tiles[3] = where
    assert not torch.equal(training[3]["x"], first)
    fixed.set_epoch(0)
    first = fixed[3]
    fixed.set_epoch(1)
    assert same(fixed[3], first)


def test_a_window_depends_on_its_key_alone(training, store, peaks):
    expected = [training[(2, 4)], training[(0, 7)], training[(2, 4)]]
    assert same(expected[0], expected[2])
    other = WindowDataset(store, ["chrA", "chrB"], OPTIONS, peaks, training=True)
    other.set_epoch(2)
    assert same(other[4], expected[0])


def test_the_seed_changes_windows_and_draw(training, store, peaks):
    options = WindowOptions(**(vars(OPTIONS) | {"seed": 6}))
    other = WindowDataset(store, ["chrA", "chrB"], options, peaks, training=True)
    assert other.tiles != training.tiles
    one = WindowDataset(store, ["chrA"], OPTIONS, peaks, training=False)
    two = WindowDataset(store, ["chrA"], options, peaks, training=False)
    assert one.tiles == two.tiles
    assert not torch.equal(one[3]["x"], two[3]["x"])


def test_complement_shares_no_fragment_with_the_input(store, peaks):
    options = WindowOptions(**(vars(OPTIONS) | {"target": "complement"}))
    rest = WindowDataset(store, ["chrA"], options, peaks, training=False)
    whole = WindowDataset(store, ["chrA"], OPTIONS, peaks, training=False)
    for i in range(len(rest)):
        assert torch.equal(rest[i]["x"][0] + rest[i]["coverage"], whole[i]["coverage"])


def test_full_depth_input_is_the_clean_track(store, peaks):
    options = WindowOptions(**(vars(OPTIONS) | {"thin_fraction": 1.0}))
    data = WindowDataset(store, ["chrB"], options, peaks, training=False)
    assert torch.equal(data[2]["x"][0], data[2]["coverage"])


def test_truth_may_differ_from_labels(store, peaks, fixed):
    truth = {"chrA": np.array([[1_000, 1_010]])}
    data = WindowDataset(store, ["chrA"], OPTIONS, peaks, training=False, truth=truth)
    item = data[1]
    assert item["truth"].sum() == 10
    assert torch.equal(item["peaks"], fixed[1]["peaks"])
    assert torch.equal(fixed[1]["truth"], fixed[1]["peaks"].bool())


def test_short_chromosomes_are_evaluated_but_not_trained_on(store, peaks, fixed, caplog):
    assert fixed.tiles[-1].chrom == "chrShort"
    assert fixed[len(fixed) - 1]["x"].shape == (1, 700)
    assert fixed[len(fixed) - 1]["mask"].all()
    with caplog.at_level(logging.INFO):
        data = WindowDataset(store, ["chrB", "chrShort"], OPTIONS, peaks, training=True)
    assert data.chroms == ["chrB"]
    assert "chrShort" in caplog.text


def test_windows_all_blacklisted_are_not_trained_on(store, peaks):
    options = WindowOptions(interval_bp=400, pad_bp=50, half_window_bp=75, seed=1)
    data = WindowDataset(store, ["chrA"], options, peaks, training=True)
    for epoch in range(30):
        data.set_epoch(epoch)
        assert all(data[i]["mask"].any() for i in range(len(data)))
        cores = [t.core_end - t.core_start for t in data.tiles]
        if sum(cores) < 24_000:
            return
    pytest.fail("no window was ever all blacklist: the test shows nothing")


def test_no_window_and_no_peaks_are_sentences(store, peaks):
    with pytest.raises(ValueError, match=r"No window of 1400 bp is left to train on in chrShort"):
        WindowDataset(store, ["chrShort"], OPTIONS, peaks, training=True)
    none = {"chrA": peaks["chrA"]}
    with pytest.raises(ValueError, match=r"no peaks on the training chromosomes \(chrB\)"):
        WindowDataset(store, ["chrB"], OPTIONS, none, training=True)


@pytest.mark.parametrize(
    "wrong",
    [{"target": "half"}, {"thin_fraction": 0}, {"target": "complement", "thin_fraction": 1}],
)
def test_wrong_options_are_sentences(wrong):
    with pytest.raises(ValueError, match=r"target|thin_fraction"):
        WindowOptions(**wrong)


def test_input_depth_is_the_thinned_one(training, store):
    assert training.input_cuts_per_mb == pytest.approx(0.3 * store.cuts_per_mb)


def test_batches_take_each_window_once_in_a_seeded_order(training):
    batches = TileBatches(training, 4, seed=3)
    batches.start(1)
    first, again = list(batches), list(batches)
    keys = [key for batch in first for key in batch]
    assert first == again
    assert sorted(keys) == [(1, i) for i in range(len(training))]
    assert keys != sorted(keys)
    assert len(batches) == len(first) == -(-len(training) // 4)
    batches.start(2)
    assert [i for b in batches for _, i in b] != [i for _, i in keys]
    batches.start(1, skip=2)
    assert list(batches) == first[2:]
    assert len(batches) == len(first) - 2


def test_evaluation_batches_are_in_order_and_of_one_length(fixed):
    batches = list(TileBatches(fixed, 5, None))
    assert [i for batch in batches for _, i in batch] == list(range(len(fixed)))
    for batch in batches:
        assert len({fixed[i]["x"].shape for _, i in batch}) == 1


@pytest.mark.slow
def test_workers_give_the_same_windows(training):
    loaders = []
    for workers in (0, 2):
        batches = TileBatches(training, 4, seed=3)
        loader = window_loader(batches, workers)
        seen = []
        for epoch in (0, 1):  # workers live through both
            batches.start(epoch, skip=epoch)
            seen += list(loader)
        loaders.append(seen)
    assert len(loaders[0]) == len(loaders[1])
    assert all(same(a, b) for a, b in zip(*loaders, strict=True))
