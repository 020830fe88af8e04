"""The index of a BAM or CRAM: whether it is there, whole, and of this very file.

An index of another version of its file gives a part of the reads without an error. Its age is no
proof: copies change times. What it says is compared with the file: where the placed reads end, and
how many are on each chromosome (`not_of_this_file` is the error of whoever sees that they are not).
"""

import gzip
import struct
import zlib
from pathlib import Path

import pysam

from denoiseq.errors import UserError
from denoiseq.genomics.htslib import quiet_htslib

_BAI_DEPTH, _MOST_DEPTH = 5, 9  # levels of bins below the first; bins of 10 have 32 bits


def is_cram(path: Path) -> bool:
    """Whether a file begins as a CRAM does."""
    with path.open("rb") as raw:
        return raw.read(4) == b"CRAM"


def index_of(bam: Path) -> Path | None:
    """The first index there is, in the order of htslib: beside the file, or what it links to."""
    suffixes = (".crai",) if is_cram(bam) else (".csi", ".bai")
    files = dict.fromkeys((bam, bam.resolve()))
    names = (
        name for at in files for x in suffixes for name in (Path(f"{at}{x}"), at.with_suffix(x))
    )
    return next((name for name in names if name.is_file()), None)


def not_of_this_file(bam: Path, why: str) -> UserError:
    """The error of an index that does not fit its file."""
    index = index_of(bam) or bam
    return UserError(f"the index {index} is not of this file: {why}; {_make_anew(bam, index)}")


def _damaged(bam: Path, index: Path) -> UserError:
    return UserError(f"the index {index} is damaged; {_make_anew(bam, index)}")


def _make_anew(bam: Path, index: Path) -> str:
    return f"make it anew: samtools index {'-c ' * (index.suffix == '.csi')}{bam.name}"


def check_whole(bam: Path) -> None:
    """Refuse an index that was cut off, before htslib loads it: by some it ends the process."""
    index = index_of(bam)
    if index is None:
        return
    with index.open("rb"):  # whoever may not read it is told so
        pass
    if not (_is_whole_crai(index) if is_cram(bam) else _is_whole(index)):
        raise _damaged(bam, index)


def check_index(bam: Path, file: pysam.AlignmentFile) -> None:
    """Refuse an index that is absent, damaged or of another file; reads at most one read."""
    index = index_of(bam)
    if index is None:
        raise FileNotFoundError(f"{bam} has no index; make one: samtools index {bam.name}")
    if not file.has_index():
        raise _damaged(bam, index)
    why = _misfit(bam, index, file)
    if why is not None:
        raise not_of_this_file(bam, why)


def _misfit(bam: Path, index: Path, file: pysam.AlignmentFile) -> str | None:
    """Why an index is not of its file, as far as its number of contigs and its end tell."""
    if not file.is_cram:
        contigs = _contigs_listed(index)
        if contigs != file.nreferences:  # htslib would read beyond the end of its table
            return f"it lists {contigs:,} contigs, {bam.name} {file.nreferences:,}"
        if not has_counts(file):
            return None  # it does not say either where the placed reads end
    try:
        after = next(file.fetch("*"), None)  # from where it says that the last placed read ends
    except (OSError, ValueError):
        return "no read begins where it says that the placed ones end"
    if after is not None and after.reference_id >= 0:
        return f"reads on {after.reference_name} go on where it says that the placed ones end"
    if file.is_cram or after is not None:
        return None
    if file.tell() >> 16 > bam.stat().st_size:
        return f"it says that the placed reads end beyond the end of {bam.name}"
    if file.nocoordinate:
        return f"it counts {file.nocoordinate:,} reads without a place, {bam.name} has none"
    return None


def has_counts(file: pysam.AlignmentFile) -> bool:
    """Whether the index counts reads: that of a CRAM does not, nor that of some programs."""
    if file.is_cram:
        return False
    return any(row.total for row in file.get_index_statistics())


def _is_whole_crai(index: Path) -> bool:
    """Whether a .crai, gzipped or not, is lines of six numbers (CRAM specification, section 12)."""
    try:
        data = index.read_bytes()
        lines = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).splitlines()
        return bool(lines) and all(len([*map(int, line.split())]) == 6 for line in lines)
    except (OSError, EOFError, ValueError, zlib.error):
        return False


def _is_whole(index: Path) -> bool:
    """Whether a .bai or .csi holds all that it announces (SAM and CSI specifications).

    htslib does not end where a bin has a number that its index cannot have.
    """
    try:
        with quiet_htslib(), pysam.BGZFile(str(index), "rb", None) as file:  # or a plain file
            data = file.read()
        is_csi = data[:4] == b"CSI\x01"
        if not is_csi and data[:4] != b"BAI\x01":
            return False
        last_bin = _last_bin(_number(data, 8) if is_csi else _BAI_DEPTH)
        at = 16 + _number(data, 12) if is_csi else 4
        contigs, at = _number(data, at), at + 4
        to_chunks = 12 if is_csi else 4  # bytes of a bin before its number of chunks
        for _ in range(contigs):
            bins, at = _number(data, at), at + 4
            for _ in range(bins):
                if _number(data, at) > last_bin:
                    return False
                at += to_chunks
                at += 4 + 16 * _number(data, at)
            if not is_csi:
                at += 4 + 8 * _number(data, at)
    except (OSError, ValueError, struct.error):
        return False
    return at <= len(data)


def _last_bin(depth: int) -> int:
    """The number of the bin that holds counts, one above all others; ValueError if too deep."""
    if depth > _MOST_DEPTH:
        raise ValueError(depth)
    return ((1 << 3 * (depth + 1)) - 1) // 7 + 1


def _number(data: bytes, at: int) -> int:
    """The number, never negative, at a place of an index."""
    (number,) = struct.unpack_from("<i", data, at)
    if number < 0:
        raise ValueError(number)
    return number


def _contigs_listed(index: Path) -> int:
    """Number of contigs in a .bai or .csi that htslib could load (SAM and CSI specifications)."""
    with pysam.BGZFile(str(index), "rb", None) as file:  # reads a plain file too
        if file.read(4) == b"CSI\x01":
            (auxiliary,) = struct.unpack("<8xi", file.read(12))
            file.read(auxiliary)
        return struct.unpack("<i", file.read(4))[0]
