"""Signals that end a command: at a step's end where one runs, at once elsewhere.

Ctrl-C, SIGTERM and the signals by which a scheduler warns of a time limit end a command alike: what
is done is kept, and a sentence says how to go on. The loss of another rank ends it in the same way.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# `nohup` ignores SIGHUP at the start; that stays so, and of the other two as well.
OF_SCHEDULERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SIGNALS = (signal.SIGINT, signal.SIGTERM, *OF_SCHEDULERS)
ANEW = "the same command starts it anew"


class Interrupted(KeyboardInterrupt):
    """A command was told to stop; the text says how to go on. Not an error.

    `signal` is the number of the signal that told it.
    """

    signal: int | None = None


class Stop:
    """Turns the first signal into `Interrupted`; a second one acts as it would without us.

    what : is interrupted, the first word of the message
    how : says how to go on, the end of the message
    patient : ignore further signals until the step is done, and when an error ends the command:
        the launcher of several ranks passes Ctrl-C on to those that the terminal has already told,
        and ends the other ranks when one dies, although they still have to save and to report.
        By default where there are several ranks

    `signal` is the number of the last one that came, or None.
    """

    def __init__(self, what: str, how: Callable[[], str], patient: bool | None = None):
        self.what, self.how = what, how
        self.patient = several_ranks() if patient is None else patient
        self.signal: int | None = None
        self.error: BaseException | None = None
        self.deferring = self.ending = False
        self.previous: dict[int, Any] = {}
        self.unraisable = sys.unraisablehook

    def __enter__(self) -> "Stop":
        # Python delivers signals to the main thread only, and lets only it install handlers.
        if threading.current_thread() is threading.main_thread():
            self._install()
            self.unraisable, sys.unraisablehook = sys.unraisablehook, self._raise_later
            _active.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        if self in _active:
            _active.remove(self)
            sys.unraisablehook = self.unraisable
        if self.patient and kind is not None:
            self.previous = dict.fromkeys(self.previous, signal.SIG_IGN)
        self._restore()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal is only noted: the caller ends its step, saves and raises."""
        was, self.deferring = self.deferring, True
        try:
            yield
        finally:
            self.deferring = was

    def interruption(self) -> Interrupted:
        """The exception to raise."""
        self.ending = True
        error = Interrupted(f"{self.what} was interrupted: {self.how()}.")
        error.signal = self.signal
        return error

    def _handle(self, number: int, _frame: object) -> None:
        if not self.patient:
            self._restore()
        self.signal = number
        if self.deferring or self.ending:
            return
        self.ending = True
        raise self.error or self.interruption()

    def _raise_later(self, unraisable: Any) -> None:
        """Let a signal that came within a destructor, which no error leaves, come once more."""
        error = unraisable.exc_value
        if error is not self.error and not isinstance(error, Interrupted):
            self.unraisable(unraisable)
            return
        self._restore()
        self._install()
        self.error, self.ending = error, False
        threading.Timer(_AGAIN_S, end_with, [error]).start()

    def _install(self) -> None:
        numbers = [s for s in SIGNALS if s not in OF_SCHEDULERS or not _is_ignored(s)]
        self.previous = {s: signal.signal(s, self._handle) for s in numbers}

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}


_active: list[Stop] = []
_AGAIN_S = 0.1


def end_with(error: BaseException) -> None:
    """Raise `error` in the main thread, from another one, as a signal raises `Interrupted`.

    Does nothing outside of every `Stop`.
    """
    for stop in _active:
        stop.error = error
    if _active:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def how_to_go_on() -> str:
    """What the innermost `Stop` says."""
    return _active[-1].how() if _active else ANEW


def hand_on(error: BaseException) -> None:
    """Give the signal to the handler of the launcher whose job this is: it may requeue the job."""
    number = error.signal if isinstance(error, Interrupted) else None
    if number is None:
        return
    handler = signal.getsignal(number)
    if callable(handler) and handler is not signal.default_int_handler:
        handler(number, None)


def several_ranks() -> bool:
    """Whether `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def _is_ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
