"""A store's HDF5 file, which is not trusted: only what lies in the file itself, whole and plain, is
read, so that no other file is opened and no more memory taken than the file has bytes.
"""

import errno
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from denoiseq.errors import UserError
from denoiseq.inputs import refuse_pipe

_LOCKED = (errno.EAGAIN, errno.EACCES, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
# what h5py, numpy and json raise for objects that are absent, damaged or of another kind
_DAMAGE = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)
# a text of any length as it lies in a dataset: its length, and where in the file it is
_TEXT = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_HEAP, _HEADERS = b"GCOL\1\0\0\0", 1 << 24  # how a heap of texts begins; bytes searched
Scalar = TypeVar("Scalar", int, str)


class Damage(UserError):
    """What is wrong with a store, in words that a message puts in brackets."""


def damaged(path: Path, noun: str, reason: str = "") -> UserError:
    """The error of a file that is no such store, or is one no longer."""
    return UserError(
        f"{path} is not a {noun}, or it is truncated or damaged{f' ({reason})' if reason else ''}; "
        "make it again with prepare."
    )


def check(condition: bool, reason: str) -> None:
    """Raise Damage with the reason unless the condition holds."""
    if not condition:
        raise Damage(reason)


@contextmanager
def open_hdf5(path: str | Path, noun: str) -> Iterator[h5py.File]:
    """Open a store's file. The block reads it and does nothing else: its errors mean damage."""
    path = Path(path)
    refuse_pipe(path, noun)
    if not path.is_file():
        raise FileNotFoundError(f"no such {noun}: {path}; prepare makes one.")
    with path.open("rb"):  # whoever may not read it is told so
        pass
    try:
        _check_heaps(path)
        with h5py.File(path, "r") as file:
            yield file
    except Damage as error:
        raise damaged(path, noun, str(error)) from error
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
        raise damaged(path, noun) from error


def _check_heaps(path: Path) -> None:
    """Damage where a heap of texts has a part of size 0: HDF5 would look behind it for ever.

    Headers come first in a store; nothing else there is taken for a heap.
    """
    with path.open("rb") as raw:
        head = raw.read(_HEADERS)
    begin = head.find(_HEAP)
    while begin >= 0:
        (size,) = struct.unpack_from("<Q", head[begin : begin + 16].ljust(16, b"\0"), 8)
        at, end = begin + 16, min(begin + size, len(head))
        while at + 16 <= end:
            number, _, length = struct.unpack_from("<HHxxxxQ", head, at)
            step = 16 + (length + 7) // 8 * 8 if number else length  # 0 is what is free
            check(step > 0, "a heap of texts is broken")
            at += step
        begin = head.find(_HEAP, begin + 1)


def attribute(file: h5py.File, name: str, kind: type[Scalar]) -> Scalar:
    """One number or one text; KeyError where there is none of the name."""
    place = file.attrs.get_id(name)
    fits = place.dtype.kind in "iu" if kind is int else _is_text(place.dtype)
    check(place.shape == () and fits, f"its attribute {name} is of another type")
    return kind(file.attrs[name])


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset that lies in the file itself, in one piece, neither packed nor linked to.

    Nothing is followed or read before that is known.
    """
    parent = file
    for part in name.split("/"):
        link = parent.id.links.get_info(part.encode())
        check(link.type == h5py.h5l.TYPE_HARD, f"{name} is a link")
        parent = parent[part]
    layout = parent.id.get_create_plist()
    whole = layout.get_layout() == h5py.h5d.CONTIGUOUS and layout.get_external_count() == 0
    check(whole, f"{name} does not lie in the file in one piece")
    check(parent.shape is not None, f"{name} is empty")
    size = parent.size * (_TEXT.itemsize if _is_text(parent.dtype) else parent.dtype.itemsize)
    check(parent.id.get_storage_size() == size, f"{name} is not as large as it says")
    check(size == 0 or _offset(parent) + size <= file.id.get_filesize(), f"{name} is cut off")
    return parent


def numbers(file: h5py.File, name: str, dtype: str, ndim: int = 1) -> np.ndarray:
    """A dataset of numbers of exactly this type."""
    return column(file, name, dtype, ndim)[()]


def column(file: h5py.File, name: str, dtype: str, ndim: int = 1) -> h5py.Dataset:
    """The same, not read yet."""
    data = dataset(file, name)
    fits = data.dtype == np.dtype(dtype) and data.ndim == ndim
    check(fits, f"{name} is no table of {dtype} numbers")
    return data


def texts(file: h5py.File, name: str, ndim: int = 1) -> Any:
    """A dataset of texts, or with ndim=0 a single one; together no longer than the file.

    Each is a length and a place in the file, so that many could be one long text.
    """
    data = dataset(file, name)
    check(_is_text(data.dtype) and data.ndim == ndim, f"{name} is no text")
    if data.size:
        entries = np.fromfile(file.filename, _TEXT, data.size, offset=_offset(data))
        total = int(entries["length"].sum(dtype=np.uint64))
        check(total <= file.id.get_filesize(), f"the texts of {name} are longer than the file")
    return data.asstr()[()]


def json_object(file: h5py.File, name: str) -> dict[str, Any]:
    """A text that is a JSON object."""

    def refuse(constant: str) -> None:
        raise Damage(f"{name} holds {constant}")

    value = json.loads(texts(file, name, ndim=0), parse_constant=refuse)
    check(isinstance(value, dict), f"{name} is no JSON object")
    return value


def _offset(data: h5py.Dataset) -> int:
    """Where a dataset begins in the file, bytes."""
    offset = data.id.get_offset()
    check(offset is not None, f"{data.name} is not in the file")
    return offset


def _is_text(dtype: np.dtype) -> bool:
    """Whether it is that of texts of any length, as h5py writes Python's."""
    info = h5py.check_string_dtype(dtype)
    return info is not None and info.length is None
