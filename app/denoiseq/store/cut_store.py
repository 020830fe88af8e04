"""The cut-site store: one HDF5 file of sorted cut sites with the fragment each belongs to.

Owns the data's layout and the stateless thinning of fragments. Knows nothing of BAM files. A
store is about 8 bytes a cut; coverage of any depth is made from it on the fly.

Layout (version 1): the header of `storefile`; `/cuts`, `/fragments` uint32, chromosomes one after
another; attribute `n_fragments`.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Merged
from denoiseq.store.coverage_store import CoverageStore
from denoiseq.store.header import (
    Header,
    blacklist_sha256,
    fingerprint,
    kind_of,
    new_store,
    open_hdf5,
)
from denoiseq.store.thinning import Thinning

__all__ = [
    "CoverageStore",
    "CutStore",
    "Store",
    "Thinning",
    "blacklist_sha256",
    "fingerprint",
    "open_store",
    "write_store",
]

_COPY_CUTS = 1 << 20
_IDS = 1 << 32


def write_store(
    path: str | Path,
    sizes: Mapping[str, int],
    cuts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    blacklist: Merged,
    preprocessing: Mapping[str, object],
    provenance: Mapping[str, object],
) -> None:
    """Write a store atomically; memory does not grow with its size.

    Parameters
    ----------
    sizes : chrom -> bp, in the order to keep.
    cuts : chrom -> (positions (M,) ascending, fragment ids (M,) counted from 0 within the
        chromosome without holes); arrays or memory maps. A chromosome may be absent: no cuts.
    blacklist : merged intervals whose cuts were left out.
    """
    lengths = [len(cuts[c][0]) if c in cuts else 0 for c in sizes]
    head = (sizes, lengths, blacklist, preprocessing, provenance)
    with new_store(path, "cuts", *head) as (file, offsets):
        file.attrs["n_fragments"] = _write_cuts(file, sizes, cuts, offsets)


def _write_cuts(
    file: h5py.File,
    sizes: Mapping[str, int],
    cuts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    offsets: np.ndarray,
) -> int:
    """Copy cuts chunk by chunk, numbering fragments through the genome; return their number."""
    positions_out = file.create_dataset("cuts", (int(offsets[-1]),), "<u4")
    fragments_out = file.create_dataset("fragments", (int(offsets[-1]),), "<u4")
    first_id = 0
    for chrom, offset in zip(sizes, offsets, strict=False):
        positions, fragments = cuts.get(chrom, (np.empty(0), np.empty(0)))
        n_local = 0
        for at in range(0, len(positions), _COPY_CUTS):
            chunk = slice(at, min(at + _COPY_CUTS, len(positions)))
            target = slice(offset + chunk.start, offset + chunk.stop)
            local = np.asarray(fragments[chunk], dtype=np.int64)
            n_local = max(n_local, int(local.max()) + 1)
            if first_id + n_local > _IDS:
                raise UserError(f"more than {_IDS} fragments: prepare fewer chromosomes.")
            positions_out[target] = positions[chunk]
            fragments_out[target] = (local + first_id).astype(np.uint32)
        first_id += n_local
    return first_id


class CutStore:
    """A cut-site store, opened for reading.

    The cuts are memory-mapped at their place in the file and the HDF5 handle is closed at once:
    an object may be pickled, sent to workers or forked, and each process maps the file by itself.

    Attributes
    ----------
    path : Path
    chroms : dict, name -> size in bp, in the order of the genome
    blacklist : dict, name -> int64 (M, 2), merged
    preprocessing, provenance : dict
    fingerprint : str, SHA-256 of `preprocessing`
    n_cuts, n_fragments : int
    cuts_per_mb : float, over the bases outside the blacklist of the chromosomes that have cuts

    Raises
    ------
    FileNotFoundError : no such file.
    ValueError : the file is not a store, is of another version, or is truncated.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_hdf5(path, "cuts") as file:
            head = Header(self.path, file, "cuts")
            self.n_fragments = int(file.attrs["n_fragments"])
            self._places = [head.place(file[name]) for name in ("cuts", "fragments")]
        self._head = head
        self.chroms, self.blacklist, self.n_cuts = head.chroms, head.blacklist, head.rows
        self.preprocessing, self.provenance = head.preprocessing, head.provenance
        self.fingerprint = head.fingerprint
        self._maps: list[np.ndarray] | None = None

    @property
    def cuts_per_mb(self) -> float:
        filled = [c for c, (first, last) in self._head.slices.items() if last > first]
        bases = sum(self.unmasked_bp(c) for c in filled)
        return 1e6 * self.n_cuts / bases if bases else 0.0

    def unmasked_bp(self, chrom: str) -> int:
        """Bases of a chromosome outside the blacklist."""
        return self._head.unmasked_bp(chrom)

    def cuts(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut sites with start <= position < end; the bounds may lie outside the chromosome.

        Returns
        -------
        positions : int64 (M,), ascending
        fragment_ids : uint64 (M,), unique in the genome; both cuts of a fragment carry one id
        """
        first, last = self._head.bounds(chrom)
        if self._maps is None:
            self._maps = [self._head.map(place, "<u4") for place in self._places]
        positions = self._maps[0][first:last]
        bounds = np.clip([start, end], 0, _IDS - 1).astype(np.uint32)
        low, high = np.searchsorted(positions, bounds)
        fragments = self._maps[1][first + low : first + high]
        return positions[low:high].astype(np.int64), fragments.astype(np.uint64)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": None}


Store = CutStore | CoverageStore


def open_store(path: str | Path) -> Store:
    """The store at `path`, of whichever kind it is; raises as the two classes do."""
    return CoverageStore(path) if kind_of(path) == "coverage" else CutStore(path)
