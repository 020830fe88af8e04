"""Several samples of one genome as one store, kept apart.

Chromosome chr1 of the second sample is called sample2/chr1: windows, labels, folds and metrics
meet more chromosomes and need not know that there are several samples.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from denoiseq.errors import UserError
from denoiseq.store.header import fingerprint
from denoiseq.store.store import Store
from denoiseq.store.thinning import Thinning


class Samples:
    """Samples of one genome; see `store.Store` for what they answer together.

    Parameters
    ----------
    samples : at least one, of equal chromosomes.

    Raises
    ------
    UserError : two samples are of different genomes.
    """

    def __init__(self, samples: Sequence[Store]) -> None:
        self.samples = list(samples)
        first = self.samples[0]
        for other in self.samples[1:]:
            if other.chroms != first.chroms:
                raise UserError(
                    f"{other.path} has other chromosomes than {first.path}: samples to learn from "
                    "together are prepared on one genome, with equal include and exclude."
                )
        numbered = list(enumerate(self.samples, start=1))
        self._homes = {f"sample{n}/{c}": (store, c) for n, store in numbered for c in store.chroms}
        self.plain_names = {name: chrom for name, (_, chrom) in self._homes.items()}
        self.chroms = {name: store.chroms[c] for name, (store, c) in self._homes.items()}
        self.blacklist = {
            name: store.blacklist[c]
            for name, (store, c) in self._homes.items()
            if c in store.blacklist
        }
        self.path, self.preprocessing = first.path, first.preprocessing
        self.provenance = first.provenance
        self.fingerprint = fingerprint({"samples": [store.fingerprint for store in self.samples]})
        self.thinnable = all(store.thinnable for store in self.samples)

    def home(self, chrom: str) -> tuple[Store, str]:
        return self._homes[chrom]

    def unmasked_bp(self, chrom: str) -> int:
        store, plain = self._homes[chrom]
        return store.unmasked_bp(plain)

    def coverage(
        self,
        chrom: str,
        start: int,
        end: int,
        half_window_bp: int = 0,
        thinning: Thinning | None = None,
    ) -> np.ndarray:
        store, plain = self._homes[chrom]
        return store.coverage(plain, start, end, half_window_bp, thinning)

    def cuts(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        store, plain = self._homes[chrom]
        return store.cuts(plain, start, end)

    def signal(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        store, plain = self._homes[chrom]
        return store.signal(plain, start, end)

    def depths(self, half_window_bp: int) -> list[float]:
        return [depth for store in self.samples for depth in store.depths(half_window_bp)]

    def fragment_sizes(
        self, thinning: Thinning | None = None, chroms: Iterable[str] | None = None
    ) -> np.ndarray:
        """(0,): one histogram would mix the samples' lengths."""
        return np.zeros(0, dtype=np.int64)

    def describe(self) -> str:
        return "; ".join(store.describe() for store in self.samples)

    def facts(self) -> dict[str, Any]:
        return {"samples": [store.facts() for store in self.samples]}
