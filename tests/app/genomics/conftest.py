"""Real files for the genomics tests: a synthetic genome, and BAMs written read by read."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pysam
import pytest
from denoiseq.genomics.bigwig_format import Encoded, Stored, encode, part_file, write_bigwig
from denoiseq.genomics.synthetic import make_synthetic

PAIRED, PROPER, UNMAPPED, REVERSE, MATE_REVERSE = 0x1, 0x2, 0x4, 0x10, 0x20


class Read(NamedTuple):
    """One read of a hand-made BAM; by default the forward mate of a proper pair."""

    start: int
    length: int = 100
    flag: int = PAIRED | PROPER | MATE_REVERSE
    mapq: int = 60
    chrom: str = "chr1"


def write_bam(path: Path, reads, sizes=None, order="coordinate", index=True) -> Path:
    """Write reads in the order given."""
    sizes = sizes or {"chr1": 10_000}
    contigs = [{"SN": chrom, "LN": size} for chrom, size in sizes.items()]
    head = pysam.AlignmentHeader.from_dict({"HD": {"VN": "1.6", "SO": order}, "SQ": contigs})
    with pysam.AlignmentFile(str(path), "wb", header=head) as file:
        for number, read in enumerate(reads):
            record = pysam.AlignedSegment(head)
            record.query_name = f"r{number}"
            record.flag = read.flag
            record.reference_id = head.get_tid(read.chrom)
            record.reference_start = read.start
            record.mapping_quality = read.mapq
            record.template_length = read.length
            if not read.flag & UNMAPPED:
                record.cigartuples = [(0, 10)]
            file.write(record)
    if index:
        pysam.index(str(path))
    return path


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Paths of the default synthetic data set: fasta, bam, peaks, blacklist."""
    return make_synthetic(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture
def bam_of(tmp_path):
    """`bam_of([Read(...), ...], ...)` writes a BAM and returns its path."""

    def make(reads, **options):
        return write_bam(tmp_path / "reads.bam", reads, **options)

    return make


@pytest.fixture(scope="session")
def read_type():
    return Read


@pytest.fixture(scope="session")
def bam_writer():
    return write_bam


def write_track(path: Path, chroms, pieces, decimals=1) -> Path:
    """Write (chrom, start, values) to a bigWig, encoded piece by piece."""
    stem, numbers, found = path.with_suffix(".part"), list(chroms), {}
    files = [part_file(stem, name).open("wb") for name in Encoded._fields]
    for chrom, start, values in pieces:
        begins = [file.tell() for file in files]
        encoded = encode(numbers.index(chrom), start, np.asarray(values, np.float32), decimals)
        for file, part in zip(files, encoded, strict=True):
            file.write(part)
        if chrom in found:
            begins = [bounds[0] for bounds in found[chrom][1:]]
        ends = [file.tell() for file in files]
        found[chrom] = Stored(stem, *zip(begins, ends, strict=True))
    for file in files:
        file.close()
    write_bigwig(path, chroms, found)
    for name in Encoded._fields:
        part_file(stem, name).unlink()
    return path


@pytest.fixture(scope="session")
def track_writer():
    return write_track
