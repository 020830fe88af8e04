"""Writing files so that a final name never holds half a file.

A run that is killed leaves at most a file `NAME.tmp-MACHINE-PID.SUFFIX`, or a folder of parts
`.NAME.parts-MACHINE-PID`, never a broken NAME; the next run on that machine that writes NAME
removes them.
"""

import csv
import errno
import glob
import json
import os
import platform
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def _machine() -> str:
    """Where a process number means one process: the host and, in a container, its own numbers."""
    with suppress(OSError):
        return f"{platform.node()} {Path('/proc/self/ns/pid').stat().st_ino}"
    return platform.node()


_MACHINE = f"{zlib.crc32(_machine().encode()):08x}"


def _temporary(final: Path) -> Path:
    # the suffix is kept because some writers choose their format by it
    return final.with_name(f"{final.name}.tmp-{_MACHINE}-{os.getpid()}{final.suffix}")


def _remove_leftovers(folder: Path, begin: str, end: str = "") -> None:
    """Remove the files and folders `begin`PID`end` of processes that have ended, as by a kill."""
    for path in folder.glob(f"{glob.escape(begin)}*{glob.escape(end)}"):
        pid = path.name.removeprefix(begin).removesuffix(end)
        if pid.isdigit() and not _is_running(int(pid)):
            with suppress(OSError):  # another run may be removing it too
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


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
        if error.errno == errno.EFBIG:
            raise OSError(
                f"{final} would be larger than a file may be here (ulimit -f): raise that limit, "
                "or choose another output path."
            ) from error
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
    _remove_leftovers(final.parent, f"{final.name}.tmp-{_MACHINE}-", final.suffix)
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


@contextmanager
def parts_folder(final: str | Path) -> Iterator[Path]:
    """A new folder beside `final` for what it is made from, removed when the block ends."""
    final = Path(final)
    begin = f".{final.name}.parts-{_MACHINE}-"
    _remove_leftovers(final.parent, begin)
    folder = final.with_name(f"{begin}{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; bytes of file names that are no UTF-8 as escapes."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON, atomically. NaN and infinity are refused (ValueError).

    It never exists as one text: that of a genome of many contigs takes several times its memory.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(obj, file, indent=2, allow_nan=False)
        file.write("\n")


def write_csv(path: str | Path, rows: Sequence[dict]) -> None:
    """Write `rows`, at least one, atomically; a row is empty in the columns that it lacks."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
