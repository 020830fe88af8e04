"""Lines of a fragment file that are no fragments: a few are left out and counted, many refused."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError

_log = logging.getLogger(__name__)

MOST, MOST_SHARE = 1_000, 0.01  # bad lines; more mean that the file is another, or broken


class BadLines:
    """Counts the bad lines of one file.

    lines, count : lines of data so far, and the bad ones among them
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines = self.count = 0
        self._first = sys.maxsize, ""  # number, and what is wrong

    def add(self, numbers: np.ndarray, why: Callable[[], str]) -> None:
        """Count lines by their numbers, ascending; `why` says what is wrong with the first."""
        if len(numbers) == 0:
            return
        self.count += len(numbers)
        if numbers[0] < self._first[0]:
            self._first = int(numbers[0]), why()
        if self.count > MOST:
            raise self._refusal(f"more than {MOST:,}")

    def check(self) -> None:
        """At the end of the file: a warning of a few bad lines, UserError for many."""
        if self.count > MOST_SHARE * self.lines:
            raise self._refusal(f"{self.count:,} of {self.lines:,}")
        if self.count:
            _log.warning(
                "%s: %s of %s lines %s left out; the first is line %d: %s",
                self._path,
                f"{self.count:,}",
                f"{self.lines:,}",
                "is no fragment and is" if self.count == 1 else "are no fragments and are",
                *self._first,
            )

    def _refusal(self, amount: str) -> UserError:
        line, why = self._first
        return UserError(
            f"{self._path}: {amount} lines are no fragments, and at most {MOST_SHARE:.0%} or "
            f"{MOST:,} are left out; the first is line {line}: {why}."
        )
