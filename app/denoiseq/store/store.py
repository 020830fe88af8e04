"""What every store answers, whatever it holds, and how to open the one at a path.

Code outside of this package asks a `Store` and never which class it is.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from denoiseq.genomics.intervals import Merged
from denoiseq.store.coverage_store import CoverageStore
from denoiseq.store.cut_store import CutStore
from denoiseq.store.header import kind_of
from denoiseq.store.thinning import Thinning


class Store(Protocol):
    """A sample (`CutStore`, `CoverageStore`), or several side by side (`Samples`).

    Attributes
    ----------
    path : of several samples, the first one's; so are preprocessing and provenance
    chroms : chrom -> size in bp, in the order of the genome
    plain_names : chrom -> its name in the genome, which differs where samples are side by side
    blacklist : merged intervals
    preprocessing : what decides what a store holds; `fingerprint` is its SHA-256
    provenance : what it was made from, and with
    samples : the stores of single samples
    thinnable : whether it holds fragments, so that `cuts` and a thinning are possible
    """

    path: Path
    chroms: dict[str, int]
    plain_names: dict[str, str]
    blacklist: Merged
    preprocessing: dict[str, Any]
    provenance: dict[str, Any]
    fingerprint: str

    @property
    def samples(self) -> Sequence["Store"]: ...

    @property
    def thinnable(self) -> bool: ...

    def home(self, chrom: str) -> tuple["Store", str]:
        """The sample that holds a chromosome, and the chromosome's name there."""

    def unmasked_bp(self, chrom: str) -> int:
        """Bases of a chromosome outside the blacklist."""

    def coverage(
        self,
        chrom: str,
        start: int,
        end: int,
        half_window_bp: int = 0,
        thinning: Thinning | None = None,
    ) -> np.ndarray:
        """Coverage of [start, end): float32 (end - start,), 0 outside the chromosome.

        Of cut sites, each counts over its window of 2 * half_window_bp + 1 bp, also if it lies
        outside of [start, end): a base has one value whatever is asked. A track is given as it is,
        and raises UserError with a thinning.
        """

    def cuts(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut sites in [start, end) and their fragments' ids; UserError of a track."""

    def signal(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Ascending positions in [start, end) and what each counts: (M,) both.

        Cut sites count 1 each, bases of a track their coverage.
        """

    def depths(self, half_window_bp: int) -> list[float]:
        """Cut sites per Mb of each sample, over the bases outside the blacklist.

        Of a track, the number that gives its mean coverage with windows of 2h + 1 bp.
        """

    def fragment_sizes(
        self, thinning: Thinning | None = None, chroms: Iterable[str] | None = None
    ) -> np.ndarray:
        """Fragments by length: int64, [n] = those of n bp; empty where lengths are not known."""

    def describe(self) -> str:
        """Where it is and how much it holds, for the log."""

    def facts(self) -> dict[str, Any]:
        """What a summary says of it: input files, counts, fingerprint, preprocessing."""


def open_store(path: str | Path) -> Store:
    """The store at `path`, of whichever kind it is; raises as the two classes do."""
    return CoverageStore(path) if kind_of(path) == "coverage" else CutStore(path)
