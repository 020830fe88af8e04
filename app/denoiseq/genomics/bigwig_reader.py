"""bigWig tracks, read by window. `bigwig_writer` writes them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.bigwig_check import check_bigwig, check_blocks
from denoiseq.inputs import refuse_pipe

_BIGWIG, _BIGBED = bytes.fromhex("26fc8f88"), bytes.fromhex("ebf28987")  # how files begin


def bigwig_sizes(path: str | Path) -> dict[str, int]:
    """Chromosomes of a bigWig's header and their lengths in bp."""
    with _opened(path) as file:
        return file.chroms()


def bigwig_sums(path: str | Path) -> dict[str, float]:
    """About the sum of the values on each chromosome, from the summaries in the file."""
    with _opened(path) as file:
        try:
            return {chrom: _sum(file, chrom, size) for chrom, size in file.chroms().items()}
        except RuntimeError as error:
            raise UserError(f"{path} is damaged: its summaries cannot be read.") from error


def _sum(file: Any, chrom: str, size: int) -> float:
    # pyBigWig's own "sum" from summaries is one over their number of bases
    mean, covered = (file.stats(chrom, type=kind)[0] for kind in ("mean", "coverage"))
    return 0.0 if mean is None else max(mean * covered * size, 0.0)


def stream_bigwig(
    path: str | Path, sizes: Mapping[str, int], chunk_bp: int = 1 << 20
) -> Iterator[tuple[str, Iterator[tuple[int, np.ndarray]]]]:
    """Each chromosome of `sizes` (chrom -> bp), with (start, values float32) along it.

    Values are NaN where the file has no data. Take those of one chromosome before the next.
    """
    with _opened(path) as file:

        def track(chrom: str, size: int) -> Iterator[tuple[int, np.ndarray]]:
            for start in range(0, size, chunk_bp):
                yield start, _values(path, file, chrom, start, min(start + chunk_bp, size))

        for chrom, size in sizes.items():
            yield chrom, track(chrom, size)


def read_bigwig(path: str | Path, chrom: str, start: int, end: int) -> np.ndarray:
    """Values of [start, end): float32 (end - start,), 0 where the file has no data."""
    (values,) = read_windows(path, [(chrom, start, end)])
    return values


def read_windows(path: str | Path, windows: Iterable[tuple[str, int, int]]) -> Iterator[np.ndarray]:
    """The values of each of many windows (chrom, start, end) as of `read_bigwig`."""
    with _opened(path) as file:
        sizes = file.chroms()
        for chrom, start, end in windows:
            size = sizes.get(chrom)
            if size is None or not 0 <= start <= end <= size:
                raise UserError(f"{path} has no window {chrom}:{start}-{end}: size {size}.")
            if start == end:
                yield np.zeros(0, dtype=np.float32)
            else:
                yield np.nan_to_num(_values(path, file, chrom, start, end)).astype(np.float32)


def _values(path: str | Path, file: Any, chrom: str, start: int, end: int) -> np.ndarray:
    """float32 (end - start,); NaN where the file has no data."""
    check_blocks(path, chrom, start, end)
    try:
        values = file.values(chrom, start, end, numpy=True)
    except RuntimeError as error:
        raise UserError(f"{path} is damaged at {chrom}:{start}-{end}.") from error
    return values if len(values) else np.full(end - start, np.nan, np.float32)  # without any data


def _pybigwig() -> Any:
    """The library that reads bigWig files, which nothing else needs."""
    try:
        pybigwig = import_module("pyBigWig")
    except ImportError as error:
        raise UserError(
            f"bigWig files are read with pyBigWig, which cannot be loaded ({error}): "
            "pip install pyBigWig; other inputs do not need it."
        ) from error
    if not pybigwig.numpy:
        raise UserError(
            "this pyBigWig was built without numpy, so it cannot read tracks: "
            "pip install --force-reinstall --no-cache-dir pyBigWig, with numpy installed."
        )
    return pybigwig


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    refuse_pipe(path, "bigWig")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such bigWig file: {path}")
    _refuse_other_formats(path)
    pybigwig = _pybigwig()
    str(path).encode()  # which it needs, and would call the file damaged
    check_bigwig(path)
    try:
        file = pybigwig.open(str(path))
    except RuntimeError as error:
        raise UserError(f"{path} is not a bigWig file, or it is damaged.") from error
    with file:
        yield file


def _refuse_other_formats(path: str | Path) -> None:
    with Path(path).open("rb") as raw:
        head = raw.read(4)
    if head in (_BIGBED, _BIGBED[::-1]):
        raise UserError(f"{path} is a bigBed file, not a bigWig file.")
    if head == _BIGWIG[::-1]:
        raise UserError(
            f"{path} is a big-endian bigWig, which pyBigWig cannot read: write it anew "
            "(bigWigToBedGraph and bedGraphToBigWig)."
        )
    if head != _BIGWIG:
        raise UserError(
            f"{path} is not a bigWig file, or it is damaged: convert a bedGraph (bedGraphToBigWig) "
            "or a wiggle (wigToBigWig), and unpack what is gzipped (gunzip)."
        )
