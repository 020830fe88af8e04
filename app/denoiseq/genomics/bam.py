"""BAM and CRAM files: opened, checked once before they are used, and their reads counted."""

import gzip
import os
import zlib
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path

import pysam

from denoiseq.errors import UserError, listed
from denoiseq.genomics.bam_index import (
    check_index,
    check_whole,
    has_counts,
    index_of,
    is_cram,
    not_of_this_file,
)
from denoiseq.genomics.htslib import htslib_messages, quiet_htslib
from denoiseq.genomics.organelles import left_out
from denoiseq.genomics.read_arrays import Reads, placed_reads
from denoiseq.inputs import BGZF_END, cut_off, refuse_pipe

# what every complete CRAM ends with: the empty container of version 3 and of 2.1 (CRAM
# specification, section 9)
_CRAM_ENDS = tuple(
    bytes.fromhex(text)
    for text in (
        "0f000000ffffffff0fe0454f4600000000010005bdd94f0001000606010001000100ee63014b",
        "0b000000ffffffff0fe0454f460000000001000001000606010001000100",
    )
)
_SPOTS, _READS_OF_A_SPOT = 20, 500  # a sample that the layout is guessed from
NOT_PRIMARY = 0x4 | 0x100 | 0x800  # flags: unmapped, secondary, supplementary
_UNMAPPED = 0x4
# Of a CRAM: flag, contig, position, quality, CIGAR, mate and template; also name and tags; or flag
# and contig. The fewer, the faster it is decoded, and without bases it needs no reference. Of the
# tags, MD and NM would need one.
_CRAM_OPTIONS = ["required_fields=0x1fe"]
_CRAM_OPTIONS_WITH_TAGS = ["required_fields=0x9ff", "decode_md=0"]
_CRAM_OPTIONS_TO_COUNT = ["required_fields=0x6"]


@dataclass(frozen=True)
class ReadFile:
    """A checked BAM or CRAM; `paired`: fragments are known, else each read is one end of one."""

    path: Path
    paired: bool = True


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
def open_bam(
    path: str | Path, log_warnings: bool = False, cram_options: list[str] = _CRAM_OPTIONS
) -> Iterator[pysam.AlignmentFile]:
    """Open a BAM or CRAM; UserError where it cannot be read. Warnings are htslib's on opening."""
    messages = htslib_messages(Path(path)) if log_warnings else nullcontext()
    with quiet_htslib(), _no_downloads():
        try:
            mode, options = ("rc", cram_options) if is_cram(Path(path)) else ("rb", None)
            index = index_of(Path(path))
            with messages:
                file = pysam.AlignmentFile(
                    str(path),
                    mode,
                    format_options=options,
                    index_filename=None if index is None else str(index),
                )
        except (OSError, ValueError) as error:
            if "no sequences" in str(error):
                raise UserError(
                    f"the header of {path} lists no chromosomes, as where reads are not aligned: "
                    "align them, sort and index the result, and give that."
                ) from error
            raise UserError(f"{path} cannot be read as BAM or CRAM ({error}).") from error
        try:
            _check_header(Path(path), file)
            yield file
        finally:
            with suppress(OSError):  # it repeats the error of a read that was reported already
                file.close()


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


class OpenReads:
    """A checked file, opened once for the reads of any number of chromosomes; close it at the end.

    Opening takes time that grows with the number of contigs.
    """

    def __init__(self, file: ReadFile) -> None:
        self.path, self.paired = file.path, file.paired
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    @cached_property
    def _file(self) -> pysam.AlignmentFile:
        return self._stack.enter_context(open_bam(self.path))

    @cached_property
    def _file_with_tags(self) -> pysam.AlignmentFile:
        """A handle of its own, since the other is in the middle of a chromosome."""
        return self._stack.enter_context(open_bam(self.path, cram_options=_CRAM_OPTIONS_WITH_TAGS))

    @contextmanager
    def reads(self, chrom: str) -> Iterator[Iterator[Reads]]:
        """All reads placed on a chromosome, in pieces; what fails in the block is damage.

        Without counts in the index it is the index's: `count_reads` has read the file to its end
        then.
        """
        file = self._file
        with _damage_as_user_error(self.path):
            try:
                yield placed_reads(self.path, file, chrom, self.paired)
            except OSError as error:
                if has_counts(file):
                    raise
                why = f"by it, no reads on {chrom} can be read"
                raise not_of_this_file(self.path, why) from error

    @contextmanager
    def stretches(
        self, chrom: str
    ) -> Iterator[Callable[[int, int], Iterable[pysam.AlignedSegment]]]:
        """Reads that overlap any stretch [start, end) of a chromosome, with their tags."""
        file = self._file_with_tags
        with _damage_as_user_error(self.path):
            yield lambda start, end: file.fetch(chrom, start, end)


def contig_sizes(bam: str | Path) -> dict[str, int]:
    """Contigs of a file's header and their lengths in bp."""
    _check_exists(Path(bam))
    _check_complete(Path(bam))
    check_whole(Path(bam))
    with open_bam(bam) as file, _damage_as_user_error(Path(bam)):
        return _contigs(file)


def _contigs(file: pysam.AlignmentFile) -> dict[str, int]:
    return dict(zip(file.references, file.lengths, strict=True))


def check_bam(
    bam: str | Path,
    sizes: Mapping[str, int],
    include: Collection[str] | None = None,
    exclude: Collection[str] | None = None,
    *,
    layout: str = "auto",
) -> ReadFile:
    """Check that a BAM or CRAM can be prepared against a genome.

    sizes : chrom -> bp of the FASTA; either may have sequences that the other lacks.
    include, exclude : as the settings of `prepare`; contigs that they leave out need not fit.
    layout : "paired" or "single"; "auto" guesses it from reads all over the file.
    """
    bam = Path(bam)
    _check_exists(bam)
    _check_complete(bam)
    check_whole(bam)
    with open_bam(bam, log_warnings=True) as file:
        _check_sorted(bam, file)
        check_index(bam, file)
    with open_bam(bam) as file:
        check_genome(bam, _contigs(file), sizes, include, exclude)
        paired = _seems_paired(bam, file)
    return ReadFile(bam, paired if layout == "auto" else layout == "paired")


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
            raise cut_off(path)


def _check_complete(bam: Path) -> None:
    if is_cram(bam):
        check_end(bam, _CRAM_ENDS)
    elif _is_bam(bam):
        check_end(bam)
    else:
        raise UserError(
            f"{bam} is not a BAM file, nor a CRAM; convert it (samtools view -b), or give a "
            "fragment file as fragments="
        )


def _check_header(bam: Path, file: pysam.AlignmentFile) -> None:
    try:
        file.get_tid("")  # parses its text
    except ValueError as error:
        raise _bad_header(bam, error) from error


def _bad_header(bam: Path, error: Exception) -> UserError:
    return UserError(f"the header of {bam} cannot be read ({error}); correct it: samtools reheader")


def _check_sorted(bam: Path, file: pysam.AlignmentFile) -> None:
    try:
        order = file.header.to_dict().get("HD", {}).get("SO", "unknown")
    except (ValueError, AssertionError) as error:  # pysam raises both for lines it cannot parse
        raise _bad_header(bam, error) from error
    # with an index it is sorted whatever its header says: the order is checked as reads come
    if order not in ("coordinate", "unknown") and index_of(bam) is None:
        raise UserError(
            f"{bam} is not sorted by coordinate (its header says {order}); "
            f"sort it: samtools sort -o sorted.bam {bam.name}, then samtools index sorted.bam"
        )


def check_genome(
    path: Path,
    contigs: Mapping[str, int],
    sizes: Mapping[str, int],
    include: Collection[str] | None,
    exclude: Collection[str] | None,
) -> None:
    """Refuse a file with a contig to read that the FASTA (`sizes`) has in other length."""
    out = set(left_out(contigs, include, exclude))
    read = set(contigs if include is None else include) - out
    lengths = {c: n for c, n in contigs.items() if c in read and c in sizes}
    wrong = [f"{c} ({n} bp against {sizes[c]})" for c, n in lengths.items() if n != sizes[c]]
    if wrong:
        raise UserError(
            f"{path} does not fit the FASTA: other lengths of {listed(wrong, 5)}. "
            "Give the FASTA that the reads were aligned to."
        )


def _seems_paired(bam: Path, file: pysam.AlignmentFile) -> bool:
    """Whether at least half of the reads at spots all over the file are paired."""
    paired: list[bool] = []
    with _damage_as_user_error(bam):
        if next(file.fetch(until_eof=True), None) is None:
            raise UserError(f"{bam} holds no reads.")
    for contig, start in _spots(file):
        with suppress(OSError):  # this is a guess: reading says what is damaged, file or index
            reads = islice(file.fetch(contig, start), _READS_OF_A_SPOT)
            paired += [read.is_paired for read in reads if not read.flag & NOT_PRIMARY]
    return 2 * sum(paired) >= len(paired)


def _spots(file: pysam.AlignmentFile) -> Iterator[tuple[str, int]]:
    """Places at equal distances over the contigs laid end to end."""
    ends = list(accumulate(file.lengths))
    for i in range(_SPOTS):
        place = ends[-1] * i // _SPOTS
        number = bisect(ends, place)
        yield file.references[number], place - (ends[number] - file.lengths[number])


@dataclass(frozen=True)
class ReadCounts:
    """Reads of a file: chrom -> placed there, and mapped of these; `unplaced` have no place."""

    placed: dict[str, int]
    mapped: dict[str, int]
    unplaced: int


def count_reads(file: ReadFile) -> ReadCounts:
    """Count the reads, by the index if it has counts, which looks at none; else reading all."""
    handles = open_bam(file.path, cram_options=_CRAM_OPTIONS_TO_COUNT)
    with handles as handle, _damage_as_user_error(file.path):
        if has_counts(handle):
            rows = handle.get_index_statistics()
            placed, mapped = ({r.contig: r.total for r in rows}, {r.contig: r.mapped for r in rows})
            # an index may leave out the count of those without a place
            unplaced = handle.nocoordinate or sum(1 for _ in handle.fetch("*"))
            return ReadCounts(placed, mapped, unplaced)
        # each ends with reference_id -1, no place
        all_reads, mapped_reads = ([0] * (handle.nreferences + 1) for _ in range(2))
        for read in handle.fetch(until_eof=True):
            contig = read.reference_id
            all_reads[contig] += 1
            if not read.flag & _UNMAPPED:
                mapped_reads[contig] += 1
        placed, mapped = (
            dict(zip(handle.references, reads, strict=False)) for reads in (all_reads, mapped_reads)
        )
        return ReadCounts(placed, mapped, all_reads[-1])
