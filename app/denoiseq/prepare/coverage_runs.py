"""A coverage track of one chromosome to runs of equal values in part files, with their sums.

One pass over a stream of any length in bounded memory. Knows no file format of tracks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Merged, mask
from denoiseq.prepare.cut_sites import map_part
from denoiseq.store.coverage_store import runs_of


@dataclass(frozen=True)
class ChromCoverage:
    """What one chromosome gave.

    total : its sum, over the bases outside the blacklist
    covered_bp : bases above 0
    highest : its highest value
    part : stem of its part files
    """

    total: float
    covered_bp: int
    highest: float
    part: Path


def write_runs(
    source: Path,
    chrom: str,
    track: Iterable[tuple[int, np.ndarray]],
    blacklist: Merged,
    part: Path,
) -> ChromCoverage:
    """Write a chromosome's runs; 0 where it has no data (NaN) or lies in the blacklist.

    track : start and values, float32 (n,), of consecutive chunks, from base 0 to the end.

    Raises UserError, naming `source`, for values that are negative or infinite.
    """
    total, covered, highest, last_value = 0.0, 0, 0.0, None
    starts_path, values_path = _part_files(part)
    with starts_path.open("wb") as starts_file, values_path.open("wb") as values_file:
        for start, chunk in track:
            chunk[mask(blacklist, chrom, start, start + len(chunk))] = 0
            starts, values = runs_of(chunk, start)
            if not (values.min() >= 0 and np.isfinite(values.max())):
                raise UserError(
                    f"{source} has negative or infinite values ({chrom}, from {start} on): give a "
                    "track of coverage, not of ratios or logarithms."
                )
            lengths = np.diff(np.append(starts, start + len(chunk)).astype(np.int64))
            total += float(lengths @ values.astype(np.float64))
            covered += int(lengths[values > 0].sum())
            highest = max(highest, float(values.max()))
            first = int(values[0] == last_value)  # goes on with the run before
            last_value = values[-1]
            starts_file.write(starts[first:].astype("<u4").tobytes())
            values_file.write(values[first:].astype("<f4").tobytes())
    return ChromCoverage(total, covered, highest, part)


def map_runs(coverage: Mapping[str, ChromCoverage]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Starts and values of each chromosome's runs, mapped from its part files."""
    files = {chrom: _part_files(result.part) for chrom, result in coverage.items()}
    return {c: (map_part(starts, "<u4"), map_part(values, "<f4"))
            for c, (starts, values) in files.items()}  # fmt: skip


def _part_files(part: Path) -> tuple[Path, Path]:
    return part.with_suffix(".starts"), part.with_suffix(".values")
