"""bigWig tracks: written in a stream, rounded, equal neighbours merged; read back by window.

Rounding and merging is what makes a genome-wide track small and quick to write.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyBigWig

from denoiseq.atomic import atomic_path

_ENTRIES = 1 << 16


class BigWigWriter:
    """Writes one bigWig; a context manager. The file appears whole when the block ends well.

    Parameters
    ----------
    path : the final name.
    chroms : chrom -> bp, in the order in which they will be added.
    decimals : values are rounded to so many places.

    Raises OSError when `path` cannot be written.
    """

    def __init__(self, path: str | Path, chroms: Mapping[str, int], decimals: int = 1) -> None:
        self._path, self._chroms, self._decimals = Path(path), dict(chroms), decimals
        self._order = {chrom: i for i, chrom in enumerate(self._chroms)}
        self._at = ("", 0)
        self._held: tuple[int, int, float] | None = None  # the last run: the next may lengthen it

    def __enter__(self) -> "BigWigWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self._path))
            self._file = pyBigWig.open(str(temporary), "w")
            stack.callback(self._finish)
            self._file.addHeader(list(self._chroms.items()))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def _finish(self) -> None:
        try:
            self._release()
        finally:
            self._file.close()

    def add(self, chrom: str, start: int, values: np.ndarray) -> None:
        """Add finite values (n,) of the bases from `start` on.

        Chromosomes come in the header's order and bases in ascending order; what is never added
        is no data.
        """
        self._check(chrom, start, len(values))
        if len(values) == 0:
            return
        rounded = np.round(np.asarray(values, dtype=np.float64), self._decimals)
        if not np.isfinite(rounded).all():
            raise ValueError(f"{chrom}, from {start} on: a value is not finite.")
        rounded = rounded.astype(np.float32)
        first = np.flatnonzero(np.append(True, rounded[1:] != rounded[:-1]))
        bounds = np.append(first, len(rounded)) + start
        self._add_runs(chrom, bounds[:-1], bounds[1:], rounded[first])
        self._at = (chrom, start + len(values))

    def _check(self, chrom: str, start: int, n: int) -> None:
        if chrom not in self._order:
            raise ValueError(f"{self._path}: {chrom} is not among its chromosomes.")
        last, end = self._at
        behind = last and self._order[chrom] < self._order[last]
        if behind or (chrom == last and start < end):
            raise ValueError(f"{self._path}: {chrom}:{start} comes after {last}:{end}.")
        if start < 0 or start + n > self._chroms[chrom]:
            raise ValueError(f"{self._path}: {chrom}:{start}-{start + n} is not on the chromosome.")

    def _add_runs(
        self, chrom: str, starts: np.ndarray, ends: np.ndarray, values: np.ndarray
    ) -> None:
        if self._held is not None:
            held_start, held_end, held_value = self._held
            adjoins = self._at[0] == chrom and held_end == starts[0] and held_value == values[0]
            if adjoins:
                starts = np.append(held_start, starts[1:])
            else:
                self._release()
        for at in range(0, len(starts) - 1, _ENTRIES):
            part = slice(at, min(at + _ENTRIES, len(starts) - 1))
            self._write(chrom, starts[part], ends[part], values[part])
        self._held = int(starts[-1]), int(ends[-1]), float(values[-1])

    def _release(self) -> None:
        if self._held is None:
            return
        start, end, value = self._held
        self._write(self._at[0], np.array([start]), np.array([end]), np.array([value]))
        self._held = None

    def _write(self, chrom: str, starts: np.ndarray, ends: np.ndarray, values: np.ndarray) -> None:
        self._file.addEntries(
            np.full(len(starts), chrom),
            starts.astype(np.int64),
            ends=ends.astype(np.int64),
            values=values.astype(np.float64),
        )


def bigwig_sizes(path: str | Path) -> dict[str, int]:
    """Chromosomes of a bigWig's header and their lengths in bp; raises as `read_bigwig` does."""
    with _opened(path) as file:
        return dict(file.chroms())


def stream_bigwig(
    path: str | Path, chrom: str, size: int, chunk_bp: int = 1 << 20
) -> Iterator[tuple[int, np.ndarray]]:
    """(start, values float32) along a chromosome; NaN where the file has no data."""
    with _opened(path) as file:
        for start in range(0, size, chunk_bp):
            end = min(start + chunk_bp, size)
            try:
                values = file.values(chrom, start, end, numpy=True)
            except RuntimeError as error:
                raise ValueError(f"{path} is damaged at {chrom}:{start}-{end}.") from error
            yield start, values if len(values) else np.full(end - start, np.nan, np.float32)


def read_bigwig(path: str | Path, chrom: str, start: int, end: int) -> np.ndarray:
    """Values of [start, end): float32 (end - start,), 0 where the file has no data.

    Raises FileNotFoundError for a missing file, ValueError for one that is no bigWig or lacks the
    window.
    """
    with _opened(path) as file:
        size = file.chroms().get(chrom)
        if size is None or not 0 <= start <= end <= size:
            raise ValueError(f"{path} has no window {chrom}:{start}-{end}: size {size}.")
        values = file.values(chrom, start, end, numpy=True) if end > start else []
        if len(values) == 0:  # an empty window, or a file without any data
            return np.zeros(end - start, dtype=np.float32)
        return np.nan_to_num(values).astype(np.float32)


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such bigWig file: {path}")
    try:
        file = pyBigWig.open(str(path))
    except RuntimeError as error:
        raise ValueError(f"{path} is not a bigWig file, or it is damaged.") from error
    with file:
        if not file.isBigWig():
            raise ValueError(f"{path} is a bigBed file, not a bigWig file.")
        yield file
