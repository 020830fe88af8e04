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
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pysam

from denoiseq.atomic import atomic_path
from denoiseq.errors import UserError
from denoiseq.genomics.fasta_text import FastaText, Sequence, read_fai
from denoiseq.genomics.htslib import htslib_messages

_log = logging.getLogger(__name__)
_MOST_BLANK_BYTES = _LONGEST_HEADER_BYTES = 1 << 16
_LINE_BYTES = 1 << 12  # read of the first line of a sequence
_MOST_UNPACKED = 2_000  # sequences of a bgzipped FASTA to look at: a block is unpacked for each
_SECOND = re.compile('Ignoring duplicate sequence "(.*)" at byte')
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
    with htslib_messages(fasta, refused=_SECOND) as reasons:
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
    for reason in reasons:
        if name := _SECOND.match(reason):
            raise UserError(
                f"{fasta} has two sequences named {name[1]}: rename or remove one of them."
            )
    misfit = _misfit(fasta, indices)
    if misfit is not None:
        raise UserError(
            f"{fasta} is damaged: it has bytes that are neither letters nor line ends, by which "
            f"{misfit} than its index says; copy it again."
        )
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


def _misfit(fasta: Path, indices: list[Path]) -> str | None:
    """Why an index is not of its FASTA; None where it is, as far as is looked."""
    try:
        sequences = sorted(read_fai(indices[0]), key=lambda row: row.offset)
        text = FastaText(fasta, indices)
    except ValueError:
        return "it is damaged"
    followers = np.arange(len(sequences) + 1)  # the last: the end of the file
    if len(indices) > 1 and len(followers) > _MOST_UNPACKED:
        followers = np.unique(np.linspace(0, len(sequences), _MOST_UNPACKED).astype(int))
    for i in followers.tolist():
        before = sequences[i - 1] if i else None
        if i == len(sequences):
            return None if _ends_after(text.read, before) else "the file ends elsewhere"
        name = sequences[i].name.decode(errors="replace")
        if not _begins_after(text.read, before, sequences[i]):
            return f"{name} begins elsewhere"
        if not _lines_fit(text.read, sequences[i]):
            return f"the lines of {name} are of another length"
    return None


def _begins_after(read_at: ReadAt, before: Sequence | None, sequence: Sequence) -> bool:
    """Whether between two sequences lies the second's header, and nothing more."""
    start = _last_base(before)
    if not 0 < sequence.offset - start <= _LONGEST_HEADER_BYTES:
        return False
    text = read_at(start, sequence.offset - start)
    ending = rb"\S\s*\n" if before and before.length else rb"\s*"
    header = re.fullmatch(ending + rb">([^\n]*)\n", text)
    return header is not None and (header[1].split() or [b""])[0] == sequence.name


def _ends_after(read_at: ReadAt, before: Sequence | None) -> bool:
    """Whether the file ends after its last sequence."""
    ending = rb"\S\s*" if before and before.length else rb"\s*"
    text = read_at(_last_base(before), _MOST_BLANK_BYTES)
    return before is not None and re.fullmatch(ending, text) is not None


def _last_base(before: Sequence | None) -> int:
    """Offset of the last base of a sequence; of an empty one, of what follows it."""
    if before is None:
        return 0
    return before.end - (before.length > 0)


def _lines_fit(read_at: ReadAt, sequence: Sequence) -> bool:
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
