"""The cut-site store: one HDF5 file of sorted cut sites with the fragment each belongs to.

About 8 bytes a cut; coverage of any depth is made from it on the fly. Layout (version 1): what
`header` describes; `/cuts`, `/fragments` uint32, chromosomes one after another; attribute
`n_fragments`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Merged, unmasked_bp
from denoiseq.settings.prepare import SHIFTS
from denoiseq.store.hdf5 import attribute, check, damaged, open_hdf5
from denoiseq.store.header import KINDS, Header
from denoiseq.store.thinning import Thinning
from denoiseq.store.writer import RowWriter, new_store

_COPY_CUTS = 1 << 20
_CHUNK_BP = 1 << 22
_IDS = 1 << 32


def write_store(
    path: str | Path,
    sizes: Mapping[str, int],
    cuts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    blacklist: Merged,
    preprocessing: Mapping[str, object],
    provenance: Mapping[str, object],
) -> None:
    """Write a store atomically; sizes: chrom -> bp, in the order to keep.

    cuts : chrom -> (positions (M,) ascending, fragment ids (M,) counted from 0 within the
        chromosome without holes); arrays or memory maps. A chromosome may be absent: no cuts.
    blacklist : where cuts were left out.
    """
    head = (sizes, cuts, blacklist, preprocessing, provenance)
    with new_store(path, "cuts", *head) as file:
        file.attrs["n_fragments"] = _write_cuts(file, sizes, cuts)


def _write_cuts(
    file: h5py.File,
    sizes: Mapping[str, int],
    cuts: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> int:
    """Copy cuts chunk by chunk, numbering fragments through the genome; return their number."""
    first_id = 0
    rows = RowWriter(file, KINDS["cuts"].columns, sizes)
    for chrom in sizes:
        if chrom not in cuts:
            continue
        positions, fragments = cuts[chrom]
        n_local = 0
        for at in range(0, len(positions), _COPY_CUTS):
            chunk = slice(at, min(at + _COPY_CUTS, len(positions)))
            local = np.asarray(fragments[chunk], dtype=np.int64)
            n_local = max(n_local, int(local.max()) + 1)
            if first_id + n_local > _IDS:
                raise UserError(f"more than {_IDS} fragments: prepare fewer chromosomes.")
            rows.add(chrom, positions[chunk], (local + first_id).astype(np.uint32))
        first_id += n_local
    rows.finish()
    return first_id


class CutStore:
    """A cut-site store, opened for reading; `store.Sample` says what it answers.

    The cuts are memory-mapped at their place in the file and the HDF5 handle is closed at once:
    an object may be pickled, sent to workers or forked, and each process maps the file by itself.
    """

    thinnable = True
    unit: float | None = 1.0

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_hdf5(path, KINDS["cuts"].noun) as file:
            head = Header(self.path, file, "cuts")
            self.n_fragments = attribute(file, "n_fragments", int)
            check(0 <= self.n_fragments <= _IDS, "its number of fragments is impossible")
        self._head = head
        self.chroms, self.blacklist, self.n_cuts = head.chroms, head.blacklist, head.rows
        self.preprocessing, self.provenance = head.preprocessing, head.provenance
        self.fingerprint, self.plain_names = head.fingerprint, {c: c for c in head.chroms}

    @property
    def samples(self) -> list["CutStore"]:
        return [self]

    def home(self, chrom: str) -> tuple["CutStore", str]:
        """The sample that holds a chromosome, and the chromosome's name there."""
        return self, chrom

    @property
    def cuts_per_mb(self) -> float:
        """Over the bases outside the blacklist of the chromosomes that have cuts."""
        filled = [c for c, (first, last) in self._head.slices.items() if last > first]
        bases = sum(unmasked_bp(self.chroms, self.blacklist, c) for c in filled)
        return 1e6 * self.n_cuts / bases if bases else 0.0

    def cuts(self, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut sites with start <= position < end; the bounds may lie outside the chromosome.

        Positions, int64 (M,), ascending; fragment ids, uint64 (M,), equal for both cuts of one.
        """
        positions, fragments = self._head.columns(chrom)
        bounds = np.clip([start, end], 0, _IDS - 1).astype(np.uint32)
        low, high = np.searchsorted(positions, bounds)
        return positions[low:high].astype(np.int64), fragments[low:high].astype(np.uint64)

    def coverage(
        self,
        chrom: str,
        start: int,
        end: int,
        half_window_bp: int = 0,
        thinning: Thinning | None = None,
    ) -> np.ndarray:
        """Coverage of [start, end): float32 (end - start,), 0 outside the chromosome.

        Each cut site counts over its window of 2 * half_window_bp + 1 bp, also if it lies outside
        of [start, end): a base has one value, whatever window it is read in.
        """
        positions, fragments = self.cuts(chrom, start - half_window_bp, end + half_window_bp)
        if thinning is not None:
            positions = positions[thinning.keep(fragments)]
        return coverage_of_cuts(positions, start, end, half_window_bp)

    def signal(
        self, chrom: str, start: int, end: int, thinning: Thinning | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ascending positions in [start, end) and what each counts, 1 a cut site: (M,) both."""
        positions, fragments = self.cuts(chrom, start, end)
        if thinning is not None:
            positions = positions[thinning.keep(fragments)]
        return positions, np.ones(len(positions))

    def depths(self, half_window_bp: int) -> list[float]:
        """Cut sites per Mb of each sample."""
        return [self.cuts_per_mb]

    def at_depth(self, cuts_per_mb: float, half_window_bp: int) -> NoReturn:
        raise UserError(
            f"{self.path} holds cut sites, whose depth is counted: leave out depth_of_track="
        )

    def fragment_sizes(
        self, thinning: Thinning | None = None, chroms: Iterable[str] | None = None
    ) -> np.ndarray:
        """Count the fragments by length, from the two cut sites of each.

        int64 (max_fragment_bp + 1,), [n] = fragments of n bp, without those that lost a cut site to
        the blacklist; (0,) where lengths are not known, as of single-end reads.
        """
        made = self.preprocessing
        known = made.get("shift") in SHIFTS and made.get("max_fragment_bp") is not None
        if made.get("layout") == "single" or not known:
            return np.zeros(0, dtype=np.int64)
        longest = min(int(made["max_fragment_bp"]), max(self.chroms.values(), default=0))
        left, right = SHIFTS[made["shift"]]
        counts = np.zeros(longest + 1, dtype=np.int64)
        for chrom in self.chroms if chroms is None else chroms:
            for start in range(0, self.chroms[chrom], _CHUNK_BP):
                end = start + _CHUNK_BP
                positions, fragments = self.cuts(chrom, start, end + longest)
                if thinning is not None:
                    kept = thinning.keep(fragments)
                    positions, fragments = positions[kept], fragments[kept]
                order = np.argsort(fragments, kind="stable")
                positions, fragments = positions[order], fragments[order]
                first = np.flatnonzero(fragments[1:] == fragments[:-1])
                first = first[positions[first] < end]  # the others are the next chunk's
                lengths = positions[first + 1] - positions[first] + left - right
                if lengths.max(initial=0) > longest:
                    reason = f"{chrom}: a fragment is longer than max_fragment_bp"
                    raise damaged(self.path, KINDS["cuts"].noun, reason)
                counts += np.bincount(lengths, minlength=longest + 1)
        return counts

    def describe(self) -> str:
        """Where it is and how much it holds, for the log."""
        return f"store {self.path}: {self.n_fragments:,} fragments"

    def facts(self) -> dict[str, Any]:
        """What a summary says of it: input files, counts, fingerprint, preprocessing."""
        return self._head.facts(fragments=self.n_fragments, cut_sites=self.n_cuts)


def coverage_of_cuts(cuts: np.ndarray, start: int, end: int, half_window_bp: int) -> np.ndarray:
    """Count, at each base of [start, end), the windows [c - h, c + h] of the cut sites c over it.

    cuts : int64 (M,), in any order. half_window_bp : h (AtacWorks: 100).
    Returns float32 (end - start,), exact integers.
    """
    width = end - start
    cuts = np.asarray(cuts, dtype=np.int64)
    opens = np.clip(cuts - (half_window_bp + start), 0, width)
    closes = np.clip(cuts + (half_window_bp + 1 - start), 0, width)
    # a window that misses [start, end) opens and closes on one index and so cancels
    steps = np.bincount(opens, minlength=width + 1) - np.bincount(closes, minlength=width + 1)
    return np.cumsum(steps[:width]).astype(np.float32)  # (W,)
