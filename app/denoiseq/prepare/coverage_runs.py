"""A coverage track of one chromosome to runs of equal values in part files, in bounded memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Merged, mask
from denoiseq.prepare.parts import Part, append, rows_in
from denoiseq.store.coverage_store import runs_of


@dataclass(frozen=True)
class ChromCoverage:
    """What one chromosome gave outside the blacklist: its sum, bases above 0, highest value."""

    total: float
    covered_bp: int
    highest: float
    part: Part


def write_runs(
    source: Path,
    chrom: str,
    track: Iterable[tuple[int, np.ndarray]],
    blacklist: Merged,
    stem: Path,
) -> ChromCoverage:
    """Write a chromosome's runs; 0 where it has no data (NaN) or lies in the blacklist.

    track : start and values, float32 (n,), of consecutive chunks, from base 0 to the end; negative
        or infinite values are an error, which names `source`.
    stem : of the part files that they are added to
    """
    total, covered, highest, last_value = 0.0, 0, 0.0, None
    first_row = rows_in(stem)
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
        append(stem, starts[first:].astype("<u4"), values[first:].astype("<f4"))
    return ChromCoverage(total, covered, highest, Part(stem, first_row, rows_in(stem)))
