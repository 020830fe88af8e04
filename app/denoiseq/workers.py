"""Worker processes: how many there are, and what each does first."""

import multiprocessing
import os
import signal
import threading


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
    return workers or len(os.sched_getaffinity(0))
