"""Fixtures of fuzzing: the process that reads mutated files, and a limit of time for text."""

import logging
import os
import signal
import tempfile
from pathlib import Path

import pytest
from sandbox import SECONDS, Sandbox


@pytest.fixture(scope="session")
def sandbox():
    """`sandbox(read, path, …)`: the outcome of reading a file in a process of its own."""
    box = Sandbox()
    yield box
    box.close()


@pytest.fixture(autouse=True)
def _quiet():
    """Warnings of thousands of odd files are not kept."""
    logger = logging.getLogger("denoiseq")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def limited():
    """`limited(read, path, …)` is `outcome_of` in this process, failing where it takes too long."""
    from sandbox import outcome_of

    def hangs(*_):
        raise TimeoutError(f"hangs: no answer within {SECONDS} s")

    def run(read, *arguments):
        before = signal.signal(signal.SIGALRM, hangs)
        signal.alarm(SECONDS)
        try:
            return outcome_of(read, *arguments)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    return run


@pytest.fixture(scope="session")
def folder():
    """A folder in memory where there is one: thousands of stores are written, each to the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)
