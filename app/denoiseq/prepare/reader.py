"""What an input format is: a class that streams its input into part files, with counts.

It has an entry in `run.READERS` and a setting of the same name; `run` does everything else.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Merged
from denoiseq.prepare.cut_sites import Fragments
from denoiseq.prepare.parts import Part
from denoiseq.settings import Prepare


@dataclass(frozen=True)
class Task:
    """What a reader reads, and where to.

    settings : filters; `shift` is the shift itself, never "auto"
    chroms : chrom -> bp, those to prepare, in the order of the FASTA
    folder : where part files go; it is removed once the stores are written
    advance : moves the progress bar on by a number of units
    """

    settings: Prepare
    chroms: Mapping[str, int]
    blacklist: Merged
    folder: Path
    advance: Callable[[int], object]


@dataclass(frozen=True)
class StoreParts:
    """What goes into one store: counts for its `.qc.json`, and the part files by chromosome."""

    path: Path
    qc: dict[str, Any]
    parts: Mapping[str, Part | None]


class Reader(Protocol):
    """An input, opened and checked against the FASTA when it is made.

    example, unit : a file name for messages, and what the progress bar counts
    paths, chroms : the input's files, and the chromosomes that it has
    preprocessing : what its stores record about the filters, known when all is read; `kind` is
        "coverage" of a track
    ends : chrom -> a sample of the fragments that `read` saw, to check the shift with; None where
        the input has no fragments
    """

    example: str
    unit: str
    paths: list[Path]
    chroms: Collection[str]
    preprocessing: dict[str, Any]
    ends: Mapping[str, Fragments] | None

    def __init__(self, settings: Prepare, genome: Mapping[str, int]) -> None: ...

    @staticmethod
    def own_sizes(settings: Prepare) -> Mapping[str, int]:
        """chrom -> bp by the input's own header; UserError where it has none."""

    def total(self, chroms: Mapping[str, int]) -> int | None:
        """Units that reading these chromosomes takes; None where that is not known."""

    def read(self, task: Task) -> list[StoreParts]:
        """Stream the input into part files; UserError where nothing is left of it."""


def beside(store: str | Path, ending: str) -> Path:
    """A file that goes with a store: cuts.log beside cuts.h5, rep.1.log beside one named rep.1."""
    store = Path(store)
    return store.with_name(store.name.removesuffix(_suffix(store)) + ending)


def _suffix(store: Path) -> str:
    """What is no part of a store's name: rep.1 and rep.2 are two names."""
    return store.suffix if store.suffix in (".h5", ".hdf5") else ""


def store_paths(out: str | Path, labels: Iterable[str]) -> dict[str, Path]:
    """A path for each of several stores: of cuts.h5 and "B cells", cuts.B_cells.h5."""
    out = Path(out)
    paths: dict[str, Path] = {}
    for label in labels:
        safe = re.sub(r"[^A-Za-z0-9._+-]", "_", label)
        path = beside(out, f".{safe}{_suffix(out)}")
        if path in paths.values():
            raise UserError(f"two inputs would both be written to {path}: rename one of them.")
        paths[label] = path
    return paths
