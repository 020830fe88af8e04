"""BAM files to a cut-site store: checks at the door, chromosomes in parallel processes, counts.

Owns the run over chromosomes. What a read becomes is `reads`' matter, what may be wrong with a file
`bam`'s, what a store records `preparation`'s.
"""

import logging
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from denoiseq.atomic import check_writable, room_for
from denoiseq.errors import UserError
from denoiseq.genomics.bam import ReadFile, check_bam, contig_sizes, count_reads
from denoiseq.genomics.intervals import Interval
from denoiseq.prepare import preparation
from denoiseq.prepare.cut_sites import SHIFTS, ChromCounts, CutOptions
from denoiseq.prepare.quality import check_some_left, quality, read_totals
from denoiseq.prepare.reads import READ_FATES, SINGLE_FATES, scan_bam
from denoiseq.workers import start_worker

__all__ = ["SHIFTS", "ChromCounts", "CutOptions", "check_bam", "prepare", "scan_bam"]

_log = logging.getLogger(__name__)


def prepare(
    bam: str | Path | Sequence[str | Path],
    sizes: Mapping[str, int],
    out: str | Path,
    options: CutOptions,
    blacklist: list[Interval],
    *,
    fasta: str | Path | None = None,
    workers: int = 1,
    progress: bool = True,
    provenance: Mapping[str, object] | None = None,
) -> dict:
    """Make a cut-site store from coordinate-sorted, indexed BAM or CRAM files.

    Writes `out` and `out` with the suffix `.qc.json`, each atomically, the store last. It holds
    the chromosomes that the files and the FASTA have and that `options` selects; memory does not
    grow with the files.

    Parameters
    ----------
    bam : one file, or replicates to merge.
    sizes : chrom -> bp, of the FASTA.
    blacklist : cuts inside are dropped and counted; the store keeps the intervals.
    fasta : checks the Tn5 shift against its bases; None: not checked.
    workers : processes; 1 runs in this one.
    progress : show a bar, if stderr is a terminal.
    provenance : what the caller knows (command, seed, versions); stored beside what this adds.

    Returns
    -------
    The content of the `.qc.json`: `reads` (each counted once), `files` (the same by file),
    `fragments`, `cut_sites`, `blacklisted`, `fragment_size`, `cuts_per_mb`, `chromosomes`,
    `shift_check`, `preprocessing`, `fingerprint`, `provenance`.

    Raises
    ------
    FileNotFoundError, ValueError, OSError : one sentence on what does not fit and what to do.
    """
    paths, out = [Path(p) for p in ([bam] if isinstance(bam, str | Path) else bam)], Path(out)
    source = " and ".join(map(str, paths))
    check_writable(out)
    files = _check_files(paths, sizes, options)
    counted = [count_reads(file) for file in files]
    reads_of = sum((Counter(reads) for reads, _ in counted), Counter())
    chosen = preparation.choose(source, sizes, contig_sizes(paths[0]), options)
    merged = preparation.fit_blacklist(blacklist, sizes, chosen)
    single = {} if files[0].paired else {"layout": "single"}
    made = preparation.preprocessing(options, merged, chosen, **single)
    record = preparation.provenance({"bam": paths}, provenance or {})
    beside = tempfile.TemporaryDirectory(prefix=f".{out.name}.parts-", dir=out.parent)
    with room_for(out), beside as folder:
        parts = {c: Path(folder) / f"{i}.part" for i, c in enumerate(chosen)}
        jobs = {c: (files, c, chosen[c], options, parts[c], merged) for c in chosen}
        with tqdm(total=sum(reads_of[c] for c in chosen), unit="read", unit_scale=True,
                  desc="prepare", disable=None if progress else True) as bar:  # fmt: skip
            results = {}
            for chrom, result in _scan(jobs, reads_of, workers):
                results[chrom] = result
                bar.update(reads_of[chrom])
        counts = {c: results[c] for c in chosen}
        fates = READ_FATES if files[0].paired else SINGLE_FATES
        qc = quality(counts, chosen, merged, fates)
        qc["files"] = [_of_file(i, file, counts, counted[i]) for i, file in enumerate(files)]
        by_file = [row["reads"] for row in qc["files"]]
        qc["reads"] = {fate: sum(reads[fate] for reads in by_file) for fate in by_file[0]}
        check_some_left(source, qc, "min_mapq, keep_duplicates, include, exclude or the blacklist")
        ends = {chrom: result.ends for chrom, result in counts.items()}
        qc["shift_check"] = preparation.checked_shift(source, ends, fasta, options)
        preparation.save(out, qc, record, parts, merged, made)
    return qc


def _check_files(
    paths: list[Path], sizes: Mapping[str, int], options: CutOptions
) -> list[ReadFile]:
    """Every file checked by itself, and that all are of one genome and one layout."""
    if not paths:
        raise UserError("no BAM is given: bam=[] is empty")
    if len(set(paths)) < len(paths):
        raise UserError(f"a BAM is given twice: {', '.join(map(str, paths))}")
    files = [
        check_bam(path, sizes, options.include, options.exclude, layout=options.layout)
        for path in paths
    ]
    first = files[0]
    contigs = contig_sizes(first.path)
    for file in files:
        if contig_sizes(file.path) != contigs:
            raise UserError(
                f"{file.path} and {first.path} are aligned to different genomes: their headers "
                "list different contigs; align them alike, or prepare them apart."
            )
        if file.paired != first.paired:
            raise UserError(
                f"{first.path} and {file.path} are not both paired-end: prepare them apart "
                "(replicates=apart), or set layout=single for all."
            )
        _log.info("%s: %s", file.path, "paired-end" if file.paired else "single-end")
    return files


def _of_file(
    index: int,
    file: ReadFile,
    counts: Mapping[str, ChromCounts],
    counted: tuple[Mapping[str, int], int],
) -> dict[str, object]:
    """What the qc.json says about one of the files."""
    reads_of, unplaced = counted
    excluded = sum(n for c, n in reads_of.items() if c not in counts)
    fates = READ_FATES if file.paired else SINGLE_FATES
    by_chrom = [result.by_file[index] for result in counts.values()]
    return {
        "name": file.path.name,
        "layout": "paired" if file.paired else "single",
        "reads": read_totals(by_chrom, excluded, unplaced, fates),
    }


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
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=start_worker)
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
