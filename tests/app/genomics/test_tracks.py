from itertools import pairwise

import numpy as np
import pyBigWig
import pytest
from denoiseq.genomics.tracks import BigWigWriter, read_bigwig
from hypothesis import given, settings
from hypothesis import strategies as st

CHROMS = {"chr2": 300, "chr10": 200, "chr1": 100}


def test_round_trip_over_chunks_with_gaps_and_rounding(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "x.bw"
    first, second = rng.random(150) * 20, np.round(rng.random(100))
    with BigWigWriter(path, CHROMS) as writer:
        writer.add("chr2", 0, first[:70].astype(np.float32))
        writer.add("chr2", 70, first[70:].astype(np.float32))
        writer.add("chr1", 0, second.astype(np.float32))
    expected = np.concatenate([np.round(first, 1), np.zeros(150)])
    np.testing.assert_allclose(read_bigwig(path, "chr2", 0, 300), expected, atol=1e-5)
    np.testing.assert_array_equal(read_bigwig(path, "chr1", 0, 100), second)
    np.testing.assert_array_equal(read_bigwig(path, "chr10", 5, 100), np.zeros(95))
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.lists(st.integers(1, 59)))
def test_equal_neighbours_are_one_entry_across_chunks(tmp_path_factory, values, seams):
    path = tmp_path_factory.mktemp("bw") / "x.bw"
    track = np.array(values, dtype=np.float32)
    edges = [0, *sorted(seam for seam in seams if seam < len(track)), len(track)]
    with BigWigWriter(path, CHROMS, decimals=2) as writer:
        for start, end in pairwise(edges):
            writer.add("chr2", 10 + start, track[start:end])
    with pyBigWig.open(str(path)) as file:
        entries = file.intervals("chr2")
    assert len(entries) == 1 + np.count_nonzero(np.diff(track))
    assert (entries[0][0], entries[-1][1]) == (10, 10 + len(track))
    np.testing.assert_array_equal(read_bigwig(path, "chr2", 10, 10 + len(track)), track)


def test_more_runs_than_one_batch_of_entries(tmp_path):
    size = 200_001
    track = (np.arange(size) % 7).astype(np.float32)
    with BigWigWriter(tmp_path / "x.bw", {"c": size}, decimals=0) as writer:
        writer.add("c", 0, track)
    np.testing.assert_array_equal(read_bigwig(tmp_path / "x.bw", "c", 0, size), track)


def test_a_track_without_data(tmp_path):
    with BigWigWriter(tmp_path / "x.bw", CHROMS) as writer:
        writer.add("chr2", 0, np.empty(0, dtype=np.float32))
    assert not read_bigwig(tmp_path / "x.bw", "chr1", 0, 100).any()


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([("chr1", 0, 5), ("chr2", 0, 5)], "chr2:0 comes after chr1:5"),
        ([("chr2", 10, 5), ("chr2", 14, 5)], "chr2:14 comes after chr2:15"),
        ([("chr2", 296, 5)], "chr2:296-301 is not on the chromosome"),
        ([("chrX", 0, 5)], "chrX is not among its chromosomes"),
    ],
)
def test_what_is_out_of_order_is_refused_and_leaves_no_file(tmp_path, chunks, why):
    with pytest.raises(ValueError, match=why), BigWigWriter(tmp_path / "x.bw", CHROMS) as writer:
        for chrom, start, n in chunks:
            writer.add(chrom, start, np.ones(n, dtype=np.float32))
    assert not list(tmp_path.iterdir())


def test_values_that_are_no_numbers_and_unwritable_places(tmp_path):
    path = tmp_path / "x.bw"
    with pytest.raises(ValueError, match="not finite"), BigWigWriter(path, CHROMS) as writer:
        writer.add("chr2", 0, np.array([1, np.nan], dtype=np.float32))
    assert not path.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"), BigWigWriter(tmp_path / "file/x", CHROMS):
        pass


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such bigWig"):
        read_bigwig(tmp_path / "none.bw", "chr1", 0, 1)
    (tmp_path / "text.bw").write_text("no bigWig at all")
    with pytest.raises(ValueError, match="not a bigWig"):
        read_bigwig(tmp_path / "text.bw", "chr1", 0, 1)
    with BigWigWriter(tmp_path / "x.bw", CHROMS) as writer:
        writer.add("chr2", 0, np.ones(3, dtype=np.float32))
    for window in (("chr9", 0, 1), ("chr1", 50, 101), ("chr1", -1, 5)):
        with pytest.raises(ValueError, match="has no window"):
            read_bigwig(tmp_path / "x.bw", *window)
