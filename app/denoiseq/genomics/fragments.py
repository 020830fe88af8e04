"""BAM to cut-site store: checks at the door, chromosomes in parallel processes, quality counts.

Owns the run over chromosomes, the record of how a store was made, and the `.qc.json` beside it.
What a read becomes is `cutsites`' matter, what may be wrong with a BAM `bam`'s, the file `store`'s.
"""

import logging
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pysam
from tqdm import tqdm

from denoiseq.atomic import check_writable, room_for, write_json
from denoiseq.genomics.bam import check_bam, count_reads
from denoiseq.genomics.cutsites import (
    READ_FATES,
    SHIFTS,
    ChromCounts,
    CutOptions,
    part_files,
    scan_bam,
)
from denoiseq.genomics.intervals import Interval, Merged, covered_bp, merge, select_chromosomes
from denoiseq.genomics.store import blacklist_sha256, fingerprint, write_store

__all__ = ["SHIFTS", "ChromCounts", "CutOptions", "check_bam", "prepare", "scan_bam"]

_log = logging.getLogger(__name__)


def prepare(
    bam: str | Path,
    sizes: Mapping[str, int],
    out: str | Path,
    options: CutOptions,
    blacklist: list[Interval],
    *,
    workers: int = 1,
    progress: bool = True,
    provenance: Mapping[str, object] | None = None,
) -> dict:
    """Make a cut-site store from a coordinate-sorted, indexed, paired-end BAM.

    Writes `out` and `out` with the suffix `.qc.json`, each atomically, the store last. It holds
    the chromosomes that the BAM and the FASTA have and that `options` selects; memory does not
    grow with the BAM.

    Parameters
    ----------
    sizes : chrom -> bp, of the FASTA.
    blacklist : cuts inside are dropped and counted; the store keeps the intervals.
    workers : processes; 1 runs in this one.
    progress : show a bar, if stderr is a terminal.
    provenance : what the caller knows (command, seed, versions); stored beside what this adds.

    Returns
    -------
    The content of the `.qc.json`: `reads` (each counted once), `fragments`, `cut_sites`,
    `blacklisted`, `fragment_size`, `cuts_per_mb`, `chromosomes`, `preprocessing`, `fingerprint`,
    `provenance`.

    Raises
    ------
    FileNotFoundError, ValueError, OSError : one sentence on what does not fit and what to do.
    """
    bam, out = Path(bam), Path(out)
    check_writable(out)
    check_bam(bam, sizes, options.include, options.exclude)
    reads_of, unplaced = count_reads(bam)
    chosen = _choose(bam, sizes, reads_of, options)
    merged = _fit_blacklist(blacklist, sizes, chosen)
    preprocessing = _preprocessing(options, merged, chosen)
    record = _provenance(bam, provenance or {})
    beside = tempfile.TemporaryDirectory(prefix=f".{out.name}.parts-", dir=out.parent)
    with room_for(out), beside as folder:
        parts = {c: Path(folder) / f"{i}.part" for i, c in enumerate(chosen)}
        jobs = {c: (bam, c, chosen[c], options, parts[c], merged) for c in chosen}
        with tqdm(total=sum(reads_of[c] for c in chosen), unit="read", unit_scale=True,
                  desc="prepare", disable=None if progress else True) as bar:  # fmt: skip
            counts = {}
            for chrom, result in _scan(jobs, reads_of, workers):
                counts[chrom] = result
                bar.update(reads_of[chrom])
        excluded = sum(n for c, n in reads_of.items() if c not in chosen)
        qc = _quality({c: counts[c] for c in chosen}, chosen, merged)
        qc["reads"] = _total_reads(counts, excluded, unplaced)
        _check_some_left(bam, qc)
        qc |= {"preprocessing": preprocessing, "fingerprint": fingerprint(preprocessing)}
        qc["provenance"] = record
        write_json(out.with_suffix(".qc.json"), qc)
        cuts = {c: _map_part(parts[c]) for c in chosen}
        write_store(out, chosen, cuts, merged, preprocessing, record)
    return qc


def _choose(
    bam: Path, sizes: Mapping[str, int], reads_of: Mapping[str, int], options: CutOptions
) -> dict[str, int]:
    """The chromosomes to prepare, in the FASTA's order: those of the BAM that are selected."""
    # a contig that the FASTA lacks is excluded so that the BAM fits: no misspelled name
    exclude = [c for c in options.exclude if c in sizes or c not in reads_of]
    selected = select_chromosomes(sizes, options.include, exclude)
    chosen = {c: sizes[c] for c in selected if c in reads_of}
    if not chosen:
        raise ValueError(f"{bam} has none of the selected chromosomes: {', '.join(selected)}.")
    if len(chosen) < len(selected):
        _log.info("%d selected sequences are not in the BAM's header", len(selected) - len(chosen))
    return chosen


def _fit_blacklist(
    blacklist: list[Interval], sizes: Mapping[str, int], chosen: Mapping[str, int]
) -> Merged:
    """Clip the blacklist to the chosen chromosomes; refuse one of another genome."""
    unknown = sorted({i.chrom for i in blacklist} - set(sizes))
    if unknown and not any(i.chrom in sizes for i in blacklist):
        raise ValueError(
            f"the blacklist is of another genome: it names {', '.join(unknown[:5])}, "
            f"the FASTA {', '.join(list(sizes)[:5])}."
        )
    if unknown:
        _log.warning("the blacklist names sequences that the FASTA lacks: %s", ", ".join(unknown))
    clipped = [Interval(i.chrom, i.start, min(i.end, chosen[i.chrom]))
               for i in blacklist if i.start < chosen.get(i.chrom, 0)]  # fmt: skip
    return merge(clipped)


def _preprocessing(
    options: CutOptions, blacklist: Merged, chosen: Mapping[str, int]
) -> dict[str, object]:
    """What decides which cuts a store holds: what a model was trained on must be met again."""
    return {
        "shift": options.shift,
        "min_mapq": options.min_mapq,
        "keep_duplicates": options.keep_duplicates,
        "max_fragment_bp": options.max_fragment_bp,
        "include": None if options.include is None else sorted(options.include),
        "exclude": sorted(options.exclude),
        "blacklist_sha256": blacklist_sha256(blacklist),
        "genome": dict(chosen),
    }


def _provenance(bam: Path, given: Mapping[str, object]) -> dict[str, Any]:
    """What made the store; entries of `given` add to the dictionaries here and win over them."""
    stat = bam.stat()
    ours: dict[str, Any] = {
        "inputs": {"bam": {"name": bam.name, "bytes": stat.st_size, "mtime": int(stat.st_mtime)}},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pysam": pysam.__version__,
            "h5py": h5py.__version__,
        },
    }
    for key, value in given.items():
        if isinstance(ours.get(key), dict) and isinstance(value, Mapping):
            ours[key] = {**ours[key], **value}
        else:
            ours[key] = value
    return ours


def _scan(
    jobs: dict[str, tuple], reads_of: Mapping[str, int], workers: int
) -> Iterator[tuple[str, ChromCounts]]:
    """Run `scan_bam` over the jobs, the largest first, and yield results as they come."""
    order = sorted(jobs, key=lambda chrom: -reads_of[chrom])
    if workers <= 1 or len(order) == 1:
        for chrom in order:
            yield chrom, scan_bam(*jobs[chrom])
        return
    # forkserver: a plain fork would copy threads' locks (OpenMP, HDF5) into the children
    context = multiprocessing.get_context("forkserver")
    processes = min(workers, len(order))
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker)
    try:
        futures = {pool.submit(scan_bam, *jobs[chrom]): chrom for chrom in order}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise OSError(
            "a process of prepare ended abruptly, perhaps for want of memory; try workers=1."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it: a killed run must leave no process behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _map_part(part: Path) -> tuple[np.ndarray, np.ndarray]:
    positions, fragments = (
        np.memmap(path, "<u4", "r") if path.stat().st_size else np.empty(0, np.uint32)
        for path in part_files(part)
    )
    return positions, fragments


def _total_reads(counts: Mapping[str, ChromCounts], excluded: int, unplaced: int) -> dict[str, int]:
    total: Counter[str] = Counter()
    for result in counts.values():
        total.update(result.reads)
    total["unmapped"] += unplaced
    reads = {fate: total[fate] for fate in READ_FATES}
    reads = {"excluded_chromosome": excluded, **reads}
    return {"total": sum(reads.values()), **reads}


def _quality(
    counts: Mapping[str, ChromCounts], sizes: Mapping[str, int], blacklist: Merged
) -> dict[str, Any]:
    by_chrom: dict[str, dict[str, Any]] = {}
    for chrom, result in counts.items():
        bases = sizes[chrom] - covered_bp(blacklist, chrom, sizes[chrom])
        by_chrom[chrom] = {
            "size": sizes[chrom],
            "unmasked_bp": bases,
            "fragments": result.fragments,
            "cut_sites": result.cut_sites,
            "blacklisted_fragments": result.blacklisted_fragments,
            "blacklisted_cut_sites": result.blacklisted_cut_sites,
            "reads": {fate: result.reads[fate] for fate in READ_FATES},
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


def _check_some_left(bam: Path, qc: dict) -> None:
    if qc["cut_sites"]:
        return
    lost = {fate: n for fate, n in qc["reads"].items() if n and fate not in ("total",)}
    raise ValueError(
        f"no fragment of {bam} passed the filters: "
        + ", ".join(f"{fate} {n}" for fate, n in lost.items())
        + "; loosen min_mapq, keep_duplicates, include, exclude or the blacklist."
    )
