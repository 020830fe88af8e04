import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
from denoiseq.genomics.intervals import Interval, merge, unmasked_bp
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


def test_unknown_chromosome(path):
    with pytest.raises(ValueError, match="no chromosome chr7: chr2, chrEmpty, chr1"):
        CoverageStore(path).coverage("chr7", 0, 1)
