"""The content of a `.qc.json`: what was kept, what was dropped and why, by chromosome and file.

And what can be counted again from a store: the lengths of its fragments.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Merged, covered_bp
from denoiseq.prepare.cut_sites import SHIFTS, ChromCounts
from denoiseq.store.cut_store import CutStore, Store
from denoiseq.store.thinning import Thinning

_CHUNK_BP = 1 << 22


def quality(
    counts: Mapping[str, ChromCounts],
    sizes: Mapping[str, int],
    blacklist: Merged,
    fates: Iterable[str],
) -> dict[str, Any]:
    """Counts of a cut store: `fragments`, `cut_sites`, `blacklisted`, `fragment_size`,
    `cuts_per_mb`, and the same by chromosome with its reads by `fates`.
    """
    by_chrom: dict[str, dict[str, Any]] = {}
    for chrom, result in counts.items():
        by_chrom[chrom] = {
            "size": sizes[chrom],
            "unmasked_bp": sizes[chrom] - covered_bp(blacklist, chrom, sizes[chrom]),
            "fragments": result.fragments,
            "cut_sites": result.cut_sites,
            "blacklisted_fragments": result.blacklisted_fragments,
            "blacklisted_cut_sites": result.blacklisted_cut_sites,
            "reads": {fate: result.reads[fate] for fate in fates},
        }
    rows = by_chrom.values()
    filled_bp = sum(row["unmasked_bp"] for row in rows if row["cut_sites"])
    cut_sites = sum(row["cut_sites"] for row in rows)
    return {
        "reads": {},
        "fragments": sum(row["fragments"] for row in rows),
        "cut_sites": cut_sites,
        "blacklisted": {
            "fragments": sum(row["blacklisted_fragments"] for row in rows),
            "cut_sites": sum(row["blacklisted_cut_sites"] for row in rows),
        },
        "fragment_size": _fragment_size(
            np.sum([result.fragment_sizes for result in counts.values()], axis=0)
        ),
        "cuts_per_mb": 1e6 * cut_sites / filled_bp if filled_bp else 0.0,
        "chromosomes": by_chrom,
    }


def _fragment_size(histogram: np.ndarray) -> dict[str, object]:
    """Median and mean length in bp, and `histogram[n]` = fragments of n bp up to the longest."""
    total = int(histogram.sum())
    if total == 0:
        return {"median": None, "mean": None, "histogram": []}
    longest = int(np.flatnonzero(histogram)[-1])
    return {
        "median": int(np.searchsorted(np.cumsum(histogram), (total + 1) // 2)),
        "mean": round(float(np.arange(len(histogram)) @ histogram) / total, 2),
        "histogram": histogram[: longest + 1].tolist(),
    }


def fragment_sizes(
    store: Store, thinning: Thinning | None = None, chroms: Iterable[str] | None = None
) -> np.ndarray:
    """Count the fragments of a store by length, from the two cut sites of each.

    Parameters
    ----------
    thinning : count those it keeps; None: all.
    chroms : count those on these chromosomes; None: on all.

    Returns
    -------
    int64 (max_fragment_bp + 1,), [n] = fragments of n bp, without those that lost a cut site to
    the blacklist; (0,) for coverage and for single-end reads, which have no lengths.
    """
    made = store.preprocessing
    if not isinstance(store, CutStore) or made.get("layout") == "single":
        return np.zeros(0, dtype=np.int64)
    longest = int(made["max_fragment_bp"])
    left, right = SHIFTS[made["shift"]]
    counts = np.zeros(longest + 1, dtype=np.int64)
    for chrom in store.chroms if chroms is None else chroms:
        for start in range(0, store.chroms[chrom], _CHUNK_BP):
            end = start + _CHUNK_BP
            positions, fragments = store.cuts(chrom, start, end + longest)
            if thinning is not None:
                kept = thinning.keep(fragments)
                positions, fragments = positions[kept], fragments[kept]
            order = np.argsort(fragments, kind="stable")
            positions, fragments = positions[order], fragments[order]
            first = np.flatnonzero(fragments[1:] == fragments[:-1])
            first = first[positions[first] < end]  # the others are the next chunk's
            lengths = positions[first + 1] - positions[first] + left - right
            counts += np.bincount(lengths, minlength=longest + 1)
    return counts


def read_totals(
    counts: Iterable[Counter[str]], excluded: int, unplaced: int, fates: Iterable[str]
) -> dict[str, int]:
    """Reads of a file by fate, the chromosomes' `counts` and the rest of the file together."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    total["unmapped"] += unplaced
    reads = {"excluded_chromosome": excluded, **{fate: total[fate] for fate in fates}}
    return {"total": sum(reads.values()), **reads}


def check_some_left(source: str | Path, qc: Mapping[str, Any], remedy: str) -> None:
    """ValueError, with the counts, where no cut site is left."""
    if qc["cut_sites"]:
        return
    lost = {fate: n for fate, n in qc["reads"].items() if n and fate not in ("total",)}
    raise UserError(
        f"no fragment of {source} passed the filters: "
        + ", ".join(f"{fate} {n}" for fate, n in lost.items())
        + f"; loosen {remedy}."
    )
