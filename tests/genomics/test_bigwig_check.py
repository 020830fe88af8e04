import struct

import numpy as np
import pyBigWig
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.bigwig_check import check_bigwig
from denoiseq.genomics.bigwig_reader import bigwig_sizes, read_bigwig

CHROMS, INDEX, SUMMARY, UNPACKED = 8, 24, 44, 52  # where the header says where they are
TRACK = np.arange(90, dtype=np.float32) % 7


@pytest.fixture
def path(tmp_path):
    """chr1 and chr2 in one block each, by pyBigWig."""
    with pyBigWig.open(str(tmp_path / "x.bw"), "w") as file:
        file.addHeader([("chr1", 300), ("chr2", 100)])
        for chrom in ("chr1", "chr2"):
            file.addEntries(chrom, 5, values=TRACK.tolist(), span=1, step=1)
    return tmp_path / "x.bw"


def put(path, at, form, *numbers):
    data = bytearray(path.read_bytes())
    struct.pack_into(f"<{form}", data, at, *numbers)
    path.write_bytes(data)


def place(path, field):
    return struct.unpack_from("<Q", path.read_bytes(), field)[0]


def test_check_bigwig_tells_what_is_where(path):
    layout = check_bigwig(path)
    assert layout.chroms == {"chr1": 0, "chr2": 1}
    assert layout.blocks[["chrom", "start", "end"]].tolist() == [(0, 5, 95), (1, 5, 95)]
    assert layout.unpacked_bytes == 32_768


@pytest.mark.parametrize(
    ("field", "within", "form", "number", "why"),
    [
        (None, 4, "H", 5, "its header says version 5"),
        (None, 6, "H", 60_000, "the index of a zoom level does not lie at byte 0"),
        (None, UNPACKED, "I", 2**31, "its header says that a block has 2147483648 bytes"),
        (None, CHROMS, "Q", 2**62, "says wrongly that the list of chromosomes lies at byte"),
        (None, CHROMS, "Q", 0, "the list of chromosomes does not lie at byte 0"),
        (None, INDEX, "Q", 0, "the index does not lie at byte 0"),
        (SUMMARY, 0, "Q", 0, "its summary says that it has none"),
        (CHROMS, 4, "I", 1, "the list of chromosomes has an impossible node"),
        (CHROMS, 8, "I", 0, "the list of chromosomes does not lie"),
        (CHROMS, 16, "Q", 3, "the list of chromosomes lacks a number"),
        (CHROMS, 32, "B", 7, "the list of chromosomes has an impossible node"),
        (CHROMS, 36, "4s", b"chr2", "the list of chromosomes has a name twice"),
        (CHROMS, 36, "B", 255, r"the name b'\\xffhr1', which is not in UTF-8"),
        (CHROMS, 40, "I", 1, "the list of chromosomes lacks a number, or has one twice"),
        (CHROMS, 44, "I", 5, "the index has a block beyond the end of its chromosome"),
        (INDEX, 8, "Q", 3, "the index has 2 blocks, and says that it has 3"),
        (INDEX, 52, "I", 9, "the index has a block without a place on a chromosome"),
        (INDEX, 56, "I", 96, "the index has a block without a place on a chromosome"),
        (INDEX, 68, "Q", 2**63, "the index has a block that does not lie within the file"),
        (INDEX, 76, "Q", 2**64 - 1, "the index has a block that does not lie within the file"),
        (INDEX, 48, "B", 0, "the index"),
    ],
)  # fmt: skip
def test_check_bigwig_refuses_what_the_format_forbids(path, field, within, form, number, why):
    put(path, (place(path, field) if field else 0) + within, form, number)
    with pytest.raises(UserError, match=rf"x.bw is damaged: .*{why}"):
        bigwig_sizes(path)


def test_an_index_that_leads_to_a_block_twice_is_refused(path):
    """The other block is lost by it, and no number but the places of blocks says so."""
    first = place(path, INDEX) + 52
    put(path, first + 32, "32s", path.read_bytes()[first : first + 32])
    with pytest.raises(UserError, match=r"x.bw is damaged: the index has a block twice"):
        bigwig_sizes(path)


def test_a_tree_that_leads_to_itself_is_refused(path, track_writer, monkeypatch):
    from denoiseq.genomics import bigwig_writer

    monkeypatch.setattr(bigwig_writer, "FAN_OUT", 2)
    sizes = {f"chr{i}": 300 for i in range(3)}
    track_writer(path, sizes, [(chrom, 0, TRACK) for chrom in sizes])
    root = place(path, CHROMS) + 32
    put(path, root + 4 + 4, "Q", root)  # the first child of the root
    with pytest.raises(UserError, match="the list of chromosomes leads in a circle"):
        bigwig_sizes(path)


def test_a_branch_that_hides_its_blocks_is_refused(path, track_writer, monkeypatch):
    from denoiseq.genomics import bigwig_writer

    monkeypatch.setattr(bigwig_writer, "FAN_OUT", 2)
    sizes = {f"chr{i}": 300 for i in range(3)}
    track_writer(path, sizes, [(chrom, 0, TRACK) for chrom in sizes])
    put(path, place(path, INDEX) + 48 + 4 + 12, "I", 50)  # where the first branch of the root ends
    with pytest.raises(UserError, match="the index has blocks that its branches do not lead to"):
        bigwig_sizes(path)


def test_a_block_of_more_entries_than_its_room_is_refused(tmp_path, track_writer, monkeypatch):
    from denoiseq.genomics import bigwig_writer

    monkeypatch.setattr(bigwig_writer.zlib, "compress", lambda data, _level: data)
    path = track_writer(tmp_path / "x.bw", {"chr1": 300}, [("chr1", 0, TRACK)])
    put(path, UNPACKED, "I", 0)
    assert read_bigwig(path, "chr1", 0, 90).tolist() == TRACK.tolist()
    put(path, place(path, 16) + 8 + 22, "H", 60_000)  # itemCount of the only block
    with pytest.raises(UserError, match="is damaged at chr1:0-90: no data"):
        read_bigwig(path, "chr1", 0, 90)


@pytest.mark.parametrize(("field", "number"), [(52, 1), (56, 9), (64, 90)])
def test_an_index_that_hides_data_is_refused_where_they_are_read(path, field, number):
    """chr1's block as one of chr2, or of 9-95 or 5-90: pyBigWig would find no data there."""
    put(path, place(path, INDEX) + field, "I", number)
    if field == 52:
        put(path, place(path, INDEX) + 60, "I", 1)
    with pytest.raises(UserError, match=r"x.bw is damaged at chr\d:\d+-\d+: no data"):
        read_bigwig(path, "chr2" if field == 52 else "chr1", 0, 100)


@pytest.mark.parametrize("cut", [10, 90, 400, 500, -5, -200])
def test_half_a_bigwig_is_refused(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"x.bw is damaged: it is truncated"):
        bigwig_sizes(path)


def test_other_formats_are_named(path):
    for head, why in (("888ffc26", "a big-endian bigWig"), ("ebf28987", "a bigBed file")):
        put(path, 0, "4s", bytes.fromhex(head))
        with pytest.raises(UserError, match=rf"x.bw is {why}"):
            bigwig_sizes(path)


def test_a_bigwig_without_a_summary_of_the_whole_is_not_read_as_empty(path):
    put(path, SUMMARY, "Q", 0)
    with pytest.raises(UserError, match=r"x.bw is of an old form without a summary"):
        bigwig_sizes(path)


def test_a_bigwig_without_data_is_read(tmp_path, track_writer):
    with pyBigWig.open(str(tmp_path / "py.bw"), "w") as file:
        file.addHeader([("chr1", 300)])
    for path in (tmp_path / "py.bw", track_writer(tmp_path / "x.bw", {"chr1": 300}, [])):
        assert not read_bigwig(path, "chr1", 0, 300).any()


def test_data_beyond_the_end_of_a_chromosome_are_warned_of(tmp_path, caplog):
    with pyBigWig.open(str(tmp_path / "x.bw"), "w") as file:
        file.addHeader([("chr1", 300)])
        file.addEntries(["chr1"], [290], ends=[400], values=[1.0])
    assert read_bigwig(tmp_path / "x.bw", "chr1", 0, 300).sum() == 10
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"1 blocks of {tmp_path / 'x.bw'} reach beyond the end")
