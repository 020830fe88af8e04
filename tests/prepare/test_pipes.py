"""Process substitution and /dev/stdin, as a shell hands them over, give the stores of files."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from denoiseq.store.cut_store import CutStore

APP = Path(__file__).parents[2] / "app"


@pytest.fixture
def bash(tmp_path):
    """`bash(line)` runs a line with `prepare` in tmp_path, where fragments and lists lie."""
    (tmp_path / "genome.fa").write_text(f">chr1\n{'ACGTTGCA' * 12_500}\n")
    rows = [f"chr1\t{40 * i}\t{40 * i + 60 + i % 200}\tC{i % 5}-1\t1" for i in range(2_400)]
    (tmp_path / "f.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "f.tsv.gz").write_bytes(gzip.compress((tmp_path / "f.tsv").read_bytes()))
    regions = [f"chr1\t{500 * i}\t{500 * i + 50}\n" for i in range(1_000)]
    (tmp_path / "b.bed").write_text("".join(regions))
    (tmp_path / "b.bed.gz").write_bytes(gzip.compress("".join(regions).encode()))
    (tmp_path / "cells.txt").write_text("C0-1\nC3-1\n")
    prepare = f"prepare() {{ {sys.executable} {APP / 'prepare.py'} fasta=genome.fa workers=1 $@; }}"

    def run(line: str) -> subprocess.CompletedProcess:
        command = ["bash", "-c", f"{prepare}; {line}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)

    return run


def content(path: Path) -> tuple:
    store = CutStore(path)
    cuts = [array.tolist() for array in store.cuts("chr1", 0, 100_000)]
    return cuts, store.blacklist["chr1"].tolist(), store.fingerprint


def test_prepare_from_pipes_equals_files(bash, tmp_path):
    done = bash("prepare fragments=f.tsv blacklist=b.bed barcodes=cells.txt out=0.h5")
    assert done.returncode == 0, done.stderr
    whole = content(tmp_path / "0.h5")
    assert len(whole[0][0]) > 1_000 and len(whole[1]) == 200
    for line in (
        "prepare fragments=f.tsv blacklist=<(zcat b.bed.gz) barcodes=<(cat cells.txt) out=1.h5",
        "cat f.tsv.gz | prepare fragments=/dev/stdin blacklist=<(cat b.bed.gz)"
        " barcodes=/dev/fd/3 out=1.h5 3< cells.txt",
    ):
        done = bash(line)
        assert done.returncode == 0, done.stderr
        assert content(tmp_path / "1.h5") == whole
        (tmp_path / "1.h5").unlink()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prepare bam=<(cat f.tsv) out=1.h5", "is a pipe; a BAM or CRAM has to be a file"),
        ("prepare fragments=f.tsv blacklist=<(zcat absent.gz) out=1.h5", "pipe that gave nothing"),
        ("prepare fragments=<(head -c 9000 f.tsv.gz) out=1.h5", "is truncated"),
    ],
)
def test_prepare_from_bad_pipes_is_refused(bash, tmp_path, line, words):
    done = bash(line)
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "1.h5").exists()
