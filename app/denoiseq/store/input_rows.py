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
        reach = max(self.surroundings_bp, default=0)
        around = self.coverage(chrom, start - reach, end + reach, draw)
        rows = [around[None, reach : reach + end - start]]
        if self.genome is not None:
            with alone or nullcontext():
                rows.append(self.genome.one_hot(chrom, start, end))
        if reach:
            rows.append(self._surroundings(around, chrom, start, end))
        if depth is not None:
            rows.append(np.full((1, end - start), np.log2(depth), dtype=np.float32))
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def _surroundings(self, around: np.ndarray, chrom: str, start: int, end: int) -> np.ndarray:
        """The mean coverage around each base at every distance: float32 (distances, end - start).

        around : the coverage, the longest distance further on both sides, 0 off the chromosome
        """
        longest, size = max(self.surroundings_bp), self.store.chroms[chrom]
        sums = np.concatenate([[0.0], np.cumsum(around, dtype=np.float64)])  # exact for counts
        bases, rows = np.arange(start, end), []
        for reach in self.surroundings_bp:
            first = longest - reach
            total = sums[first + 2 * reach + 1 :][: end - start] - sums[first:][: end - start]
            inside = np.minimum(bases + reach + 1, size) - np.maximum(bases - reach, 0)
            rows.append((total / inside).astype(np.float32))
        return np.stack(rows)
