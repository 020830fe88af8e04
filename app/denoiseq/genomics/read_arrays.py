"""Reads of one chromosome as arrays: what their fixed fields say, thousands at a time.

The records of a BAM are taken from its unpacked bytes (SAM specification, section 4.2), which is
several times as fast as an object for each read. A CRAM has no such records: htslib decodes it.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from pysam import AlignedSegment, AlignmentFile

# a record as far as the name, with the number of bytes that follow this one
_FIELDS = [
    ("size", "<u4"), ("contig", "<i4"), ("start", "<i4"), ("name_size", "u1"), ("mapq", "u1"),
    ("bin", "<u2"), ("operations", "<u2"), ("flag", "<u2"), ("bases", "<i4"),
    ("mate_contig", "<i4"), ("mate_start", "<i4"), ("tlen", "<i4"),
]  # fmt: skip
_FIXED = np.dtype(_FIELDS)
_BYTES = np.dtype(f"V{_FIXED.itemsize}")  # gathered many times as fast as fields
_SIZE, _SIZE_BYTES = np.dtype("<u4"), 4
_LEAST, _MOST = _FIXED.itemsize - _SIZE_BYTES, 1 << 26  # what `size` can be
# of the operations MIDNSHP=X, those that bases of the reference and of the read belong to
_ON_REFERENCE = np.array([1, 0, 1, 1, 0, 0, 0, 1, 1, *[0] * 7])
_OF_READ = np.array([1, 1, 0, 0, 1, 0, 0, 1, 1, *[0] * 7])
_LEAST_PACKED_BYTES, _MOST_PACKED_BYTES = 1 << 16, 1 << 21  # read at once
_BLOCK_HEADER, _BLOCK_START, _BLOCK_FIELD = 18, b"\x1f\x8b\x08\x04", b"BC\x02\x00"
_GZIP, _BLOCK_BYTES = 31, 1 << 16  # zlib's word for a gzip header, and what a block can hold
_REVERSE = 0x10
_PACK, _PIECE_READS = struct.Struct("6q").pack, 1 << 15
_FIRST_READS = 1 << 10  # fewer are not worth it to read blocks of records
_LEAST_BLOCKS, _STEPS = 10, 16  # fewer are not worth it to follow side by side; steps at once


@dataclass(frozen=True)
class BamReads:
    """Records of a BAM, at the offsets `at` (R,) of the bytes `data`; `fields`: _FIXED (R,)."""

    data: bytes
    at: np.ndarray
    fields: np.ndarray

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: slice) -> "BamReads":
        return BamReads(self.data, self.at[rows], self.fields[rows])

    @property
    def flags(self) -> np.ndarray:
        return self.fields["flag"]

    @property
    def mapqs(self) -> np.ndarray:
        return self.fields["mapq"]

    @property
    def starts(self) -> np.ndarray:
        return self.fields["start"].astype(np.int64)

    @property
    def mate_starts(self) -> np.ndarray:
        return self.fields["mate_start"].astype(np.int64)

    @property
    def tlens(self) -> np.ndarray:
        return self.fields["tlen"].astype(np.int64)

    def aligned_bp(self, rows: np.ndarray) -> np.ndarray:
        """Bases of the reference under each alignment, int64; as htslib has it, 1 at least."""
        lengths, operations = np.zeros(len(rows), np.int64), self.fields["operations"][rows]
        left = self.fields["bases"][rows].astype(np.int64)
        stated = np.flatnonzero((left > 0) & (operations > 0))
        at = self.at[rows] + _FIXED.itemsize + self.fields["name_size"][rows]
        codes, more = _anywhere(self.data, np.dtype("<u4")), np.flatnonzero(operations)
        k = 0
        while len(more):
            code = codes[at[more] + 4 * k]
            lengths[more] += (code >> 4) * _ON_REFERENCE[code & 15]
            left[more] -= (code >> 4) * _OF_READ[code & 15]
            k += 1
            more = more[operations[more] > k]
        if left[stated].any():
            raise OSError("a CIGAR and its read differ in length")
        return np.maximum(lengths, operations > 0)

    def ends(self, rows: np.ndarray) -> np.ndarray:
        """Ends of alignments, int64; 0 where there is none."""
        lengths = self.aligned_bp(rows)
        return np.where(lengths > 0, self.fields["start"][rows] + lengths, 0)


@dataclass(frozen=True)
class PysamReads:
    """The same of pysam's reads, int64 (R, 6): flag, MAPQ, start, mate's start, TLEN and one more.

    The last is the end of reverse reads, or of single-end ones the aligned bases: each takes time.
    Objects are not kept, so that the memory of each is used again for the next.
    """

    values: np.ndarray

    @classmethod
    def of(cls, reads: Iterable[AlignedSegment], paired: bool) -> "PysamReads":
        packed = bytearray()
        for read in reads:
            flag = read.flag
            if not paired:
                last = read.reference_length or 0
            else:
                last = read.reference_end or 0 if flag & _REVERSE else 0
            packed += _PACK(
                flag,
                read.mapping_quality,
                read.reference_start,
                read.next_reference_start,
                read.template_length,
                last,
            )
        return cls(np.frombuffer(packed, np.int64).reshape(-1, 6))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> "PysamReads":
        return PysamReads(self.values[rows])

    @property
    def flags(self) -> np.ndarray:
        return self.values[:, 0]

    @property
    def mapqs(self) -> np.ndarray:
        return self.values[:, 1]

    @property
    def starts(self) -> np.ndarray:
        return self.values[:, 2]

    @property
    def mate_starts(self) -> np.ndarray:
        return self.values[:, 3]

    @property
    def tlens(self) -> np.ndarray:
        return self.values[:, 4]

    def ends(self, rows: np.ndarray) -> np.ndarray:
        return self.values[rows, 5]

    def aligned_bp(self, rows: np.ndarray) -> np.ndarray:
        return self.values[rows, 5]


Reads = BamReads | PysamReads


def placed_reads(path: Path, file: AlignmentFile, chrom: str, paired: bool) -> Iterator[Reads]:
    """All reads placed on a chromosome, in the file's order; OSError where it is damaged.

    paired : ends of reverse reads are asked for; else the aligned bases of any read
    """
    reads = file.fetch(contig=chrom)
    if not file.is_cram:
        first = PysamReads.of(islice(reads, _FIRST_READS), paired)  # htslib seeks by the index
        yield first
        if len(first) == _FIRST_READS:
            yield from _records(path, file.tell(), _last_block(file, chrom), file.get_tid(chrom))
        return
    while len(piece := PysamReads.of(islice(reads, _PIECE_READS), paired)):
        yield piece


def _last_block(file: AlignmentFile, chrom: str) -> int:
    """About where the block with the last read of a chromosome begins, by the index."""
    size, start = file.get_reference_length(chrom), file.tell()
    for _ in file.fetch(chrom, size - 1, size):
        pass
    return max(file.tell(), start) >> 16


def _records(path: Path, virtual_offset: int, last_block: int, contig: int) -> Iterator[BamReads]:
    """The records from a virtual offset of a BAM on, as long as they are of one contig.

    last_block : about where their last block begins; blocks behind it are unpacked in vain.
    """
    rest = b""
    for blocks in _blocks(path, virtual_offset, last_block):
        data = b"".join([rest, *blocks])
        at = _offsets(data, np.cumsum([0, len(rest), *map(len, blocks)]))
        at = at[: np.searchsorted(at, len(data) - _FIXED.itemsize, side="right")]
        fields = _anywhere(data, _BYTES)[at].view(_FIXED)
        _check(fields)
        after = at + _SIZE_BYTES + fields["size"]
        whole = int(np.searchsorted(after, len(data), side="right"))
        rest = data[int(after[whole - 1]) if whole else 0 :]
        others = np.flatnonzero(fields["contig"][:whole] != contig)
        last = int(others[0]) if len(others) else whole
        yield BamReads(data, at[:last], fields[:last])
        if len(others):
            return
    if rest:
        raise OSError("truncated file")


def _blocks(path: Path, virtual_offset: int, last_block: int) -> Iterator[list[bytes]]:
    """The unpacked blocks of a BGZF file from a virtual offset on: many, and few past a block."""
    skipped, packed = virtual_offset & 0xFFFF, b""
    end = last_block + _BLOCK_BYTES
    with path.open("rb", buffering=0) as file:
        reached = file.seek(virtual_offset >> 16)
        while more := file.read(min(max(end - reached, _LEAST_PACKED_BYTES), _MOST_PACKED_BYTES)):
            reached += len(more)
            packed, at, blocks = packed + more, 0, []
            while len(header := packed[at : at + _BLOCK_HEADER]) == _BLOCK_HEADER:
                if header[:4] != _BLOCK_START or header[12:16] != _BLOCK_FIELD:
                    raise OSError("a block begins with no BGZF header")
                after = at + int.from_bytes(header[16:], "little") + 1
                if after > len(packed):
                    break
                blocks.append(_unpacked(packed[at:after]))
                at = after
            packed = packed[at:]
            if blocks:
                blocks[0], skipped = blocks[0][skipped:], 0
                yield blocks
    if packed:
        raise OSError("truncated file")


def _unpacked(block: bytes) -> bytes:
    try:
        return zlib.decompress(block, _GZIP, _BLOCK_BYTES)
    except zlib.error as error:
        raise OSError(f"a block cannot be unpacked: {error}") from error


def _anywhere(data: bytes, kind: np.dtype) -> np.ndarray:
    """The value of a dtype that begins at each byte."""
    return np.ndarray((max(len(data) - kind.itemsize + 1, 0),), kind, data, 0, (1,))


def _check(fields: np.ndarray) -> None:
    """Refuse records that are shorter than their parts, as htslib does, or huge."""
    bases, size = fields["bases"].astype(np.int64), fields["size"]
    name_and_cigar = fields["name_size"] + 4 * fields["operations"].astype(np.int64)
    least = _LEAST + name_and_cigar + (bases + 1) // 2 + bases
    if np.any((bases < 0) | (fields["name_size"] < 1) | (size < least) | (size > _MOST)):
        raise OSError("a record has not the length that it states")


def _offsets(data: bytes, borders: np.ndarray) -> np.ndarray:
    """Where records begin, int64 (R,), the first of them at 0.

    borders : of the blocks. Most programs let none lie within a record: then the records of all
    blocks are followed side by side.
    """
    if len(borders) < _LEAST_BLOCKS or len(data) < _SIZE_BYTES:
        return _followed(data)
    sizes = _anywhere(data, _SIZE)
    last = len(sizes) - 1
    at, ends = np.minimum(borders[:-1], last), np.minimum(borders[1:], last)
    steps = []
    while len(at):
        # Past its block a walk goes on in the next one: to look at each step would take longer.
        for _ in range(_STEPS):
            steps.append(at)
            at = np.minimum(sizes[at] + at + _SIZE_BYTES, last)
        inside = at < ends
        at, ends = at[inside], ends[inside]
    offsets = np.sort(np.concatenate(steps))  # in order but for few, far faster than np.unique
    offsets = offsets[np.append(offsets[1:] > offsets[:-1], True) & (offsets < last)]
    after = offsets + _SIZE_BYTES + sizes[offsets]
    return offsets if np.array_equal(after[:-1], offsets[1:]) else _followed(data)


def _followed(data: bytes) -> np.ndarray:
    """The same, record after record."""
    size_at, at, offsets = struct.Struct("<I").unpack_from, 0, []
    while at <= len(data) - _SIZE_BYTES:
        offsets.append(at)
        (size,) = size_at(data, at)
        if size < _LEAST:
            raise OSError("a record is shorter than its fixed fields")
        at += _SIZE_BYTES + size
    return np.array(offsets, dtype=np.int64)
