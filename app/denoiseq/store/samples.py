"""Several samples of one genome as one store, kept apart.

Chromosome chr1 of the second sample is called sample2/chr1: windows, labels, folds and metrics
meet more chromosomes and need not know that there are several samples.
"""

from collections.abc import Sequence

from denoiseq.errors import UserError
from denoiseq.store.cut_store import Store
from denoiseq.store.header import fingerprint


class Samples:
    """Stores of one genome under one roof.

    Parameters
    ----------
    stores : at least one, of equal chromosomes.

    Attributes
    ----------
    stores : list
    chroms : dict, sampleN/chrom -> size in bp, sample after sample
    plain : dict, sampleN/chrom -> chrom
    blacklist : dict like that of a store, under these names
    path, preprocessing : of the first store
    fingerprint : str, over those of all

    Raises
    ------
    ValueError : two samples are of different genomes.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = list(stores)
        first = self.stores[0]
        for other in self.stores[1:]:
            if other.chroms != first.chroms:
                raise UserError(
                    f"{other.path} has other chromosomes than {first.path}: samples to learn from "
                    "together are prepared on one genome, with equal include and exclude."
                )
        numbered = list(enumerate(self.stores, start=1))
        self._homes = {f"sample{n}/{c}": (store, c) for n, store in numbered for c in store.chroms}
        self.plain = {name: chrom for name, (_, chrom) in self._homes.items()}
        self.chroms = {name: store.chroms[c] for name, (store, c) in self._homes.items()}
        self.blacklist = {
            name: store.blacklist[c]
            for name, (store, c) in self._homes.items()
            if c in store.blacklist
        }
        self.path, self.preprocessing = first.path, first.preprocessing
        self.fingerprint = fingerprint({"samples": [store.fingerprint for store in self.stores]})

    def home(self, chrom: str) -> tuple[Store, str]:
        """The store that holds a chromosome, and the chromosome's name there."""
        return self._homes[chrom]

    def unmasked_bp(self, chrom: str) -> int:
        """Bases of a chromosome outside the blacklist."""
        store, plain = self._homes[chrom]
        return store.unmasked_bp(plain)


def samples_of(store: Store | Samples) -> list[Store]:
    """The stores of the samples in `store`, which may be one sample itself."""
    return store.stores if isinstance(store, Samples) else [store]


def plain_names(store: Store | Samples) -> dict[str, str]:
    """Every chromosome of `store` -> its name in the genome."""
    return store.plain if isinstance(store, Samples) else {chrom: chrom for chrom in store.chroms}
