"""A network's input for any stretch of a chromosome: the rows that `settings.data.Rows` names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from denoiseq.genomics.fasta import Genome
from denoiseq.genomics.intervals import mask
from denoiseq.settings import Data
from denoiseq.store.store import Store
from denoiseq.store.thinning import Thinning

BACKGROUND_WINDOWS = 16  # lengths of a window whose coverage the background is given as


@dataclass(frozen=True)
class InputRows:
    """What a network reads of a store: its coverage, and further rows where they are asked for.

    half_window_bp : a cut site covers the bases up to this far on each side
    genome : adds the bases A, C, G and T
    background_bp : adds the background up to so far on each side of a base, the coverage of
        windows 16 times as long, which is a count well above 0 in shallow samples too. It is told
        by the share of bases without any coverage (Poisson's, of bases outside the blacklist),
        which peaks hardly change
    surroundings_bp : adds for each the mean coverage up to so far on each side of a base, of the
        bases inside the chromosome
    """

    store: Store
    half_window_bp: int
    genome: Genome | None = None
    background_bp: int | None = None
    surroundings_bp: Sequence[int] = ()

    @classmethod
    def of(cls, store: Store, data: Data, genome: Genome | None) -> InputRows:
        """What a training with these settings reads of a store."""
        around = data.background_bp, tuple(data.surroundings_bp)
        return cls(store, data.half_window_bp, genome, *around)

    def coverage(
        self, chrom: str, start: int, end: int, draw: Thinning | None = None
    ) -> np.ndarray:
        """The coverage of [start, end) by the fragments of a draw (None: all): float32 (W,)."""
        return self.store.coverage(chrom, start, end, self.half_window_bp, draw)

    def read(
        self,
        chrom: str,
        start: int,
        end: int,
        draw: Thinning | None = None,
        depth: float | None = None,
        alone: AbstractContextManager | None = None,
    ) -> np.ndarray:
        """The network's input of [start, end), inside the chromosome: float32 (C, W).

        depth : input depth over the depth of the answer; its log2 is the last row; None: no row
        alone : held while bases are read
        """
        size = self.store.chroms[chrom]
        reach = max(self.background_bp or 0, *self.surroundings_bp, 0)
        first, last = max(start - reach, 0), min(end + reach, size)
        around = self.coverage(chrom, first, last, draw)
        rows = [around[None, start - first : end - first]]
        if self.genome is not None:
            with alone or nullcontext():
                rows.append(self.genome.one_hot(chrom, start, end))
        bases = np.arange(start, end) - first
        if self.background_bp is not None:
            counted = ~mask(self.store.blacklist, chrom, first, last)
            rows.append(self._background(around, counted, bases))
        if self.surroundings_bp:
            rows.append(self._surroundings(around, bases))
        if depth is not None:
            rows.append(np.full((1, end - start), np.log2(depth), dtype=np.float32))
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def _background(self, around: np.ndarray, counted: np.ndarray, bases: np.ndarray) -> np.ndarray:
        """The background at each base: float32 (1, bases).

        around, counted : the coverage, and whether it counts, as far as the distance or the
            chromosome reaches; `bases` are places in them
        """
        assert self.background_bp is not None
        n, _ = _sums_around(counted, bases, self.background_bp)
        empty, _ = _sums_around(counted & (around == 0), bases, self.background_bp)
        coverage = -np.log((empty + 1) / (n + 1))
        return (BACKGROUND_WINDOWS * coverage).astype(np.float32)[None]

    def _surroundings(self, around: np.ndarray, bases: np.ndarray) -> np.ndarray:
        """The mean coverage around each base at every distance: float32 (distances, bases).

        around, bases : as for the background
        """
        rows = []
        for reach in self.surroundings_bp:
            sums, n = _sums_around(around, bases, reach)
            rows.append((sums / n).astype(np.float32))
        return np.stack(rows)


def _sums_around(
    values: np.ndarray, bases: np.ndarray, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of `values` up to `reach` on each side of each base, and of how many: (bases,)."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])  # exact for counts
    low = np.maximum(bases - reach, 0)
    high = np.minimum(bases + reach + 1, len(values))
    return sums[high] - sums[low], high - low
