"""The log of a command: bare lines on stderr, and all of it, with tracebacks, in a file.

Only this module adds handlers. `cli` starts and closes the log; each command names its file. A
warning is one whole sentence, logged once however often it is met; `collected_warnings` gathers
them for the files that a command writes.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger("denoiseq")


class _Lines(logging.Formatter):
    """Bare lines; those of warnings say so."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return f"warning: {line}" if record.levelno == logging.WARNING else line


class _Once(logging.Filter):
    """Lets each warning through once."""

    def __init__(self) -> None:
        super().__init__()
        self._met: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno != logging.WARNING:
            return True
        if text in self._met:
            return False
        self._met.add(text)
        return True


class _File(logging.FileHandler):
    """A log file, which ends where the disk is full: what a command writes next tells of that."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _Collector(logging.Handler):
    """Appends the text of each warning to a list."""

    def __init__(self, warnings: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._warnings = warnings

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno == logging.WARNING and text not in self._warnings:
            self._warnings.append(text)


@contextmanager
def collected_warnings(before: Iterable[str] = ()) -> Iterator[list[str]]:
    """A list of the warnings `before`, to which each new one logged in the block is added."""
    warnings = list(before)
    handler = _Collector(warnings)
    log.addHandler(handler)
    try:
        yield warnings
    finally:
        log.removeHandler(handler)


def start_logging() -> None:
    """INFO and above, bare, to stderr; of the ranks after the first only errors."""
    close_logging()
    handler = logging.StreamHandler()
    handler.setLevel(logging.INFO)
    handler.setFormatter(_Lines("%(message)s"))
    handler.addFilter(_Once())
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if int(os.environ.get("RANK", 0)) == 0 else logging.ERROR)
    log.propagate = False


def close_logging() -> None:
    """Close every handler, so that a second command in one process starts clean."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        with suppress(OSError):  # a full disk
            handler.close()


def log_to(path: Path) -> None:
    """Also write the log to `path`, in full: with times, and with tracebacks."""
    handler = _File(path, encoding="utf-8")
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_Once())
    log.addHandler(handler)


def log_traceback(error: BaseException) -> str | None:
    """Write an error's traceback to the command's file alone, and return its path if it has one."""
    files = [h.baseFilename for h in log.handlers if isinstance(h, logging.FileHandler)]
    if not files:
        return None
    log.setLevel(logging.DEBUG)
    log.debug("ended by %s", type(error).__name__, exc_info=error)
    return files[0]


def log_bug(error: BaseException) -> str:
    """Write a bug's traceback to the command's file, or to a new one in the temporary folder."""
    path = log_traceback(error)
    if path is None:
        handle, path = tempfile.mkstemp(prefix="denoiseq-", suffix=".log")
        os.close(handle)
        log_to(Path(path))
        log_traceback(error)
    return path
