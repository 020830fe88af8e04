"""What every store's file begins with: chromosomes, blacklist, how it was made, its fingerprint.

One HDF5 file of contiguous 1-D datasets, `/chroms/offsets` dividing them by chromosome, so that a
reader maps them and closes the file at once. `cut_store` and `coverage_store` say what they hold,
`writer` writes them.

Header: `/chroms/names`, `/chroms/sizes`, `/chroms/offsets` (C + 1); `/chroms/crc32` (C, 2), of the
rows of each chromosome in both columns, since 0.2.0; `/blacklist/chroms`, `/blacklist/bounds`
(M, 2); `/preprocessing`, `/provenance` JSON texts (datasets, since an attribute ends at 64 KB and a
genome of many contigs does not); attributes `format`, `kind` (cuts, coverage), `version`,
`fingerprint`.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from denoiseq.errors import UserError, listed
from denoiseq.genomics.intervals import Interval, Merged, merge
from denoiseq.settings import Prepare, parse
from denoiseq.store.hdf5 import (
    Damage,
    attribute,
    check,
    column,
    damaged,
    json_object,
    numbers,
    open_hdf5,
    texts,
)

VERSION = 1  # what is written, and read
MOST_BP = 1 << 32  # of a chromosome: positions are uint32
# The settings that decide which cuts reads give; a model must meet what it was trained on.
FILTERS = ("shift", "min_mapq", "keep_duplicates", "max_fragment_bp")


def _sound_cuts(size: int, cuts: np.ndarray, fragments: np.ndarray) -> bool:
    return cuts[-1] < size and bool((cuts[1:] >= cuts[:-1]).all())


def _sound_runs(size: int, starts: np.ndarray, values: np.ndarray) -> bool:
    ascend = starts[0] == 0 and starts[-1] < size and (starts[1:] > starts[:-1]).all()
    return bool(ascend) and bool((values >= 0).all() and (values < np.inf).all())


@dataclass(frozen=True)
class Kind:
    """What differs between the files of the two stores.

    columns : dataset -> dtype, one length
    sound, rule : whether a chromosome of a size has such rows, at least one, and what they must be
    """

    format: str
    noun: str
    remedy: str
    columns: Mapping[str, str]
    sound: Callable[[int, np.ndarray, np.ndarray], bool]
    rule: str


KINDS = {
    "cuts": Kind(
        "denoiseq-cuts",
        "cut-site store",
        "single cut sites are needed here: prepare the reads instead (bam= or fragments=)",
        {"cuts": "<u4", "fragments": "<u4"},
        _sound_cuts,
        "its cut sites are not sorted, or lie outside of it",
    ),
    "coverage": Kind(
        "denoiseq-coverage",
        "coverage store",
        "a coverage track is needed here: prepare a bigWig instead (bigwig=)",
        {"starts": "<u4", "values": "<f4"},
        _sound_runs,
        "its runs are not sorted, lie outside of it, or are no coverage",
    ),
}


def fingerprint(preprocessing: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of `preprocessing`: equal if and only if the contents are."""
    canonical = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def blacklist_sha256(blacklist: Merged) -> str:
    """SHA-256 of merged intervals, whatever file, order or overlap they came in."""
    rows = [f"{c}\t{s}\t{e}\n" for c in sorted(blacklist) for s, e in blacklist[c]]
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def check_filters(preprocessing: Mapping[str, Any]) -> None:
    """Damage where a filter that reads were prepared with is none that `prepare` takes."""
    filters = {name: preprocessing.get(name) for name in (*FILTERS, "layout")}
    try:
        parse(Prepare, {name: value for name, value in filters.items() if value is not None})
    except UserError as error:
        raise Damage(str(error)) from error


def kind_of(path: str | Path) -> str:
    """The kind of a store, "cuts" or "coverage"."""
    with open_hdf5(path, KINDS["cuts"].noun) as file:
        if "kind" not in file.attrs:  # the first stores did not say
            return "cuts"
        kind = attribute(file, "kind", str)
        if kind not in KINDS:
            raise KeyError("kind")
        return kind


class Header:
    """The common part of an opened store, with its columns mapped when they are first read.

    Nothing in the file is trusted: what contradicts itself or the format is Damage here, and a
    UserError where the rows of a chromosome are first asked for.
    """

    def __init__(self, path: Path, file: h5py.File, kind: str) -> None:
        written = {known.format: known for known in KINDS.values()}[attribute(file, "format", str)]
        if written != KINDS[kind]:
            raise UserError(f"{path} is a {written.noun}; {KINDS[kind].remedy}.")
        if (version := attribute(file, "version", int)) != VERSION:
            raise UserError(
                f"{path} is a {written.noun} of version {version}, this program reads "
                f"version {VERSION}; make it again with prepare."
            )
        check(file.userblock_size == 0, "it does not begin with HDF5")
        self.path, self._kind = path, KINDS[kind]
        self.chroms, self.slices = _chromosomes(file)
        self.rows = max((last for _, last in self.slices.values()), default=0)
        self.blacklist = _blacklist(file, self.chroms)
        self.preprocessing = json_object(file, "preprocessing")
        self.provenance = json_object(file, "provenance")
        self.fingerprint = attribute(file, "fingerprint", str)
        self._check_facts()
        self._places = [self._place(file, name) for name in self._kind.columns]
        self._checksums = _checksums(file, self.chroms)
        self._columns: list[np.ndarray] | None = None
        self._checked: set[str] = set()

    def facts(self, **counts: int) -> dict[str, Any]:
        """What a summary says of the store: its input files, `counts`, and how it was made."""
        return {
            "files": self.provenance.get("inputs", {}),
            **counts,
            "fingerprint": self.fingerprint,
            "preprocessing": self.preprocessing,
        }

    def _check_facts(self) -> None:
        """What the store says of itself, as far as it says it: tests and scripts leave out some."""
        made, warnings = self.preprocessing, self.provenance.get("warnings", [])
        check(self.fingerprint == fingerprint(made), "preprocessing is not what it was")
        genome = made.get("genome", self.chroms)
        check(genome == self.chroms, "its chromosomes are not those of its preprocessing")
        checksum = blacklist_sha256(self.blacklist)
        check(made.get("blacklist_sha256", checksum) == checksum, "the blacklist is not its own")
        texts = isinstance(warnings, list) and all(isinstance(text, str) for text in warnings)
        check(texts, "its warnings are no texts")
        check_filters(made)

    def _place(self, file: h5py.File, name: str) -> int:
        """Byte offset of a column in the file."""
        data = column(file, name, self._kind.columns[name])
        check(data.shape == (self.rows,), f"{name} is not as long as chroms/offsets says")
        return data.id.get_offset() if self.rows else 0

    def columns(self, chrom: str) -> list[np.ndarray]:
        """The rows of a chromosome, (M,) each, mapped from the file; checked the first time."""
        if chrom not in self.slices:
            raise UserError(f"{self.path} has no chromosome {chrom}: {listed(self.chroms)}.")
        if self._columns is None:
            places = zip(self._places, self._kind.columns.values(), strict=True)
            self._columns = [self._map(*place) for place in places]
        first, last = self.slices[chrom]
        rows = [column[first:last] for column in self._columns]
        if chrom not in self._checked:
            self._check_rows(chrom, rows)
            self._checked.add(chrom)
        return rows

    def _check_rows(self, chrom: str, rows: list[np.ndarray]) -> None:
        """UserError where rows break the format, or are not those that were written."""
        if len(rows[0]) and not self._kind.sound(self.chroms[chrom], *rows):
            raise damaged(self.path, self._kind.noun, f"{chrom}: {self._kind.rule}")
        written = self._checksums.get(chrom)
        if written is not None and written != [zlib.crc32(column.data) for column in rows]:
            raise damaged(self.path, self._kind.noun, f"{chrom}: its data are not as written")

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_columns": None}

    def _map(self, offset: int, dtype: str) -> np.ndarray:
        """The dataset at a byte offset, (rows,), mapped and not read yet."""
        if self.rows == 0:
            return np.empty(0, dtype=dtype)
        try:
            mapped = np.memmap(self.path, dtype, "r", offset, (self.rows,))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path} was removed or cut short while it was in use.") from error
        return np.asarray(mapped)  # a plain view: slicing a memmap object costs microseconds


def _chromosomes(file: h5py.File) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """chrom -> bp, and chrom -> first row and the one after the last."""
    names = [str(name) for name in texts(file, "chroms/names")]
    sizes, offsets = (numbers(file, f"chroms/{name}", "<i8") for name in ("sizes", "offsets"))
    check(len(set(names)) == len(names) == len(sizes), "chroms/names are not one for each size")
    check(bool(((sizes >= 0) & (sizes <= MOST_BP)).all()), "chroms/sizes has an impossible length")
    check(len(offsets) == len(names) + 1, "chroms/offsets is not one more than the chromosomes")
    ascend = offsets[0] == 0 and (offsets[1:] >= offsets[:-1]).all()
    check(bool(ascend), "chroms/offsets does not ascend from 0")
    slices = zip(names, pairwise(offsets.tolist()), strict=True)
    return dict(zip(names, sizes.tolist(), strict=True)), dict(slices)


def _blacklist(file: h5py.File, chroms: Mapping[str, int]) -> Merged:
    names, bounds = texts(file, "blacklist/chroms"), numbers(file, "blacklist/bounds", "<i8", 2)
    check(bounds.shape == (len(names), 2), "the blacklist is not two bounds for each name")
    intervals = [Interval(str(c), s, e) for c, (s, e) in zip(names, bounds.tolist(), strict=True)]
    on_genome = all(0 <= i.start < i.end <= MOST_BP and i.chrom in chroms for i in intervals)
    check(on_genome, "the blacklist is not one of its chromosomes")
    return merge(intervals)


def _checksums(file: h5py.File, chroms: Mapping[str, int]) -> dict[str, list[int]]:
    """chrom -> CRC-32 of its rows in both columns; empty of stores made before 0.2.0."""
    group = file["chroms"]
    if not group.id.links.exists(b"crc32"):
        return {}
    checksums = numbers(file, "chroms/crc32", "<u4", 2)
    check(checksums.shape == (len(chroms), 2), "chroms/crc32 is not two for each chromosome")
    return dict(zip(chroms, checksums.tolist(), strict=True))
