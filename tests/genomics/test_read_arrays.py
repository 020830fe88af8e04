"""Reads as arrays, against pysam's own reading of the same file."""

import struct
from contextlib import closing

import numpy as np
import pysam
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics import read_arrays
from denoiseq.genomics.bam import OpenReads, ReadFile
from denoiseq.genomics.read_arrays import BamReads
from denoiseq.inputs import BGZF_END
from hypothesis import given, settings
from hypothesis import strategies as st

HEADER = pysam.AlignmentHeader.from_dict(
    {"SQ": [{"SN": "chr1", "LN": 90_000}, {"SN": "chr2", "LN": 90_000}]}
)


@pytest.fixture(autouse=True)
def few_by_htslib():
    """Files of a test have few reads: all but the first are read as records."""
    before, read_arrays._FIRST_READS = read_arrays._FIRST_READS, 1
    yield
    read_arrays._FIRST_READS = before


def as_arrays(path, chrom, paired=True):
    """Rows of (flag, MAPQ, start, mate's start, TLEN, end or aligned bases)."""
    rows, ask = [], "ends" if paired else "aligned_bp"
    with closing(OpenReads(ReadFile(path, paired))) as file, file.reads(chrom) as pieces:
        for reads in pieces:
            last = getattr(reads, ask)(np.arange(len(reads)))
            columns = reads.flags, reads.mapqs, reads.starts, reads.mate_starts, reads.tlens, last
            rows += zip(*(column.tolist() for column in columns), strict=True)
    return rows


def as_pysam(path, chrom, paired=True):
    ask = "reference_end" if paired else "reference_length"
    with pysam.AlignmentFile(str(path)) as file:
        return [
            (r.flag, r.mapping_quality, r.reference_start, r.next_reference_start,
             r.template_length, getattr(r, ask) or 0)
            for r in file.fetch(chrom)
        ]  # fmt: skip


@st.composite
def reads(draw):
    """One read of either contig: odd flags, CIGARs, names, bases and tags too."""
    read = pysam.AlignedSegment(HEADER)
    read.query_name = draw(st.text("abc:/1", min_size=1, max_size=40))
    read.flag = (
        draw(st.integers(0, 4095)) | 0x10
    ) & ~0x4  # of mapped, reverse reads ends are asked for
    read.reference_id = draw(st.integers(0, 1))
    read.reference_start = draw(st.integers(0, 80_000))
    read.mapping_quality = draw(st.integers(0, 255))
    operations = st.tuples(st.integers(0, 8), st.integers(1, 300))
    read.cigartuples = draw(st.lists(operations, max_size=5))
    read.next_reference_id = draw(st.integers(-1, 1))
    read.next_reference_start = draw(st.integers(-1, 80_000))
    read.template_length = draw(st.integers(-(2**31), 2**31 - 1))
    if draw(st.booleans()):
        read.query_sequence = "A" * (read.infer_query_length() or 0)
    read.set_tag("XX", "x" * draw(st.integers(0, 500)))
    return read


def repacked(path, block_bytes):
    """The same bytes in blocks whose borders lie within records, as some programs write them."""
    with pysam.BGZFile(str(path)) as file:
        data = file.read()
    with pysam.BGZFile(str(path), "wb") as file:
        for at in range(0, len(data), block_bytes):
            file.write(data[at : at + block_bytes])
            file.flush()
    pysam.index(str(path))


def write(path, made, copies=1):
    with pysam.AlignmentFile(str(path), "wb", header=HEADER) as file:
        for read in sorted(made, key=lambda r: (r.reference_id, r.reference_start)):
            for _ in range(copies):
                file.write(read)
    pysam.index(str(path))
    return path


@settings(max_examples=40)
@given(
    made=st.lists(reads(), min_size=1, max_size=20),
    copies=st.sampled_from([1, 1, 1, 1_000]),
    block_bytes=st.sampled_from([None, None, 300, 50_000]),
    side_by_side=st.sampled_from([2, 2, 10_000]),
    paired=st.booleans(),
)
def test_placed_reads_equal_those_of_pysam(
    tmp_path_factory, made, copies, block_bytes, side_by_side, paired
):
    path = write(tmp_path_factory.mktemp("x") / "x.bam", made[: 2 if copies > 1 else 20], copies)
    if block_bytes and (copies == 1 or block_bytes > 300):
        repacked(path, block_bytes)
    before, read_arrays._LEAST_BLOCKS = read_arrays._LEAST_BLOCKS, side_by_side
    try:
        for chrom in ("chr1", "chr2"):
            assert as_arrays(path, chrom, paired) == as_pysam(path, chrom, paired)
    finally:
        read_arrays._LEAST_BLOCKS = before


def bam_of(tmp_path, n=3):
    made = []
    for i in range(n):
        read = pysam.AlignedSegment(HEADER)
        read.query_name, read.flag, read.reference_id = f"r{i}", 0x53, 0
        read.reference_start, read.cigartuples = 100 * i, [(0, 50)]
        made.append(read)
    return write(tmp_path / "x.bam", made)


def test_a_bam_is_read_as_arrays(tmp_path):
    with closing(OpenReads(ReadFile(bam_of(tmp_path)))) as file, file.reads("chr1") as pieces:
        assert [type(reads) for reads in pieces][1:] == [BamReads]


@pytest.mark.parametrize(
    "offset, value",
    [(0, 20), (0, 3_000_000_000), (0, 400), (12, 0), (16, 60_000), (20, -1), (20, 1_000)],
)
def test_a_damaged_record_is_refused(tmp_path, offset, value):
    """The last record's size, name, operations or bases are not what follows."""
    path = bam_of(tmp_path)
    with pysam.BGZFile(str(path)) as file:
        data = bytearray(file.read())
    kind = {0: "<I", 12: "<B", 16: "<H"}.get(offset, "<i")
    struct.pack_into(kind, data, data.rindex(b"r2\0") - 36 + offset, value)
    with pysam.BGZFile(str(path), "wb") as file:
        file.write(bytes(data))
    with pytest.raises(UserError, match=r"x.bam is damaged: reading stopped with"):
        as_arrays(path, "chr1")


@pytest.mark.parametrize("change", ["header", "data", "cut"])
def test_a_damaged_block_is_refused(tmp_path, change):
    path = bam_of(tmp_path, 20_000)
    data = bytearray(path.read_bytes())
    second = data.index(b"\x1f\x8b\x08\x04", len(data) // 2)
    if change == "cut":
        del data[second + 100 : data.rindex(BGZF_END)]
    else:
        data[second + (0 if change == "header" else 200)] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"x.bam is damaged: reading stopped with"):
        as_arrays(path, "chr1")
