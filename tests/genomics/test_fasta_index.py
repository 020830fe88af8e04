import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pysam
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics import fasta_index
from denoiseq.genomics.fasta import Genome, chrom_sizes

LETTERS = np.frombuffer(b"ACGTacgtN", np.uint8)


def bases(n, seed):
    return LETTERS[np.random.default_rng(seed).integers(0, len(LETTERS), n)].tobytes().decode()


CHR1, CHR2, CHR3 = bases(605, 1), bases(1_200, 2), bases(7, 3)
GENOME = {"chr1": CHR1, "chr2": CHR2, "chr3": CHR3}


def fasta_text(sequences, width=60, newline="\n", description="", blank=""):
    """Lines of a FASTA; `width` None: a line for a sequence."""
    text = ""
    for name, letters in sequences.items():
        step = width or len(letters)
        lines = [letters[i : i + step] for i in range(0, len(letters), step)]
        text += f">{name}{description}{newline}" + "".join(line + newline for line in lines) + blank
    return text


@pytest.fixture(params=["plain", "bgzipped"])
def write(request, tmp_path):
    """`write(text)` writes the FASTA anew, beside whatever index is there."""

    def run(text):
        path = tmp_path / ("x.fa" if request.param == "plain" else "x.fa.gz")
        if request.param == "plain":
            path.write_bytes(text.encode())
        else:
            with pysam.BGZFile(str(path), "wb", None) as file:
                file.write(text.encode())
        return path

    return run


def assert_reads(path, sequences):
    assert chrom_sizes(path) == {name: len(letters) for name, letters in sequences.items()}
    genome = Genome(path)
    for name, letters in sequences.items():
        expected = [("ACGT" + letter).index(letter) for letter in letters.upper()]
        np.testing.assert_array_equal(genome.codes(name, 0, len(letters)), expected)


LAYOUTS = {
    "lines": {},
    "one line": {"width": None},
    "Windows": {"newline": "\r\n", "description": " some words"},
    "blank lines at the end": {"blank": "\n\n", "description": "\tsome words"},
    "long lines": {"width": 1_200},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("last_line_ends", [True, False])
def test_chrom_sizes_leaves_a_sound_index_as_it_is(write, layout, last_line_ends, caplog):
    text = fasta_text(GENOME, **LAYOUTS[layout])
    path = write(text if last_line_ends else text.rstrip())
    pysam.faidx(str(path))
    index = path.with_name(f"{path.name}.fai")
    os.utime(index, (1, 1))  # age alone is no proof
    assert_reads(path, GENOME)
    assert index.stat().st_mtime == 1
    assert not caplog.records


@pytest.mark.parametrize(
    ("old", "old_layout", "why"),
    [
        ({**GENOME, "chr1": CHR1[:-60]}, {}, "chr2 begins elsewhere"),
        ({**GENOME, "chr1": CHR1 + "A"}, {}, "chr2 begins elsewhere"),
        ({**GENOME, "chr3": CHR3[:-1]}, {}, "the file ends elsewhere"),
        ({**GENOME, "chr3": CHR3 + "A"}, {}, "the lines of chr3 are of another length"),
        ({"chr1": CHR1, "chr2": CHR2}, {}, "the file ends elsewhere"),
        ({"chr1": CHR1, "chr3": CHR3}, {}, "chr3 begins elsewhere"),
        ({**GENOME, "chr4": CHR3}, {}, "chr4 begins elsewhere"),
        ({"chr1": CHR1, "chrX": CHR2, "chr3": CHR3}, {}, "chrX begins elsewhere"),
        ({"chr2": CHR2, "chr1": CHR1, "chr3": CHR3}, {}, "chr2 begins elsewhere"),
        (GENOME, {"width": 70}, "chr1 are of another length"),
        (GENOME, {"width": None}, "chr1 are of another length"),
        (GENOME, {"newline": "\r\n"}, "chr1 begins elsewhere"),
        (GENOME, {"description": " words"}, "chr1 begins elsewhere"),
    ],
)
def test_chrom_sizes_makes_a_stale_index_anew(write, old, old_layout, why, caplog):
    pysam.faidx(str(write(fasta_text(old, **old_layout))))
    path = write(fasta_text(GENOME))
    assert_reads(path, GENOME)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "x.fa" in warning and why in warning and "was made anew" in warning
    before = path.with_name(f"{path.name}.fai").stat()
    assert_reads(path, GENOME)
    assert path.with_name(f"{path.name}.fai").stat() == before
    assert len(caplog.records) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_chrom_sizes_sees_lines_of_another_length_where_the_ends_fit(tmp_path, order, caplog):
    """One line of 8 bases has as many bytes as two of 4 and 3: no length of the file tells."""
    old, new = (("ACGTACGT", 8), ("ACGT\nACG", 7))[::order]
    path = tmp_path / "x.fa"
    path.write_text(f">a\n{old[0]}\n>b\nGG\n")
    pysam.faidx(str(path))
    path.write_text(f">a\n{new[0]}\n>b\nGG\n")
    assert chrom_sizes(path) == {"a": new[1], "b": 2}
    assert "the lines of a are of another length" in caplog.text


def test_chrom_sizes_makes_a_stale_gzi_anew(tmp_path, caplog):
    letters = bases(200_000, 4)
    path, old = tmp_path / "x.fa.gz", tmp_path / "old.fa.gz"
    for file, step in ((old, 10_000), (path, 70_000)):  # the same text in other blocks
        text = fasta_text({"chr1": letters}).encode()
        with pysam.BGZFile(str(file), "wb", None) as out:
            for i in range(0, len(text), step):
                out.write(text[i : i + step])
                out.flush()
        pysam.faidx(str(file))
    shutil.copy(f"{old}.gzi", f"{path}.gzi")
    assert_reads(path, {"chr1": letters})
    assert "x.fa.gz.fai and x.fa.gz.gzi did not fit" in caplog.text
    gzi = tmp_path / "x.fa.gz.gzi"
    numbers = np.fromfile(gzi, "<i8")
    for data in (b"gzi", (numbers + (np.arange(len(numbers)) % 2)).tobytes()):
        caplog.clear()
        gzi.write_bytes(data)  # the second says that a block begins a byte later
        assert_reads(path, {"chr1": letters})
        assert "did not fit" in caplog.text


def test_chrom_sizes_looks_at_some_of_many_bgzipped_sequences(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fasta_index, "_MOST_UNPACKED", 5)
    old = {f"chr{i}": bases(30, i) for i in range(50)}
    new = {**old, "chr17": bases(31, 17)}
    path = tmp_path / "x.fa.gz"
    for sequences in (old, new):
        with pysam.BGZFile(str(path), "wb", None) as file:
            file.write(fasta_text(sequences).encode())
        if sequences is old:
            pysam.faidx(str(path))
    assert_reads(path, new)
    assert "was made anew" in caplog.text


def test_chrom_sizes_keeps_the_order_of_a_sorted_index(tmp_path, caplog):
    path = tmp_path / "x.fa"
    path.write_text(fasta_text(GENOME))
    pysam.faidx(str(path))
    index = tmp_path / "x.fa.fai"
    index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[::-1]))
    assert list(chrom_sizes(path)) == ["chr3", "chr2", "chr1"]
    assert not caplog.records


def test_genome_takes_an_index_from_elsewhere_where_it_cannot_be_replaced(
    write, monkeypatch, caplog
):
    pysam.faidx(str(write(fasta_text({"chr1": CHR1}))))
    path = write(fasta_text(GENOME))
    index = path.with_name(f"{path.name}.fai")
    stale = index.read_bytes()

    def refuse(target):
        raise PermissionError(target)

    monkeypatch.setattr(fasta_index, "atomic_path", refuse)
    assert_reads(path, GENOME)
    assert "was made anew, for now in a temporary folder" in caplog.text
    assert len(caplog.records) == 1  # though the FASTA was opened twice
    built = []
    monkeypatch.setattr(fasta_index, "_build", lambda *arguments: built.append(arguments))
    copy = pickle.loads(pickle.dumps(Genome(path)))  # as workers get it
    assert copy.one_hot("chr2", 5, 9).shape == (4, 4)
    assert index.read_bytes() == stale and not built


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (">a\nACGT\n>a\nGG\n>b\nC\n", r"has two sequences named a: rename"),
        (">a\nACGT\n>b\0c\nGG\n", r"is damaged: .* b begins elsewhere"),
        (">a\nAC\1T\nAC\n", r"is damaged: .* the lines of a are of another length"),
        (">a\nACGT\nA\1\n>b\nC\n", r"is damaged: .* b begins elsewhere"),
    ],
)
def test_chrom_sizes_refuses_what_no_index_tells(write, text, why):
    path = write(text)
    for index in (False, True):
        if index:
            pysam.faidx(str(path))
        with pytest.raises(UserError, match=rf"{path.name} {why}"):
            chrom_sizes(path)


def test_build_index_says_why_it_failed(tmp_path, capfd):
    path = tmp_path / "x.fa"
    path.write_text(">a\nACGT\n\nACGT\n")
    with pytest.raises(UserError, match=r"x.fa is not a FASTA .* damaged \(.*at line 4\)"):
        chrom_sizes(path)
    assert capfd.readouterr().err == ""


def test_the_index_beside_the_target_of_a_link_is_taken(write, tmp_path):
    path = write(fasta_text(GENOME))
    assert_reads(path, GENOME)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / path.name
    link.symlink_to(path)
    assert_reads(link, GENOME)
    assert list((tmp_path / "links").iterdir()) == [link]


INDEXED_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from denoiseq.genomics.fasta_index import usable_index

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # as on a full disk
try:
    usable_index(Path(sys.argv[1]))
except OSError as error:
    print(error)
"""


def test_an_index_without_room_does_not_blame_the_fasta(tmp_path):
    fasta = tmp_path / "many.fa"
    fasta.write_text("".join(f">scaffold_{i}\nACGTACGT\n" for i in range(2_000)))
    command = [sys.executable, "-c", INDEXED_WITHOUT_ROOM, str(fasta)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "cannot be written to the temporary folder" in done.stdout, done
    assert list(tmp_path.iterdir()) == [fasta]
