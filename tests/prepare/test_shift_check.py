"""The Tn5 motif in real yeast reads, as they are and moved, and in sequence without any."""

from pathlib import Path

import numpy as np
import pysam
import pytest
from denoiseq.genomics.fasta import Genome, bases_around, chrom_sizes
from denoiseq.prepare.shift_check import REACH_BP, check_shift, find_motif, reverse_complement
from denoiseq.store.cut_store import CutStore

YEAST = Path(__file__).parents[2] / "data" / "yeast"
BAM, FASTA = YEAST / "yeast_atac_SRR1822137.bam", YEAST / "sacCer3.fa.gz"
CHROMS = ["chrI", "chrII", "chrIII"]


@pytest.fixture
def prepare_yeast(prepare):
    def run(bam, out, **settings):
        settings |= {"min_mapq": 0, "include": CHROMS, "fasta": FASTA}
        return prepare(chrom_sizes(FASTA), out, bam=bam, **settings)

    return run


@pytest.fixture(scope="module")
def pairs():
    """Forward mates of the chromosomes: chrom -> int64 (2, F), starts and ends of fragments."""
    found = {}
    with pysam.AlignmentFile(str(BAM)) as file:
        for chrom in CHROMS:
            rows = [
                (read.reference_start, read.reference_start + read.template_length)
                for read in file.fetch(chrom)
                if read.is_proper_pair and not read.is_reverse
            ]
            found[chrom] = np.array(rows).T
    return found


def moved_bam(path, left, right, layout="paired"):
    """The yeast BAM with `left` added to the starts of fragments and `right` to their ends."""
    with pysam.AlignmentFile(str(BAM)) as old:
        reads = [read for chrom in CHROMS for read in old.fetch(chrom) if read.is_proper_pair]
        order = {chrom: i for i, chrom in enumerate(CHROMS)}
        for read in reads:
            if read.is_reverse:
                read.reference_start += right
            else:
                read.reference_start += left
                read.template_length += right - left
            if layout == "single":
                read.flag &= 0x10
        reads = [read for read in reads if read.reference_start >= 0]
        reads.sort(key=lambda read: (order[read.reference_name], read.reference_start))
        with pysam.AlignmentFile(str(path), "wb", template=old) as new:
            for read in reads:
                new.write(read)
    pysam.index(str(path))
    return path


def test_unshifted_reads_pass_with_the_bits_of_the_motif(prepare_yeast, tmp_path):
    check = prepare_yeast(BAM, tmp_path / "x.h5")["shift_check"]
    assert (check["verdict"], check["fitting"][0]) == ("right", "+4/-4")
    for end in ("left", "right"):
        assert check[end]["centre_bp"] == 4
        assert check[end]["bits"] == pytest.approx(1.0, abs=0.15)
        assert check[end]["symmetry"] > 0.9


@pytest.mark.parametrize("shift", ["+4/-4", "+4/-5", "atacworks"])
def test_what_is_within_a_base_passes(prepare_yeast, tmp_path, shift):
    assert prepare_yeast(BAM, tmp_path / "x.h5", shift=shift)["shift_check"]["verdict"] == "right"


def test_a_shift_that_does_not_fit_stops(prepare_yeast, tmp_path):
    with pytest.raises(ValueError, match=r"is not shifted so: .* set shift=\+4/-4, or shift_check"):
        prepare_yeast(BAM, tmp_path / "x.h5", shift="none")
    assert not list(tmp_path.iterdir())
    assert prepare_yeast(BAM, tmp_path / "x.h5", shift="none", shift_check=False)


@pytest.mark.parametrize("right", [-4, -5])
def test_a_shifted_bam_stops_and_says_what_to_set(prepare_yeast, tmp_path, right):
    bam = moved_bam(tmp_path / "shifted.bam", 4, right)
    with pytest.raises(ValueError, match=r"shifted.bam is shifted already: .* 0 bp .*shift=none"):
        prepare_yeast(bam, tmp_path / "x.h5")
    check = prepare_yeast(bam, tmp_path / "x.h5", shift="none")["shift_check"]
    assert (check["left"]["centre_bp"], check["right"]["centre_bp"]) == (0, right + 4)
    assert check["verdict"] == "right"


def test_a_shift_that_no_choice_mends(prepare_yeast, tmp_path):
    bam = moved_bam(tmp_path / "odd.bam", -4, 0)
    with pytest.raises(ValueError, match=r"8 bp inside the left .* 4 bp .* no shift mends that"):
        prepare_yeast(bam, tmp_path / "x.h5")


def test_single_end_reads_are_checked_too(prepare_yeast, tmp_path):
    bam = moved_bam(tmp_path / "single.bam", 0, 0, "single")
    qc = prepare_yeast(bam, tmp_path / "x.h5")
    assert qc["files"][0]["layout"] == "single"
    assert qc["shift_check"]["verdict"] == "right"
    assert qc["shift_check"]["left"]["centre_bp"] == qc["shift_check"]["right"]["centre_bp"] == 4


@pytest.mark.parametrize(("moved", "verdict"), [((4, -5), "right"), ((0, 0), "wrong")])
def test_fragment_files_are_verified_to_be_shifted(prepare, pairs, tmp_path, moved, verdict):
    path = tmp_path / "fragments.tsv"
    with path.open("w") as file:
        for chrom, (starts, ends) in pairs.items():
            for start, end in zip(starts + moved[0], ends + moved[1], strict=True):
                if end > start:
                    file.write(f"{chrom}\t{start}\t{end}\tA\t1\n")
    sizes, out, files = chrom_sizes(FASTA), tmp_path / "x.h5", {"fragments": path, "fasta": FASTA}
    if verdict == "right":
        qc = prepare(sizes, out, shift="10x", **files)
        assert qc["shift_check"]["verdict"] == "right"
        assert qc["fragments"] == CutStore(out).n_fragments > 30_000
    else:
        with pytest.raises(ValueError, match=r"set shift=\+4/-4"):
            prepare(sizes, out, shift="10x", **files)


def test_random_ends_and_few_ends_are_no_verdict():
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 4, (2, 3_000, 2 * REACH_BP + 1), dtype=np.uint8)
    assert check_shift(left, right, "none")["verdict"] == "no motif"
    assert check_shift(left[:9], right[:0], "none")["verdict"] == "too few ends"


def test_at_rich_ends_are_no_motif():
    """What promoters do to the composition is symmetric over much more than the motif's length."""
    rng = np.random.default_rng(1)
    rich = rng.choice(4, (20_000, 2 * REACH_BP + 1), p=[0.4, 0.1, 0.1, 0.4]).astype(np.uint8)
    assert not find_motif(rich).found


def test_without_a_motif_it_warns_and_goes_on(prepare, synthetic, tmp_path, caplog):
    sizes = chrom_sizes(synthetic["fasta"])
    files = {"bam": synthetic["bam"], "fasta": synthetic["fasta"]}
    qc = prepare(sizes, tmp_path / "x.h5", **files)
    assert qc["shift_check"]["verdict"] == "no motif"
    assert "could not be checked (no motif)" in caplog.text


def test_bases_around_positions(tmp_path):
    (tmp_path / "x.fa").write_text(">c\nACgtN\n")
    rows = bases_around(Genome(tmp_path / "x.fa"), "c", np.array([3, 0, 4]), 1)
    assert rows.tolist() == [[2, 3, 4], [4, 0, 1], [3, 4, 4]]
    assert reverse_complement(rows).tolist() == [[4, 0, 1], [2, 3, 4], [4, 4, 0]]
