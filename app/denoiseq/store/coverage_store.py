"""The coverage store: one HDF5 file of a coverage track as runs of equal values.

For tracks whose reads are not at hand: coverage of one depth, which cannot be thinned.

Layout (version 1): what `header` describes; `/starts` uint32 and `/values` float32, the first
base and the value of each run, chromosomes one after another. The runs of a chromosome that has
any cover it from base 0 on, zeros included, so the end of one is the start of the next; about 8
bytes a run, opened at once and sliced by a binary search.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Merged, unmasked_bp
from denoiseq.store.counts import unit_of
from denoiseq.store.hdf5 import open_hdf5
from denoiseq.store.header import KINDS, Header
from denoiseq.store.thinning import Thinning
from denoiseq.store.writer import RowWriter, new_store

_SAMPLED = 1 << 17  # runs that tell whether a track holds counts


def runs_of(values: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal values from base `start` on, NaN as 0: uint32 starts and float32 values."""
    values = np.asarray(values, dtype=np.float32)
    values = np.where(np.isnan(values), np.float32(0), values)
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
    return (first + start).astype(np.uint32), values[first]


def write_coverage_store(
    path: str | Path,
    sizes: Mapping[str, int],
    runs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    blacklist: Merged,
    preprocessing: Mapping[str, object],
    provenance: Mapping[str, object],
) -> None:
    """Write a coverage store atomically; sizes: chrom -> bp, in the order to keep.

    runs : chrom -> (starts (R,) strictly ascending from 0, values (R,)); arrays or memory maps.
        A chromosome may be absent: coverage 0.
    blacklist : where the coverage was set to 0.
    """
    head = (sizes, runs, blacklist, preprocessing, provenance)
    with new_store(path, "coverage", *head) as file:
        rows = RowWriter(file, KINDS["coverage"].columns, sizes)
        for chrom in sizes:
            if chrom in runs:
                rows.add(chrom, *runs[chrom])
        rows.finish()


class CoverageStore:
    """A coverage store, opened for reading; `store.Sample` says what it answers.

    scale : what every value is multiplied by
    """

    thinnable = False

    def __init__(self, path: str | Path, scale: float = 1.0) -> None:
        self.path, self._scale = Path(path), scale
        with open_hdf5(path, KINDS["coverage"].noun) as file:
            head = Header(self.path, file, "coverage")
        self._head = head
        self.chroms, self.blacklist, self.n_runs = head.chroms, head.blacklist, head.rows
        self.preprocessing, self.provenance = head.preprocessing, head.provenance
        self.fingerprint, self.plain_names = head.fingerprint, {c: c for c in head.chroms}

    @property
    def samples(self) -> list["CoverageStore"]:
        return [self]

    def home(self, chrom: str) -> tuple["CoverageStore", str]:
        return self, chrom

    @cached_property
    def mean_coverage(self) -> float:
        """Over the bases outside the blacklist of the chromosomes that have runs."""
        total, bases = 0.0, 0
        for chrom in self.chroms:
            starts, values = self._head.columns(chrom)
            if len(starts):
                lengths = np.diff(starts, append=np.uint32(self.chroms[chrom]))
                total += float(np.dot(values.astype(np.float64), lengths))
                bases += unmasked_bp(self.chroms, self.blacklist, chrom)
        return self._scale * total / bases if bases else 0.0

    @cached_property
    def unit(self) -> float | None:
        """What `unit_of` says of runs above 0 in equal steps along all chromosomes."""
        step = self.n_runs // _SAMPLED + 1
        sample = [np.empty(0, dtype=np.float32)]
        for chrom in self.chroms:
            values = self._head.columns(chrom)[1]
            sample.append(values[values > 0][::step])
        return unit_of(np.concatenate(sample) * self._scale)

    def coverage(
        self,
        chrom: str,
        start: int,
        end: int,
        half_window_bp: int = 0,
        thinning: Thinning | None = None,
    ) -> np.ndarray:
        """The scaled track, whatever `half_window_bp`; UserError with a thinning."""
        if thinning is not None:
            self._refuse("it cannot be thinned")
        starts, values = self._head.columns(chrom)
        track = np.zeros(max(end - start, 0), dtype=np.float32)
        low, high = max(start, 0), min(end, self.chroms[chrom])
        if len(starts) == 0 or low >= high:
            return track
        bounds = np.array([low, high - 1], dtype=np.uint32)
        opening, closing = np.searchsorted(starts, bounds, side="right")
        edges = np.concatenate([[low], starts[opening:closing], [high]]).astype(np.int64)
        runs = self._scale * values[opening - 1 : closing]
        track[low - start : high - start] = np.repeat(runs, np.diff(edges))
        return track

    def cuts(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        self._refuse("it has no cut sites")

    def _refuse(self, reason: str) -> NoReturn:
        raise UserError(f"{self.path} holds coverage, not fragments: {reason}.")

    def signal(
        self, chrom: str, start: int, end: int, thinning: Thinning | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """All positions, and the coverage of each; UserError with a thinning."""
        track = self.coverage(chrom, start, end, thinning=thinning)
        return np.arange(start, end), track.astype(np.float64)

    def depths(self, half_window_bp: int) -> list[float]:
        """The number that gives its mean coverage with windows of 2h + 1 bp."""
        return [1e6 * self.mean_coverage / (2 * half_window_bp + 1)]

    def at_depth(self, cuts_per_mb: float, half_window_bp: int) -> "CoverageStore":
        (measured,) = self.depths(half_window_bp)
        return CoverageStore(self.path, self._scale * cuts_per_mb / (measured or cuts_per_mb))

    def fragment_sizes(
        self, thinning: Thinning | None = None, chroms: Iterable[str] | None = None
    ) -> np.ndarray:
        return np.zeros(0, dtype=np.int64)

    def describe(self) -> str:
        return f"store {self.path}: coverage of {self.n_runs:,} runs"

    def facts(self) -> dict[str, Any]:
        return self._head.facts()
