"""What every store's file begins with: chromosomes, blacklist, how it was made, its fingerprint.

One HDF5 file of contiguous 1-D datasets, `/chroms/offsets` dividing them by chromosome, so that a
reader maps them and closes the file at once. `cut_store` and `coverage_store` say what they hold.

Header: `/chroms/names`, `/chroms/sizes`, `/chroms/offsets` (C + 1); `/blacklist/chroms`,
`/blacklist/bounds` (M, 2); `/preprocessing`, `/provenance` JSON texts (datasets, since an attribute
ends at 64 KB and a genome of many contigs does not); attributes `format`, `kind` (cuts, coverage),
`version`, `fingerprint`.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from denoiseq.atomic import atomic_path
from denoiseq.errors import UserError, listed
from denoiseq.genomics.intervals import Interval, Merged, merge
from denoiseq.inputs import refuse_pipe

VERSION = 1  # what is written, and read
_HEADER_ROOM = 1 << 16  # bytes, besides its texts
_ROWS = 1 << 20  # written at once
_LOCKED = (errno.EAGAIN, errno.EACCES, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
# what h5py, numpy and json raise for objects that are absent, damaged or of another kind
_DAMAGE = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Kind:
    """What differs between the files of the two stores; columns: dataset -> dtype, one length."""

    format: str
    noun: str
    remedy: str
    columns: Mapping[str, str]


KINDS = {
    "cuts": Kind(
        "denoiseq-cuts",
        "cut-site store",
        "single cut sites are needed here: prepare the reads instead (bam= or fragments=)",
        {"cuts": "<u4", "fragments": "<u4"},
    ),
    "coverage": Kind(
        "denoiseq-coverage",
        "coverage store",
        "a coverage track is needed here: prepare a bigWig instead (bigwig=)",
        {"starts": "<u4", "values": "<f4"},
    ),
}


def fingerprint(preprocessing: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of `preprocessing`: equal if and only if the contents are."""
    canonical = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def blacklist_sha256(blacklist: Merged) -> str:
    """SHA-256 of merged intervals, whatever file, order or overlap they came in."""
    rows = [f"{c}\t{s}\t{e}\n" for c in sorted(blacklist) for s, e in blacklist[c]]
    return hashlib.sha256("".join(rows).encode()).hexdigest()


@contextmanager
def new_store(
    path: str | Path,
    kind: str,
    sizes: Mapping[str, int],
    data: Mapping[str, tuple[np.ndarray, np.ndarray]],
    blacklist: Merged,
    preprocessing: Mapping[str, object],
    provenance: Mapping[str, object],
) -> Iterator[h5py.File]:
    """Create a store atomically, with its header and columns to copy `data` (chrom -> arrays) into.

    OSError where the disk has no room for them: HDF5 crashes on one that fills up.
    """
    text = h5py.string_dtype()
    rows = [(c, s, e) for c in blacklist for s, e in blacklist[c]]
    lengths = [len(data[c][0]) if c in data else 0 for c in sizes]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    made = [
        json.dumps(facts, sort_keys=True, allow_nan=False) for facts in (preprocessing, provenance)
    ]
    with atomic_path(path) as temporary:
        texts = sum(map(len, (*sizes, *made))) + 64 * (len(sizes) + len(rows))
        _check_room(temporary, 8 * sum(lengths) + texts + _HEADER_ROOM)
        with h5py.File(temporary, "w") as file:
            file["chroms/names"] = np.array(list(sizes), dtype=text)
            file["chroms/sizes"] = np.array(list(sizes.values()), dtype=np.int64)
            file["chroms/offsets"] = offsets
            file["blacklist/chroms"] = np.array([row[0] for row in rows], dtype=text)
            file["blacklist/bounds"] = np.array([row[1:] for row in rows], np.int64).reshape(-1, 2)
            file["preprocessing"], file["provenance"] = made
            file.attrs.update({"version": VERSION, "format": KINDS[kind].format, "kind": kind})
            file.attrs["fingerprint"] = fingerprint(preprocessing)
            for name, dtype in KINDS[kind].columns.items():
                file.create_dataset(name, (int(offsets[-1]),), dtype)
            yield file


class RowWriter:
    """Writes rows one after another into the columns of a new store, many at once.

    A write into a dataset takes longer than the rows of most contigs of an unfinished assembly.
    """

    def __init__(self, file: h5py.File, columns: Iterable[str]) -> None:
        self._datasets = [file[name] for name in columns]
        self._waiting: list[tuple[np.ndarray, ...]] = []
        self._rows, self._written = 0, 0

    def add(self, *columns: np.ndarray) -> None:
        """Take rows, (M,) each; call `flush` after the last."""
        self._waiting.append(columns)
        self._rows += len(columns[0])
        if self._rows >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._rows:
            return
        target = slice(self._written, self._written + self._rows)
        for dataset, pieces in zip(self._datasets, zip(*self._waiting, strict=True), strict=True):
            dataset[target] = np.concatenate(pieces)
        self._waiting, self._rows, self._written = [], 0, target.stop


def _check_room(path: Path, size: int) -> None:
    """OSError where the disk, or the limit of a file's size, has no room for so many bytes."""
    with path.open("wb") as file:
        file.truncate(size)
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kind_of(path: str | Path) -> str:
    """The kind of a store, "cuts" or "coverage"."""
    with open_hdf5(path, "cuts") as file:
        kind = str(file.attrs.get("kind", "cuts"))  # the first stores did not say
        if kind not in KINDS:
            raise KeyError("kind")
        return kind


@contextmanager
def open_hdf5(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Open a store's file. The block reads it and does nothing else: its errors mean damage."""
    path = Path(path)
    refuse_pipe(path, KINDS[kind].noun)
    if not path.is_file():
        raise FileNotFoundError(f"no such {KINDS[kind].noun}: {path}; prepare makes one.")
    with path.open("rb"):  # whoever may not read it is told so
        pass
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UserError:
        raise
    except _DAMAGE as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in _LOCKED:
            raise UserError(
                f"{path} is locked by another process, which may be writing it: wait until that "
                "has ended; if there is none, its file system refuses locks: set "
                "HDF5_USE_FILE_LOCKING=FALSE."
            ) from error
        if number is not None:  # the system's, as of a broken disk, says nothing about the content
            raise OSError(number, os.strerror(number), str(path)) from error
        raise UserError(
            f"{path} is not a {KINDS[kind].noun}, or it is truncated; make it again with prepare."
        ) from error


class Header:
    """The common part of an opened store, with its columns mapped when they are first read."""

    def __init__(self, path: Path, file: h5py.File, kind: str) -> None:
        written = {known.format: known for known in KINDS.values()}[file.attrs["format"]]
        if written != KINDS[kind]:
            raise UserError(f"{path} is a {written.noun}; {KINDS[kind].remedy}.")
        if (version := int(file.attrs["version"])) != VERSION:
            raise UserError(
                f"{path} is a {written.noun} of version {version}, this program reads "
                f"version {VERSION}; make it again with prepare."
            )
        self.path = path
        names = [str(name) for name in file["chroms/names"].asstr()[:]]
        self.chroms = dict(zip(names, map(int, file["chroms/sizes"][:]), strict=True))
        offsets = file["chroms/offsets"][:].tolist()
        self.slices = dict(zip(names, pairwise(offsets), strict=True))
        self.rows = int(offsets[-1])
        bounds = zip(file["blacklist/chroms"].asstr()[:], file["blacklist/bounds"][:], strict=True)
        self.blacklist = merge(Interval(str(c), int(s), int(e)) for c, (s, e) in bounds)
        self.preprocessing = json.loads(file["preprocessing"].asstr()[()])
        self.provenance = json.loads(file["provenance"].asstr()[()])
        self.fingerprint = str(file.attrs["fingerprint"])
        self._places = [(self._place(file[n]), dtype) for n, dtype in KINDS[kind].columns.items()]
        self._columns: list[np.ndarray] | None = None

    def facts(self, **counts: int) -> dict[str, Any]:
        """What a summary says of the store: its input files, `counts`, and how it was made."""
        return {
            "files": self.provenance.get("inputs", {}),
            **counts,
            "fingerprint": self.fingerprint,
            "preprocessing": self.preprocessing,
        }

    def _place(self, dataset: h5py.Dataset) -> int:
        """Byte offset of a contiguous dataset of 4-byte numbers in the file."""
        offset = dataset.id.get_offset() if self.rows else 0
        end = None if offset is None else offset + 4 * self.rows
        if dataset.shape != (self.rows,) or end is None or end > self.path.stat().st_size:
            raise OSError("data are missing")
        return offset

    def columns(self, chrom: str) -> list[np.ndarray]:
        """The rows of a chromosome, (M,) each, mapped from the file."""
        if chrom not in self.slices:
            raise UserError(f"{self.path} has no chromosome {chrom}: {listed(self.chroms)}.")
        if self._columns is None:
            self._columns = [self._map(*place) for place in self._places]
        first, last = self.slices[chrom]
        return [column[first:last] for column in self._columns]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_columns": None}

    def _map(self, offset: int, dtype: str) -> np.ndarray:
        """The dataset at a byte offset, (rows,), mapped and not read yet."""
        if self.rows == 0:
            return np.empty(0, dtype=dtype)
        try:
            mapped = np.memmap(self.path, dtype, "r", offset, (self.rows,))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path} was removed or cut short while it was in use.") from error
        return np.asarray(mapped)  # a plain view: slicing a memmap object costs microseconds
