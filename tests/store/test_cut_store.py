import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Interval, merge, unmasked_bp
from denoiseq.store import cut_store as store_module
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.header import blacklist_sha256, fingerprint
from denoiseq.store.thinning import Thinning
from hypothesis import given
from hypothesis import strategies as st

SIZES = {"chr2": 1_000, "chrEmpty": 50, "chr1": 2_000}
BLACKLIST = merge([Interval("chr1", 100, 600), Interval("chr1", 1_900, 2_500)])
PREPROCESSING = {"shift": "+4/-4", "genome": SIZES}


@pytest.fixture
def path(tmp_path):
    cuts = {
        "chr1": (np.array([3, 3, 700, 1_999]), np.array([0, 1, 1, 0])),
        "chr2": (np.array([10, 20]), np.array([0, 0])),
    }
    write_store(tmp_path / "x.h5", SIZES, cuts, BLACKLIST, PREPROCESSING, {"seed": 1})
    return tmp_path / "x.h5"


def test_what_was_written_is_read(path):
    store = CutStore(path)
    assert store.chroms == SIZES
    assert list(store.chroms) == list(SIZES)
    assert (store.n_cuts, store.n_fragments) == (6, 3)
    assert (store.preprocessing, store.provenance) == (PREPROCESSING, {"seed": 1})
    assert store.fingerprint == fingerprint(PREPROCESSING)
    np.testing.assert_array_equal(store.blacklist["chr1"], [[100, 600], [1_900, 2_500]])
    assert unmasked_bp(store.chroms, store.blacklist, "chr1") == 1_400
    assert store.cuts_per_mb == pytest.approx(6e6 / 2_400)  # chrEmpty says nothing on depth


@pytest.mark.parametrize(
    ("chrom", "start", "end", "positions", "fragments"),
    [
        ("chr1", 0, 2_000, [3, 3, 700, 1_999], [1, 2, 2, 1]),
        ("chr1", 3, 700, [3, 3], [1, 2]),
        ("chr1", 4, 701, [700], [2]),
        ("chr1", -100, 10**9, [3, 3, 700, 1_999], [1, 2, 2, 1]),
        ("chr1", -100, -50, [], []),
        ("chr2", 10, 20, [10], [0]),
        ("chrEmpty", 0, 50, [], []),
    ],
)
def test_slices_are_half_open_and_fragments_number_the_genome(
    path, chrom, start, end, positions, fragments
):
    got = CutStore(path).cuts(chrom, start, end)
    assert [array.dtype for array in got] == [np.int64, np.uint64]
    assert [array.tolist() for array in got] == [positions, fragments]


def test_the_layout_of_the_file(path):
    with h5py.File(path) as file:
        assert file.attrs["format"] == "denoiseq-cuts"
        assert file.attrs["version"] == 1
        assert file["chroms/offsets"][:].tolist() == [0, 2, 2, 6]
        for name in ("cuts", "fragments"):
            assert file[name].dtype == np.dtype("<u4")
            assert (file[name].chunks, file[name].compression) == (None, None)


def test_copying_in_chunks_changes_nothing(path, tmp_path, monkeypatch):
    cuts = {c: CutStore(path).cuts(c, 0, 9_999) for c in SIZES}
    local = {c: (p, (f - f.min(initial=9)).astype(int)) for c, (p, f) in cuts.items()}
    monkeypatch.setattr(store_module, "_COPY_CUTS", 1)
    write_store(tmp_path / "y.h5", SIZES, local, BLACKLIST, PREPROCESSING, {"seed": 1})
    again = CutStore(tmp_path / "y.h5")
    for chrom in SIZES:
        for one, other in zip(cuts[chrom], again.cuts(chrom, 0, 9_999), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_store_that_was_read_may_be_sent_or_forked(path, method):
    store = CutStore(path)
    here = store.cuts("chr1", 0, 2_000)
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.apply(store.cuts, ("chr1", 0, 2_000))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(pickle.dumps(store)) < 5_000


def test_a_store_without_cuts(tmp_path):
    write_store(tmp_path / "x.h5", {"chr1": 9}, {}, {}, {}, {})
    store = CutStore(tmp_path / "x.h5")
    assert (store.n_cuts, store.n_fragments, store.cuts_per_mb) == (0, 0, 0.0)
    assert len(store.cuts("chr1", 0, 9)[0]) == 0


def test_a_genome_of_very_many_contigs(tmp_path):
    sizes = {f"scaffold_with_a_long_name_{i}": 1_000 for i in range(5_000)}
    write_store(tmp_path / "x.h5", sizes, {}, {}, {"genome": sizes}, {})
    assert CutStore(tmp_path / "x.h5").preprocessing == {"genome": sizes}


def test_unknown_chromosome_and_missing_file(path, tmp_path):
    with pytest.raises(ValueError, match="no chromosome chr7: chr2, chrEmpty, chr1"):
        CutStore(path).cuts("chr7", 0, 1)
    with pytest.raises(FileNotFoundError, match="no such cut-site store"):
        CutStore(tmp_path / "none.h5")


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_store_is_said(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match="not a cut-site store, or it is truncated"):
        CutStore(path)


def test_other_files_are_said(path, tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["cuts"] = [1, 2]
    for other in ("text.h5", "other.h5"):
        with pytest.raises(ValueError, match=f"{other} is not a cut-site store"):
            CutStore(tmp_path / other)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 99
    with pytest.raises(ValueError, match="version 99, this program reads version 1"):
        CutStore(path)


def test_a_failed_write_leaves_the_old_store(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_store(path, {"chr1": 9}, {}, {}, {"bad": float("nan")}, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_fingerprints_depend_on_content_alone():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint(json.loads('{"b": [2], "a": 1}'))
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    split = merge([Interval("b", 5, 9), Interval("a", 1, 4), Interval("a", 3, 8)])
    assert blacklist_sha256(split) == blacklist_sha256(
        merge([Interval("a", 1, 8), Interval("b", 5, 9)])
    )
    assert blacklist_sha256({}) != blacklist_sha256(split)


def test_thinning_draws_are_fixed_for_good():
    """A changed hash would silently change every validation set and every resumed run."""
    kept = np.flatnonzero(Thinning(0.1, seed=7, epoch=3).keep(np.arange(100)))
    assert kept.tolist() == [8, 22, 26, 27, 37, 56, 59, 66, 71, 76, 83, 97]


@given(st.floats(0, 1), st.integers(0, 2**40), st.integers(0, 1_000))
def test_thinning_depends_on_the_id_alone(fraction, seed, epoch):
    ids = np.random.default_rng(0).integers(0, 2**32, 200, dtype=np.uint64)
    thinning = Thinning(fraction, seed, epoch)
    kept = thinning.keep(ids)
    assert kept.dtype == bool
    np.testing.assert_array_equal(thinning.keep(ids[::-3]), kept[::-3])
    np.testing.assert_array_equal(Thinning(fraction, seed, epoch, True).keep(ids), ~kept)
    more = Thinning(min(1.0, fraction * 1.5), seed, epoch).keep(ids)
    assert not np.any(kept & ~more)  # deeper draws hold the shallower ones


def test_thinning_is_uniform_and_independent_between_draws():
    ids = np.arange(200_000)
    draws = [Thinning(0.1, seed, epoch).keep(ids) for seed in range(3) for epoch in range(3)]
    spread = np.sqrt(0.1 * 0.9 / len(ids))
    for number, draw in enumerate(draws):
        assert abs(draw.mean() - 0.1) < 5 * spread
        for other in draws[:number]:
            assert abs((draw & other).mean() - 0.01) < 5 * np.sqrt(0.01 * 0.99 / len(ids))
    runs = np.diff(np.flatnonzero(np.diff(draws[0].astype(int))))
    assert runs.mean() == pytest.approx((1 / 0.1 + 1 / 0.9) / 2, rel=0.05)


@given(st.floats(1e-3, 0.5), st.integers(0, 2**40), st.integers(0, 1_000))
def test_parts_of_a_draw_have_no_fragment_in_common(fraction, seed, epoch):
    ids = np.random.default_rng(0).permutation(4_000)
    first, second = (Thinning(fraction, seed, epoch, part=part).keep(ids) for part in (0, 1))
    np.testing.assert_array_equal(first, Thinning(fraction, seed, epoch).keep(ids))
    assert not np.any(first & second)
    assert abs(second.mean() - fraction) < 6 * np.sqrt(fraction * (1 - fraction) / len(ids))
    rest = Thinning(fraction, seed, epoch, complement=True, part=1).keep(ids)
    np.testing.assert_array_equal(rest, ~second)


def test_parts_share_all_fragments_out():
    ids = np.arange(10_000)
    for fraction, parts in ((0.5, 2), (0.25, 4), (1.0, 1)):
        kept = [Thinning(fraction, 3, part=part).keep(ids) for part in range(parts)]
        assert (np.sum(kept, axis=0) == 1).all()
    for fraction, part in ((0.6, 1), (0.25, 4), (0.1, -1)):
        with pytest.raises(ValueError, match=f"there is no part {part} of {fraction}"):
            Thinning(fraction, 3, part=part)


def test_thinning_bounds():
    ids = np.arange(1_000)
    assert Thinning(1.0, 0).keep(ids).all()
    assert not Thinning(0.0, 0).keep(ids).any()
    for bad in ((-0.1, 0), (1.1, 0), (float("nan"), 0), (0.5, -1)):
        with pytest.raises(ValueError, match=r"fraction|seed"):
            Thinning(*bad)


def test_a_disk_without_room_is_a_sentence_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=4_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    cuts = {"chr1": (np.arange(1_000), np.arange(1_000))}
    with pytest.raises(OSError, match=r"no space left on the disk for .*cuts\.h5"):
        write_store(tmp_path / "cuts.h5", {"chr1": 5_000}, cuts, {}, {}, {})
    assert not list(tmp_path.iterdir())


LIMITED = """
import resource, sys
import numpy as np
from denoiseq.store.cut_store import write_store
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
cuts = {"chr1": (np.arange(20_000), np.arange(20_000))}
try:
    write_store(sys.argv[1], {"chr1": 20_000}, cuts, {}, {}, {})
except OSError as error:
    sys.exit(str(error))
"""


def test_write_store_beyond_the_limit_of_a_file_is_a_sentence(tmp_path):
    """In a process of its own, because HDF5 would crash."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "cuts.h5")]
    path = os.pathsep.join(sys.path)
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "larger than a file may be here" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["chroms/names", "chroms/offsets", "preprocessing", "cuts"])
@pytest.mark.parametrize("content", [None, [1.5], "text", []])
def test_parts_of_another_kind_are_damage(path, name, content):
    """What h5py and numpy say of them is no bug of ours."""
    with h5py.File(path, "r+") as file:
        del file[name]
        if content is not None:
            file[name] = content
    with pytest.raises(UserError, match=r"x.h5 is not a cut-site store, or it is truncated"):
        CutStore(path)


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"0" * 100)])
def test_a_store_that_is_removed_or_cut_short_while_in_use(path, change):
    store = CutStore(path)
    change(path)
    with pytest.raises(UserError, match=r"x.h5 was removed or cut short while it was in use"):
        store.cuts("chr1", 0, 9)
