"""Ctrl-C and SIGTERM during training: at a step's end where one runs, at once elsewhere."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Training was told to stop; the text says how to go on. Not an error."""


class Stop:
    """Turns the first signal into `Interrupted`; a second one acts as it would without us.

    last : the checkpoint to resume from, named in the message if it exists by then
    patient : ignore further signals until the step is done, and when an error ends the training:
        the launcher of several ranks passes Ctrl-C on to those that the terminal has already told,
        and ends the other ranks when one dies, although they still have to save and to report

    `signal` is the number of the last one that came, or None.
    """

    def __init__(self, last: Path, patient: bool = False):
        self.last, self.patient = last, patient
        self.signal: int | None = None
        self.deferring = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        # Python delivers signals to the main thread only, and lets only it install handlers.
        if threading.current_thread() is threading.main_thread():
            self.previous = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        if self.patient and kind is not None and self.previous:
            self.previous = dict.fromkeys(SIGNALS, signal.SIG_IGN)
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
        if self.last.exists():
            return Interrupted(f"Training was interrupted: go on with resume={self.last}.")
        return Interrupted("Training was interrupted before its first checkpoint.")

    def _handle(self, number: int, _frame: object) -> None:
        if not self.patient:
            self._restore()
        self.signal = number
        if not self.deferring:
            raise self.interruption()

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}
