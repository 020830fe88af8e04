"""The log of a command: bare lines on stderr, and all of it, with tracebacks, in a file."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger("denoiseq")


def start_logging() -> None:
    """INFO and above, bare, to stderr; `commands` adds the file of the run."""
    close_logging()
    handler = logging.StreamHandler()
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False


def close_logging() -> None:
    """Close every handler, so that a second command in one process starts clean."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def log_to(path: Path) -> None:
    """Also write the log to `path`, in full: with times, and with tracebacks."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.addHandler(handler)
