"""The index of a FASTA (.fai, and .gzi of a bgzipped one): built, checked, and made anew.

An index of another version of its file gives other bases without an error, and its age is no proof.
It is compared with the file where sequences begin and end; what lies between is not read.
"""

import atexit
import logging
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pysam

from denoiseq.atomic import atomic_path
from denoiseq.errors import UserError
from denoiseq.genomics.htslib import htslib_messages

_log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 16  # a BGZF block, packed or not, is not larger
_MOST_BLANK_BYTES = _LONGEST_HEADER_BYTES = 1 << 16
_LINE_BYTES = 1 << 12  # read of the first line of a sequence
_MOST_BYTES = 1 << 62  # of a file
_MOST_UNPACKED = 2_000  # sequences of a bgzipped FASTA to look at: a block is unpacked for each
ReadAt = Callable[[int, int], bytes]  # where, how many bytes at most


def index_files(fasta: Path) -> list[Path]:
    """Where the index is or belongs: .fai, and .gzi of a compressed FASTA.

    It lies beside the FASTA, or beside the file that this links to.
    """
    with fasta.open("rb") as raw:
        head = raw.read(18)
    zipped = head[:2] == b"\x1f\x8b"
    if zipped and head[12:14] != b"BC":
        raise UserError(
            f"{fasta} is compressed by gzip, which allows no random access; "
            f"recompress it: gunzip -c {fasta.name} | bgzip > {fasta.stem}.bgz.fa.gz"
        )
    suffixes = (".fai", ".gzi") if zipped else (".fai",)
    beside, linked = ([Path(f"{at}{x}") for x in suffixes] for at in (fasta, fasta.resolve()))
    exists = [all(index.is_file() for index in indices) for indices in (beside, linked)]
    return linked if exists == [False, True] else beside


def usable_index(fasta: Path) -> list[Path]:
    """The index to read a FASTA by: that beside it, built or made anew if it is not of this file.

    Checked once a process. Where it cannot be written beside, it lies in a temporary folder until
    the process ends; workers are given the paths.
    """
    files = [fasta, *index_files(fasta)]
    facts = [(f.stat().st_size, f.stat().st_mtime_ns) if f.is_file() else None for f in files]
    return _usable_index(fasta, tuple(facts))


@cache
def _usable_index(fasta: Path, _facts: tuple[tuple[int, int] | None, ...]) -> list[Path]:
    """`usable_index` of files with the sizes and times `_facts`."""
    beside = index_files(fasta)
    exists = all(index.is_file() for index in beside)
    why = _misfit(fasta, beside) if exists else None
    if exists and why is None:
        return beside
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="denoiseq-fasta-"))
        built = _build(fasta, [Path(folder) / index.name for index in beside])
        if exists and all(_same(*pair) for pair in zip(built, beside, strict=True)):
            return beside  # an odd file, of which no other index can be made
        written = _leave_beside(built, beside)
        if not written:
            atexit.register(stack.pop_all().close)
    if why is not None:
        _log.warning(
            "the index %s did not fit %s (%s) and was made anew%s; other programs may have read "
            "other bases by it",
            " and ".join(index.name for index in beside),
            fasta,
            why,
            "" if written else ", for now in a temporary folder, because its own is read-only",
        )
    return beside if written else built


def _build(fasta: Path, indices: list[Path]) -> list[Path]:
    """Write the index of a FASTA to `indices`, which are returned."""
    # as bytes, because pysam takes text to be UTF-8
    flags = zip((b"--fai-idx", b"--gzi-idx"), map(os.fsencode, indices), strict=False)
    failure = None
    with htslib_messages(fasta) as reasons:
        try:
            pysam.faidx(*chain(*flags), os.fsencode(fasta))  # type: ignore[arg-type]
        except pysam.SamtoolsError as error:
            failure = error
    if failure is not None:
        _check_room(indices[0].parent)
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise UserError(f"{fasta} is not a FASTA file, or it is damaged{why}.") from failure
    if not indices[0].is_file() or indices[0].stat().st_size == 0:
        raise UserError(f"{fasta} is not a FASTA file: no sequence was found in it.")
    return indices


def _check_room(folder: Path) -> None:
    """OSError where nothing more can be written to the folder: then the FASTA is not to blame."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**16))
    except OSError as error:
        raise OSError(
            f"the index of a FASTA cannot be written to the temporary folder {folder.parent} "
            f"({(error.strerror or str(error)).lower()}): free some space, or set TMPDIR to "
            "another folder."
        ) from error


def _leave_beside(built: list[Path], beside: list[Path]) -> bool:
    """Copy an index to where it belongs; False where that cannot be written."""
    try:
        for index, target in zip(built, beside, strict=True):
            with atomic_path(target) as temporary:
                shutil.copyfile(index, temporary)
    except OSError:
        return False
    return True


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


class _Sequence(NamedTuple):
    """A line of a .fai: bases, where they begin, and of a line its bases and bytes."""

    name: bytes
    length: int
    offset: int
    line_bases: int
    line_bytes: int

    @property
    def end(self) -> int:
        """Offset after the last base."""
        if self.length == 0:
            return self.offset
        lines, rest = divmod(self.length - 1, self.line_bases)
        return self.offset + lines * self.line_bytes + rest + 1


def _misfit(fasta: Path, indices: list[Path]) -> str | None:
    """Why an index is not of its FASTA; None where it is, as far as is looked."""
    try:
        sequences = _read_fai(indices[0])
        gzi = _read_gzi(indices[1]) if len(indices) > 1 else None
    except (ValueError, TypeError, IndexError, ZeroDivisionError):
        return "it is damaged"
    followers = np.arange(len(sequences) + 1)  # the last: the end of the file
    if gzi is not None and len(followers) > _MOST_UNPACKED:
        followers = np.unique(np.linspace(0, len(sequences), _MOST_UNPACKED).astype(int))
    with _open_bytes(fasta, gzi) as read_at:
        for i in followers.tolist():
            before = sequences[i - 1] if i else None
            if i == len(sequences):
                return None if _ends_after(read_at, before) else "the file ends elsewhere"
            name = sequences[i].name.decode(errors="replace")
            if not _begins_after(read_at, before, sequences[i]):
                return f"{name} begins elsewhere"
            if not _lines_fit(read_at, sequences[i]):
                return f"the lines of {name} are of another length"
    return None


def _read_fai(path: Path) -> list[_Sequence]:
    """The sequences in the order of the FASTA."""
    rows = (line.split(b"\t") for line in path.read_bytes().splitlines())
    sequences = [_Sequence(name, *map(int, numbers[:4])) for name, *numbers in rows]
    if not all(min(row[1:]) >= 0 and max(*row[1:], row.end) < _MOST_BYTES for row in sequences):
        raise ValueError(path)
    return sorted(sequences, key=lambda row: row.offset)


def _read_gzi(path: Path) -> np.ndarray:
    """Offsets of the blocks, packed and unpacked: int64 (B, 2), ascending."""
    numbers = np.fromfile(path, "<i8")
    rows = np.concatenate([np.zeros(2, np.int64), numbers[1:]]).reshape(-1, 2)
    if len(rows) != numbers[0] + 1 or (np.diff(rows, axis=0) < 0).any():
        raise ValueError(path)
    return rows


@contextmanager
def _open_bytes(fasta: Path, gzi: np.ndarray | None) -> Iterator[ReadAt]:
    """Open a FASTA to read bytes of its text at an offset, of a bgzipped one by its .gzi."""
    with fasta.open("rb", buffering=0) as file:
        handle = file.fileno()
        if gzi is None:
            yield lambda start, size: os.pread(handle, size, start)
            return
        packed, unpacked = gzi[:, 0].tolist(), gzi[:, 1]

        @lru_cache(maxsize=2)
        def block(number: int) -> bytes:
            data = os.pread(handle, _BLOCK_BYTES, packed[number])
            try:
                return zlib.decompressobj(wbits=31).decompress(data)
            except zlib.error:  # no block begins there
                return b""

        def read_at(start: int, size: int) -> bytes:
            text, piece = b"", b"-"
            while piece and len(text) < size:
                at = start + len(text)
                number = int(np.searchsorted(unpacked, at, side="right")) - 1
                piece = block(number)[at - int(unpacked[number]) :][: size - len(text)]
                text += piece
            return text

        yield read_at


def _begins_after(read_at: ReadAt, before: _Sequence | None, sequence: _Sequence) -> bool:
    """Whether between two sequences lies the second's header, and nothing more."""
    start = _last_base(before)
    if not 0 < sequence.offset - start <= _LONGEST_HEADER_BYTES:
        return False
    text = read_at(start, sequence.offset - start)
    ending = rb"\S\s*\n" if before and before.length else rb"\s*"
    header = re.fullmatch(ending + rb">([^\n]*)\n", text)
    return header is not None and (header[1].split() or [b""])[0] == sequence.name


def _ends_after(read_at: ReadAt, before: _Sequence | None) -> bool:
    """Whether the file ends after its last sequence."""
    ending = rb"\S\s*" if before and before.length else rb"\s*"
    text = read_at(_last_base(before), _MOST_BLANK_BYTES)
    return before is not None and re.fullmatch(ending, text) is not None


def _last_base(before: _Sequence | None) -> int:
    """Offset of the last base of a sequence; of an empty one, of what follows it."""
    if before is None:
        return 0
    return before.end - (before.length > 0)


def _lines_fit(read_at: ReadAt, sequence: _Sequence) -> bool:
    """Whether the first line of a sequence is as long as the index says."""
    size = min(sequence.length, sequence.line_bases, _LINE_BYTES)
    line = read_at(sequence.offset, size)
    if len(line) < size or re.search(rb"\s", line):
        return False
    if sequence.length <= sequence.line_bases:
        return True
    gap = sequence.line_bytes - sequence.line_bases
    if not 0 < gap <= _LINE_BYTES:
        return False
    edge = read_at(sequence.offset + sequence.line_bases, gap + 1)
    return re.fullmatch(rb"\s*\n\S", edge) is not None
