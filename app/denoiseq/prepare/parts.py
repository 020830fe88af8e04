"""Part files: the two columns of chromosomes' rows, on disk until the store is written.

Chromosomes that are read one after another share a pair of files, and one pair is mapped at a time:
an assembly has up to a million contigs, a process a thousand open files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiseq.store.header import KINDS

_ROW_BYTES = 4  # of a column


@dataclass(frozen=True)
class Part:
    """The rows of a chromosome: [first, end) in the files of a stem."""

    stem: Path
    first: int
    end: int


def part_files(stem: Path) -> tuple[Path, Path]:
    """The files of a stem, one a column of the store."""
    return Path(f"{stem}.0"), Path(f"{stem}.1")


def rows_in(stem: Path) -> int:
    """Rows written so far."""
    first, _ = part_files(stem)
    return first.stat().st_size // _ROW_BYTES if first.exists() else 0


def append(stem: Path, *columns: np.ndarray) -> None:
    """Add rows to files, which are open only meanwhile: there may be thousands of stems."""
    for path, column in zip(part_files(stem), columns, strict=True):
        with path.open("ab", buffering=0) as file:
            file.write(column.tobytes())


class PartColumns(Mapping[str, tuple[np.ndarray, np.ndarray]]):
    """The columns of the chromosomes that have a part, (M,) each, mapped when they are asked for.

    kind : of the store that they are for
    """

    def __init__(self, parts: Mapping[str, Part | None], kind: str) -> None:
        self._parts = {chrom: part for chrom, part in parts.items() if part}
        self._dtypes = KINDS[kind].columns.values()
        self._stem: Path | None = None
        self._mapped: list[np.ndarray] = []

    def __getitem__(self, chrom: str) -> tuple[np.ndarray, np.ndarray]:
        part = self._parts[chrom]
        if part.stem != self._stem:
            files = zip(part_files(part.stem), self._dtypes, strict=True)
            self._stem, self._mapped = part.stem, [_mapped(*file) for file in files]
        first, second = self._mapped
        return first[part.first : part.end], second[part.first : part.end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def _mapped(path: Path, dtype: str) -> np.ndarray:
    if not path.exists() or not path.stat().st_size:
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, "r"))  # a plain view, which is sliced faster
