"""Files and pipes, gzipped or not, give the same text; what has to seek refuses a pipe at once."""

import bz2
import gzip
import lzma
import os
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pysam
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.bad_lines import BadLines
from denoiseq.genomics.bam import check_bam, contig_sizes
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.bigwig_reader import bigwig_sizes
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.genomics.fragment_file import read_fragments
from denoiseq.genomics.intervals import Interval
from denoiseq.inputs import is_pipe, keep_pipes, open_text, read_lines
from denoiseq.models.checkpoint import load_checkpoint
from denoiseq.provenance import store_provenance
from denoiseq.settings import Data
from denoiseq.store.store import open_store
from denoiseq.windows.splits import open_or_prepare
from hypothesis import given
from hypothesis import strategies as st

ROWS = [Interval("chr1", 100 * i, 100 * i + 50) for i in range(3_000)]
TEXT = "".join(f"{r.chrom}\t{r.start}\t{r.end}\n" for r in ROWS).encode()


def bgzipped(path: Path, data: bytes) -> bytes:
    with pysam.BGZFile(str(path), "wb") as file:
        file.write(data)
    return path.read_bytes()


@pytest.fixture
def fifo(tmp_path):
    """`fifo(data)` is the path of a FIFO into which a thread writes data, a few bytes first."""
    threads = []

    def make(data: bytes, name="x.fifo") -> Path:
        path = tmp_path / name
        os.mkfifo(path)

        def write():
            try:
                with path.open("wb", buffering=0) as file:
                    file.write(data[:1])
                    file.write(data[1:7])
                    file.write(data[7:])
            except BrokenPipeError:  # the reader had seen enough
                pass

        threads.append(threading.Thread(target=write, daemon=True))
        threads[-1].start()
        return path

    yield make
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["plain", "gzip", "members", "bgzip"])
def test_read_bed_of_a_fifo_equals_the_file(fifo, tmp_path, kind):
    data = {
        "plain": TEXT,
        "gzip": gzip.compress(TEXT),
        "members": gzip.compress(TEXT[:900]) + gzip.compress(TEXT[900:]),
        "bgzip": bgzipped(tmp_path / "x.gz", TEXT),
    }[kind]
    assert read_bed(fifo(data)) == ROWS


@pytest.mark.parametrize("kind", ["gzip", "bgzip"])
def test_read_fragments_of_a_fifo_reads_all_or_says_that_it_is_cut(fifo, tmp_path, kind):
    data = gzip.compress(TEXT) if kind == "gzip" else bgzipped(tmp_path / "x.gz", TEXT)
    steps = []
    pieces = read_fragments(fifo(data), BadLines(tmp_path), advance=steps.append)
    assert sum(len(piece.starts) for piece in pieces) == len(ROWS)
    assert sum(steps) == len(data)
    with pytest.raises(UserError, match=r"cut.fifo is truncated"):
        list(read_fragments(fifo(data[:-28], "cut.fifo"), BadLines(tmp_path)))
    with pytest.raises(UserError, match=r"half.fifo is truncated"):
        list(read_fragments(fifo(data[:1_000], "half.fifo"), BadLines(tmp_path)))


def test_a_plain_text_is_not_taken_for_a_bgzipped_one(tmp_path):
    path = tmp_path / "x.bed"
    path.write_text("chr1\t10\t200\tBC\n")  # the letters of a BGZF header, at their place
    assert read_bed(path) == [Interval("chr1", 10, 200)]


def test_a_bgzipped_bed_without_its_end_is_refused(tmp_path):
    path = tmp_path / "x.bed.gz"
    path.write_bytes(bgzipped(path, TEXT)[:-28])
    with pytest.raises(UserError, match="is truncated: its end marker is missing"):
        read_bed(path)


def test_a_pipe_that_gives_nothing_is_refused(fifo, tmp_path):
    with pytest.raises(UserError, match=r"x.fifo is a pipe that gave nothing"):
        read_bed(fifo(b""))
    (tmp_path / "empty.bed").touch()
    assert read_bed(tmp_path / "empty.bed") == []


@pytest.mark.parametrize(
    ("opener", "what"),
    [
        (contig_sizes, "BAM or CRAM"),
        (lambda path: check_bam(path, {}), "BAM or CRAM"),
        (chrom_sizes, "FASTA"),
        (bigwig_sizes, "bigWig"),
        (open_store, "cut-site store"),
        (load_checkpoint, "checkpoint"),
        (lambda path: open_or_prepare(Data(str(path), validation=["a"], test=[])), "store"),
    ],
)
def test_what_has_to_seek_refuses_a_pipe_without_opening_it(tmp_path, opener, what):
    path = tmp_path / "x.fifo"
    os.mkfifo(path)  # nobody writes: opening it would wait for ever
    with pytest.raises(UserError, match=rf"x.fifo is a pipe; a {what} has to be a file"):
        opener(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lzma.compress(TEXT), "compressed by xz, so unpack it first"),
        (bz2.compress(TEXT), "compressed by bzip2"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "compressed by zstd"),
        (gzip.compress(gzip.compress(TEXT)), "gzipped twice"),
        (gzip.compress(b"BAM\x01" + bytes(99)), "a BAM, which is given as bam="),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
        (b"chr1\t1\t2\0\n", "binary data"),
    ],
    ids=["xz", "bzip2", "zstd", "gzip twice", "BAM", "HDF5", "binary"],
)
def test_open_text_names_what_is_no_text(tmp_path, data, words):
    path = tmp_path / "x.bed"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"x.bed is not a BED file: it .*{words}"):
        read_bed(path)


def test_open_text_names_a_zip_archive_and_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("x.bed", TEXT)
    with pytest.raises(UserError, match="is a zip archive"):
        read_bed(tmp_path / "x.zip")
    with pytest.raises(OSError, match=r"cannot read .*is a directory"), open_text(tmp_path, "BED"):
        pass


@given(
    st.lists(st.text("ACGT-1\tü ", max_size=9), min_size=1, max_size=9),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
    st.sampled_from([bytes, gzip.compress]),
)
def test_read_lines_is_the_same_for_any_ends_mark_and_packing(
    tmp_path_factory, lines, end, encoding, packed
):
    path = tmp_path_factory.mktemp("lines") / "x"
    path.write_bytes(packed("".join(line + end for line in lines).encode(encoding)))
    assert read_lines(path, "text") == lines


def test_read_lines_of_utf_16(tmp_path):
    for number, encoding in enumerate(("utf-16", "utf-16-be")):
        path, mark = tmp_path / f"{number}.txt", "\ufeff" * number
        path.write_bytes((mark + "AAAC-1\r\nAAAG-1\r\n").encode(encoding))
        assert read_lines(path, "text") == ["AAAC-1", "AAAG-1"]


@dataclass(frozen=True)
class Two:
    labels: str | None
    truth: str | None


def test_keep_pipes_leaves_files_and_copies_pipes(fifo, tmp_path):
    plain = str(tmp_path / "truth.bed")
    settings = keep_pipes(
        Two(str(fifo(gzip.compress(TEXT))), plain), ("labels", "truth"), tmp_path / "run"
    )
    assert settings == Two(str(tmp_path / "run" / "piped_labels.txt"), plain)
    assert Path(settings.labels).read_bytes() == TEXT
    assert keep_pipes(settings, ("labels", "truth"), tmp_path) == settings
    assert keep_pipes(Two(None, None), ("labels",), tmp_path) == Two(None, None)


def test_provenance_of_a_pipe_is_its_path(tmp_path):
    os.mkfifo(tmp_path / "x.fifo")
    assert is_pipe(tmp_path / "x.fifo") and not is_pipe(tmp_path / "none")
    inputs = store_provenance({"fragments": [tmp_path / "x.fifo"]})["inputs"]
    assert inputs == {"fragments": {"name": str(tmp_path / "x.fifo"), "bytes": None, "mtime": None}}
