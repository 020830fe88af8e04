"""A BAM file as the rest may rely on it: opened, checked once at the door, its reads counted.

Owns every message about a BAM that cannot be used; what its reads mean is `fragments`' matter.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pysam

# the empty BGZF block that ends every complete BAM (SAM specification, section 4.1.2)
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_READS_TO_TRY = 10_000


@contextmanager
def quiet_htslib() -> Iterator[None]:
    """Keep htslib from writing its own lines to stderr: an error here is one sentence of ours."""
    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


@contextmanager
def _opened(bam: str | Path) -> Iterator[pysam.AlignmentFile]:
    with quiet_htslib():
        try:
            file = pysam.AlignmentFile(str(bam), "rb")
        except (OSError, ValueError) as error:
            raise ValueError(f"{bam} cannot be read as BAM ({error}).") from error
        try:
            yield file
        finally:
            with suppress(OSError):  # it repeats the error of a read that was reported already
                file.close()


def _iterate(
    bam: str | Path, file: pysam.AlignmentFile, **region: Any
) -> Iterator[pysam.AlignedSegment]:
    """Iterate over reads; only htslib's own errors, not the consumer's, are put into words."""
    try:
        yield from file.fetch(**region)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{bam} is damaged: reading stopped with {str(error)!r}; copy or make it again."
        ) from error


def read_chromosome(bam: str | Path, chrom: str) -> Iterator[pysam.AlignedSegment]:
    """All reads placed on a chromosome, in the order of the file."""
    with _opened(bam) as file:
        yield from _iterate(bam, file, contig=chrom)


def check_bam(
    bam: str | Path,
    sizes: Mapping[str, int],
    include: Collection[str] | None = None,
    exclude: Collection[str] = (),
) -> None:
    """Check that a BAM can be prepared against a genome.

    Parameters
    ----------
    sizes : chrom -> bp of the FASTA, which may have sequences that the BAM lacks.
    include, exclude : contigs to read (None: all) and to leave out; the others need not fit.

    Raises
    ------
    FileNotFoundError : no such BAM, or it has no index.
    ValueError : truncated, unsorted, empty, single-end, or not aligned to this genome.
    """
    bam = Path(bam)
    if not bam.is_file():
        raise FileNotFoundError(f"no such BAM file: {bam}")
    _check_complete(bam)
    with _opened(bam) as file:
        _check_sorted(bam, file)
        if not file.has_index():
            raise FileNotFoundError(f"{bam} has no index; make one: samtools index {bam.name}")
        lengths = zip(file.references, file.lengths, strict=True)
        read = {c: n for c, n in lengths if include is None or c in include}
        _check_genome(bam, {c: n for c, n in read.items() if c not in exclude}, sizes)
        _check_paired(bam, file)


def _check_complete(bam: Path) -> None:
    with bam.open("rb") as raw:
        head = raw.read(2)
        raw.seek(0, 2)
        raw.seek(max(raw.tell() - len(_BGZF_END), 0))
        tail = raw.read()
    if head != b"\x1f\x8b":
        raise ValueError(f"{bam} is not a BAM file; convert it: samtools view -b")
    if tail != _BGZF_END:
        raise ValueError(f"{bam} is truncated: its end marker is missing; copy or make it again.")


def _check_sorted(bam: Path, file: pysam.AlignmentFile) -> None:
    order = file.header.to_dict().get("HD", {}).get("SO", "unknown")
    if order not in ("coordinate", "unknown"):
        raise ValueError(
            f"{bam} is not sorted by coordinate (its header says {order}); "
            f"sort it: samtools sort -o sorted.bam {bam.name}, then samtools index sorted.bam"
        )


def _check_genome(bam: Path, lengths: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    unknown = [c for c in lengths if c not in sizes]
    if unknown:
        raise ValueError(
            f"{bam} does not fit the FASTA, which lacks {_some(unknown)}; it has {_some(sizes)}. "
            "Give the FASTA that the reads were aligned to, or exclude these contigs."
        )
    wrong = [f"{c} ({n} bp against {sizes[c]})" for c, n in lengths.items() if n != sizes[c]]
    if wrong:
        raise ValueError(
            f"{bam} does not fit the FASTA: other lengths of {_some(wrong)}. "
            "Give the FASTA that the reads were aligned to."
        )


def _some(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" * (len(listed) > most))


def _check_paired(bam: Path, file: pysam.AlignmentFile) -> None:
    paired = [read.is_paired for read in islice(_iterate(bam, file, until_eof=True), _READS_TO_TRY)]
    if not paired:
        raise ValueError(f"{bam} holds no reads.")
    if not any(paired):
        raise ValueError(
            f"{bam} is single-end: none of its first {len(paired)} reads is paired; "
            "cut sites need the two ends of each fragment, so paired-end data."
        )


def count_reads(bam: str | Path) -> tuple[dict[str, int], int]:
    """Reads per contig, placed unmapped ones among them, and reads without a place.

    Taken from the index, so no read is looked at. Returns (chrom -> reads, reads without place).
    """
    with _opened(bam) as file:
        reads = {row.contig: row.total for row in file.get_index_statistics()}
        return reads, file.nocoordinate
