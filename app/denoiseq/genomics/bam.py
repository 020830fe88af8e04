"""BAM and CRAM files: opened, checked once before they are used, and their reads counted."""

import gzip
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pysam

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import listed
from denoiseq.inputs import BGZF_END, refuse_pipe

# what every complete CRAM ends with: the empty container of version 3 and of 2.1 (CRAM
# specification, section 9)
_CRAM_ENDS = tuple(
    bytes.fromhex(text)
    for text in (
        "0f000000ffffffff0fe0454f4600000000010005bdd94f0001000606010001000100ee63014b",
        "0b000000ffffffff0fe0454f460000000001000001000606010001000100",
    )
)
_READS_TO_TRY = 10_000
# name, flag, contig, position, quality, CIGAR, mate and template of a CRAM: without bases and tags
# it is decoded faster, and without a reference
_CRAM_OPTIONS = ["required_fields=0x1ff"]


@dataclass(frozen=True)
class ReadFile:
    """A checked BAM or CRAM; `paired`: fragments are known, else each read is one end of one."""

    path: Path
    paired: bool = True


@contextmanager
def quiet_htslib() -> Iterator[None]:
    """Keep htslib from writing its own lines to stderr: our one sentence says what is wrong."""
    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


@contextmanager
def _no_downloads() -> Iterator[None]:
    """Keep htslib from asking a server for a CRAM's reference, whatever made it want one."""
    before = os.environ.get("REF_PATH")
    os.environ["REF_PATH"] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ["REF_PATH"]
        else:
            os.environ["REF_PATH"] = before


@contextmanager
def open_bam(path: str | Path) -> Iterator[pysam.AlignmentFile]:
    """Open a BAM or CRAM; UserError where it cannot be read."""
    with quiet_htslib(), _no_downloads():
        try:
            mode, options = ("rc", _CRAM_OPTIONS) if _is_cram(path) else ("rb", None)
            file = pysam.AlignmentFile(str(path), mode, format_options=options)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as BAM or CRAM ({error}).") from error
        try:
            yield file
        finally:
            with suppress(OSError):  # it repeats the error of a read that was reported already
                file.close()


def _is_cram(path: str | Path) -> bool:
    with Path(path).open("rb") as raw:
        return raw.read(4) == b"CRAM"


@contextmanager
def _damage_as_user_error(path: Path) -> Iterator[None]:
    """Put htslib's errors in the block, which must do nothing else that may fail, into words."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: reading stopped with {str(error)!r}; copy or make it again."
        ) from error


@contextmanager
def reads_of(file: ReadFile, chrom: str) -> Iterator[Iterable[pysam.AlignedSegment]]:
    """All reads placed on a chromosome, as pysam iterates; what fails in the block is damage."""
    with open_bam(file.path) as handle, _damage_as_user_error(file.path):
        yield handle.fetch(contig=chrom)


def contig_sizes(bam: str | Path) -> dict[str, int]:
    """Contigs of a file's header and their lengths in bp."""
    _check_exists(Path(bam))
    with open_bam(bam) as file, _damage_as_user_error(Path(bam)):
        return dict(zip(file.references, file.lengths, strict=True))


def check_bam(
    bam: str | Path,
    sizes: Mapping[str, int],
    include: Collection[str] | None = None,
    exclude: Collection[str] = (),
    *,
    layout: str = "auto",
) -> ReadFile:
    """Check that a BAM or CRAM can be prepared against a genome.

    sizes : chrom -> bp of the FASTA, which may have sequences that the file lacks.
    include, exclude : contigs to read (None: all) and to leave out; the others need not fit.
    layout : "paired" or "single"; "auto" is paired if any of the first reads is.
    """
    bam = Path(bam)
    _check_exists(bam)
    _check_complete(bam)
    with open_bam(bam) as file:
        _check_sorted(bam, file)
        if not file.has_index():
            raise FileNotFoundError(f"{bam} has no index; make one: samtools index {bam.name}")
        check_genome(bam, contig_sizes(bam), sizes, include, exclude)
        paired = _is_paired(bam, file)
    if layout == "paired" and not paired:
        raise UserError(
            f"{bam} is single-end: none of its first reads is paired; "
            "set layout=single, or layout=auto."
        )
    return ReadFile(bam, paired and layout != "single")


def _check_exists(bam: Path) -> None:
    refuse_pipe(bam, "BAM or CRAM")
    if not bam.is_file():
        raise FileNotFoundError(f"no such BAM file: {bam}")


def _is_bam(path: Path) -> bool:
    """Whether the first bytes are those of a BAM, as far as they can be unpacked."""
    try:
        with gzip.open(path) as file:
            return file.read(4) == b"BAM\x01"
    except EOFError:  # cut off within the first block: the end will tell
        return True
    except (OSError, zlib.error):
        return False


def check_end(path: Path, ends: tuple[bytes, ...] = (BGZF_END,)) -> None:
    """Refuse a bgzipped file (or, with its own `ends`, a CRAM) that was cut off."""
    with path.open("rb") as raw:
        raw.seek(max(path.stat().st_size - max(map(len, ends)), 0))
        if not raw.read().endswith(ends):
            raise UserError(
                f"{path} is truncated: its end marker is missing; copy or make it again."
            )


def _check_complete(bam: Path) -> None:
    if _is_cram(bam):
        check_end(bam, _CRAM_ENDS)
    elif _is_bam(bam):
        check_end(bam)
    else:
        raise UserError(
            f"{bam} is not a BAM file, nor a CRAM; convert it (samtools view -b), or give a "
            "fragment file as fragments="
        )


def _check_sorted(bam: Path, file: pysam.AlignmentFile) -> None:
    try:
        order = file.header.to_dict().get("HD", {}).get("SO", "unknown")
    except (ValueError, AssertionError) as error:  # pysam raises both for lines it cannot parse
        raise UserError(
            f"the header of {bam} cannot be read ({error}); correct it: samtools reheader"
        ) from error
    if order not in ("coordinate", "unknown"):
        raise UserError(
            f"{bam} is not sorted by coordinate (its header says {order}); "
            f"sort it: samtools sort -o sorted.bam {bam.name}, then samtools index sorted.bam"
        )


def check_genome(
    path: Path,
    contigs: Mapping[str, int],
    sizes: Mapping[str, int],
    include: Collection[str] | None,
    exclude: Collection[str],
) -> None:
    """Refuse a file with contigs to read that the FASTA (`sizes`) lacks, or has in other length."""
    read = contigs if include is None else include
    lengths = {c: n for c, n in contigs.items() if c in read and c not in exclude}
    unknown = [c for c in lengths if c not in sizes]
    if unknown:
        raise UserError(
            f"{path} does not fit the FASTA, which lacks {listed(unknown, 5)}; it has "
            f"{listed(sizes, 5)}. Give the FASTA that the reads were aligned to, or exclude these "
            "contigs."
        )
    wrong = [f"{c} ({n} bp against {sizes[c]})" for c, n in lengths.items() if n != sizes[c]]
    if wrong:
        raise UserError(
            f"{path} does not fit the FASTA: other lengths of {listed(wrong, 5)}. "
            "Give the FASTA that the reads were aligned to."
        )


def _is_paired(bam: Path, file: pysam.AlignmentFile) -> bool:
    with _damage_as_user_error(bam):
        reads = islice(file.fetch(until_eof=True), _READS_TO_TRY)
        paired = [read.is_paired for read in reads]
    if not paired:
        raise UserError(f"{bam} holds no reads.")
    return any(paired)


def count_reads(file: ReadFile) -> tuple[dict[str, int], int]:
    """(chrom -> reads placed there, unmapped ones among them; reads without a place).

    Taken from the index, so no read is looked at; that of a CRAM has no counts: it is read through.
    """
    with open_bam(file.path) as handle:
        if not handle.is_cram:
            with _damage_as_user_error(file.path):
                reads = {row.contig: row.total for row in handle.get_index_statistics()}
                return reads, handle.nocoordinate
        by_contig = [0] * (handle.nreferences + 1)  # the last: reference_id -1, no place
        with _damage_as_user_error(file.path):
            for read in handle.fetch(until_eof=True):
                by_contig[read.reference_id] += 1
        return dict(zip(handle.references, by_contig, strict=False)), by_contig[-1]
