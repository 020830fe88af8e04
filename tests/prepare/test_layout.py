"""BAM files of paired and single reads together: the layout is that of most reads of the file."""

import logging

import pytest
from denoiseq.errors import UserError
from denoiseq.genomics import bam as bam_file
from denoiseq.prepare.bam import BamReader
from denoiseq.prepare.reader import Task
from denoiseq.settings import Prepare

SIZES = {"chr1": 50_000, "chr2": 50_000}
FORWARD, REVERSE = 0x1 | 0x2 | 0x20, 0x1 | 0x2 | 0x10


@pytest.fixture
def mixed_bam(bam_writer, read_type, tmp_path):
    """`mixed_bam(singles, pairs, …)`: single reads on one chromosome and pairs on the other."""

    def make(singles, pairs, single_chrom="chr1", keep=(FORWARD, REVERSE), name="x.bam"):
        pair_chrom = "chr2" if single_chrom == "chr1" else "chr1"
        reads = [read_type(5 * i, 0, 0x10 * (i % 2), chrom=single_chrom) for i in range(singles)]
        for i in range(pairs):
            start, more = 100 + 5 * i, {"chrom": pair_chrom, "name": f"p{i}"}
            mates = [
                read_type(start, 90, FORWARD, mate_start=start + 80, **more),
                read_type(start + 80, -90, REVERSE, mate_start=start, **more),
            ]
            reads += [mate for mate in mates if mate.flag in keep]
        reads.sort(key=lambda read: (read.chrom, read.start))
        return bam_writer(tmp_path / name, reads, SIZES)

    return make


@pytest.fixture
def prepared(prepare, tmp_path, caplog):
    """`prepared(bam, …)`: the content of the qc.json, and what was warned of."""

    def run(bam, **settings):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "denoiseq"):
            qc = prepare(SIZES, tmp_path / "x.h5", bam=bam, shift_check=False, **settings)
        texts = [record.getMessage() for record in caplog.records]
        return qc, "\n".join(texts)

    return run


@pytest.mark.parametrize("layout", ["auto", "paired"])
@pytest.mark.parametrize("single_chrom", ["chr1", "chr2"])
def test_pairs_beside_fewer_single_reads(mixed_bam, prepared, layout, single_chrom):
    qc, text = prepared(mixed_bam(101, 60, single_chrom), layout=layout)
    assert (qc["fragments"], qc["reads"]["not_proper_pair"]) == (60, 101)
    assert qc["files"][0]["layout"] == "paired"
    assert qc["mates"] == {"paired": 120, "unpaired": 101, "mateless": 0, "ends_by_tlen": 0}
    assert "x.bam: 101 of 221 reads are unpaired and left out, since the other 120 are" in text


def test_single_reads_beside_one_pair(mixed_bam, prepared):
    bam = mixed_bam(198, 1)
    qc, text = prepared(bam)
    assert qc["fragments"] == qc["reads"]["single_end"] == 200
    assert qc["files"][0]["layout"] == qc["preprocessing"]["layout"] == "single"
    assert "x.bam: 2 of 200 reads are paired, but the other 198 are not" in text
    qc, text = prepared(bam, layout="single")
    assert (qc["fragments"], text) == (200, "")
    qc, text = prepared(bam, layout="paired")
    assert qc["fragments"] == 1
    assert "198 of 200 reads are unpaired" in text


def test_few_odd_reads_are_no_warning(mixed_bam, prepared):
    assert prepared(mixed_bam(2, 60))[1] == ""
    assert "3 of 123 reads are unpaired" in prepared(mixed_bam(3, 60, name="y.bam"))[1]


@pytest.mark.parametrize("keep", [(FORWARD,), (REVERSE,)])
def test_reads_without_their_mates_keep_their_fragments(mixed_bam, prepared, keep):
    qc, text = prepared(mixed_bam(0, 60, keep=keep))
    assert qc["fragments"] == 60
    assert qc["fragment_size"]["histogram"][90] == 60
    by_tlen = 60 if keep == (FORWARD,) else 0
    assert (qc["mates"]["mateless"], qc["mates"]["ends_by_tlen"]) == (60, by_tlen)
    assert (
        f"60 of 60 reads of proper pairs lack their mate in the file; the ends of {by_tlen}" in text
    )


@pytest.mark.parametrize(("odd", "warned"), [(2, False), (3, True)])
def test_mates_that_do_not_face_each_other_are_a_warning(
    bam_writer, read_type, tmp_path, prepared, odd, warned
):
    reads = []
    for i in range(60):
        size = -90 if i < odd else 90  # of the former the reverse mate comes first
        start, name = 1_000 + 5 * i, f"p{i}"
        reads.append(read_type(start, size, FORWARD, name=name, mate_start=start + size))
        reads.append(read_type(start + size, -size, REVERSE, name=name, mate_start=start))
    reads.sort(key=lambda read: read.start)
    qc, text = prepared(bam_writer(tmp_path / "x.bam", reads, SIZES))
    assert (qc["reads"]["bad_template"], qc["fragments"]) == (odd, 60 - odd)
    assert (f"{odd} of 120 reads of proper pairs are left out as bad_template" in text) == warned


def test_no_proper_pair_names_the_layout(bam_writer, read_type, tmp_path, prepared):
    reads = [read_type(5 * i, 90, 0x1 | 0x20, mate_start=5 * i + 50) for i in range(9)]
    bam = bam_writer(tmp_path / "x.bam", reads, SIZES)
    with pytest.raises(UserError, match=r"not_proper_pair 9; loosen layout \(single"):
        prepared(bam)
    assert prepared(bam, layout="single")[0]["fragments"] == 9


@pytest.mark.parametrize("pairs", [60, 40])
def test_a_wrong_guess_is_read_again_and_the_progress_goes_back(
    mixed_bam, tmp_path, monkeypatch, pairs
):
    """The one spot that is looked at holds a single read, or a paired one."""
    monkeypatch.setattr(bam_file, "_SPOTS", 1)
    monkeypatch.setattr(bam_file, "_READS_OF_A_SPOT", 1)
    bam = mixed_bam(100, pairs, "chr1" if pairs == 60 else "chr2")
    settings = Prepare(bam=str(bam), out=str(tmp_path / "x.h5"), shift="+4/-4", workers=1)
    reader = BamReader(settings, SIZES)
    assert reader._files[0].paired == (pairs == 40)
    steps = []
    (store,) = reader.read(Task(settings, SIZES, {}, tmp_path, steps.append))
    assert store.qc["files"][0]["layout"] == ("paired" if pairs == 60 else "single")
    assert store.qc["fragments"] == (60 if pairs == 60 else 180)
    assert min(steps) < 0 and sum(steps) == reader.total(SIZES) == 100 + 2 * pairs


def test_files_that_turn_out_to_be_of_two_layouts(mixed_bam, prepared, monkeypatch):
    monkeypatch.setattr(bam_file, "_SPOTS", 1)
    monkeypatch.setattr(bam_file, "_READS_OF_A_SPOT", 1)
    files = [mixed_bam(100, 60, name="a.bam"), mixed_bam(100, 1, name="b.bam")]
    with pytest.raises(UserError, match=r"a.bam and .*b.bam are not both paired-end"):
        prepared(files)
    qc, text = prepared(files, layout="paired")
    assert qc["fragments"] == 61
    assert "a.bam: 100 of 220 reads" in text and "b.bam: 100 of 102 reads" in text


def test_ends_are_recorded_where_there_are_pairs(mixed_bam, prepared):
    assert prepared(mixed_bam(0, 9))[0]["preprocessing"]["ends"] == "alignment"
    assert "ends" not in prepared(mixed_bam(9, 0))[0]["preprocessing"]
