import logging
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from denoiseq.errors import UserError
from denoiseq.genomics.fasta import Genome
from denoiseq.settings import Data
from denoiseq.store.coverage_store import CoverageStore, runs_of, write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.samples import Samples
from denoiseq.store.thinning import Thinning
from denoiseq.windows import batches as batches_module
from denoiseq.windows import dataset
from denoiseq.windows.batches import TileBatches, WindowLoader
from denoiseq.windows.dataset import draw_window, reversed_complement, window_options

SETTINGS = Data(interval_bp=1_000, pad_bp=200, half_window_bp=75, thin_fraction=0.3)
RANGE = {"thin_fraction": 0.1, "thin_range": (0.02, 0.5)}
WindowDataset = partial(dataset.WindowDataset, seed=5)


def changed(**values) -> Data:
    return replace(SETTINGS, **values)


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a) and a.keys() == b.keys()


@pytest.fixture
def training(store, peaks):
    return WindowDataset(store, ["chrA", "chrB"], SETTINGS, peaks, training=True)


@pytest.fixture
def fixed(store, peaks):
    return WindowDataset(store, ["chrA", "chrShort"], SETTINGS, peaks, training=False)


def test_a_window_holds_what_the_store_says(fixed, store, peaks):
    item, tile = fixed[9], fixed.tiles[9]
    where = tile.chrom, tile.start, tile.end, 75
    noisy = store.coverage(*where, Thinning(0.3, 5, 0))
    assert item["x"].shape == (1, 1_400)
    assert np.array_equal(item["x"][0], noisy)
    assert np.array_equal(item["coverage"], store.coverage(*where))
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


def test_a_second_draw_has_as_many_other_fragments(fixed, store, peaks):
    second, tile = fixed.second_draw(), fixed.tiles[9]
    where = tile.chrom, tile.start, tile.end, 75
    for data, part in ((second, 1), (fixed, 0)):
        noisy = store.coverage(*where, Thinning(0.3, 5, part=part))
        assert np.array_equal(data[9]["x"][0], noisy) and noisy.any()
    assert same({**second[9], "x": fixed[9]["x"]}, fixed[9])
    ids = np.unique(store.cuts("chrA", 0, 10**6)[1])
    both = [data.draw().keep(ids) for data in (fixed, second)]
    assert not (both[0] & both[1]).any() and all(kept.any() for kept in both)
    for fraction, has in ((0.5, True), (0.51, False), (1.0, False)):
        settings = changed(thin_fraction=fraction)
        data = WindowDataset(store, ["chrA"], settings, peaks, training=False)
        assert (data.second_draw() is not None) == has


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


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_share_of_the_windows_is_moved_to_peaks(store, peaks, share):
    settings = changed(peak_share=share)
    data = WindowDataset(store, ["chrA", "chrB"], settings, peaks, training=True)
    plain = WindowDataset(store, ["chrA", "chrB"], SETTINGS, peaks, training=True)
    middles, moved, windows, seen = [int(np.mean(row)) for row in peaks["chrA"]], 0, 0, set()
    for epoch in range(20):
        data.set_epoch(epoch), plain.set_epoch(epoch)
        known = set(plain.tiles)
        for tile in data.tiles:
            assert 0 <= tile.start <= tile.core_start < tile.core_end <= tile.end
            assert tile.end - tile.start == 1_400 and tile.end <= store.chroms[tile.chrom]
            if tile.chrom == "chrA":
                windows, moved = windows + 1, moved + (tile not in known)
                held = [m for m in middles if tile.core_start <= m < tile.core_end]
                assert held or tile in known
                seen |= set(held) if tile not in known else set()
    assert moved / windows == pytest.approx(share, abs=0.1)
    assert seen == set(middles)
    data.set_epoch(3)
    first = list(data.tiles)
    data.set_epoch(4)
    assert data.tiles != first
    data.set_epoch(3)
    assert data.tiles == first


def test_an_epoch_may_have_fewer_windows_each_time_others(store, peaks):
    plain = WindowDataset(store, ["chrA", "chrB"], SETTINGS, peaks, training=True)
    data = WindowDataset(store, ["chrA", "chrB"], changed(epoch_windows=5), peaks, training=True)
    places = []
    for epoch in range(40):
        data.set_epoch(epoch), plain.set_epoch(epoch)
        where = [plain.tiles.index(tile) for tile in data.tiles]
        assert len(where) == 5 < len(plain.tiles) and where == sorted(set(where))
        places += where
    assert set(places) >= set(range(len(plain.tiles) - 1))  # the last is not in every epoch
    data.set_epoch(3)
    first = list(data.tiles)
    data.set_epoch(4), data.set_epoch(3)
    assert data.tiles == first
    fixed = WindowDataset(store, ["chrA"], changed(epoch_windows=1), peaks, training=False)
    assert len(fixed) > 1


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
    other = WindowDataset(store, ["chrA", "chrB"], SETTINGS, peaks, training=True)
    other.set_epoch(2)
    assert same(other[4], expected[0])


def test_the_seed_changes_windows_and_draw(training, store, peaks):
    other = WindowDataset(store, ["chrA", "chrB"], SETTINGS, peaks, training=True, seed=6)
    assert other.tiles != training.tiles
    one = WindowDataset(store, ["chrA"], SETTINGS, peaks, training=False)
    two = WindowDataset(store, ["chrA"], SETTINGS, peaks, training=False, seed=6)
    assert one.tiles == two.tiles
    assert not torch.equal(one[3]["x"], two[3]["x"])


def test_complement_shares_no_fragment_with_the_input(store, peaks):
    settings = changed(target="complement")
    rest = WindowDataset(store, ["chrA"], settings, peaks, training=False)
    whole = WindowDataset(store, ["chrA"], SETTINGS, peaks, training=False)
    for i in range(len(rest)):
        assert torch.equal(rest[i]["x"][0] + rest[i]["coverage"], whole[i]["coverage"])


def test_full_depth_input_is_the_clean_track(store, peaks):
    settings = changed(thin_fraction=1.0)
    data = WindowDataset(store, ["chrB"], settings, peaks, training=False)
    assert torch.equal(data[2]["x"][0], data[2]["coverage"])


def test_truth_may_differ_from_labels(store, peaks, fixed):
    truth = {"chrA": np.array([[1_000, 1_010]])}
    data = WindowDataset(store, ["chrA"], SETTINGS, peaks, training=False, truth=truth)
    item = data[1]
    assert item["truth"].sum() == 10
    assert torch.equal(item["peaks"], fixed[1]["peaks"])
    assert torch.equal(fixed[1]["truth"], fixed[1]["peaks"].bool())


def test_short_chromosomes_are_evaluated_but_not_trained_on(store, peaks, fixed, caplog):
    assert fixed.tiles[-1].chrom == "chrShort"
    assert fixed[len(fixed) - 1]["x"].shape == (1, 700)
    assert fixed[len(fixed) - 1]["mask"].all()
    with caplog.at_level(logging.INFO):
        data = WindowDataset(store, ["chrB", "chrShort"], SETTINGS, peaks, training=True)
    assert data.chroms == ["chrB"]
    assert "chrShort" in caplog.text


def test_windows_all_blacklisted_are_not_trained_on(store, peaks):
    settings = Data(interval_bp=400, pad_bp=50, half_window_bp=75)
    data = WindowDataset(store, ["chrA"], settings, peaks, training=True, seed=1)
    for epoch in range(30):
        data.set_epoch(epoch)
        assert all(data[i]["mask"].any() for i in range(len(data)))
        cores = [t.core_end - t.core_start for t in data.tiles]
        if sum(cores) < 24_000:
            return
    pytest.fail("no window was ever all blacklist: the test shows nothing")


def test_no_window_and_no_peaks_are_sentences(store, peaks):
    with pytest.raises(ValueError, match=r"No window of 1400 bp is left to train on in chrShort"):
        WindowDataset(store, ["chrShort"], SETTINGS, peaks, training=True)
    none = {"chrA": peaks["chrA"]}
    with pytest.raises(ValueError, match=r"no peaks on the training chromosomes \(chrB\)"):
        WindowDataset(store, ["chrB"], SETTINGS, none, training=True)


@pytest.mark.parametrize(
    "wrong",
    [{"target": "half"}, {"thin_fraction": 0}, {"target": "complement", "thin_fraction": 1}],
)
def test_wrong_options_are_sentences(wrong):
    with pytest.raises(ValueError, match=r"target|thin_fraction"):
        Data(**wrong)


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


@pytest.fixture(scope="module")
def letters(tmp_path_factory, store_path):
    """Random bases of the store's genome, some in lower case, some N; chrom -> str."""
    rng = np.random.default_rng(3)
    choices = list("ACGTacgtN")
    return {c: "".join(rng.choice(choices, n)) for c, n in CutStore(store_path).chroms.items()}


@pytest.fixture(scope="module")
def fasta(tmp_path_factory, letters):
    path = tmp_path_factory.mktemp("genome") / "toy.fa"
    path.write_text("".join(f">{chrom}\n{text}\n" for chrom, text in letters.items()))
    return path


@pytest.fixture
def other(store, tmp_path):
    """A store of the same genome with cuts of its own."""
    rng = np.random.default_rng(1)
    cuts = {
        chrom: (np.sort(rng.integers(0, size, size // 20)), np.arange(size // 20))
        for chrom, size in store.chroms.items()
    }
    write_store(tmp_path / "other.h5", store.chroms, cuts, {}, {"shift": "none"}, {})
    return CutStore(tmp_path / "other.h5")


def fractions(data) -> list[float]:
    """What share of its clean coverage each window's input has."""
    return [float(w["x"][0].sum() / w["coverage"].sum()) for w in map(data.__getitem__, range(9))]


def test_each_training_window_has_a_depth_of_its_own(store, peaks):
    data = WindowDataset(store, ["chrA", "chrB"], changed(**RANGE), peaks, training=True)
    drawn = {}
    for epoch in range(3):
        data.set_epoch(epoch)
        for i, tile in enumerate(data.tiles):
            number = list(store.chroms).index(tile.chrom)
            fraction, turned = draw_window(data.settings, 5, (epoch, number, tile.start))
            drawn[epoch, tile.chrom, tile.start] = fraction
            noisy = store.coverage(
                tile.chrom, tile.start, tile.end, 75, Thinning(fraction, 5, epoch)
            )
            assert np.array_equal(data[i]["x"][0], noisy)
            assert not turned
    assert len(set(drawn.values())) == len(drawn) > 90
    assert 0.02 <= min(drawn.values()) < 0.05 and 0.3 < max(drawn.values()) <= 0.5
    # Log-uniform: half of the draws lie below the geometric mean.
    assert 0.35 < np.mean(np.array(list(drawn.values())) < 0.1) < 0.65


def test_draws_are_log_uniform_and_of_both_strands():
    settings = Data(thin_range=(0.01, 1.0), reverse_complement=True)
    drawn = [
        draw_window(settings, 3, (epoch, 2, 100 * k)) for epoch in range(10) for k in range(100)
    ]
    decades = np.log10([fraction for fraction, _ in drawn])
    assert np.histogram(decades, 4, (-2, 0))[0] == pytest.approx(250, abs=60)
    assert 0.45 < np.mean([turned for _, turned in drawn]) < 0.55
    assert len(set(drawn)) > 990
    alone, place = Data(thin_range=(0.01, 1.0)), (0, 2, 100)
    assert [draw_window(alone, 3, place)[0]] == [draw_window(settings, 3, place)[0]]


def test_validation_keeps_the_one_depth_and_strand(store, peaks, fixed):
    settings = changed(thin_range=(0.02, 0.5), reverse_complement=True)
    held = WindowDataset(store, ["chrA", "chrShort"], settings, peaks, training=False)
    assert all(same(held[i], fixed[i]) for i in range(len(fixed)))


def test_the_trained_depths(store, peaks, other):
    def depths(settings, **more):
        data = WindowDataset(store, ["chrA"], settings, peaks, training=True, **more)
        return data.input_cuts_per_mb, *data.input_cuts_per_mb_range

    mine, its = store.cuts_per_mb, other.cuts_per_mb
    assert depths(SETTINGS) == pytest.approx((0.3 * mine, 0.3 * mine, 0.3 * mine))
    assert depths(changed(**RANGE)) == pytest.approx((0.1 * mine, 0.02 * mine, 0.5 * mine))
    whole = changed(thin_fraction=1.0)
    assert depths(whole, noisy=other) == pytest.approx((its, its, its))
    low, high = sorted((mine, its))
    data = WindowDataset(
        Samples([store, other]),
        ["sample1/chrA", "sample2/chrA"],
        SETTINGS,
        {"sample1/chrA": peaks["chrA"]},
        training=True,
    )
    assert data.input_cuts_per_mb == pytest.approx(0.3 * (mine + its) / 2)
    assert data.input_cuts_per_mb_range == pytest.approx((0.3 * low, 0.3 * high))


def test_complement_and_a_range_of_depths_add_up_to_all(store, peaks):
    settings = changed(target="complement", **RANGE)
    rest = WindowDataset(store, ["chrA"], settings, peaks, training=True)
    whole = WindowDataset(store, ["chrA"], changed(**RANGE), peaks, training=True)
    for i in range(len(rest)):
        assert torch.equal(rest[i]["x"], whole[i]["x"])
        assert torch.equal(rest[i]["x"][0] + rest[i]["coverage"], whole[i]["coverage"])
    assert len(set(fractions(whole))) == 9


def test_the_noisy_input_may_be_a_store_of_its_own(store, peaks, other):
    whole = changed(thin_fraction=1.0)
    data = WindowDataset(store, ["chrA"], whole, peaks, training=False, noisy=other)
    thinned = WindowDataset(store, ["chrA"], SETTINGS, peaks, training=False, noisy=other)
    for i, tile in enumerate(data.tiles):
        where = tile.chrom, tile.start, tile.end, 75
        assert np.array_equal(data[i]["x"][0], other.coverage(*where))
        assert np.array_equal(data[i]["coverage"], store.coverage(*where))
        noisy = other.coverage(*where, Thinning(0.3, 5))
        assert np.array_equal(thinned[i]["x"][0], noisy)
    facts = data.facts()
    assert facts["preprocessing"] == {"shift": "none"}
    assert facts["window_options"] == window_options(whole, 5)
    alone = WindowDataset(store, ["chrA"], SETTINGS, peaks, training=False).facts()
    assert alone["fingerprint"] == store.fingerprint
    assert facts["fingerprint"] not in (store.fingerprint, other.fingerprint)


def test_coverage_stores_are_clean_or_noisy_but_never_thinned(store, peaks, tmp_path):
    tracks = {c: store.coverage(c, 0, n, 75) for c, n in store.chroms.items()}
    runs = {chrom: runs_of(track, 0) for chrom, track in tracks.items()}
    write_coverage_store(tmp_path / "c.h5", store.chroms, runs, store.blacklist, {}, {})
    covered = CoverageStore(tmp_path / "c.h5")
    whole = changed(thin_fraction=1.0)
    expected = WindowDataset(store, ["chrA"], whole, peaks, training=False)
    for clean, noisy in ((covered, store), (store, covered), (covered, covered)):
        data = WindowDataset(clean, ["chrA"], whole, peaks, training=False, noisy=noisy)
        assert all(same(data[i], expected[i]) for i in range(len(data)))
    thinned = WindowDataset(covered, ["chrA"], SETTINGS, peaks, training=False, noisy=store)
    assert thinned[3]["x"].sum() < thinned[3]["coverage"].sum()
    for settings in (SETTINGS, changed(thin_fraction=1.0, thin_range=(0.5, 1.0))):
        with pytest.raises(ValueError, match=r"c.h5 holds coverage, .* give a noisy sample"):
            WindowDataset(covered, ["chrA"], settings, peaks, training=False)


def test_samples_are_kept_apart(store, other, peaks):
    both = Samples([store, other])
    labels = {f"sample{n}/{chrom}": rows for n in (1, 2) for chrom, rows in peaks.items()}
    chroms = ["sample1/chrA", "sample2/chrA"]
    data = WindowDataset(both, chroms, SETTINGS, labels, training=True)
    names = [data.window_name(i).split(":")[0] for i in range(len(data))]
    assert names == sorted(names) and set(names) == set(chroms)
    starts = [{t.start for t in data.tiles if t.chrom == chrom} for chrom in chroms]
    assert starts[0] != starts[1]  # each sample has windows of its own
    for i, tile in enumerate(data.tiles):
        sample, _, chrom = tile.chrom.partition("/")
        where = chrom, tile.start, tile.end, 75
        clean = {"sample1": store, "sample2": other}[sample].coverage(*where)
        assert np.array_equal(data[i]["coverage"], clean)


def by_letters(text: str) -> np.ndarray:
    """Bases of a string, one by one: (4, W)."""
    return np.array([[float(letter.upper() == base) for letter in text] for base in "ACGT"])


@pytest.mark.parametrize("chrom", ["chrA", "chrShort"])
def test_the_bases_lie_below_the_coverage(store, peaks, fasta, letters, chrom):
    given = {"peaks": peaks, "training": False}
    data = WindowDataset(store, [chrom], SETTINGS, genome=Genome(fasta), **given)
    plain = WindowDataset(store, [chrom], SETTINGS, **given)
    index = len(data) // 2
    tile, window = data.tiles[index], data[index]
    assert window["x"].shape == (5, tile.end - tile.start)
    assert window["x"].dtype == torch.float32
    assert torch.equal(window["x"][:1], plain[index]["x"])
    text = letters[chrom][tile.start : tile.end]
    assert np.array_equal(window["x"][1:], by_letters(text))
    unknown = window["x"][1:].sum(0) == 0
    assert unknown.sum() == text.count("N") > 0


def test_a_turned_window_is_the_other_strand_s(store, peaks, fasta, letters):
    settings = changed(reverse_complement=True, target="complement", **RANGE)
    given = {"peaks": peaks, "training": True, "genome": Genome(fasta)}
    turned = WindowDataset(store, ["chrA"], settings, **given)
    forward = WindowDataset(store, ["chrA"], replace(settings, reverse_complement=False), **given)
    truth = {"chrA": peaks["chrA"][::2]}
    turned.truth = forward.truth = truth
    pair_of = str.maketrans("ACGTacgt", "TGCAtgca")
    seen = set()
    for i, tile in enumerate(turned.tiles):
        window, expected = turned[i], forward[i]
        _, is_turned = draw_window(settings, 5, (0, 0, tile.start))
        seen.add(is_turned)
        if not is_turned:
            assert same(window, expected)
            continue
        text = letters["chrA"][tile.start : tile.end][::-1].translate(pair_of)
        assert np.array_equal(window["x"][1:], by_letters(text))
        assert torch.equal(window["x"][0], expected["x"][0].flip(0))
        for name in ("coverage", "peaks", "truth", "mask"):
            assert torch.equal(window[name], expected[name].flip(0)), name
            assert window[name].is_contiguous()
        assert torch.equal(window["index"], expected["index"])
    assert seen == {True, False}


def test_turning_works_without_bases_and_twice_is_nothing():
    x = np.random.default_rng(0).random((5, 7))
    turned = reversed_complement(x, bases=True)
    np.testing.assert_array_equal(reversed_complement(turned, bases=True), x)
    np.testing.assert_array_equal(reversed_complement(x, bases=False), x[:, ::-1])
    rows = [x[0], x[4], x[3], x[2], x[1], x[5], x[6]] if len(x) == 7 else x[[0, 4, 3, 2, 1]]
    np.testing.assert_array_equal(turned, np.array(rows)[:, ::-1])


def test_epochs_come_back_as_they_were(store, peaks, fasta):
    settings = changed(reverse_complement=True, **RANGE)

    def made():
        given = {"peaks": peaks, "training": True, "genome": Genome(fasta)}
        return WindowDataset(store, ["chrA", "chrB"], settings, **given)

    once, again = made(), made()
    expected = [once[(epoch, i)] for epoch in range(4) for i in (2, 5)]
    assert same(again[(3, 2)], expected[6])  # as a resumed training begins
    assert same(again[(1, 5)], expected[3])
    assert not torch.equal(expected[0]["x"], expected[2]["x"])


@pytest.mark.parametrize("wrong", [(0.0, 0.5), (0.5, 0.1), (0.1, 1.5)])
def test_a_wrong_range_is_a_sentence(wrong):
    with pytest.raises(ValueError, match="thin_range"):
        Data(thin_range=wrong)
    with pytest.raises(ValueError, match="complement"):
        Data(thin_range=(0.1, 1.0), target="complement")


@pytest.mark.slow
def test_workers_draw_the_same(store, peaks, fasta):
    settings = changed(reverse_complement=True, **RANGE)
    given = {"peaks": peaks, "training": True, "genome": Genome(fasta)}
    data = WindowDataset(store, ["chrA", "chrB"], settings, **given)
    data[0]  # the FASTA is open here when the workers start
    seen = []
    for workers in (0, 2):
        batches = TileBatches(data, 4, seed=3)
        batches.start(1)
        seen.append(list(WindowLoader(batches, workers)))
    assert all(same(a, b) for a, b in zip(*seen, strict=True))


@pytest.mark.parametrize("room", [True, False])
def test_workers_take_shared_memory_where_there_is_room(training, monkeypatch, room):
    """A container's /dev/shm may be too small for a batch, which would end the process."""
    usage = SimpleNamespace(free=1 << 40 if room else 1 << 10)
    monkeypatch.setattr(batches_module.shutil, "disk_usage", lambda _: usage)
    batch = next(iter(WindowLoader(TileBatches(training, 4, seed=3), 1)))
    assert all(tensor.is_shared() == room for tensor in batch.values())


@pytest.mark.slow
def test_workers_give_the_same_windows(training):
    loaders = []
    for workers in (0, 2):
        batches = TileBatches(training, 4, seed=3)
        loader = WindowLoader(batches, workers)
        seen = []
        for epoch in (0, 1):  # workers live through both
            batches.start(epoch, skip=epoch)
            seen += list(loader)
        loaders.append(seen)
    assert len(loaders[0]) == len(loaders[1])
    assert all(same(a, b) for a, b in zip(*loaders, strict=True))


ORPHAN = """
import sys, time
import torch
from denoiseq.store.cut_store import CutStore
from denoiseq.settings import Data
from denoiseq.windows.batches import TileBatches, WindowLoader
from denoiseq.windows.dataset import WindowDataset

if __name__ == "__main__":
    settings = Data(interval_bp=1_000, pad_bp=200)
    data = WindowDataset(CutStore(sys.argv[1]), ["chrA"], settings, {}, training=False)
    loading = iter(WindowLoader(TileBatches(data, 2, None), 1))
    next(loading)
    print("loaded", flush=True)
    time.sleep(60)
"""


def test_workers_end_with_a_main_process_that_is_killed(store_path, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(ORPHAN)
    main = subprocess.Popen([sys.executable, str(program), str(store_path)], stdout=subprocess.PIPE)
    assert main.stdout.readline() == b"loaded\n"
    family = [main.pid]
    for pid in family:  # grows
        children = Path(f"/proc/{pid}/task/{pid}/children")
        family += map(int, children.read_text().split())
    assert len(family) >= 3  # the fork server and its worker
    main.kill()
    main.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in family):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_depth_is_told_beside_that_of_the_answer(store, peaks):
    settings = changed(tell_depth=True, surroundings_bp=[100, 400], **RANGE)
    data = WindowDataset(store, ["chrA"], settings, peaks, training=False)
    (depth,) = store.depths(75)
    assert data.answer_cuts_per_mb == data.facts()["answer_cuts_per_mb"] == depth
    for fraction in (0.1, 0.4):
        window = data.at(fraction)[9]
        assert window["x"].shape == (4, 1_400)
        assert torch.equal(window["x"][3], torch.full((1_400,), float(np.log2(fraction))))
        assert window["x"][0].sum() < window["coverage"].sum()
    assert torch.equal(data.at(0.1)[9]["coverage"], window["coverage"])
    training = WindowDataset(store, ["chrA"], settings, peaks, training=True)
    told = {round(2 ** float(training[i]["x"][3, 0]), 4) for i in range(len(training))}
    drawn = {round(draw_window(settings, 5, (0, 0, tile.start))[0], 4) for tile in training.tiles}
    assert told == drawn and len(told) > 5


def test_the_depth_of_the_answer_may_be_given(store, peaks):
    (depth,) = store.depths(75)
    settings = changed(tell_depth=True, answer_cuts_per_mb=4 * depth)
    data = WindowDataset(store, ["chrA"], settings, peaks, training=False)
    assert data[9]["x"][1, 0] == pytest.approx(np.log2(0.3 / 4))
    tile = data.tiles[9]
    expected = 4 * store.coverage(tile.chrom, tile.start, tile.end, 75)
    np.testing.assert_allclose(data[9]["coverage"], expected)


def test_there_is_no_depth_without_cut_sites(store, peaks, tmp_path):
    write_store(tmp_path / "none.h5", store.chroms, {}, store.blacklist, store.preprocessing, {})
    data = WindowDataset(
        *(store, ["chrA"], changed(tell_depth=True), peaks),
        training=False,
        noisy=CutStore(tmp_path / "none.h5"),
    )
    for ask in (lambda: data[9], lambda: data.input_cuts_per_mb):
        with pytest.raises(UserError, match=r"none\.h5 has no cut sites outside the blacklist"):
            ask()


def test_samples_are_told_their_own_depths_and_answer_at_their_mean(make_pair, peaks):
    deep, shallow = make_pair
    data = WindowDataset(
        Samples([deep, shallow]),
        ["sample1/chrA", "sample2/chrA"],
        changed(tell_depth=True),
        {f"sample{n}/chrA": peaks["chrA"] for n in (1, 2)},
        training=False,
    )
    depths = [store.depths(75)[0] for store in (deep, shallow)]
    assert data.answer_cuts_per_mb == pytest.approx(sum(depths) / 2)
    for number, (name, depth) in enumerate(zip(data.chroms, depths, strict=True)):
        told = data.tracks(name, 0, 1_000)[0][-1, 0]
        assert told == pytest.approx(np.log2(0.3 * depth / data.answer_cuts_per_mb), rel=1e-5)
        clean = (deep, shallow)[number].coverage("chrA", 0, 1_000, 75)
        factor = data.answer_cuts_per_mb / depth
        np.testing.assert_allclose(data.clean(name, 0, 1_000), factor * clean, rtol=1e-6)


@pytest.fixture
def make_pair(store, tmp_path):
    """The store, and one of every third of its cut sites."""
    sizes = store.chroms
    cuts = {}
    for chrom in sizes:
        positions, ids = store.cuts(chrom, 0, sizes[chrom])
        kept = ids % 3 == 0
        cuts[chrom] = positions[kept], ids[kept]
    write_store(tmp_path / "third.h5", sizes, cuts, store.blacklist, store.preprocessing, {})
    return store, CutStore(tmp_path / "third.h5")


def test_of_a_range_five_depths_are_validated_unless_some_are_named():
    told = changed(tell_depth=True, **RANGE)
    assert told.validated_fractions == pytest.approx([0.02, 0.0447, 0.1, 0.2236, 0.5], rel=1e-3)
    assert changed(**RANGE).validated_fractions == [0.1]
    assert changed(validation_fractions=[0.5, 0.02], **RANGE).validated_fractions == [0.02, 0.5]
    with pytest.raises(ValueError, match=r"holds 0\.6, which is not trained: only 0.02 to 0.5 is"):
        changed(validation_fractions=[0.1, 0.6], **RANGE)
