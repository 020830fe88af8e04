"""What a config's stores, samples, depths and bases become, and the sentences where they clash."""

import logging

import numpy as np
import pytest
from denoiseq import settings
from denoiseq.logs import collected_warnings
from denoiseq.prediction import sample
from denoiseq.store.compatibility import check_same_filters, check_store_matches_training
from denoiseq.store.coverage_store import CoverageStore, write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.header import blacklist_sha256
from denoiseq.store.thinning import Thinning
from denoiseq.windows.dataset import window_options
from denoiseq.windows.splits import open_stores, overridden, splits

NO_BLACKLIST = blacklist_sha256({})
SIZES = {"chr1": 30_000, "chr2": 20_000, "chr3": 9_000}
FILTERS = {"shift": "+4/-4", "min_mapq": 30, "keep_duplicates": False, "max_fragment_bp": 2000}


@pytest.fixture
def make(tmp_path):
    """`make("a", seed)` writes a store of random cuts and peaks, and returns its path."""

    def store(name, seed=0, sizes=SIZES, **changes) -> str:
        rng = np.random.default_rng(seed)
        cuts = {}
        for chrom, size in sizes.items():
            heaps = [at + rng.integers(0, 200, 60) for at in range(500, size - 300, 2_000)]
            positions = np.sort(np.concatenate([rng.integers(0, size, 600), *heaps]))
            cuts[chrom] = positions, np.arange(len(positions)) // 2
        path = tmp_path / f"{name}.h5"
        preprocessing = {**FILTERS, "genome": sizes, "blacklist_sha256": NO_BLACKLIST, **changes}
        write_store(path, sizes, cuts, {}, preprocessing, {})
        return str(path)

    return store


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text("".join(f">{c}\n{'ACGTN' * (n // 5)}\n" for c, n in SIZES.items()))
    return str(path)


def config(store, **more) -> settings.Data:
    options = {"interval_bp": 2_000, "pad_bp": 300, "validation": ["chr2"], "test": ["chr3"]}
    return settings.Data(store=store, **{**options, **more})


def windows(data):
    return splits(data, open_stores(data), seed=0)


def test_thinning_keeps_a_tenth_and_a_noisy_store_all(make):
    assert config("x").thin_fraction == 0.1
    assert config("x", noisy_store="y").thin_fraction == 1
    assert config("x", noisy_store="y", thin_fraction=0.5).thin_fraction == 0.5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"thin_range": [0.1]}, r"thin_range is \[0.1\], expected two"),
        ({"thin_range": [0.5, 0.1]}, "expected two fractions"),
        ({"thin_range": [0.2, 0.5]}, "0.1, outside data.thin_range"),
        ({"noisy_store": "y", "thin_range": [0.2, 0.5]}, "1.0, outside data.thin_range"),
        ({"noisy_store": "y", "target": "complement"}, "give no data.noisy_store"),
        ({"more_noisy_stores": ["z"]}, "names 1 stores, expected 0"),
        ({"noisy_store": "y", "more_stores": ["z"]}, "names 0 stores, expected 1"),
    ],
)
def test_wrong_combinations_are_sentences(more, words):
    with pytest.raises(ValueError, match=words):
        config("x", **more)


def test_a_pair_of_stores(make):
    clean, noisy = make("clean"), make("noisy", 1)
    data = windows(config(clean, noisy_store=noisy))
    for part in (data.train, data.validation):
        assert (str(part.store.path), str(part.noisy.path)) == (clean, noisy)
        assert part.input_cuts_per_mb == pytest.approx(CutStore(noisy).cuts_per_mb)


def test_samples_share_folds_labels_and_bases(make, fasta, tmp_path):
    bed = tmp_path / "peaks.bed"
    bed.write_text("chr1\t500\t700\nchr2\t500\t700\n")
    data = windows(
        config(make("a"), more_stores=[make("b", 1)], sequence=True, fasta=fasta, labels=str(bed))
    )
    assert data.train.chroms == ["sample1/chr1", "sample2/chr1"]
    assert data.validation.chroms == ["sample1/chr2", "sample2/chr2"]
    assert [len(data.train.peaks[chrom]) for chrom in data.train.chroms] == [1, 1]
    one, other = (data.validation[i] for i in (2, 2 + len(data.validation) // 2))
    assert np.array_equal(one["x"][1:], other["x"][1:]) and one["x"].shape[0] == 5
    assert not np.array_equal(one["x"][0], other["x"][0])


def test_pairs_of_several_samples(make):
    paths = [make(name, seed) for seed, name in enumerate("abcd")]
    more = {"more_stores": [paths[1]], "more_noisy_stores": [paths[3]]}
    data = windows(config(paths[0], noisy_store=paths[2], **more)).train
    found = [[str(store.path) for store in whole.samples] for whole in (data.store, data.noisy)]
    assert found == [paths[:2], paths[2:]]


def test_stores_that_do_not_go_together(make, tmp_path):
    clean = make("clean")
    longer = make("longer", sizes={**SIZES, "chr2": 20_001})
    with pytest.raises(
        ValueError, match=r"longer.h5 and .*clean.h5 are of different genomes: chr2"
    ):
        open_stores(config(clean, noisy_store=longer))
    fewer = make("fewer", sizes={"chr1": 30_000})
    with pytest.raises(ValueError, match=r"chr2 has 20000 bp .* and no bp"):
        open_stores(config(clean, noisy_store=fewer))
    shifted = make("shifted", shift="none")
    with pytest.raises(ValueError, match=r"shifted.h5 was prepared with shift=none"):
        open_stores(config(clean, noisy_store=shifted))
    with pytest.raises(ValueError, match=r"shifted.h5 was prepared with shift=none"):
        open_stores(config(clean, more_stores=[shifted]))
    with pytest.raises(FileNotFoundError, match=r"absent.h5"):
        open_stores(config(clean, noisy_store=str(tmp_path / "absent.h5")))


def test_what_a_fragment_file_does_not_know_is_no_difference():
    reads = {"shift": "+4/-4", "min_mapq": 30, "keep_duplicates": False, "max_fragment_bp": 2_000}
    fragments = {**reads, "shift": "10x", "min_mapq": None, "keep_duplicates": None}
    check_same_filters(fragments, reads, "one", "other")
    check_same_filters({**reads, "shift": "+4/-5"}, fragments, "one", "other")
    for change in ({"shift": "none"}, {"max_fragment_bp": 900}):
        with pytest.raises(ValueError, match=r"one with .*, other for"):
            check_same_filters({**reads, **change}, fragments, "one", "other")


@pytest.fixture
def covered(tmp_path) -> str:
    """A coverage store of coverage 3 everywhere."""
    run = np.zeros(1, np.uint32), np.full(1, 3, np.float32)
    made = {"kind": "coverage", "genome": SIZES, "blacklist_sha256": NO_BLACKLIST}
    path = tmp_path / "covered.h5"
    write_coverage_store(path, SIZES, dict.fromkeys(SIZES, run), {}, made, {})
    return str(path)


def test_coverage_as_noisy_input(make, covered):
    clean = make("clean")
    data = config(clean, noisy_store=covered, half_window_bp=75)
    given = open_stores(data)
    assert isinstance(given.noisy, CoverageStore)
    said = given.describe(75)
    assert said[0].startswith(f"clean store {clean}: ") and "fragments" in said[0]
    assert said[1].endswith(f"covered.h5: coverage of 3 runs, {3e6 / 151:.0f} cut sites per Mb")
    window = splits(data, given, seed=0).train[0]
    assert (window["x"] == 3).all() and window["coverage"].std() > 0


@pytest.mark.parametrize(
    ("trained", "input_", "warns"),
    [
        ({}, {"ends": "alignment"}, True),
        ({"ends": "alignment"}, {}, True),
        ({}, {}, False),
        ({"ends": "alignment"}, {"ends": "alignment"}, False),
        ({}, {"source": "fragments"}, False),
        ({"source": "fragments"}, {"ends": "alignment"}, False),
        ({"layout": "single"}, {"ends": "alignment"}, False),
    ],
)
def test_fragment_ends_that_come_from_elsewhere_are_warned_of(make, caplog, trained, input_, warns):
    trained, store = CutStore(make("a", **trained)).preprocessing, CutStore(make("b", **input_))
    check_store_matches_training(trained, store)
    words = ["template length", "alignment"]
    if "ends" in trained:
        words.reverse()
    said = f"trained on fragment ends by {words[0]}, {store.path} has them by {words[1]}"
    assert (said in caplog.text) == warns


def test_cut_sites_and_coverage_are_not_taken_for_each_other(make, covered, tmp_path):
    cuts, track = CutStore(make("a")), CoverageStore(covered)
    check_store_matches_training(track.preprocessing, track)
    with pytest.raises(ValueError, match=r"covered.h5 holds a coverage track, .* on cut sites"):
        check_store_matches_training(cuts.preprocessing, track)
    with pytest.raises(ValueError, match=r"a.h5 holds cut sites, .* on a coverage track"):
        check_store_matches_training(track.preprocessing, cuts)
    clean, mixed = make("b"), {"more_stores": [make("c")], "more_noisy_stores": [covered]}
    with pytest.raises(ValueError, match=r"covered.h5 holds a coverage track, .* all of one kind"):
        open_stores(config(clean, noisy_store=make("d"), **mixed))
    payload = {"preprocessing": track.preprocessing}
    reads = settings.Predict(bam="x.bam")
    with pytest.raises(ValueError, match=r"trained on a coverage track, .*bigwig="):
        sample.opened_store(reads, payload, settings.Train(), tmp_path)


def test_a_coverage_store_alone_cannot_be_thinned(covered):
    with pytest.raises(ValueError, match=r"cannot be thinned: give a noisy sample"):
        windows(config(covered, labels="poisson", label_neglog10_p=0.01))


def test_a_fasta_of_another_genome(make, fasta, tmp_path):
    given = {"sequence": True, "fasta": fasta}
    assert open_stores(config(make("a"), **given)).genome is not None
    assert open_stores(config(make("a"))).genome is None
    with pytest.raises(ValueError, match=r"genome.fa is not the genome of .*: chr2 has 20005 bp"):
        open_stores(config(make("b", sizes={**SIZES, "chr2": 20_005}), **given))
    with pytest.raises(ValueError, match=r"chrX has 900 bp, it is not there"):
        open_stores(config(make("c", sizes={**SIZES, "chrX": 900}), **given))
    with pytest.raises(ValueError, match=r"data.fasta is required: .*data.sequence=true"):
        open_stores(config(make("a"), sequence=True))


def test_evaluation_on_other_stores():
    paired = config("a", noisy_store="b", more_stores=["c"], more_noisy_stores=["d"])
    other = settings.DataOverrides(store="e", noisy_store="f")
    found = overridden(paired, other)
    assert (found.store, found.noisy_store, found.more_stores) == ("e", "f", [])
    assert found.thin_fraction == 1
    with pytest.raises(ValueError, match=r"give data.noisy_store= with data.store="):
        overridden(paired, settings.DataOverrides(store="e"))
    thinned = config("a", thin_range=[0.05, 0.5])
    assert overridden(thinned, settings.DataOverrides(noisy_store="b")).thin_fraction == 1
    deeper = overridden(thinned, settings.DataOverrides(thin_fraction=0.9))
    assert (deeper.thin_fraction, deeper.thin_range) == (0.9, None)


def test_the_settings_reach_the_windows_and_the_checkpoint(make):
    given = {"thin_range": [0.05, 0.2], "reverse_complement": True, "half_window_bp": 80}
    data = config(make("a"), **given)
    train = windows(data).train
    assert (train.settings, train.seed) == (data, 0)
    assert train.facts()["window_options"] == window_options(data, 0)
    assert window_options(data, 0) == {
        "interval_bp": 2_000,
        "pad_bp": 300,
        "half_window_bp": 80,
        "thin_fraction": 0.1,
        "target": "all",
        "seed": 0,
        "thin_range": (0.05, 0.2),
        "reverse_complement": True,
    }


@pytest.mark.parametrize(("used", "warned"), [(4, True), (6, False), (190, False), (210, True)])
def test_depth_is_measured_against_the_trained_range(make, caplog, used, warned):
    store = CutStore(make("a"))
    knows = sample.Depth(50.0, 10.0, 100.0, answer=None)
    with caplog.at_level(logging.WARNING):
        draw, depth = sample.thinning(settings.Predict(depth=used), knows, store, 100)
    assert bool(caplog.records) == warned
    assert not warned or "10 to 100" in caplog.text
    assert isinstance(draw, Thinning) and depth["used_cuts_per_mb"] == used


def test_depth_of_a_coverage_store(covered, caplog):
    store = CoverageStore(covered)
    depth = 1e6 * 3 / 201
    knows = sample.Depth.of({"trained_cuts_per_mb": depth})
    draw, found = sample.thinning(settings.Predict(depth="trained"), knows, store, 100)
    assert draw is None and found["given_cuts_per_mb"] == pytest.approx(depth, abs=0.1)
    assert not caplog.records
    with pytest.raises(ValueError, match=r"covered.h5 holds coverage, not fragments"):
        sample.thinning(settings.Predict(depth=depth / 3), knows, store, 100)


def test_an_organelle_in_a_store_is_warned_of(make, tmp_path):
    path = make("a", sizes={**SIZES, "Mt": 9_000})
    with collected_warnings() as warnings:
        open_stores(config(path, exclude=["Mt"]))
    assert warnings == []
    payload = {"preprocessing": CutStore(path).preprocessing}
    predicted = settings.Predict(store=path)
    for opened in (
        lambda: open_stores(config(path)),
        lambda: sample.opened_store(predicted, payload, settings.Train(), tmp_path),
    ):
        with collected_warnings() as warnings:
            opened()
        (text,) = warnings
        assert "a.h5 holds Mt, an organelle" in text


def test_a_model_of_the_sequence_needs_a_fasta(make, fasta):
    store, trained = CutStore(make("a")), settings.Train(data=config("a", sequence=True))
    with pytest.raises(ValueError, match=r"reads the sequence too: give fasta="):
        sample.genome(settings.Predict(), trained, store)
    assert sample.genome(settings.Predict(fasta=fasta), trained, store).one_hot("chr1", 0, 3).any()
    assert sample.genome(settings.Predict(fasta=fasta), settings.Train(), store) is None
