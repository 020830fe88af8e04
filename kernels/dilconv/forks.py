"""Whether a forked child can use OpenMP: GNU's runtime would wait for threads that it lost.

A fork copies one thread. If OpenMP's other threads were running by then, a parallel region in the
child waits for them for ever; if none was, it starts its own.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import threading
import time
from pathlib import Path

_GNU_OPENMP = re.compile(rb"^(\w+)-(\w+) r-x.*/libgomp", re.MULTILINE)
_SYSCALL_BYTES = 64  # more than libc's function syscall() has
_LOOKS, _BETWEEN_LOOKS_S = 50, 0.002  # 0.1 s: a thread may wait that long for a busy core

_running_at_fork = False
_lost = False


def openmp_threads_lost() -> bool:
    """Whether this process was forked beside running threads of OpenMP."""
    return _lost


def openmp_threads_run() -> bool:
    """Whether threads of GNU OpenMP run beside those that Python knows, or may do so.

    One that waits for its next parallel region does so in a system call, which the runtime makes
    itself on x86-64 and by libc's syscall() elsewhere. Threads of other libraries wait in libc.
    """
    maps = Path("/proc/self/maps").read_bytes()
    code = [(int(start, 16), int(end, 16)) for start, end in _GNU_OPENMP.findall(maps)]
    if not code:
        return False
    if platform.machine() != "x86_64":
        start = ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value or 0
        code.append((start, start + _SYSCALL_BYTES))
    python = {thread.native_id for thread in threading.enumerate()}
    tasks = [task for task in Path("/proc/self/task").iterdir() if int(task.name) not in python]
    return any(_waits_in(task, code) for task in tasks)


def _waits_in(task: Path, code: list[tuple[int, int]]) -> bool:
    """Whether a thread waits in these addresses; also if it keeps computing or cannot be seen."""
    for _ in range(_LOOKS):
        try:
            address = int((task / "syscall").read_text().split()[-1], 16)
        except FileNotFoundError:  # it has ended
            return task.exists()
        except ValueError:  # "running": it starts, or spins before it waits
            time.sleep(_BETWEEN_LOOKS_S)
        except OSError:
            return True
        else:
            return any(start <= address < end for start, end in code)
    return True


def _before() -> None:
    global _running_at_fork
    _running_at_fork = openmp_threads_run()


def _in_child() -> None:
    global _lost
    _lost = _lost or _running_at_fork


os.register_at_fork(before=_before, after_in_child=_in_child)
