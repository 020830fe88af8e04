"""Writing files so that a final name never holds half a file.

A run that is killed leaves at most a file `NAME.tmp-PID.SUFFIX`, never a broken NAME.
"""

import csv
import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def _temporary(final: Path) -> Path:
    # the suffix is kept because some writers choose their format by it
    return final.with_name(f"{final.name}.tmp-{os.getpid()}{final.suffix}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(final: str | Path) -> None:
    """Raise OSError with one sentence unless a file can be created at `final`.

    Creates the parent folder. Call it before long work, so that the work is not lost at its end.
    """
    final = Path(final)
    try:
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        temporary = _temporary(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(f"cannot write {final}: {reason}; choose another output path.") from error


@contextmanager
def room_for(final: str | Path) -> Iterator[None]:
    """Name the file where the disk fills up inside the block: OSError with one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"no space left on the disk for {final}: free some, or choose another output path."
        ) from error


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """Yield a path beside `final` to write to; flushed, it becomes `final` when the block ends.

    The path has the same suffix and its folder is created; the block must create a file there and
    close it. If the block raises, the file is removed and `final` is left as it was.
    """
    final = Path(final)
    check_writable(final)
    temporary = _temporary(final)
    try:
        with room_for(final):
            yield temporary
            _sync(temporary)
        temporary.replace(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some file systems cannot sync a folder; the rename itself is done
        _sync(final.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON, atomically. NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(obj, indent=2, allow_nan=False) + "\n")


def write_csv(path: str | Path, rows: Sequence[dict]) -> None:
    """Write `rows`, at least one, atomically; a row is empty in the columns that it lacks."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
