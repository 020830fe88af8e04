"""Worker processes: how many there are, and what each does first."""

import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

from denoiseq.interrupt import OF_SCHEDULERS


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


def server_context() -> BaseContext:
    """Where workers come from: a server, because a fork would copy locks and open files.

    The server ignores the signals that a scheduler sends to all processes of a job, and its
    workers do: the main process ends them.
    """
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, signal.SIG_IGN) for number in OF_SCHEDULERS}
        try:
            forkserver.ensure_running()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)
    return multiprocessing.get_context("forkserver")


def processes(workers: int) -> int:
    """The number of processes for `workers=`; 0 is every core that this process may use."""
    return workers or len(os.sched_getaffinity(0))
