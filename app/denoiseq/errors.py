"""The two kinds of error: what a user can cause and mend, and everything else, which is a bug.

Knows neither torch nor Hydra: `cli` adds Hydra's errors to those that are the user's.
"""

from collections.abc import Collection
from itertools import islice


class UserError(ValueError):
    """What the user gave cannot be used: one sentence that says what, where, and what to do."""


class LostRank(ConnectionError):
    """Another rank died, stopped, or can no longer be reached."""

    advised = False  # whether the text says how to go on


# The user's besides: files, disks and lost ranks; memory; numbers out of range; names of files that
# are not UTF-8, where a library needs it.
EXPECTED = (UserError, OSError, MemoryError, FloatingPointError, UnicodeEncodeError)
OUT_OF_MEMORY = (
    "out of memory: lower optim.micro_batch or data.interval_bp (training), tile_bp or "
    "trainer.threads (prediction), or workers (prepare)"
)
# torch's allocator of the CPU raises a plain RuntimeError; those of GPUs raise OutOfMemoryError.
NO_MEMORY = ("can't allocate memory", "out of memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocator had no memory left: Python's, numpy's, dilconv's or torch's."""
    if isinstance(error, RuntimeError):
        text = str(error)
        return type(error).__name__ == "OutOfMemoryError" or any(t in text for t in NO_MEMORY)
    return isinstance(error, MemoryError)


def sentence(error: BaseException) -> str:
    """What went wrong, in one line."""
    if out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, UnicodeEncodeError):
        name = error.object[max(0, error.start - 40) : error.end + 40]
        return f"the name {name!a} is not in UTF-8: rename the file or folder (convmv -f latin1)"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def is_bug(error: BaseException) -> bool:
    """Whether an error is neither the user's nor an interruption."""
    return not (isinstance(error, (*EXPECTED, KeyboardInterrupt)) or out_of_memory(error))


def mark_reported(error: BaseException) -> None:
    """Note that another rank reports this error."""
    error._denoiseq_reported = True  # type: ignore[attr-defined]


def is_reported(error: BaseException) -> bool:
    """Whether another rank reports this error."""
    return getattr(error, "_denoiseq_reported", False)


def listed(names: Collection[str], most: int = 5) -> str:
    """The first names, and how many more there are: a genome can have a million."""
    more = len(names) - most
    return ", ".join(islice(names, most)) + (f" and {more:,} more" if more > 0 else "")
