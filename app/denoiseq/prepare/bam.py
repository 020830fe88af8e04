"""BAM and CRAM files to cut sites: checked at the door, chromosomes in parallel processes."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError
from denoiseq.genomics.bam import ReadFile, check_bam, contig_sizes, count_reads
from denoiseq.genomics.bam_index import not_of_this_file
from denoiseq.prepare.contigs import check_contigs
from denoiseq.prepare.cut_sites import ChromCounts, Fragments
from denoiseq.prepare.quality import check_some_left, cut_quality, warn_of_mates
from denoiseq.prepare.reader import StoreParts, Task
from denoiseq.prepare.reads import NOTES, READ_FATES, SINGLE_FATES, scan_bam
from denoiseq.settings import Prepare
from denoiseq.store.compatibility import FILTERS
from denoiseq.workers import fork_server, processes, start_worker

_log = logging.getLogger(__name__)


class BamReader:
    """Coordinate-sorted, indexed BAM or CRAM files, merged into one store; see `reader.Reader`."""

    example = "reads.bam"
    unit = "read"

    def __init__(self, settings: Prepare, genome: Mapping[str, int]) -> None:
        bams = settings.bam if isinstance(settings.bam, list) else [settings.bam]
        self.paths = [Path(bam) for bam in bams]
        self._files = _check_files(self.paths, genome, settings)
        self._counted = [count_reads(file) for file in self._files]
        self._reads_of = sum((Counter(counts.placed) for counts in self._counted), Counter[str]())
        self.chroms: Collection[str] = self._counted[0].placed
        reads = {chrom: self._reads_of[chrom] for chrom in self.chroms}
        contigs, lost = check_contigs(self.paths, reads, genome, settings)
        self._not_in_fasta = {"contigs": contigs, "reads": lost}
        self.preprocessing = {name: getattr(settings, name) for name in FILTERS}
        self.ends: Mapping[str, Fragments] | None = None

    def total(self, chroms: Mapping[str, int]) -> int:
        return sum(self._reads_of[chrom] for chrom in chroms)

    def read(self, task: Task) -> list[StoreParts]:
        """The one store; `reads` of its counts are over all files, `files` has them by file."""
        counts = self._scan_by_layout(task)
        paired = self._files[0].paired
        self.preprocessing |= {"ends": "alignment"} if paired else {"layout": "single"}
        self.ends = {chrom: result.ends for chrom, result in counts.items()}
        fates = READ_FATES if paired else SINGLE_FATES
        qc = cut_quality(counts, task, fates)
        qc["not_in_fasta"] = self._not_in_fasta
        qc["files"] = [self._file_counts(i, counts, fates) for i in range(len(self._files))]
        for key in ("reads", "mates"):
            by_file = [row[key] for row in qc["files"]]
            qc[key] = {name: sum(row[name] for row in by_file) for name in by_file[0]}
        for file, row in zip(self._files, qc["files"], strict=True):
            warn_of_mates(file.path, row, task.settings.layout)
        remedy = "min_mapq, keep_duplicates, include, exclude or the blacklist"
        if qc["reads"].get("not_proper_pair"):
            remedy = f"layout (single takes reads that are no proper pairs), {remedy}"
        check_some_left(" and ".join(map(str, self.paths)), qc, remedy)
        parts = {chrom: result.part for chrom, result in counts.items()}
        return [StoreParts(Path(str(task.settings.out)), qc, parts)]

    def _scan_by_layout(self, task: Task) -> dict[str, ChromCounts]:
        """Scan by the layout that most reads have: once, or again where the guess was wrong."""
        counts = self._scan(task)
        tallies = [_tally(i, counts) for i in range(len(self._files))]
        layout = task.settings.layout
        for file, tally in zip(self._files, tallies, strict=True):
            if layout == "paired" and tally["unpaired"] and not tally["paired"]:
                raise UserError(
                    f"{file.path} is single-end: none of its {tally['unpaired']:,} reads is "
                    "paired; set layout=single, or layout=auto."
                )
        if layout != "auto":
            return counts
        files = [
            replace(file, paired=tally["paired"] >= tally["unpaired"])
            if tally["paired"] + tally["unpaired"]
            else file
            for file, tally in zip(self._files, tallies, strict=True)
        ]
        if files == self._files:
            return counts
        _check_one_layout(files)
        self._files = files
        words = "paired" if files[0].paired else "not paired"
        _log.info("most reads are %s, unlike those at the spots looked at: reading again", words)
        task.advance(-self.total(task.chroms))
        return self._scan(task)

    def _scan(self, task: Task) -> dict[str, ChromCounts]:
        """The counts of each chromosome, in the order of the task."""
        largest_first = sorted(task.chroms, key=lambda chrom: -self._reads_of[chrom])
        jobs, results = {}, {}
        for number, chrom in enumerate(largest_first):
            where = chrom, task.chroms[chrom], task.settings, task.folder / f"{number}.part"
            jobs[chrom] = (self._files, *where, task.blacklist)
        for chrom, counts in _results(jobs, processes(task.settings.workers)):
            self._check_indices(chrom, counts)
            results[chrom] = counts
            task.advance(self._reads_of[chrom])
        return {chrom: results[chrom] for chrom in task.chroms}

    def _check_indices(self, chrom: str, counts: ChromCounts) -> None:
        """Refuse an index that led to other reads than are counted, be it more or fewer."""
        for file, counted, fates in zip(self._files, self._counted, counts.by_file, strict=True):
            # an unmapped read at position 0 is counted, and belongs to no region
            came, mapped = _reads(fates) - fates["unmapped"], counted.mapped[chrom]
            if came != mapped:
                why = f"{mapped:,} mapped reads on {chrom} are counted, {came:,} came"
                raise not_of_this_file(file.path, why)

    def _file_counts(
        self, index: int, counts: Mapping[str, ChromCounts], fates: Sequence[str]
    ) -> dict[str, Any]:
        """What the qc.json says about one of the files."""
        file, counted = self._files[index], self._counted[index]
        excluded = sum(n for chrom, n in counted.placed.items() if chrom not in counts)
        total = _tally(index, counts)
        total["unmapped"] += counted.unplaced
        reads = {"excluded_chromosome": excluded, **{fate: total[fate] for fate in fates}}
        return {
            "name": file.path.name,
            "layout": "paired" if file.paired else "single",
            "reads": {"total": sum(reads.values()), **reads},
            "mates": {name: total[name] for name in NOTES},
        }


def _reads(counts: Counter[str]) -> int:
    """All reads, each of which has one fate."""
    return sum(n for name, n in counts.items() if name not in NOTES)


def _tally(index: int, counts: Mapping[str, ChromCounts]) -> Counter[str]:
    """What the chromosomes count of one of the files."""
    return sum((result.by_file[index] for result in counts.values()), Counter[str]())


def _check_files(paths: list[Path], genome: Mapping[str, int], settings: Prepare) -> list[ReadFile]:
    """Every file checked by itself, and that all are of one genome and one layout."""
    if len(set(paths)) < len(paths):
        raise UserError(f"a BAM is given twice: {', '.join(map(str, paths))}")
    files = [
        check_bam(path, genome, settings.include, settings.exclude, layout=settings.layout)
        for path in paths
    ]
    first = files[0]
    contigs = contig_sizes(first.path)
    for file in files:
        if file is not first and contig_sizes(file.path) != contigs:
            raise UserError(
                f"{file.path} and {first.path} are aligned to different genomes: their headers "
                "list different contigs; align them alike, or prepare them apart."
            )
        _log.info("%s: %s", file.path, "paired-end" if file.paired else "single-end")
    _check_one_layout(files)
    return files


def _check_one_layout(files: Sequence[ReadFile]) -> None:
    first = files[0]
    for file in files:
        if file.paired != first.paired:
            raise UserError(
                f"{first.path} and {file.path} are not both paired-end: prepare them apart "
                "(replicates=apart), or set layout=single for all."
            )


def _results(jobs: Mapping[str, tuple], workers: int) -> Iterator[tuple[str, ChromCounts]]:
    """Run `scan_bam` over the jobs, begun in their order; yields results as they come."""
    workers = min(workers, len(jobs))
    if workers == 1:
        for chrom, job in jobs.items():
            yield chrom, scan_bam(*job)
        return
    pool = ProcessPoolExecutor(workers, mp_context=fork_server(), initializer=start_worker)
    try:
        futures = {pool.submit(scan_bam, *job): chrom for chrom, job in jobs.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise OSError(
            "a process of prepare ended abruptly, perhaps out of memory; try workers=1."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
