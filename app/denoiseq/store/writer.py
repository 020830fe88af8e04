"""Writes a store: its header at once, then the rows of its columns as they come."""

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from denoiseq.atomic import atomic_path
from denoiseq.genomics.intervals import Merged
from denoiseq.store.header import KINDS, VERSION, fingerprint

_HEADER_ROOM = 1 << 16  # bytes, besides its texts
_ROWS = 1 << 20  # written at once


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

    def __init__(
        self, file: h5py.File, columns: Mapping[str, str], sizes: Mapping[str, int]
    ) -> None:
        self._file, self._dtypes = file, list(columns.values())
        self._datasets = [file[name] for name in columns]
        self._crc32 = {chrom: [0] * len(columns) for chrom in sizes}
        self._waiting: list[list[np.ndarray]] = []
        self._rows, self._written = 0, 0

    def add(self, chrom: str, *columns: np.ndarray) -> None:
        """Take further rows of a chromosome, (M,) each; call `finish` after the last."""
        stored = [np.ascontiguousarray(x, t) for x, t in zip(columns, self._dtypes, strict=True)]
        crc32 = self._crc32[chrom]
        crc32[:] = [zlib.crc32(x.data, crc) for x, crc in zip(stored, crc32, strict=True)]
        self._waiting.append(stored)
        self._rows += len(stored[0])
        if self._rows >= _ROWS:
            self._flush()

    def finish(self) -> None:
        """Write what waits, and the checksums."""
        self._flush()
        checksums = np.array([*self._crc32.values()], dtype="<u4")
        self._file["chroms/crc32"] = checksums.reshape(-1, len(self._dtypes))

    def _flush(self) -> None:
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
