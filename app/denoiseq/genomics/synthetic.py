"""A small made-up genome with known peaks: FASTA, paired BAM, peaks and blacklist, all seeded.

For tests and for teaching, with every kind of read that the filters of `prepare` count: no model of
real ATAC-seq to measure methods on.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pysam

from denoiseq.atomic import atomic_path, write_text
from denoiseq.errors import UserError
from denoiseq.genomics.htslib import quiet_htslib

CHROMS: Mapping[str, int] = {"chr1": 200_000, "chr2": 100_000, "chr3": 100_000}

_READ_BP = 40
_IN_PEAKS = 0.6  # share of the fragments; the rest are spread evenly
_PROPER_PAIR = pysam.FPAIRED | pysam.FPROPER_PAIR
# what a few pairs are repeated as, (flag, mapping quality): one case for every filter of reads
_CLEAN = (_PROPER_PAIR, 60)
_ODD = (
    (_PROPER_PAIR | pysam.FDUP, 60),
    (_PROPER_PAIR | pysam.FSECONDARY, 60),
    (_PROPER_PAIR | pysam.FSUPPLEMENTARY, 60),
    (_PROPER_PAIR | pysam.FQCFAIL, 60),
    (pysam.FPAIRED, 60),
    (_PROPER_PAIR, 3),
)
_ODD_SHARE = 0.02


def make_synthetic(
    folder: str | Path,
    seed: int = 0,
    chroms: Mapping[str, int] = CHROMS,
    peaks_per_mb: float = 200.0,
    fragments_per_mb: float = 60_000.0,
) -> dict[str, Path]:
    """Make the files in `folder`: equal arguments give equal files.

    Returns the paths of `fasta` (with `.fai`), `bam` (with `.bai`), `peaks` and `blacklist` (BED).
    """
    rng = np.random.default_rng(seed)
    names = {"fasta": "genome.fa", "bam": "reads.bam", "peaks": "peaks.bed"}
    names["blacklist"] = "blacklist.bed"
    paths = {key: Path(folder) / name for key, name in names.items()}
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    genome = {c: rng.choice(letters, size, p=[0.3, 0.2, 0.2, 0.3]) for c, size in chroms.items()}
    peaks = {c: _peaks(rng, size, peaks_per_mb) for c, size in chroms.items()}
    _write_fasta(paths["fasta"], genome)
    _write_bed(paths["peaks"], peaks)
    middles = {c: [(size // 2, size // 2 + size // 100)] for c, size in chroms.items()}
    _write_bed(paths["blacklist"], middles)
    _write_bam(paths["bam"], rng, genome, peaks, fragments_per_mb)
    return paths


def _peaks(rng: np.random.Generator, size: int, per_mb: float) -> np.ndarray:
    """Peaks of 200 to 600 bp, one in each of equal stretches, away from their edges: (M, 2)."""
    stretch = round(1e6 / per_mb)
    if stretch < 1_600:
        raise UserError(f"peaks_per_mb must be below 600 to leave room, got {per_mb}.")
    origins = np.arange(0, size - stretch + 1, stretch)
    widths = rng.integers(200, 601, len(origins))
    starts = origins + rng.integers(500, stretch - 1_100 + 1, len(origins))
    return np.stack([starts, starts + widths], axis=1)


def _write_fasta(path: Path, genome: Mapping[str, np.ndarray]) -> None:
    records = []
    for chrom, letters in genome.items():
        text = letters.tobytes().decode()
        lines = [text[at : at + 60] for at in range(0, len(text), 60)]
        records.append("\n".join([f">{chrom}", *lines]) + "\n")
    write_text(path, "".join(records))
    with atomic_path(f"{path}.fai") as index:
        pysam.faidx("--fai-idx", str(index), str(path))


def _write_bed(path: Path, rows: Mapping[str, Any]) -> None:
    lines = (f"{c}\t{start}\t{end}\n" for c, table in rows.items() for start, end in table)
    write_text(path, "".join(lines))


def _write_bam(
    path: Path,
    rng: np.random.Generator,
    genome: Mapping[str, np.ndarray],
    peaks: Mapping[str, np.ndarray],
    fragments_per_mb: float,
) -> None:
    contigs = [{"SN": chrom, "LN": len(letters)} for chrom, letters in genome.items()]
    header = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": contigs}
    )
    with atomic_path(path) as temporary:
        with pysam.AlignmentFile(str(temporary), "wb", header=header) as file:
            for chrom, letters in genome.items():
                fragments = _fragments(rng, len(letters), peaks[chrom], fragments_per_mb)
                reads = list(_reads(rng, header, chrom, letters, fragments))
                for read in sorted(reads, key=lambda read: read.reference_start):
                    file.write(read)
            for number in range(50):
                file.write(_unplaced(header, f"unplaced{number}"))
        with quiet_htslib(), atomic_path(f"{path}.bai") as index:
            pysam.index("-o", str(index), str(temporary))


def _fragments(rng: np.random.Generator, size: int, peaks: np.ndarray, per_mb: float) -> np.ndarray:
    """Fragments inside the chromosome: int64 (F, 2). Peaks differ in height tenfold or more."""
    n = round(size * per_mb / 1e6)
    n_in_peaks = rng.binomial(n, _IN_PEAKS) if len(peaks) else 0
    heights = rng.lognormal(0.0, 0.7, len(peaks))
    inside = np.empty((0, 2), dtype=np.int64)
    if n_in_peaks:
        inside = rng.choice(peaks, n_in_peaks, p=heights / heights.sum())  # (n_in_peaks, 2)
    centers = rng.normal(inside.mean(axis=1), (inside[:, 1] - inside[:, 0]) / 5)
    centers = np.concatenate([centers, rng.uniform(0, size, n - n_in_peaks)])
    # nucleosome-free, and one nucleosome
    lengths = np.where(rng.random(n) < 0.7, rng.normal(90, 20, n), rng.normal(200, 25, n))
    lengths = np.clip(lengths, _READ_BP, 400).astype(np.int64)
    starts = np.clip((centers - lengths / 2).astype(np.int64), 0, size - lengths)
    return np.stack([starts, starts + lengths], axis=1)


def _reads(
    rng: np.random.Generator,
    header: pysam.AlignmentHeader,
    chrom: str,
    letters: np.ndarray,
    fragments: np.ndarray,
) -> Iterator[pysam.AlignedSegment]:
    """Both reads of every fragment, and of a few again with what a filter should catch."""
    odd = rng.random(len(fragments)) < _ODD_SHARE
    kinds = rng.integers(0, len(_ODD), len(fragments))
    text = letters.tobytes().decode()
    for number, (start, end) in enumerate(fragments.tolist()):
        copies = [_CLEAN, _ODD[kinds[number]]] if odd[number] else [_CLEAN]
        for copy, (flag, quality) in enumerate(copies):
            name = f"{chrom}.{number}" + ".again" * copy
            for read in _pair(header, chrom, start, end):
                read.query_name = name
                read.flag |= flag
                read.mapping_quality = quality
                at = read.reference_start
                read.query_sequence = text[at : at + _READ_BP]
                yield read


def _pair(
    header: pysam.AlignmentHeader, chrom: str, start: int, end: int
) -> Iterator[pysam.AlignedSegment]:
    mates = (
        (start, end - _READ_BP, end - start, pysam.FREAD1 | pysam.FMREVERSE),
        (end - _READ_BP, start, start - end, pysam.FREAD2 | pysam.FREVERSE),
    )
    for place, mate_place, length, flag in mates:
        read = pysam.AlignedSegment(header)
        read.flag = flag
        read.reference_id = read.next_reference_id = header.get_tid(chrom)
        read.reference_start, read.next_reference_start = place, mate_place
        read.template_length = length
        read.cigartuples = [(0, _READ_BP)]
        yield read


def _unplaced(header: pysam.AlignmentHeader, name: str) -> pysam.AlignedSegment:
    read = pysam.AlignedSegment(header)
    read.query_name = name
    read.flag = pysam.FPAIRED | pysam.FUNMAP | pysam.FMUNMAP | pysam.FREAD1
    read.query_sequence = "N" * _READ_BP
    return read
