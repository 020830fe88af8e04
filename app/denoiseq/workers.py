"""Worker processes: how many there are, where they come from, and what each does first."""

import multiprocessing
import multiprocessing.util
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

from denoiseq.cores import cores
from denoiseq.errors import UserError
from denoiseq.interrupt import OF_SCHEDULERS

# The fork server listens on a socket in a temporary folder. A socket's path is at most 107 bytes
# long on Linux and 103 on macOS, and what multiprocessing adds to the folder's takes 32 of them.
_LONGEST_FOLDER = 70
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def start_worker(*_number: int) -> None:
    """Leave Ctrl-C to the main process, and end with it.

    A worker's parent is the fork server, which waits for it: both would outlive a killed run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main = multiprocessing.parent_process()

    def follow() -> None:
        if main is not None:
            main.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def processes(workers: int) -> int:
    """The number of processes for `workers=`; 0 is every core that this process may use."""
    return workers or cores()


def fork_server() -> BaseContext:
    """Where worker processes come from: a plain fork would copy locks (OpenMP, HDF5) into them.

    The socket of the server lies in TMPDIR, or in a shorter folder where that is too long. The
    server and its workers ignore the signals that a scheduler sends to all processes of a job: the
    main process ends them.
    """
    wanted = tempfile.gettempdir()
    folders = (wanted, *_SHORT_FOLDERS)
    for folder in [name for name in folders if len(os.fsencode(name)) <= _LONGEST_FOLDER]:
        with suppress(OSError), _temporary_folder(folder):
            multiprocessing.util.get_temp_dir()  # made once a process, and removed at its end
            _start_server()
            return _with_locks(multiprocessing.get_context("forkserver"))
    raise UserError(
        f"worker processes need a temporary folder with a path of at most {_LONGEST_FOLDER} "
        f"bytes: neither {wanted} nor {', '.join(_SHORT_FOLDERS)} can be used; set TMPDIR to one, "
        "or do without these processes (workers=1 to read, trainer.workers=0 to load windows)."
    )


def _with_locks(context: BaseContext) -> BaseContext:
    """`context`; UserError where it can make no lock, which takes a page of /dev/shm."""
    try:
        context.Lock()
    except OSError as error:
        raise UserError(
            f"worker processes need room in /dev/shm ({error.strerror}): free some, or do without "
            "these processes (workers=1 to read, trainer.workers=0 to load windows)."
        ) from error
    return context


def _start_server() -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may change how signals are handled
    before = {number: signal.signal(number, signal.SIG_IGN) for number in OF_SCHEDULERS}
    try:
        forkserver.ensure_running()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def _temporary_folder(folder: str) -> Iterator[None]:
    """Make temporary files in `folder` inside the block."""
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before
