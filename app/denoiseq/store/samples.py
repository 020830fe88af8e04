"""Several samples of one genome as one store: chr1 of the second sample is called sample2/chr1."""

from collections.abc import Sequence

import numpy as np

from denoiseq.errors import UserError
from denoiseq.store.header import fingerprint
from denoiseq.store.store import Sample
from denoiseq.store.thinning import Thinning


class Samples:
    """At least one sample of one genome; `store.Store` says what they answer together.

    `path`, `preprocessing` and `provenance` are those of the first.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
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

    def home(self, chrom: str) -> tuple[Sample, str]:
        return self._homes[chrom]

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

    def signal(
        self, chrom: str, start: int, end: int, thinning: Thinning | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        store, plain = self._homes[chrom]
        return store.signal(plain, start, end, thinning)

    def depths(self, half_window_bp: int) -> list[float]:
        return [depth for store in self.samples for depth in store.depths(half_window_bp)]
