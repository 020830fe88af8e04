"""The protocol of stores, and how to open one. No other package asks which class a store is."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from denoiseq.genomics.intervals import Merged
from denoiseq.store.coverage_store import CoverageStore
from denoiseq.store.cut_store import CutStore
from denoiseq.store.header import kind_of
from denoiseq.store.thinning import Thinning

log = logging.getLogger(__name__)


class Store(Protocol):
    """What one sample answers, and several side by side (`Samples`), of which the first one's
    path, preprocessing and provenance count.

    chroms : chrom -> size in bp, in the order of the genome
    plain_names : chrom -> its name in the genome, which differs where samples are side by side
    blacklist : merged intervals
    preprocessing : what decides what a store holds; `fingerprint` is its SHA-256
    provenance : what it was made from, and with, and what there was to warn of
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
    thinnable: bool

    @property
    def samples(self) -> Sequence["Sample"]: ...

    def home(self, chrom: str) -> tuple["Sample", str]:
        """The sample that holds a chromosome, and the chromosome's name there."""

    def coverage(
        self,
        chrom: str,
        start: int,
        end: int,
        half_window_bp: int = 0,
        thinning: Thinning | None = None,
    ) -> np.ndarray:
        """Coverage of [start, end): float32 (end - start,), 0 outside the chromosome."""

    def cuts(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut sites in [start, end), int64 (M,) ascending, and fragments' ids, uint64 (M,)."""

    def signal(
        self, chrom: str, start: int, end: int, thinning: Thinning | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ascending positions in [start, end) and what each counts: (M,) both."""

    def depths(self, half_window_bp: int) -> list[float]:
        """Cut sites per Mb of each sample; of a track what its mean coverage corresponds to."""


class Sample(Store, Protocol):
    """What the store of one sample answers beside that: a `CutStore` or a `CoverageStore`.

    unit : what its values are whole multiples of, as `counts.unit_of` has it: 1 of counts; `depths`
        is the depth of those alone
    """

    @property
    def unit(self) -> float | None: ...

    def at_depth(self, cuts_per_mb: float, half_window_bp: int) -> "Sample":
        """A track scaled so that its `depths` is `cuts_per_mb`, one of zeros as it is; UserError
        of cut sites, whose depth is counted.
        """

    def fragment_sizes(
        self, thinning: Thinning | None = None, chroms: Iterable[str] | None = None
    ) -> np.ndarray:
        """Fragments by length: int64, [n] = those of n bp; empty where lengths are not known."""

    def describe(self) -> str:
        """Where it is and how much it holds, for the log."""

    def facts(self) -> dict[str, Any]:
        """What a summary says of it: input files, counts, fingerprint, preprocessing."""


def open_store(path: str | Path) -> Sample:
    """The store at `path`, of whichever kind it is; what preparing it warned of is logged again."""
    store = CoverageStore(path) if kind_of(path) == "coverage" else CutStore(path)
    for sentence in store.provenance.get("warnings", ()):
        log.warning("%s", sentence)
    return store
