"""Part files: the two columns of a chromosome's rows, on disk until the store is written."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from denoiseq.store.header import KINDS


def part_files(part: Path) -> tuple[Path, Path]:
    """The files of a part, one a column of the store."""
    return part.with_suffix(".0"), part.with_suffix(".1")


def append(part: Path, *columns: np.ndarray) -> None:
    """Add rows to a part, whose files are open only meanwhile: there may be thousands."""
    for path, column in zip(part_files(part), columns, strict=True):
        with path.open("ab") as file:
            file.write(column.tobytes())


def map_parts(
    parts: Mapping[str, Path | None], kind: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The columns of the chromosomes that have a part, (M,) each, mapped from its files."""
    first, second = KINDS[kind].columns.values()
    files = {chrom: part_files(part) for chrom, part in parts.items() if part}
    return {c: (_mapped(a, first), _mapped(b, second)) for c, (a, b) in files.items()}


def _mapped(path: Path, dtype: str) -> np.ndarray:
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)
