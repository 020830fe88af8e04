import gzip

import numpy as np
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.intervals import (
    Interval,
    contains,
    mask,
    merge,
    select_chromosomes,
    split_chromosomes,
    tile_chromosome,
    unmasked_bp,
)
from hypothesis import given
from hypothesis import strategies as st

SIZE = 60
names = st.sampled_from(["chr1", "chr2", "track1"])


@st.composite
def interval(draw):
    start = draw(st.integers(0, SIZE - 1))
    return Interval(draw(names), start, draw(st.integers(start + 1, SIZE)))


intervals = st.lists(interval(), max_size=12)


def covered(rows, chrom):
    bases = np.zeros(SIZE, dtype=bool)
    for row in rows:
        if row.chrom == chrom:
            bases[row.start : row.end] = True
    return bases


@given(intervals)
def test_merge_covers_the_same_bases_with_gaps_between_rows(rows):
    merged = merge(rows)
    assert set(merged) == {row.chrom for row in rows}
    for chrom, table in merged.items():
        assert table.dtype == np.int64
        assert np.all(np.diff(table.ravel()) > 0)
        again = [Interval(chrom, *row) for row in table.tolist()]
        np.testing.assert_array_equal(covered(again, chrom), covered(rows, chrom))
        assert SIZE - unmasked_bp({chrom: SIZE}, merged, chrom) == covered(rows, chrom).sum()


@given(intervals, st.integers(0, SIZE), st.integers(0, SIZE))
def test_mask_and_contains_equal_marking_base_by_base(rows, a, b):
    start, end = min(a, b), max(a, b)
    expected = covered(rows, "chr1")[start:end]
    np.testing.assert_array_equal(mask(merge(rows), "chr1", start, end), expected)
    np.testing.assert_array_equal(contains(merge(rows), "chr1", np.arange(start, end)), expected)


def test_mask_beyond_the_intervals_and_of_an_unknown_chromosome():
    merged = merge([Interval("chr1", 5, 10)])
    np.testing.assert_array_equal(np.flatnonzero(mask(merged, "chr1", -3, 7)), [8, 9])
    assert not mask(merged, "chr2", 0, 20).any()
    assert 7 - unmasked_bp({"chr1": 7}, merged, "chr1") == 2


@given(intervals, st.booleans(), st.sampled_from(["", "#made\n", "chrom\tstart\tend\n",
       "track name=x\nbrowser position chr1\n", "\ufeff", "\n"]))  # fmt: skip
def test_bed_round_trip(tmp_path_factory, rows, zipped, head):
    path = tmp_path_factory.mktemp("bed") / ("x.bed.gz" if zipped else "x.bed")
    body = "".join(f"{r.chrom}\t{r.start}\t{r.end}\tname with blanks\t0\n" for r in rows)
    data = (head + body).encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert read_bed(path) == rows


def test_a_headerless_first_line_is_data_also_with_blanks_and_crlf(tmp_path):
    path = tmp_path / "x.narrowPeak"
    path.write_bytes(b"chr1 5 9 peak1 10\r\nstart 1 2\r\n")
    assert read_bed(path) == [Interval("chr1", 5, 9), Interval("start", 1, 2)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("chr1\t5", "got 2 column"),
        ("chr1\t5\tx", "whole numbers"),
        ("chr1\t-5\t7", "whole numbers"),
        ("chr1\t1.5\t7", "whole numbers"),
        ("chr1\t1_0\t70", "whole numbers"),
        ("chr1\t9\t9", "end 9 is not above start 9"),
        ("chr1\t9\t5", "end 5 is not above start 9"),
        ("\t1\t2", "whole numbers"),
        ("chrom\tstart\tend", "whole numbers"),
        ("chr1\t1\t" + "9" * 30, "beyond any chromosome"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, why):
    path = tmp_path / "x.bed"
    path.write_text(f"chr1\t1\t2\n\n{line}\n")
    with pytest.raises(ValueError, match=f"x.bed, line 3: .*{why}"):
        read_bed(path)


def test_files_that_are_no_bed(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such BED file"):
        read_bed(tmp_path / "none.bed")
    with pytest.raises(OSError, match="cannot read"):
        read_bed(tmp_path)
    binary = tmp_path / "x.bin"
    binary.write_bytes(b"\xff\xfe\x00\x80" * 9)
    with pytest.raises(ValueError, match="not a BED file"):
        read_bed(binary)
    cut = tmp_path / "cut.bed.gz"
    cut.write_bytes(gzip.compress(b"chr1\t1\t2\n" * 999)[:-9])
    with pytest.raises(ValueError, match="damaged"):
        read_bed(cut)
    overwritten = bytearray(gzip.compress(bytes(range(48, 58)) * 99 + b"\n"))
    overwritten[12:20] = b"\xff" * 8  # what zlib itself refuses
    cut.write_bytes(overwritten)
    with pytest.raises(UserError, match=r"cut.bed.gz is not a BED file or is damaged"):
        read_bed(cut)


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 20), st.data())
def test_cores_partition_the_chromosome_in_tiles_of_one_length(size, core_bp, pad_bp, data):
    offset = data.draw(st.integers(0, core_bp - 1))
    tiles = tile_chromosome("c", size, core_bp, pad_bp, offset)
    cores = [base for tile in tiles for base in range(tile.core_start, tile.core_end)]
    assert cores == list(range(size))
    assert {tile.end - tile.start for tile in tiles} == {min(size, core_bp + 2 * pad_bp)}
    for tile in tiles:
        assert 0 <= tile.start <= max(tile.core_start - pad_bp, 0)
        assert min(tile.core_end + pad_bp, size) <= tile.end <= size
        assert tile.core_end > tile.core_start


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 20), st.sampled_from([2, 8, 16]))
def test_tiles_begin_on_multiples_of_a_step(size, core_bp, pad_bp, step_bp):
    tiles = tile_chromosome("c", size, core_bp, pad_bp, step_bp=step_bp)
    cores = [base for tile in tiles for base in range(tile.core_start, tile.core_end)]
    assert cores == list(range(size))
    lengths = [tile.end - tile.start for tile in tiles]
    assert max(lengths) - min(lengths) < step_bp
    for tile in tiles:
        assert tile.start % step_bp == 0
        assert 0 <= tile.start <= max(tile.core_start - pad_bp, 0)
        assert min(tile.core_end + pad_bp, size) <= tile.end <= size
        assert tile.end == size or (tile.end - tile.start) % step_bp == 0


def test_offset_moves_the_cuts_and_bad_tilings_are_refused():
    edges = [t.core_start for t in tile_chromosome("c", 100, 20, 5, offset=7)]
    assert edges == [0, 7, 27, 47, 67, 87]
    for bad in ((0, 1, 0, 0), (9, 0, 0, 0), (9, 1, -1, 0), (9, 3, 0, 3)):
        with pytest.raises(ValueError, match="cannot tile c"):
            tile_chromosome("c", *bad)


def test_folds():
    chroms = ["chrI", "chrII", "chrIII", "chrIV", "chrM"]
    split = split_chromosomes(chroms, ["chrII"], ["chrIV", "chrI"], ["chrM", "MT"])
    assert split == (["chrIII"], ["chrII"], ["chrI", "chrIV"])
    assert split_chromosomes(chroms, ["chrII"], [], [])[2] == []


@pytest.mark.parametrize(
    ("validation", "test", "exclude", "why"),
    [
        (["chr9"], ["b"], [], "held-out chr9 is not in the genome, which has a, b, c"),
        (["a"], ["b"], ["chr9"], "chr9 is not in the genome"),
        (["a"], ["a"], [], "a is in two of"),
        (["a"], ["b"], ["b"], "b is in two of"),
        ([], ["b"], [], "left for validation"),
        (["a"], ["b"], ["c"], "left for training"),
    ],
)
def test_bad_folds_are_said(validation, test, exclude, why):
    with pytest.raises(ValueError, match=why):
        split_chromosomes(["a", "b", "c"], validation, test, exclude)


def test_selection_keeps_the_order_of_the_genome():
    assert select_chromosomes(["a", "b", "c"], ["c", "a"], ["chrM"]) == ["a", "c"]
    with pytest.raises(ValueError, match="d is not in the genome"):
        select_chromosomes(["a"], ["d"], [])
    with pytest.raises(ValueError, match="no chromosome is left"):
        select_chromosomes(["a"], None, ["a"])
