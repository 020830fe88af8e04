"""FASTA: chromosome sizes, and bases as one-hot arrays with a mask of unknown ones.

Plain or bgzipped files, read at random through their index, which is built when it is absent.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pysam

from denoiseq.genomics.bam import quiet_htslib

_BASES = b"ACGT"
_ROW_OF_BYTE = np.full(256, 4, dtype=np.uint8)  # row 4 = unknown
for _row, (_upper, _lower) in enumerate(zip(_BASES, _BASES.lower(), strict=True)):
    _ROW_OF_BYTE[[_upper, _lower]] = _row


def chrom_sizes(fasta: str | Path) -> dict[str, int]:
    """Names and lengths (bp) of the sequences of a FASTA, in its order.

    Raises
    ------
    FileNotFoundError : no such file.
    ValueError : not a FASTA, or compressed by gzip where only bgzip allows random access.
    """
    with _opened(Path(fasta)) as file:
        return dict(zip(file.references, file.lengths, strict=True))


def one_hot(fasta: str | Path, chrom: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the bases of [start, end).

    Returns
    -------
    bases : float32 (4, W), rows A, C, G, T; a column of zeros where the base is not one of these
    unknown : bool (W,), True there
    """
    with _opened(Path(fasta)) as file:
        if chrom not in file.references:
            raise ValueError(f"{fasta} has no sequence {chrom}.")
        size = file.get_reference_length(chrom)
        if not 0 <= start <= end <= size:
            raise ValueError(f"{chrom}:{start}-{end} is not within {fasta}: it has {size} bp.")
        letters = file.fetch(chrom, start, end).encode() if end > start else b""
    rows = _ROW_OF_BYTE[np.frombuffer(letters, dtype=np.uint8)]  # (W,)
    bases = (rows == np.arange(4, dtype=np.uint8)[:, None]).astype(np.float32)  # (4, W)
    return bases, rows == 4


def bases_around(fasta: str | Path, chrom: str, positions: np.ndarray, reach_bp: int) -> np.ndarray:
    """Read the bases within `reach_bp` of each position: uint8 (M, 2 * reach_bp + 1).

    A, C, G, T are 0 to 3; 4 is any other base, or none beyond an end of the sequence.
    """
    rows = np.full((len(positions), 2 * reach_bp + 1), 4, dtype=np.uint8)
    with _opened(Path(fasta)) as file:
        for i in np.argsort(positions):  # neighbours share a compressed block
            start = int(positions[i]) - reach_bp
            letters = file.fetch(chrom, max(start, 0), start + rows.shape[1]).encode()
            first = max(-start, 0)
            rows[i, first : first + len(letters)] = _ROW_OF_BYTE[
                np.frombuffer(letters, dtype=np.uint8)
            ]
    return rows


@contextmanager
def _opened(fasta: Path) -> Iterator[pysam.FastaFile]:
    if not fasta.is_file():
        raise FileNotFoundError(f"no such FASTA file: {fasta}")
    suffixes = _index_suffixes(fasta)
    if all(_beside(fasta, suffix).is_file() for suffix in suffixes):
        with quiet_htslib(), pysam.FastaFile(str(fasta)) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="denoiseq-fasta-") as folder:
        built = _build_index(fasta, Path(folder), suffixes)
        names = dict(zip(("filepath_index", "filepath_index_compressed"), built, strict=False))
        with quiet_htslib(), pysam.FastaFile(str(fasta), **names) as file:
            yield file


def _index_suffixes(fasta: Path) -> tuple[str, ...]:
    with fasta.open("rb") as raw:
        head = raw.read(18)
    if head[:2] != b"\x1f\x8b":
        return (".fai",)
    if head[12:14] != b"BC":
        raise ValueError(
            f"{fasta} is compressed by gzip, which allows no random access; "
            f"recompress it: gunzip -c {fasta.name} | bgzip > {fasta.stem}.bgz.fa.gz"
        )
    return (".fai", ".gzi")


def _beside(fasta: Path, suffix: str) -> Path:
    return fasta.with_name(fasta.name + suffix)


def _build_index(fasta: Path, folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Index into `folder`; also leave the index beside the FASTA if that can be written."""
    built = [folder / f"index{suffix}" for suffix in suffixes]
    options = ["--fai-idx", str(built[0])]
    options += ["--gzi-idx", str(built[1])] if len(built) == 2 else []
    try:
        with quiet_htslib():
            pysam.faidx(*options, str(fasta))
    except pysam.SamtoolsError as error:
        raise ValueError(f"{fasta} is not a FASTA file, or it is damaged.") from error
    if not built[0].is_file() or built[0].stat().st_size == 0:
        raise ValueError(f"{fasta} is not a FASTA file: no sequence was found in it.")
    for index, suffix in zip(built, suffixes, strict=True):
        target = _beside(fasta, suffix)
        temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
        try:
            shutil.copyfile(index, temporary)
            temporary.replace(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            break  # a read-only folder: the index in the temporary folder serves
    return [str(index) for index in built]
