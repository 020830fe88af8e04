"""A worker process that reads mutated files: its death, a hang or greed for memory is a failure.

What a reader may do with a file is to read it or to say in a `UserError`, or an `OSError` of ours,
what is wrong with it.
"""

import multiprocessing
import os
import resource
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 20  # for one small file, on a busy machine
MORE_MEMORY = 1 << 30  # bytes beyond what the process has once all is imported


class Outcome(NamedTuple):
    """What became of a file: "read", "refused" with the sentence, or how it failed."""

    state: str
    text: str = ""


def outcome_of(read: Callable[..., Any], *arguments: Any) -> Outcome:
    """Read a file in this process."""
    from denoiseq.errors import UserError

    try:
        result = read(*arguments)
    except UserError as error:
        return _refused(error)
    except FileNotFoundError as error:
        return _refused(error)
    except OSError as error:
        if error.errno is None and not isinstance(error, ConnectionError):
            return _refused(error)
        return Outcome("failed", traceback.format_exc())
    except BaseException:
        return Outcome("failed", traceback.format_exc())
    return Outcome("read", "" if result is None else str(result))


def _refused(error: Exception) -> Outcome:
    sentence = str(error)
    if "\n" in sentence or not sentence.strip():
        return Outcome("failed", f"no sentence: {sentence!r}")
    return Outcome("refused", sentence)


class Sandbox:
    """Runs functions of a module, which are importable by name, in a process of its own."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._pipe: Any = None

    def __call__(self, read: Callable[..., Any], *arguments: Any) -> Outcome:
        if self._process is None:
            self._start()
        self._pipe.send((read, arguments))
        if not self._pipe.poll(SECONDS):
            self.close()
            return Outcome("failed", f"hangs: no answer within {SECONDS} s")
        try:
            return Outcome(*self._pipe.recv())
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self.close()
            return Outcome("failed", f"the process died with exit code {code}")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(120):
            raise RuntimeError("the sandbox does not start")
        self._pipe.recv()


def _serve(pipe: Connection) -> None:
    import denoiseq.models.checkpoint
    import denoiseq.prepare.run
    import denoiseq.store.store  # noqa: F401

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries write of a damaged file
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    while True:
        try:
            read, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        pipe.send(tuple(outcome_of(read, *arguments)))
