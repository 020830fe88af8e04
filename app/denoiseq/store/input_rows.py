"""A network's input for any stretch of a chromosome: the rows that `settings.data.Rows` names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from denoiseq.genomics.fasta import Genome
from denoiseq.store.store import Store
from denoiseq.store.thinning import Thinning


@dataclass(frozen=True)
class InputRows:
    """What a network reads of a store: its coverage, and further rows where they are asked for.

    half_window_bp : a cut site covers the bases up to this far on each side
    genome : adds the bases A, C, G and T
    surroundings_bp : adds for each the mean coverage up to so far on each side of a base, of the
        bases inside the chromosome
    """

    store: Store
    half_window_bp: int
    genome: Genome | None = None
    surroundings_bp: Sequence[int] = ()

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
        reach, size = max(self.surroundings_bp, default=0), self.store.chroms[chrom]
        first, last = max(start - reach, 0), min(end + reach, size)
        around = self.coverage(chrom, first, last, draw)
        rows = [around[None, start - first : end - first]]
        if self.genome is not None:
            with alone or nullcontext():
                rows.append(self.genome.one_hot(chrom, start, end))
        if reach:
            rows.append(self._surroundings(around, first, np.arange(start, end)))
        if depth is not None:
            rows.append(np.full((1, end - start), np.log2(depth), dtype=np.float32))
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def _surroundings(self, around: np.ndarray, first: int, bases: np.ndarray) -> np.ndarray:
        """The mean coverage around each base at every distance: float32 (distances, bases).

        around : the coverage from base `first` on, as far as the longest distance or the
            chromosome reaches
        """
        sums = np.concatenate([[0.0], np.cumsum(around, dtype=np.float64)])  # exact for counts
        rows = []
        for reach in self.surroundings_bp:
            low = np.maximum(bases - reach - first, 0)
            high = np.minimum(bases + reach + 1 - first, len(around))
            rows.append(((sums[high] - sums[low]) / (high - low)).astype(np.float32))
        return np.stack(rows)
