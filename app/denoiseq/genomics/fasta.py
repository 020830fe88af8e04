"""FASTA files, plain or bgzipped, read by their index: chromosome sizes, and bases as one-hot."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from denoiseq.errors import UserError
from denoiseq.genomics.fasta_index import usable_index
from denoiseq.genomics.fasta_text import FastaText
from denoiseq.genomics.size_table import is_size_table, read_size_table
from denoiseq.inputs import refuse_pipe

_BASES = b"ACGT"
_NEAR_BP = 2_000  # positions that are read together
_CODE_OF_BYTE = np.full(256, 4, dtype=np.uint8)  # 4: none of them
for _code, (_upper, _lower) in enumerate(zip(_BASES, _BASES.lower(), strict=True)):
    _CODE_OF_BYTE[[_upper, _lower]] = _code


def chrom_sizes(fasta: str | Path) -> dict[str, int]:
    """Names and lengths (bp) of the sequences of a FASTA, or of a table of sizes, in its order.

    The index of a FASTA is checked first, once a process: where it is not of this file, it is made
    anew.
    """
    fasta = Path(fasta)
    if is_size_table(fasta):
        return read_size_table(fasta)
    rows = _open(fasta, _usable_index(fasta)).sequences.values()
    try:
        return {row.name.decode(): row.length for row in rows}
    except UnicodeDecodeError as error:
        raise UserError(
            f"{fasta} has a sequence named {error.object!r}, which is not in UTF-8: rename it."
        ) from error


class Genome:
    """The bases of a FASTA, read window by window.

    One handle a process, opened when it is first needed: an object may be pickled, sent to workers
    or forked.

    names : other names of its sequences -> the FASTA's own, where a caller calls them otherwise.
    chroms : name (the FASTA's, then the others) -> size in bp
    """

    def __init__(self, fasta: str | Path, names: Mapping[str, str] | None = None) -> None:
        self.path = Path(fasta)
        self._indices = _usable_index(self.path)
        sizes = chrom_sizes(fasta)
        self._names = {chrom: chrom for chrom in sizes} | dict(names or {})
        self.chroms = {name: sizes[chrom] for name, chrom in self._names.items() if chrom in sizes}
        self._file: FastaText | None = None
        self._owner = 0

    def one_hot(self, chrom: str, start: int, end: int) -> np.ndarray:
        """Bases of [start, end): float32 (4, W), rows A, C, G, T; zeros where it is another."""
        codes = self.codes(chrom, start, end)
        return (codes == np.arange(4, dtype=np.uint8)[:, None]).astype(np.float32)  # (4, W)

    def codes(self, chrom: str, start: int, end: int) -> np.ndarray:
        """Bases of [start, end): uint8 (W,), 0 to 3 for A, C, G, T; 4 where it is another."""
        size = self.chroms.get(chrom)
        if size is None:
            raise UserError(f"{self.path} has no sequence {chrom}.")
        if not 0 <= start <= end <= size:
            raise UserError(f"{chrom}:{start}-{end} is not within {self.path}: it has {size} bp.")
        if self._file is None or self._owner != os.getpid():
            self._file, self._owner = _open(self.path, self._indices), os.getpid()
        name = self._names[chrom]
        try:
            letters = self._file.bases(name.encode(), start, end)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path} is damaged or truncated: {name}:{start}-{end} has bytes that are "
                "neither letters nor line ends, or is gone."
            ) from error
        return _CODE_OF_BYTE[letters]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None}


def bases_around(genome: Genome, chrom: str, positions: np.ndarray, reach_bp: int) -> np.ndarray:
    """Codes of the bases within `reach_bp` of each position: uint8 (M, 2 * reach_bp + 1).

    As of `Genome.codes`; 4 beyond an end of the sequence as well.
    """
    W, size = 2 * reach_bp + 1, genome.chroms[chrom]
    rows = np.full((len(positions), W), 4, dtype=np.uint8)
    order = np.argsort(positions)
    far_apart = np.flatnonzero(np.diff(positions[order]) > _NEAR_BP) + 1
    for group in np.split(order, far_apart) if len(order) else ():
        here = positions[group]
        start, end = int(here[0]) - reach_bp, int(here[-1]) + reach_bp + 1
        stretch = np.full(end - start, 4, dtype=np.uint8)
        first, last = max(start, 0), min(end, size)
        stretch[first - start : last - start] = genome.codes(chrom, first, last)
        rows[group] = sliding_window_view(stretch, W)[here - here[0]]
    return rows


def _usable_index(fasta: Path) -> list[Path]:
    refuse_pipe(fasta, "FASTA")
    if not fasta.is_file():
        raise FileNotFoundError(f"no such FASTA file: {fasta}")
    if is_size_table(fasta):
        raise UserError(
            f"{fasta} is a table of chromosome sizes, but the bases are needed here: give the "
            "FASTA itself."
        )
    return usable_index(fasta)


def _open(fasta: Path, indices: list[Path]) -> FastaText:
    try:
        return FastaText(fasta, indices)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{fasta} cannot be read, or its index is damaged: remove {fasta.name}.fai (and .gzi), "
            "and it is made anew."
        ) from error
