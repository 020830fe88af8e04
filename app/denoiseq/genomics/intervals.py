"""Intervals on a genome, 0-based and half-open: masks, tiles of a chromosome, chromosome folds."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from denoiseq.errors import UserError, listed
from denoiseq.genomics.organelles import is_organelle

Merged = dict[str, np.ndarray]


@dataclass(frozen=True)
class Interval:
    """Bases start <= position < end of a chromosome."""

    chrom: str
    start: int
    end: int


@dataclass(frozen=True)
class Tile:
    """A window [start, end) that is read, around a core [core_start, core_end) that counts."""

    chrom: str
    start: int
    end: int
    core_start: int
    core_end: int


def merge(intervals: Iterable[Interval]) -> Merged:
    """Sort and merge intervals that overlap or touch: chrom -> int64 (M, 2), ascending."""
    by_chrom: dict[str, list[tuple[int, int]]] = {}
    for interval in intervals:
        by_chrom.setdefault(interval.chrom, []).append((interval.start, interval.end))
    merged: Merged = {}
    for chrom, pairs in by_chrom.items():
        rows = np.array(sorted(pairs), dtype=np.int64)
        reach = np.maximum.accumulate(rows[:, 1])
        opens = np.append(True, rows[1:, 0] > reach[:-1])
        closes = np.append(opens[1:], True)
        merged[chrom] = np.stack([rows[opens, 0], reach[closes]], axis=1)  # (M, 2)
    return merged


def merge_within(intervals: Iterable[Interval], sizes: Mapping[str, int]) -> Merged:
    """`merge` of the intervals' parts that lie on the chromosomes of `sizes` (chrom -> bp)."""
    inside = (i for i in intervals if i.start < sizes.get(i.chrom, 0))
    return merge(replace(i, end=min(i.end, sizes[i.chrom])) for i in inside)


def mask(merged: Merged, chrom: str, start: int, end: int) -> np.ndarray:
    """Mark the bases of [start, end) that lie inside an interval: bool (end - start,)."""
    inside = np.zeros(end - start, dtype=bool)
    rows = merged.get(chrom)
    if rows is None:
        return inside
    first = np.searchsorted(rows[:, 1], start, side="right")
    last = np.searchsorted(rows[:, 0], end, side="left")
    for row_start, row_end in rows[first:last]:
        inside[max(row_start - start, 0) : max(row_end - start, 0)] = True
    return inside


def contains(merged: Merged, chrom: str, positions: np.ndarray) -> np.ndarray:
    """Mark the positions (any shape) that lie inside an interval: bool, the same shape."""
    rows = merged.get(chrom)
    if rows is None:
        return np.zeros(np.shape(positions), dtype=bool)
    # merged rows never touch, so their edges strictly ascend: inside = an odd number passed
    return np.searchsorted(rows.ravel(), positions, side="right") % 2 == 1


def unmasked_bp(sizes: Mapping[str, int], blacklist: Merged, chrom: str) -> int:
    """Count the bases of a chromosome outside the blacklist; sizes are chrom -> bp."""
    size, rows = sizes[chrom], blacklist.get(chrom)
    return size if rows is None else size - int(np.diff(np.clip(rows, 0, size), axis=1).sum())


def tile_chromosome(
    chrom: str, size: int, core_bp: int, pad_bp: int, offset: int = 0, step_bp: int = 1
) -> list[Tile]:
    """Cut a chromosome of `size` bp into tiles, in order, whose cores cover every base once.

    Each is its core +- pad_bp, shifted where needed to lie inside the chromosome, so all have the
    length core_bp + 2 * pad_bp and none reaches beyond an end; those shifted by the chromosome's
    end are up to step_bp - 1 longer. A chromosome no longer than a tile is one tile, all core.

    offset : in [0, core_bp); above 0 the first core is [0, offset), so that training can move
        the cuts between cores about.
    step_bp : every tile begins on a multiple of it, as models that pool need; core_bp and pad_bp
        are rounded up to multiples of it.
    """
    if size < 1 or core_bp < 1 or pad_bp < 0 or not 0 <= offset < core_bp:
        raise UserError(
            f"cannot tile {chrom} of {size} bp by core_bp={core_bp}, pad_bp={pad_bp}, "
            f"offset={offset}: need size and core_bp >= 1, pad_bp >= 0, 0 <= offset < core_bp."
        )
    core_bp, pad_bp = (math.ceil(bp / step_bp) * step_bp for bp in (core_bp, pad_bp))
    length = core_bp + 2 * pad_bp
    if size <= length:
        return [Tile(chrom, 0, size, 0, size)]
    edges = [0, *range(offset or core_bp, size, core_bp), size]
    tiles = []
    for core_start, core_end in pairwise(edges):
        start = max(core_start - pad_bp, 0) // step_bp * step_bp
        end = start + length
        if end > size:
            start, end = (size - length) // step_bp * step_bp, size
        tiles.append(Tile(chrom, start, end, core_start, core_end))
    return tiles


def select_chromosomes(
    chroms: Iterable[str], include: Collection[str] | None, exclude: Collection[str]
) -> list[str]:
    """Keep the chromosomes in `include` (None: all) that are not in `exclude`, in their order.

    A name that the genome lacks is an error, but for excluded names of organelles.
    """
    names = dict.fromkeys(chroms)
    chosen, unwanted = set(names if include is None else include), set(exclude)
    unknown = [c for c in include or () if c not in names]
    unknown += [c for c in exclude if c not in names and not is_organelle(c)]
    if unknown:
        raise UserError(f"{listed(unknown)} is not in the genome, which has {listed(names)}.")
    kept = [c for c in names if c in chosen and c not in unwanted]
    if not kept:
        raise UserError(f"no chromosome is left of {listed(names)} after include and exclude.")
    return kept


def split_chromosomes(
    chroms: Iterable[str],
    validation: Collection[str],
    test: Collection[str],
    exclude: Collection[str],
) -> tuple[list[str], list[str], list[str]]:
    """Divide the chromosomes into (train, validation, test); each keeps the order of `chroms`.

    Training gets what the others leave; only `test` may be empty.
    """
    names = select_chromosomes(chroms, None, ())
    known, of_validation, of_test = set(names), set(validation), set(test)
    unknown = [c for c in (*validation, *test) if c not in known]
    if unknown:
        raise UserError(
            f"held-out {listed(unknown)} is not in the genome, which has {listed(names)}."
        )
    usable = select_chromosomes(names, None, exclude)
    twice = sorted(of_validation & of_test | (of_validation | of_test) & set(exclude))
    if twice:
        raise UserError(f"{listed(twice)} is in two of validation, test and exclude.")
    train = [c for c in usable if c not in of_validation and c not in of_test]
    for part, members in (("training", train), ("validation", list(validation))):
        if not members:
            raise UserError(f"no chromosome is left for {part}: the genome has {listed(names)}.")
    in_order = [[c for c in names if c in part] for part in (of_validation, of_test)]
    return train, in_order[0], in_order[1]
