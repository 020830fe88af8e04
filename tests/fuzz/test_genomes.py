"""Mutated FASTA files and their indices, read in a process of their own."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import FUZZ, edited, edits, pack_bgzf

TEXT = b">chr1 first\n" + b"ACGTACGTAC\n" * 30 + b"ACGTN\n>chr2\nacgt\n>chr3\n" + b"GGGCCC\n" * 9


def read_fasta(path: str) -> dict[str, str]:
    """All bases, as `Genome` reads them."""
    from denoiseq.genomics.fasta import Genome

    genome = Genome(path)
    return {
        chrom: "".join("ACGTN"[code] for code in genome.codes(chrom, 0, size))
        for chrom, size in genome.chroms.items()
    }


def strict_bases(text: bytes) -> dict[str, str]:
    """All bases, line by line; another letter is N."""
    bases: dict[str, str] = {}
    name = ""
    for line in text.split(b"\n"):
        if line.startswith(b">"):
            name = (line[1:].split() or [b""])[0].decode()
            assert name not in bases
            bases[name] = ""
        elif bases:
            letters = line.rstrip()
            assert all(33 <= byte < 127 for byte in letters)
            bases[name] += "".join(c if c in "ACGT" else "N" for c in letters.decode().upper())
    return bases


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """name -> its bytes, of a plain and of a bgzipped FASTA with their indices."""
    import pysam

    folder = tmp_path_factory.mktemp("fasta")
    (folder / "a.fa").write_bytes(TEXT)
    (folder / "b.fa.gz").write_bytes(pack_bgzf(TEXT))
    for name in ("a.fa", "b.fa.gz"):
        pysam.faidx(str(folder / name))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@FUZZ
@given(name=st.sampled_from(["a.fa", "a.fa.fai", "b.fa.gz.fai", "b.fa.gz.gzi"]), changes=edits())
def test_fasta_and_its_index(folder, sandbox, indexed, name, changes):
    folder = Path(tempfile.mkdtemp(dir=folder))
    for other, data in indexed.items():
        (folder / other).write_bytes(edited(data, changes) if other == name else data)
    fasta = folder / ("a.fa" if name.startswith("a.") else "b.fa.gz")
    outcome = sandbox(read_fasta, str(fasta))
    text = fasta.read_bytes() if name == "a.fa" else TEXT
    shutil.rmtree(folder)
    assert outcome.state != "failed", outcome.text
    if outcome.state == "read":
        assert outcome.text == str(strict_bases(text))


def check_bgzipped(folder, sandbox, data, text):
    folder = Path(tempfile.mkdtemp(dir=folder))
    (folder / "b.fa.gz").write_bytes(data)
    outcome = sandbox(read_fasta, str(folder / "b.fa.gz"))
    shutil.rmtree(folder)
    assert outcome.state != "failed", outcome.text
    if outcome.state == "read":
        assert outcome.text == str(strict_bases(text))


@FUZZ
@given(changes=edits())
def test_bgzipped_fasta(folder, sandbox, indexed, changes):
    check_bgzipped(folder, sandbox, edited(indexed["b.fa.gz"], changes), TEXT)


@FUZZ
@given(changes=edits())
def test_what_a_bgzipped_fasta_holds(folder, sandbox, indexed, changes):
    text = edited(TEXT, changes)
    check_bgzipped(folder, sandbox, pack_bgzf(text), text)
