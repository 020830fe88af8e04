import gzip
import multiprocessing
import pickle
import shutil

import numpy as np
import pysam
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics import fasta as fasta_module
from denoiseq.genomics.fasta import Genome, bases_around, chrom_sizes

TEXT = ">chr1 a description\nACGTN\nacgtn\nRY\n>chr2\nTTTT\n"


@pytest.fixture(params=["plain", "bgzipped"])
def fasta(request, tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(TEXT)
    if request.param == "plain":
        return path
    pysam.tabix_compress(str(path), f"{path}.gz")
    return tmp_path / "x.fa.gz"


def test_sizes_and_the_index_is_left_beside(fasta):
    assert chrom_sizes(fasta) == {"chr1": 12, "chr2": 4}
    assert fasta.with_name(f"{fasta.name}.fai").is_file()
    assert chrom_sizes(fasta) == {"chr1": 12, "chr2": 4}
    assert not list(fasta.parent.glob("*.tmp-*"))


def test_an_index_that_cannot_be_written_beside_is_used_elsewhere(fasta):
    fasta.with_name(f"{fasta.name}.fai").mkdir()  # nothing can be renamed over a folder
    assert chrom_sizes(fasta) == {"chr1": 12, "chr2": 4}
    assert Genome(fasta).one_hot("chr2", 0, 4)[3].tolist() == [1, 1, 1, 1]
    assert not list(fasta.parent.glob("*.tmp-*"))


def test_one_hot_in_both_cases_with_unknown_bases(fasta):
    bases = Genome(fasta).one_hot("chr1", 1, 12)
    assert bases.dtype == np.float32
    assert bases.shape == (4, 11)
    rows = ["".join("ACGT"[i] for i in np.flatnonzero(column)) or "N" for column in bases.T]
    assert "".join(rows) == "CGTNACGTNNN"
    assert set(np.unique(bases)) == {0, 1}
    assert Genome(fasta).one_hot("chr1", 3, 3).shape == (4, 0)


@pytest.mark.parametrize("window", [(-1, 3), (3, 13), (5, 4)])
def test_windows_off_the_sequence_are_refused(fasta, window):
    genome = Genome(fasta)
    with pytest.raises(ValueError, match=r"is not within .*: it has 12 bp"):
        genome.one_hot("chr1", *window)
    with pytest.raises(ValueError, match="has no sequence chr9"):
        genome.one_hot("chr9", 0, 1)


def test_one_handle_serves_and_is_never_pickled(fasta, monkeypatch):
    genome = Genome(fasta)
    opened = []
    real = fasta_module._open

    def open_and_note(path, indices):
        opened.append(path)
        return real(path, indices)

    monkeypatch.setattr(fasta_module, "_open", open_and_note)
    first = [genome.one_hot("chr1", start, start + 3) for start in range(9)]
    assert opened == [fasta]
    copy = pickle.loads(pickle.dumps(genome))
    assert opened == [fasta]
    again = [copy.one_hot("chr1", start, start + 3) for start in range(9)]
    assert opened == [fasta, fasta]
    np.testing.assert_array_equal(first, again)


def test_a_forked_process_opens_its_own_handle(fasta):
    genome = Genome(fasta)
    expected, handle = genome.one_hot("chr1", 0, 12), genome._file
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def read():
        answers.put((genome.one_hot("chr1", 0, 12), genome._file is handle))

    process = context.Process(target=read)
    process.start()
    process.join()
    bases, shared = answers.get()
    np.testing.assert_array_equal(bases, expected)
    assert not shared
    assert np.array_equal(genome.one_hot("chr1", 0, 12), expected) and genome._file is handle


def test_sequences_may_go_by_other_names(fasta):
    genome = Genome(fasta, {"sample2/chr2": "chr2"})
    assert genome.chroms == {"chr1": 12, "chr2": 4, "sample2/chr2": 4}
    other, own = (genome.one_hot(chrom, 1, 3) for chrom in ("sample2/chr2", "chr2"))
    np.testing.assert_array_equal(other, own)


def test_a_fasta_cut_after_it_was_indexed(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(TEXT)
    genome = Genome(path)
    path.write_text(TEXT[:25])
    with pytest.raises(ValueError, match=r"x.fa is damaged or truncated: chr1:0-12"):
        genome.one_hot("chr1", 0, 12)


def test_files_that_are_no_fasta(tmp_path, capfd):
    with pytest.raises(FileNotFoundError, match="no such FASTA file"):
        chrom_sizes(tmp_path / "none.fa")
    (tmp_path / "text.fa").write_text("chr1\t1\t2\n")
    (tmp_path / "empty.fa").write_text("")
    for name in ("text.fa", "empty.fa"):
        with pytest.raises(ValueError, match=f"{name} is not a FASTA"):
            chrom_sizes(tmp_path / name)
    (tmp_path / "x.fa.gz").write_bytes(gzip.compress(TEXT.encode()))
    with pytest.raises(ValueError, match=r"recompress it: .*bgzip"):
        chrom_sizes(tmp_path / "x.fa.gz")
    assert capfd.readouterr().err == ""


def test_a_truncated_bgzipped_fasta(synthetic, tmp_path):
    plain = tmp_path / "x.fa"
    shutil.copyfile(synthetic["fasta"], plain)
    pysam.tabix_compress(str(plain), f"{plain}.gz")
    cut = tmp_path / "cut.fa.gz"
    data = (tmp_path / "x.fa.gz").read_bytes()
    cut.write_bytes(data[: len(data) // 2 + 7])
    with pytest.raises(ValueError, match=r"cut.fa.gz is not a FASTA file, or it is damaged"):
        chrom_sizes(cut)


@pytest.mark.parametrize("damage", [b"", b"chr1\n", b"chr1\tten\t20\t60\t61\n", bytes(range(256))])
def test_a_damaged_index_is_made_anew_or_said(fasta, damage, capfd, caplog):
    genome, sizes = Genome(fasta), chrom_sizes(fasta)
    index = fasta.with_name(f"{fasta.name}.fai")
    index.write_bytes(damage)
    if damage:
        with pytest.raises(UserError, match=rf"{fasta.name} .*index is damaged: remove .*\.fai"):
            genome.codes("chr1", 0, 1)
    assert chrom_sizes(fasta) == sizes
    assert f"{index.name}" in caplog.text and "was made anew" in caplog.text
    assert capfd.readouterr().err == ""


def test_sequence_that_is_gone_is_said_without_htslibs_own_words(fasta, capfd):
    genome = Genome(fasta)
    whole = fasta.read_bytes()
    fasta.write_bytes(whole[:20] if fasta.suffix == ".fa" else b"\0" * len(whole))
    for read in (
        lambda: genome.one_hot("chr1", 0, 12),
        lambda: bases_around(Genome(fasta), "chr1", np.array([6]), 3),
    ):
        with pytest.raises(UserError, match=rf"{fasta.name} is"):
            read()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", [b"\1", b" ", b"\n", b"\xc8"])
def test_a_byte_that_is_no_letter_is_said_and_moves_no_base(tmp_path, damage):
    """htslib leaves it out and takes a base from beyond the end instead."""
    path = tmp_path / "x.fa"
    text = ">a\n" + "ACGTACGTAC\n" * 5 + ">b\nTTTT\n"
    path.write_text(text)
    pysam.faidx(str(path))
    data = bytearray(text.encode())
    data[3 + 2 * 11 + 4 : 3 + 2 * 11 + 5] = damage  # the fifth base of the third line
    path.write_bytes(data)
    genome = Genome(path)
    for start, end in ((0, 50), (24, 25), (20, 30)):
        with pytest.raises(UserError, match=rf"x.fa is damaged .*: a:{start}-{end} has bytes"):
            genome.codes("a", start, end)
    assert (
        genome.codes("a", 25, 50).tolist() == [*b"\1\2\3\0\1"] + [0, 1, 2, 3, 0, 1, 2, 3, 0, 1] * 2
    )
    assert genome.codes("a", 0, 24).tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1] * 2 + [0, 1, 2, 3]


def test_a_lost_line_end_is_said(tmp_path):
    (tmp_path / "x.fa").write_text(">a\nACGT\nACGT\nAC\n")
    genome = Genome(tmp_path / "x.fa")
    (tmp_path / "x.fa").write_text(">a\nACGT\nACGT\vAC\n")
    assert genome.codes("a", 0, 8).tolist() == [0, 1, 2, 3] * 2
    with pytest.raises(UserError, match=r"a:6-9 has bytes that are neither letters nor line ends"):
        genome.codes("a", 6, 9)
