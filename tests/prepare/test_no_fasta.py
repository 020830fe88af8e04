"""Without a FASTA: sizes from the header of the input, or from a table of them."""

import pyBigWig
import pysam
import pytest
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Prepare
from denoiseq.store.cut_store import CutStore


@pytest.fixture
def prepare_alone(tmp_path):
    """`prepare_alone(bam=…)`: the qc.json of the store cuts.h5, of one process."""

    def run(**settings):
        given = {name: str(value) for name, value in settings.items()}
        made = prepare_stores(Prepare(out=str(tmp_path / "cuts.h5"), workers=1, **given))
        return made[tmp_path / "cuts.h5"]

    return run


def test_prepare_takes_the_sizes_of_the_header(prepare_alone, synthetic, tmp_path):
    with_fasta = prepare_alone(bam=synthetic["bam"], fasta=synthetic["fasta"], shift_check="")
    qc = prepare_alone(bam=synthetic["bam"])
    assert qc["fingerprint"] == with_fasta["fingerprint"]
    assert CutStore(tmp_path / "cuts.h5").chroms == chrom_sizes(synthetic["fasta"])
    assert (qc["fragments"], qc["shift_check"]) == (with_fasta["fragments"], None)
    (text,) = qc["warnings"]
    assert f"the Tn5 shift of {synthetic['bam']} is not checked, because no FASTA is given" in text


def test_prepare_takes_a_table_of_sizes(prepare_alone, synthetic, tmp_path):
    sizes = chrom_sizes(synthetic["fasta"])
    (tmp_path / "chrom.sizes").write_text("".join(f"{c}\t{n}\n" for c, n in sizes.items()))
    text = "".join(f"{c}\t{s}\t{s + 60 + s % 90}\n" for c in sizes for s in range(0, 5_000, 7))
    (tmp_path / "fragments.tsv").write_text(text)
    qc = prepare_alone(fragments=tmp_path / "fragments.tsv", fasta=tmp_path / "chrom.sizes")
    assert (qc["fragments"], len(qc["warnings"])) == (text.count("\n"), 1)
    qc = prepare_alone(bam=synthetic["bam"], fasta=f"{synthetic['fasta']}.fai")
    assert len(qc["warnings"]) == 1 and qc["fragments"]
    with pytest.raises(ValueError, match=r"fasta is required: .* or fasta=chrom.sizes"):
        prepare_alone(fragments=tmp_path / "fragments.tsv")


def test_a_track_needs_no_fasta_and_no_check(prepare_alone, tmp_path):
    with pyBigWig.open(str(tmp_path / "x.bw"), "w") as track:
        track.addHeader([("chr1", 6_000), ("chr2", 4_000)])
        track.addEntries(["chr1"], [100], ends=[900], values=[2.0])
    qc = prepare_alone(bigwig=tmp_path / "x.bw")
    assert (qc["covered_bp"], qc["warnings"], list(qc["chromosomes"])) == (
        800,
        [],
        ["chr1", "chr2"],
    )


def test_sizes_of_what_is_no_aligned_bam_are_refused(prepare_alone, tmp_path):
    (tmp_path / "text.bam").write_text("chr1\t5\t90\n")
    with pytest.raises(ValueError, match=r"text.bam is not a BAM file, nor a CRAM"):
        prepare_alone(bam=tmp_path / "text.bam")
    header = pysam.AlignmentHeader.from_dict({"HD": {"VN": "1.6", "SO": "unsorted"}})
    pysam.AlignmentFile(str(tmp_path / "bare.bam"), "wb", header=header).close()
    with pytest.raises(ValueError, match=r"the header of .*bare.bam lists no chromosomes"):
        prepare_alone(bam=tmp_path / "bare.bam")


def test_replicates_apart_have_their_own_headers(bam_writer, read_type, tmp_path):
    sizes = {"a": {"chr1": 10_000}, "b": {"chr1": 9_000, "chr2": 5_000}}
    bams = [
        str(bam_writer(tmp_path / f"{name}.bam", [read_type(i) for i in range(50)], of_file))
        for name, of_file in sizes.items()
    ]
    settings = Prepare(bam=bams, replicates="apart", out=str(tmp_path / "x.h5"), workers=1)
    prepare_stores(settings)
    stores = {name: CutStore(tmp_path / f"x.{name}.h5") for name in sizes}
    assert {name: store.chroms for name, store in stores.items()} == sizes
