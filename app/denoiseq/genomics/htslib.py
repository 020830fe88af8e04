"""What htslib itself says: kept from stderr, its warnings handed on to our log."""

import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pysam

_log = logging.getLogger(__name__)
_SILENT, _WARNINGS = 0, 3
_LINE = re.compile(r"\[([EW])::\w+\] (.+)")
_redirecting = threading.RLock()  # stderr is the whole process's


@contextmanager
def quiet_htslib() -> Iterator[None]:
    """Keep htslib from writing its own lines to stderr: our one sentence says what is wrong."""
    with _verbosity(_SILENT):
        yield


@contextmanager
def htslib_messages(path: Path, refused: re.Pattern[str] | None = None) -> Iterator[list[str]]:
    """Log each warning that htslib writes about a file in the block, once.

    Yields a list that holds htslib's errors after the block, and the warnings that begin as
    `refused`, as reasons for our own sentence. Use it around the opening of a file, in the main
    process; elsewhere `quiet_htslib`.
    """
    errors: list[str] = []
    with tempfile.TemporaryFile() as written:
        try:
            with _redirecting, _stderr_to(written.fileno()), _verbosity(_WARNINGS):
                yield errors
        finally:
            written.seek(0)
            lines = written.read().decode(errors="replace").splitlines()
            for line in dict.fromkeys(lines):
                message = _LINE.fullmatch(line)
                if message is None:  # of another thread
                    print(line, file=sys.stderr)
                elif message[1] == "E" or (refused and refused.match(message[2])):
                    errors.append(message[2])
                else:
                    _log.warning("htslib on %s: %s", path, message[2])


@contextmanager
def _verbosity(level: int) -> Iterator[None]:
    before = pysam.set_verbosity(level)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


@contextmanager
def _stderr_to(file: int) -> Iterator[None]:
    """Send what C code writes to stderr into a file descriptor."""
    try:
        before = os.dup(2)
    except OSError:  # it is closed: nothing is written
        yield
        return
    _flush()
    os.dup2(file, 2)
    try:
        yield
    finally:
        _flush()
        os.dup2(before, 2)
        os.close(before)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
