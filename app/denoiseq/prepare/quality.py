"""The counts of a `.qc.json`: what was kept, what was dropped and why, by chromosome and file."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import unmasked_bp
from denoiseq.prepare.coverage_runs import ChromCoverage
from denoiseq.prepare.cut_sites import ChromCounts
from denoiseq.prepare.reader import Task

_log = logging.getLogger(__name__)

ODD_SHARE = 0.02  # of the reads: more than that, unpaired or without mate, is worth a warning


def cut_quality(
    counts: Mapping[str, ChromCounts],
    fragment_sizes: np.ndarray,
    task: Task,
    fates: Collection[str],
) -> dict[str, Any]:
    """The counts of a cut store, and of each of its chromosomes with its reads by `fates`."""
    by_chrom: dict[str, dict[str, Any]] = {}
    for chrom, result in counts.items():
        by_chrom[chrom] = {
            "size": task.chroms[chrom],
            "unmasked_bp": unmasked_bp(task.chroms, task.blacklist, chrom),
            "fragments": result.fragments,
            "cut_sites": result.cut_sites,
            "blacklisted_fragments": result.blacklisted_fragments,
            "blacklisted_cut_sites": result.blacklisted_cut_sites,
            "reads": {fate: sum(reads[fate] for reads in result.by_file) for fate in fates},
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
        "fragment_size": _fragment_size(fragment_sizes),
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


def coverage_quality(coverage: Mapping[str, ChromCoverage], task: Task) -> dict[str, Any]:
    """The counts of a coverage store, its mean outside the blacklist, and of each chromosome."""
    by_chrom: dict[str, dict[str, Any]] = {}
    for chrom, result in coverage.items():
        bases = unmasked_bp(task.chroms, task.blacklist, chrom)
        by_chrom[chrom] = {
            "size": task.chroms[chrom],
            "unmasked_bp": bases,
            "mean_coverage": result.total / bases if bases else 0.0,
            "covered_bp": result.covered_bp,
            "highest": result.highest,
        }
    bases = sum(row["unmasked_bp"] for row in by_chrom.values())
    total = sum(result.total for result in coverage.values())
    return {
        "mean_coverage": total / bases if bases else 0.0,
        "covered_bp": sum(row["covered_bp"] for row in by_chrom.values()),
        "chromosomes": by_chrom,
    }


def check_some_left(source: str | Path, qc: Mapping[str, Any], remedy: str) -> None:
    """UserError, with the counts, where no cut site is left; `remedy` names the settings."""
    if qc["cut_sites"]:
        return
    lost = [f"{fate} {n}" for fate, n in qc["reads"].items() if n and fate != "total"]
    raise UserError(
        f"no fragment of {source} passed the filters: {', '.join(lost)}; loosen {remedy}."
    )


def warn_of_mates(path: Path, row: Mapping[str, Any], layout: str) -> None:
    """Warn of a BAM whose reads are not all of the layout that they are read by.

    row : of the file in the qc.json; layout : the setting
    """
    mates, reads = row["mates"], row["reads"]
    paired, unpaired = mates["paired"], mates["unpaired"]
    every = paired + unpaired
    if row["layout"] == "single":
        if layout == "auto" and paired:
            _log.warning(
                "%s: %s of %s reads are paired, but the other %s are not, so each read counts by "
                "itself; set layout=paired to use the pairs alone",
                *(path, f"{paired:,}", f"{every:,}", f"{unpaired:,}"),
            )
        return
    if unpaired > ODD_SHARE * every:
        _log.warning(
            "%s: %s of %s reads are unpaired and left out, since the other %s are paired; set "
            "layout=single to use the 5' end of each read",
            *(path, f"{unpaired:,}", f"{every:,}", f"{paired:,}"),
        )
    of_pairs = paired - reads["not_proper_pair"] - reads["low_mapq"] + unpaired
    if reads["bad_template"] > ODD_SHARE * of_pairs:
        _log.warning(
            "%s: %s of %s reads of proper pairs are left out as bad_template: their mates do not "
            "face them, or they end beyond the chromosome; look at how the reads were aligned",
            *(path, f"{reads['bad_template']:,}", f"{of_pairs:,}"),
        )
    if mates["mateless"] > ODD_SHARE * of_pairs:
        _log.warning(
            "%s: %s of %s reads of proper pairs lack their mate in the file; the ends of %s of "
            "their fragments are known by the template length (TLEN) alone, which can be wrong; "
            "prepare the BAM from before reads were filtered out",
            *(path, f"{mates['mateless']:,}", f"{of_pairs:,}", f"{mates['ends_by_tlen']:,}"),
        )
