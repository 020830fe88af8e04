import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
from denoiseq.genomics.intervals import Interval, merge, unmasked_bp
from denoiseq.store import coverage_store
from denoiseq.store.counts import unit_of
from denoiseq.store.coverage_store import CoverageStore, runs_of, write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.header import fingerprint
from denoiseq.store.store import open_store
from hypothesis import given
from hypothesis import strategies as st

SIZES = {"chr2": 1_000, "chrEmpty": 50, "chr1": 2_000}
BLACKLIST = merge([Interval("chr1", 100, 600)])
PREPROCESSING = {"kind": "coverage", "genome": SIZES}


@pytest.fixture
def tracks():
    rng = np.random.default_rng(0)
    return {
        "chr1": np.repeat(rng.integers(0, 4, 200), 10).astype(np.float32),
        "chr2": rng.random(1_000, dtype=np.float32),
    }


@pytest.fixture
def path(tmp_path, tracks):
    runs = {chrom: runs_of(track, 0) for chrom, track in tracks.items()}
    out = tmp_path / "x.h5"
    write_coverage_store(out, SIZES, runs, BLACKLIST, PREPROCESSING, {"seed": 1})
    return out


def test_what_was_written_is_read(path):
    store = CoverageStore(path)
    assert list(store.chroms.items()) == list(SIZES.items())
    assert (store.preprocessing, store.provenance) == (PREPROCESSING, {"seed": 1})
    assert store.fingerprint == fingerprint(PREPROCESSING)
    np.testing.assert_array_equal(store.blacklist["chr1"], [[100, 600]])
    assert unmasked_bp(store.chroms, store.blacklist, "chr1") == 1_500
    assert 1_000 < store.n_runs < 1_200


@given(st.integers(-300, 2_300), st.integers(0, 2_500), st.sampled_from(sorted(SIZES)))
def test_any_window_is_the_track_s_and_zero_outside(tmp_path_factory, start, width, chrom):
    rng = np.random.default_rng(0)
    track = np.repeat(rng.integers(0, 3, 400), 5).astype(np.float32)[: SIZES[chrom]]
    runs = {} if chrom == "chrEmpty" else {chrom: runs_of(track, 0)}
    out = tmp_path_factory.mktemp("store") / "x.h5"
    write_coverage_store(out, SIZES, runs, {}, {}, {})
    padded = np.zeros(5_100, dtype=np.float32)
    if runs:
        padded[300 : 300 + len(track)] = track
    got = CoverageStore(out).coverage(chrom, start, start + width)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, padded[start + 300 : start + 300 + width])


def test_no_data_is_zero_and_equal_neighbours_are_one_run():
    starts, values = runs_of(np.array([np.nan, 0, 2, 2, np.nan, 2], dtype=np.float32), 7)
    assert (starts.tolist(), values.tolist()) == ([7, 9, 11, 12], [0, 2, 0, 2])
    assert [len(array) for array in runs_of(np.empty(0), 0)] == [0, 0]


def test_each_class_refuses_the_other_s_file_and_open_store_knows(path, tmp_path):
    cuts = tmp_path / "cuts.h5"
    write_store(cuts, SIZES, {}, {}, {}, {})
    assert isinstance(open_store(path), CoverageStore)
    assert isinstance(open_store(cuts), CutStore)
    with pytest.raises(ValueError, match=r"x.h5 is a coverage store; single cut.*bam="):
        CutStore(path)
    with pytest.raises(ValueError, match=r"cuts.h5 is a cut-site store; .*bigwig="):
        CoverageStore(cuts)


def test_a_cut_store_without_the_attribute_kind_is_one_of_cuts(tmp_path):
    write_store(tmp_path / "old.h5", SIZES, {}, {}, {}, {})
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        del file.attrs["kind"]
    assert isinstance(open_store(tmp_path / "old.h5"), CutStore)


def test_other_files_and_versions_are_said(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such"):
        open_store(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(ValueError, match=r"text.h5 is not a .* store"):
        open_store(tmp_path / "text.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 7
    with pytest.raises(ValueError, match="coverage store of version 7, this program reads"):
        open_store(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_store_is_said(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match="or it is truncated"):
        open_store(path)


def test_a_store_that_was_read_may_be_sent(path, tracks):
    store = CoverageStore(path)
    store.coverage("chr1", 0, 9)
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        there = pool.apply(store.coverage, ("chr1", 0, 2_000))
    np.testing.assert_array_equal(there, tracks["chr1"])
    assert len(pickle.dumps(store)) < 5_000


def written(path, tracks):
    runs = {chrom: runs_of(np.asarray(track), 0) for chrom, track in tracks.items()}
    write_coverage_store(path, SIZES, runs, {}, {}, {})
    return CoverageStore(path)


@pytest.mark.parametrize("sampled", [1 << 17, 100])
def test_its_unit_is_that_of_a_sample_of_all_chromosomes(tmp_path, monkeypatch, sampled):
    monkeypatch.setattr(coverage_store, "_SAMPLED", sampled)
    sizes = []

    def counted(values):
        sizes.append(len(values))
        return unit_of(values)

    monkeypatch.setattr(coverage_store, "unit_of", counted)
    rng = np.random.default_rng(0)
    track = np.zeros(2_000)
    track[::2] = rng.integers(1, 9, 1_000)  # every other run is 0
    counts, half = {"chr1": track, "chr2": track[:1_000]}, 0.5 * track[:1_000]
    assert written(tmp_path / "counts.h5", counts).unit == 1
    assert written(tmp_path / "one.h5", {"chr1": track}).unit == 1
    assert written(tmp_path / "half.h5", counts | {"chr2": half}).unit == 0.5
    assert all(min(sampled, 1_000) / 4 < size <= sampled + len(SIZES) for size in sizes)
    assert written(tmp_path / "none.h5", {}).unit == 1


def test_a_track_at_another_depth_is_scaled_throughout(path, tracks):
    store = CoverageStore(path)
    scaled = store.at_depth(1234, 75)
    assert scaled.depths(75) == pytest.approx([1234])
    factor = 1234 / store.depths(75)[0]
    track = scaled.coverage("chr1", -5, 2_000)
    assert track.dtype == np.float32
    np.testing.assert_allclose(track[5:], factor * tracks["chr1"], rtol=1e-6)
    np.testing.assert_allclose(scaled.signal("chr1", 0, 90)[1], factor * tracks["chr1"][:90])
    np.testing.assert_allclose(scaled.at_depth(5, 75).depths(75), 5)
    np.testing.assert_array_equal(store.coverage("chr1", 0, 2_000), tracks["chr1"])
    assert scaled.fingerprint == store.fingerprint


def test_cpm_at_its_depth_are_counts_again(tmp_path):
    counts = {"chr1": np.random.default_rng(0).poisson(3, 2_000)}
    store = written(tmp_path / "counts.h5", counts)
    cpm = written(tmp_path / "cpm.h5", {"chr1": 0.0213 * counts["chr1"]})
    assert cpm.unit == pytest.approx(0.0213, rel=1e-4)
    again = cpm.at_depth(*store.depths(75), 75)
    assert again.unit == 1
    np.testing.assert_allclose(again.coverage("chr1", 0, 2_000), counts["chr1"], rtol=1e-5)


def test_zeros_have_no_depth_to_scale(tmp_path):
    store = written(tmp_path / "zeros.h5", {"chr1": np.zeros(2_000)}).at_depth(9, 75)
    assert store.depths(75) == [0] and not store.coverage("chr1", 0, 9).any()


def test_unknown_chromosome(path):
    with pytest.raises(ValueError, match="no chromosome chr7: chr2, chrEmpty, chr1"):
        CoverageStore(path).coverage("chr7", 0, 1)
