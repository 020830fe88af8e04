"""What we write is read by pyBigWig, which shares no code with it."""

import errno
import io
from itertools import pairwise

import numpy as np
import pyBigWig
import pytest
from denoiseq.genomics import bigwig_writer
from denoiseq.genomics.bigwig_writer import BLOCK_ITEMS, FAN_OUT, ZOOM_BP, encode, write_bigwig
from hypothesis import given, settings
from hypothesis import strategies as st

CHROMS = {"chr2": 300, "chr10": 200, "chr1": 100}


def values(path, chrom, start, end):
    with pyBigWig.open(str(path)) as file:
        return file.values(chrom, start, end, numpy=True)


def test_round_trip_with_gaps_rounding_and_another_order_than_the_names(tmp_path, track_writer):
    rng = np.random.default_rng(0)
    first, second = rng.random(150) * 20, np.round(rng.random(100))
    pieces = [("chr2", 0, first[:70]), ("chr2", 70, first[70:]), ("chr1", 0, second)]
    path = track_writer(tmp_path / "x.bw", CHROMS, pieces)
    np.testing.assert_allclose(values(path, "chr2", 0, 150), np.round(first, 1), atol=1e-6)
    assert np.isnan(values(path, "chr2", 150, 300)).all()
    np.testing.assert_array_equal(values(path, "chr1", 0, 100), second)
    with pyBigWig.open(str(path)) as file:
        assert list(file.chroms().items()) == list(CHROMS.items())
        assert file.intervals("chr10") is None
        head = file.header()
    assert head["nBasesCovered"] == 250
    assert head["sumData"] == int(np.round(first, 1).sum() + second.sum())
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 240))
def test_equal_neighbours_are_one_entry(tmp_path_factory, track_writer, found, start):
    path = tmp_path_factory.mktemp("bw") / "x.bw"
    track_writer(path, CHROMS, [("chr2", start, found)], decimals=2)
    with pyBigWig.open(str(path)) as file:
        entries = file.intervals("chr2")
    assert len(entries) == 1 + np.count_nonzero(np.diff(found))
    assert (entries[0][0], entries[-1][1]) == (start, start + len(found))
    np.testing.assert_array_equal(values(path, "chr2", start, start + len(found)), found)


# Sizes at the edge of a block, and of a node of the index and one more.
@pytest.mark.parametrize("n", [BLOCK_ITEMS, BLOCK_ITEMS + 1, BLOCK_ITEMS * (FAN_OUT + 3) + 5])
def test_many_blocks_are_found_and_summed(tmp_path, track_writer, n):
    track = (np.arange(n) % 7).astype(np.float32)
    cut = n // 3
    pieces = [("c", 0, track[:cut]), ("c", cut, track[cut:]), ("d", 5, track[:900])]
    path = track_writer(tmp_path / "x.bw", {"c": n, "d": 1_000}, pieces, decimals=0)
    np.testing.assert_array_equal(values(path, "c", 0, n), track)
    np.testing.assert_array_equal(values(path, "c", n - 3, n), track[-3:])
    np.testing.assert_array_equal(values(path, "d", 5, 905), track[:900])
    with pyBigWig.open(str(path)) as file:
        assert file.header()["nLevels"] >= 1
        for kind, exact in (("mean", track.mean()), ("max", 6), ("min", 0), ("coverage", 1)):
            assert file.stats("c", type=kind, exact=False)[0] == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(("records", "levels"), [(600, 1), (5_000, 3)])
def test_summaries_are_those_of_the_values(tmp_path, track_writer, records, levels):
    size = records * ZOOM_BP + 77
    track = np.random.default_rng(1).integers(0, 50, size).astype(np.float32)
    track[:200_000] = 0
    cuts = [0, 3, ZOOM_BP - 1, 100_001, 250_000, size]  # pieces need not end where summaries do
    pieces = [("c", a, track[a:b]) for a, b in pairwise(cuts)]
    path = track_writer(tmp_path / "x.bw", {"c": size}, pieces, decimals=0)
    with pyBigWig.open(str(path)) as file:
        assert file.header()["nLevels"] == levels
        bins = 30
        edges = np.linspace(0, size, bins + 1).astype(int)
        for kind, reduce in (("mean", np.mean), ("max", np.max)):
            found = file.stats("c", 0, size, type=kind, nBins=bins)
            exact = [reduce(track[a:b]) for a, b in pairwise(edges)]
            np.testing.assert_allclose(found, exact, atol=2)
        assert file.header()["sumData"] == int(track.sum(dtype=np.float64))


def test_more_names_than_a_node_holds(tmp_path, track_writer):
    chroms = {f"contig{i * 7919 % 1000}": 50 + i for i in range(3 * FAN_OUT)}
    pieces = [(chrom, 10, [i]) for i, chrom in enumerate(chroms) if i % 2]
    path = track_writer(tmp_path / "x.bw", chroms, pieces)
    with pyBigWig.open(str(path)) as file:
        assert list(file.chroms().items()) == list(chroms.items())
        for i, chrom in enumerate(chroms):
            expected = ((10, 11, float(i)),) if i % 2 else None
            assert file.intervals(chrom) == expected


def test_a_track_without_data(tmp_path, track_writer):
    path = track_writer(tmp_path / "x.bw", CHROMS, [])
    with pyBigWig.open(str(path)) as file:
        assert file.chroms() == CHROMS
        assert file.header()["nBasesCovered"] == 0
        assert file.intervals("chr1") is None


def test_values_that_are_no_numbers():
    with pytest.raises(ValueError, match="not finite"):
        encode(0, 5, np.array([1, np.nan], dtype=np.float32), 1)


def test_no_minus_zero_and_no_sign_of_it():
    one, other = (encode(0, 0, np.array(v, np.float32), 1) for v in ([0, 0.01], [-0.01, -0.0]))
    assert one.data == other.data


class Full(io.FileIO):
    def write(self, data) -> int:
        if self.tell() > 500:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(bigwig_writer.Path, "open", lambda path, mode: Full(path, mode))
    with pytest.raises(OSError, match=r"no space left on the disk for .*x\.bw"):
        write_bigwig(tmp_path / "x.bw", {f"chr{i}": 10 for i in range(99)}, {})
    assert not list(tmp_path.iterdir())


def test_unwritable_places(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        write_bigwig(tmp_path / "file/x", CHROMS, {})
