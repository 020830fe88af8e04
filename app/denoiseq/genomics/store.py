"""The cut-site store: one HDF5 file of sorted cut sites with the fragment each belongs to.

Owns the file's layout, its fingerprint, and the stateless thinning of fragments. Knows nothing
of BAM files. A store is about 8 bytes a cut; coverage of any depth is made from it on the fly.

Layout (version 1): `/cuts`, `/fragments` uint32, chromosomes one after another; `/chroms/names`,
`/chroms/sizes`, `/chroms/offsets` (C + 1); `/blacklist/chroms`, `/blacklist/bounds` (M, 2);
`/preprocessing`, `/provenance` JSON texts (datasets, since an attribute ends at 64 KB and a
genome of many contigs does not); attributes `format`, `version`, `fingerprint`, `n_fragments`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from denoiseq.atomic import atomic_path
from denoiseq.genomics.intervals import Interval, Merged, covered_bp, merge

FORMAT = "denoiseq-cuts"
VERSION = 1
_COPY_CUTS = 1 << 20
_IDS = 1 << 32


@dataclass(frozen=True)
class Thinning:
    """A seeded random subset of fragments that depends on nothing but this and a fragment's id.

    Equal over workers, windows, ranks and resumed runs; both cuts of a fragment go together. For
    one (seed, epoch) a smaller fraction keeps a subset of what a larger one keeps.

    Parameters
    ----------
    fraction : share of the fragments that the draw takes, 0 to 1.
    seed, epoch : whole numbers >= 0; another epoch is another independent draw.
    complement : keep what the draw did not take.
    """

    fraction: float
    seed: int
    epoch: int = 0
    complement: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"a thinning fraction lies in 0 to 1, got {self.fraction}.")
        if self.seed < 0 or self.epoch < 0:
            raise ValueError(f"seed and epoch must be >= 0, got {self.seed} and {self.epoch}.")

    def keep(self, fragment_ids: np.ndarray) -> np.ndarray:
        """Mark the fragments to keep: bool, the shape of `fragment_ids`."""
        threshold = int(self.fraction * 2.0**64)
        ids = np.asarray(fragment_ids).astype(np.uint64)
        if threshold >= 2**64:
            drawn = np.ones(ids.shape, dtype=bool)
        else:
            seed_key = _mix(np.array([self.seed % 2**64], dtype=np.uint64))
            key = _mix(seed_key ^ np.array([self.epoch % 2**64], dtype=np.uint64))
            drawn = _mix(_mix(ids) ^ key) < np.uint64(threshold)
        return drawn ^ self.complement


def _mix(x: np.ndarray) -> np.ndarray:
    """One step of SplitMix64 (Steele, Lea, Flood 2014): uint64, any shape; wraps on purpose."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def fingerprint(preprocessing: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of `preprocessing`: equal if and only if the contents are."""
    canonical = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def blacklist_sha256(blacklist: Merged) -> str:
    """SHA-256 of merged intervals, whatever file, order or overlap they came in."""
    rows = [f"{c}\t{s}\t{e}\n" for c in sorted(blacklist) for s, e in blacklist[c]]
    return hashlib.sha256("".join(rows).encode()).hexdigest()


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
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    text = h5py.string_dtype()
    rows = [(c, s, e) for c in blacklist for s, e in blacklist[c]]
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["chroms/names"] = np.array(list(sizes), dtype=text)
        file["chroms/sizes"] = np.array(list(sizes.values()), dtype=np.int64)
        file["chroms/offsets"] = offsets
        file["blacklist/chroms"] = np.array([row[0] for row in rows], dtype=text)
        file["blacklist/bounds"] = np.array([row[1:] for row in rows], np.int64).reshape(-1, 2)
        file["preprocessing"] = json.dumps(preprocessing, sort_keys=True, allow_nan=False)
        file["provenance"] = json.dumps(provenance, sort_keys=True, allow_nan=False)
        n_fragments = _write_cuts(file, sizes, cuts, offsets)
        attributes = {"version": VERSION, "n_fragments": n_fragments, "format": FORMAT}
        file.attrs.update(attributes | {"fingerprint": fingerprint(preprocessing)})


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
                raise ValueError(f"more than {_IDS} fragments: prepare fewer chromosomes.")
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
        if not self.path.is_file():
            raise FileNotFoundError(f"no such cut-site store: {path}; prepare makes one.")
        try:
            with h5py.File(self.path, "r") as file:
                self._read(file)
        except (OSError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{path} is not a cut-site store, or it is truncated; make it again with prepare."
            ) from error
        self._maps: tuple[np.ndarray, np.ndarray] | None = None

    def _read(self, file: h5py.File) -> None:
        if file.attrs.get("format") != FORMAT:
            raise KeyError("format")
        version = int(file.attrs["version"])
        if version != VERSION:
            raise ValueError(
                f"{self.path} is a cut-site store of version {version}, this program reads "
                f"version {VERSION}; make it again with prepare."
            )
        names = [str(name) for name in file["chroms/names"].asstr()[:]]
        self.chroms = dict(zip(names, map(int, file["chroms/sizes"][:]), strict=True))
        offsets = file["chroms/offsets"][:].tolist()
        self._slices = dict(zip(names, pairwise(offsets), strict=True))
        rows = zip(file["blacklist/chroms"].asstr()[:], file["blacklist/bounds"][:], strict=True)
        self.blacklist = merge(Interval(str(c), int(s), int(e)) for c, (s, e) in rows)
        self.preprocessing = json.loads(file["preprocessing"].asstr()[()])
        self.provenance = json.loads(file["provenance"].asstr()[()])
        self.fingerprint = str(file.attrs["fingerprint"])
        self.n_cuts = int(offsets[-1])
        self.n_fragments = int(file.attrs["n_fragments"])
        self._places = [self._place(file[name]) for name in ("cuts", "fragments")]

    def _place(self, dataset: h5py.Dataset) -> int:
        """Byte offset of a contiguous dataset in the file."""
        offset = dataset.id.get_offset() if self.n_cuts else 0
        end = None if offset is None else offset + 4 * self.n_cuts
        if dataset.shape != (self.n_cuts,) or end is None or end > self.path.stat().st_size:
            raise OSError("cuts are missing")
        return offset

    @property
    def cuts_per_mb(self) -> float:
        filled = [c for c, (first, last) in self._slices.items() if last > first]
        bases = sum(self.unmasked_bp(c) for c in filled)
        return 1e6 * self.n_cuts / bases if bases else 0.0

    def unmasked_bp(self, chrom: str) -> int:
        """Bases of a chromosome outside the blacklist."""
        return self.chroms[chrom] - covered_bp(self.blacklist, chrom, self.chroms[chrom])

    def cuts(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut sites with start <= position < end; the bounds may lie outside the chromosome.

        Returns
        -------
        positions : int64 (M,), ascending
        fragment_ids : uint64 (M,), unique in the genome; both cuts of a fragment carry one id
        """
        if chrom not in self._slices:
            raise ValueError(f"{self.path} has no chromosome {chrom}: {', '.join(self.chroms)}.")
        if self._maps is None:
            self._maps = self._map(self._places[0]), self._map(self._places[1])
        first, last = self._slices[chrom]
        positions = self._maps[0][first:last]
        bounds = np.clip([start, end], 0, _IDS - 1).astype(np.uint32)
        low, high = np.searchsorted(positions, bounds)
        fragments = self._maps[1][first + low : first + high]
        return positions[low:high].astype(np.int64), fragments.astype(np.uint64)

    def _map(self, offset: int) -> np.ndarray:
        if self.n_cuts == 0:
            return np.empty(0, dtype=np.uint32)
        mapped = np.memmap(self.path, "<u4", "r", offset, (self.n_cuts,))
        return np.asarray(mapped)  # a plain view: slicing a memmap object costs microseconds

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": None}
