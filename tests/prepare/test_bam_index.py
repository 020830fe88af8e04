import gzip
import os
import shutil
import struct
from contextlib import closing

import pysam
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.bam import OpenReads, check_bam, contig_sizes, count_reads

SIZES = {"chr1": 10_000, "chr2": 5_000}
UNPLACED = 0x4
PSEUDO_BIN = 37_450  # of a .bai: it counts the reads of a contig (SAM specification, 5.2)


@pytest.fixture
def version(bam_writer, read_type, tmp_path):
    """`version(name, reads, unplaced)`: a BAM with reads on both contigs, and some without any."""

    def write(name, n=200, unplaced=0, sizes=None, mapq=60, **options):
        reads = [read_type(i, 100, 3, mapq, c) for c in ("chr1", "chr2") for i in range(n)]
        reads += [read_type(-1, 0, UNPLACED, 0, "*")] * unplaced
        return bam_writer(tmp_path / name, reads, sizes or SIZES, **options)

    return write


def with_index_of(bam, other):
    """Give a BAM the index of another."""
    shutil.copy(f"{other}.bai", f"{bam}.bai")
    return bam


def change_counts(bam, change):
    """Write the .bai anew, with what `change` makes of (mapped, unmapped) of each contig."""
    data = bam.with_suffix(".bam.bai").read_bytes()
    (contigs,) = struct.unpack_from("<i", data, 4)
    text, at = data[:8], 8
    for contig in range(contigs):
        (bins,) = struct.unpack_from("<i", data, at)
        kept, at = [], at + 4
        for _ in range(bins):
            number, chunks = struct.unpack_from("<Ii", data, at)
            row, at = data[at : at + 8 + 16 * chunks], at + 8 + 16 * chunks
            if number == PSEUDO_BIN:
                counts = change(contig, struct.unpack_from("<2Q", row, 24))
                row = b"" if counts is None else row[:24] + struct.pack("<2Q", *counts)
            kept += [row] if row else []
        (intervals,) = struct.unpack_from("<i", data, at)
        text += struct.pack("<i", len(kept)) + b"".join(kept) + data[at : at + 4 + 8 * intervals]
        at += 4 + 8 * intervals
    bam.with_suffix(".bam.bai").write_bytes(text + data[at:])
    return bam


def test_check_bam_takes_an_older_index_and_logs_htslibs_warning_once(version, caplog, capfd):
    bam = version("reads.bam")
    os.utime(f"{bam}.bai", (1, 1))
    check_bam(bam, SIZES)
    (text,) = [record.getMessage() for record in caplog.records]
    assert text == f"htslib on {bam}: The index file is older than the data file: {bam}.bai"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            {"n": 20, "unplaced": 5},
            {},
            "reads on chr1 go on where it says that the placed ones end",
        ),
        ({"n": 4_000}, {}, r"end beyond the end of reads.bam"),
        ({"n": 4_000}, {"n": 7_000}, "no read begins where it says that the placed ones end"),
        ({"unplaced": 5}, {}, "counts 5 reads without a place, reads.bam has none"),
        ({"sizes": {**SIZES, "chr3": 9}}, {}, "lists 3 contigs, reads.bam 2"),
        ({}, {"sizes": {**SIZES, "chr3": 9}}, "lists 2 contigs, reads.bam 3"),
    ],
)
def test_check_bam_refuses_an_index_of_another_version(version, old, new, why, capfd):
    bam = with_index_of(version("reads.bam", **new), version("old.bam", **old))
    with pytest.raises(UserError, match=rf"reads.bam.bai is not of this file: .*{why}") as error:
        check_bam(bam, {**SIZES, "chr3": 9}, include=["chr1"])
    assert str(error.value).endswith("; make it anew: samtools index reads.bam")
    assert capfd.readouterr().err == ""


def test_check_bam_refuses_a_stale_csi_which_htslib_takes_before_a_sound_bai(version):
    old, bam = version("old.bam", 20), version("reads.bam")
    pysam.index("-c", str(old))
    check_bam(bam, SIZES)
    shutil.copy(f"{old}.csi", bam.with_suffix(".csi"))
    with pytest.raises(UserError, match=r"reads.csi is not of .* samtools index -c reads.bam"):
        check_bam(bam, SIZES)


@pytest.mark.parametrize("kept", [0, 4, 0.5])
@pytest.mark.parametrize("suffix", [".bam.bai", ".bai", ".csi"])
def test_check_bam_calls_a_damaged_index_damaged(version, suffix, kept):
    bam = version("reads.bam")
    pysam.index("-c" if suffix == ".csi" else "-b", "-o", str(bam.with_suffix(suffix)), str(bam))
    if suffix == ".bai":
        bam.with_suffix(".bam.bai").unlink()
    index = bam.with_suffix(suffix)
    data = index.read_bytes()
    index.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    with pytest.raises(UserError, match=rf"{index.name} is damaged; make it anew: samtools index"):
        check_bam(bam, SIZES)


@pytest.mark.parametrize("suffix", [".bai", ".csi"])
def test_check_bam_refuses_an_index_cut_anywhere(version, suffix, capfd):
    bam = version("reads.bam")
    bam.with_suffix(".bam.bai").unlink()
    index = bam.with_suffix(suffix)
    pysam.index("-c" if suffix == ".csi" else "-b", "-o", str(index), str(bam))
    with pysam.BGZFile(str(index), "rb", None) as file:
        data = file.read()
    whole = len(data) - 8  # the count of reads without a place may be absent
    for kept in range(0, whole, 4):  # by some of these htslib ends the process
        index.write_bytes(data[:kept])
        with pytest.raises(UserError, match=rf"{index.name} is damaged; make it anew"):
            check_bam(bam, SIZES)
        with pytest.raises(UserError, match=rf"{index.name} is damaged; make it anew"):
            contig_sizes(bam)
    index.write_bytes(data[:whole])
    assert check_bam(bam, SIZES).path == bam
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("order", ["unsorted", "queryname", "Coordinate"])
def test_check_bam_believes_an_index_rather_than_the_header(version, order):
    bam = version("reads.bam", order=order)
    assert check_bam(bam, SIZES).path == bam
    bam.with_suffix(".bam.bai").unlink()
    with pytest.raises(UserError, match=f"not sorted by coordinate .its header says {order}"):
        check_bam(bam, SIZES)


@pytest.mark.parametrize("unplaced", [0, 5])
def test_count_reads_with_an_index_that_has_no_counts(version, unplaced):
    bam = version("reads.bam", unplaced=unplaced)
    by_index = count_reads(check_bam(bam, SIZES))
    assert by_index.placed == by_index.mapped == {"chr1": 200, "chr2": 200}
    assert by_index.unplaced == unplaced
    change_counts(bam, lambda contig, counts: None)
    assert count_reads(check_bam(bam, SIZES)) == by_index


def test_count_reads_counts_those_without_a_place_where_the_index_does_not(version):
    bam = version("reads.bam", unplaced=5)
    index = bam.with_suffix(".bam.bai")
    index.write_bytes(index.read_bytes()[:-8])  # the number is optional
    assert count_reads(check_bam(bam, SIZES)).unplaced == 5


@pytest.mark.parametrize("include", [None, ["chr1"]])
def test_prepare_compares_the_index_with_the_reads_that_come(version, prepare, include, tmp_path):
    bam = change_counts(version("reads.bam"), lambda _, counts: (counts[0] + 3, counts[1]))
    why = "reads.bam.bai is not of this file: 203 mapped reads on chr1 are counted, 200 came; make"
    with pytest.raises(UserError, match=why):
        prepare(SIZES, tmp_path / "x.h5", bam=bam, include=include)
    assert not (tmp_path / "x.h5").exists()


def test_prepare_compares_where_the_index_has_no_counts(version, prepare, tmp_path):
    old = change_counts(version("old.bam", 20), lambda contig, counts: None)
    bam = with_index_of(version("reads.bam"), old)
    with pytest.raises(UserError, match="200 mapped reads on chr1 are counted, 20 came"):
        prepare(SIZES, tmp_path / "x.h5", bam=bam)
    change_counts(version("old.bam", 4_000, mapq=5), lambda contig, counts: None)
    bam = with_index_of(version("reads.bam", 4_900), old)
    with pytest.raises(UserError, match=r"not of this file: by it, no reads on chr2 can be read"):
        prepare(SIZES, tmp_path / "x.h5", bam=bam, include=["chr2"])


def test_prepare_takes_unmapped_reads_at_position_0(bam_of, read_type, prepare, tmp_path):
    """The index counts them, but they are on no region that could be read."""
    reads = [read_type(-1, 0, UNPLACED), read_type(5, 0, UNPLACED), read_type(100)]
    qc = prepare({"chr1": 10_000}, tmp_path / "x.h5", bam=bam_of(reads))
    assert qc["fragments"] == qc["reads"]["forward_mate"] == 1


@pytest.fixture
def cram(version):
    def write(name, n, reads_per_slice=100):
        bam = version(f"{name}.bam", n, unplaced=3)
        options = ["no_ref=1", f"seqs_per_slice={reads_per_slice}"]
        path = bam.with_suffix(".cram")
        with (
            pysam.AlignmentFile(str(bam)) as old,
            pysam.AlignmentFile(str(path), "wc", template=old, format_options=options) as new,
        ):
            for read in old.fetch(until_eof=True):
                new.write(read)
        pysam.index(str(path))
        return path

    return write


@pytest.mark.parametrize(
    ("old", "why"),
    [
        ((300, 70), "no read begins where it says that the placed ones end"),
        ((500, 70), "by it, no reads on chr2 can be read"),
    ],
)
def test_prepare_refuses_a_crai_of_another_cram(cram, prepare, tmp_path, old, why, capfd):
    path, other = cram("reads", 700), cram("old", *old)
    assert count_reads(check_bam(path, SIZES)).placed == {"chr1": 700, "chr2": 700}
    shutil.copy(f"{other}.crai", f"{path}.crai")
    with pytest.raises(UserError, match=rf"cram.crai is not of this file: {why}.*index reads.cram"):
        prepare(SIZES, tmp_path / "x.h5", bam=path)
    assert capfd.readouterr().err == ""


def test_check_bam_calls_a_damaged_crai_damaged(cram):
    path = cram("reads", 20)
    path.with_suffix(".cram.crai").write_bytes(b"crai")
    with pytest.raises(UserError, match=r"cram.crai is damaged; make it anew: samtools index"):
        check_bam(path, SIZES)


def test_prepare_compares_a_crai_that_lacks_slices(cram, prepare, tmp_path):
    path = cram("reads", 500)
    index = path.with_suffix(".cram.crai")
    lines = gzip.decompress(index.read_bytes()).splitlines(keepends=True)
    index.write_bytes(gzip.compress(b"".join([*lines[:5], lines[-1]])))
    with pytest.raises(UserError, match=r"500 mapped reads on chr2 are counted, 0 came"):
        prepare(SIZES, tmp_path / "x.h5", bam=path)


def test_an_index_beside_the_target_of_a_link_is_taken(version, cram, tmp_path):
    (tmp_path / "links").mkdir()
    for path in (version("reads.bam", 20), cram("reads", 20)):
        link = tmp_path / "links" / path.name
        link.symlink_to(path)
        file = check_bam(link, SIZES)
        assert count_reads(file).placed == {"chr1": 20, "chr2": 20}
        with closing(OpenReads(file)) as opened, opened.reads("chr2") as reads:
            assert sum(map(len, reads)) == 20


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_check_bam_calls_a_crai_that_was_cut_off_damaged(cram, kept):
    path = cram("reads", 20)
    index = path.with_suffix(".cram.crai")
    index.write_bytes(index.read_bytes()[: int(kept * index.stat().st_size)])
    with pytest.raises(UserError, match=r"cram.crai is damaged; make it anew: samtools index"):
        check_bam(path, SIZES)


@pytest.mark.parametrize("suffix", [".bai", ".csi"])
def test_check_bam_refuses_a_bin_that_no_index_has(version, suffix):
    """htslib would not end."""
    bam = version("reads.bam")
    bam.with_suffix(".bam.bai").unlink()
    index = bam.with_suffix(suffix)
    pysam.index("-c" if suffix == ".csi" else "-b", "-o", str(index), str(bam))
    with pysam.BGZFile(str(index), "rb", None) as file:
        data = bytearray(file.read())
    data[27 if suffix == ".csi" else 15] ^= 0x40  # in the number of the first bin
    index.write_bytes(data)
    with pytest.raises(UserError, match=rf"{index.name} is damaged; make it anew"):
        check_bam(bam, SIZES)
