"""BAM and CRAM files to cut sites: checked at the door, chromosomes in parallel processes."""

import logging
import multiprocessing
import pickle
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError, listed
from denoiseq.genomics.bam import ReadFile, check_bam, contig_sizes, count_reads
from denoiseq.genomics.bam_index import not_of_this_file
from denoiseq.prepare.contigs import check_contigs
from denoiseq.prepare.cut_sites import ChromCounts, Fragments, no_sizes
from denoiseq.prepare.quality import check_some_left, cut_quality, warn_of_mates
from denoiseq.prepare.reader import StoreParts, Task
from denoiseq.prepare.reads import NOTES, READ_FATES, SINGLE_FATES, Scanned, Scanner
from denoiseq.settings import Prepare
from denoiseq.store.compatibility import FILTERS
from denoiseq.workers import fork_server, processes, start_worker

_log = logging.getLogger(__name__)
# A signal that ends a job comes to all its processes; the main one's is given this time to come.
SIGNAL_S = 0.5
# of a batch, which a process reads in about a second; a contig takes as long as so many reads
_BATCH_READS, _READS_OF_A_CONTIG, _BATCHES_OF_A_WORKER = 1 << 20, 500, 4


class BamReader:
    """Coordinate-sorted, indexed BAM or CRAM files, merged into one store; see `reader.Reader`."""

    example = "reads.bam"
    unit = "read"

    def __init__(self, settings: Prepare, genome: Mapping[str, int]) -> None:
        self.paths = _paths(settings)
        self._files = _check_files(self.paths, genome, settings)
        self._counted = [count_reads(file) for file in self._files]
        self._reads_of = sum((Counter(counts.placed) for counts in self._counted), Counter[str]())
        self.chroms: Collection[str] = self._counted[0].placed
        reads = {chrom: self._reads_of[chrom] for chrom in self.chroms}
        contigs, lost = check_contigs(self.paths, reads, genome, settings)
        self._not_in_fasta = {"contigs": contigs, "reads": lost}
        self.preprocessing = {name: getattr(settings, name) for name in FILTERS}
        self.ends: Mapping[str, Fragments] | None = None

    @staticmethod
    def own_sizes(settings: Prepare) -> Mapping[str, int]:
        return contig_sizes(_paths(settings)[0])  # those of the others are checked to be equal

    def total(self, chroms: Iterable[str]) -> int:
        return sum(self._reads_of[chrom] for chrom in chroms)

    def read(self, task: Task) -> list[StoreParts]:
        """The one store; `reads` of its counts are over all files, `files` has them by file."""
        scanned = self._scan_by_layout(task)
        counts = scanned.counts
        paired = self._files[0].paired
        self.preprocessing |= {"ends": "alignment"} if paired else {"layout": "single"}
        self.ends = {chrom: result.ends for chrom, result in counts.items()}
        fates = READ_FATES if paired else SINGLE_FATES
        qc = cut_quality(counts, scanned.fragment_sizes, task, fates)
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

    def _scan_by_layout(self, task: Task) -> Scanned:
        """Scan by the layout that most reads have: once, or again where the guess was wrong."""
        scanned = self._scan(task)
        tallies = [_tally(i, scanned.counts) for i in range(len(self._files))]
        layout = task.settings.layout
        for file, tally in zip(self._files, tallies, strict=True):
            if layout == "paired" and tally["unpaired"] and not tally["paired"]:
                raise UserError(
                    f"{file.path} is single-end: none of its {tally['unpaired']:,} reads is "
                    "paired; set layout=single, or layout=auto."
                )
        if layout != "auto":
            return scanned
        files = [
            replace(file, paired=tally["paired"] >= tally["unpaired"])
            if tally["paired"] + tally["unpaired"]
            else file
            for file, tally in zip(self._files, tallies, strict=True)
        ]
        if files == self._files:
            return scanned
        _check_one_layout(files)
        self._files = files
        words = "paired" if files[0].paired else "not paired"
        _log.info("most reads are %s, unlike those at the spots looked at: reading again", words)
        task.advance(-self.total(task.chroms))
        return self._scan(task)

    def _scan(self, task: Task) -> Scanned:
        """What the chromosomes gave, in the order of the task."""
        scanner = Scanner(self._files, task.settings, task.blacklist, sum(task.chroms.values()))
        workers = processes(task.settings.workers)
        batches = _batches(task.chroms, self._reads_of, workers)
        jobs = [(batch, task.folder / f"{number}.part") for number, batch in enumerate(batches)]
        jobs.sort(key=lambda job: -self.total(job[0]))  # the largest first
        all_counts: dict[str, ChromCounts] = {}
        fragment_sizes = no_sizes(task.settings)
        for scanned in _results(scanner, jobs, workers):
            for chrom, counts in scanned.counts.items():
                self._check_indices(chrom, counts)
            all_counts |= scanned.counts
            fragment_sizes += scanned.fragment_sizes
            task.advance(self.total(scanned.counts))
        return Scanned({chrom: all_counts[chrom] for chrom in task.chroms}, fragment_sizes)

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


def _paths(settings: Prepare) -> list[Path]:
    bams = settings.bam if isinstance(settings.bam, list) else [settings.bam]
    return [Path(bam) for bam in bams]


def _reads(counts: Counter[str]) -> int:
    """All reads, each of which has one fate."""
    return sum(n for name, n in counts.items() if name not in NOTES)


def _tally(index: int, counts: Mapping[str, ChromCounts]) -> Counter[str]:
    """What the chromosomes count of one of the files."""
    total = Counter[str]()
    for result in counts.values():
        total.update(result.by_file[index])
    return total


def _check_files(paths: list[Path], genome: Mapping[str, int], settings: Prepare) -> list[ReadFile]:
    """Every file checked by itself, and that all are of one genome and one layout."""
    if twice := [str(path) for path, times in Counter(paths).items() if times > 1]:
        raise UserError(f"a BAM is given twice: {listed(twice)}")
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


def _batches(
    chroms: Mapping[str, int], reads_of: Mapping[str, int], workers: int
) -> list[dict[str, int]]:
    """The chromosomes (chrom -> bp) in batches, in order, of many where they have few reads."""
    works = {chrom: reads_of[chrom] + _READS_OF_A_CONTIG for chrom in chroms}
    most = min(_BATCH_READS, sum(works.values()) // (_BATCHES_OF_A_WORKER * workers))
    batches: list[dict[str, int]] = [{}]
    work = 0
    for chrom, size in chroms.items():
        if batches[-1] and work + works[chrom] > most:
            batches.append({})
            work = 0
        batches[-1][chrom] = size
        work += works[chrom]
    return batches


_scanner: Scanner | None = None  # of a worker, for all its batches


def _start(scanner: Scanner) -> None:
    global _scanner
    start_worker()
    _scanner = scanner


def _scan_in_worker(chroms: Mapping[str, int], stem: Path) -> Path:
    """The file with what was scanned: a pipe would block for ever if this process died in it."""
    assert _scanner is not None
    result = Path(f"{stem}.scanned")
    result.write_bytes(pickle.dumps(_scanner.scan(chroms, stem)))
    return result


def _results(
    scanner: Scanner, jobs: Sequence[tuple[dict[str, int], Path]], workers: int
) -> Iterator[Scanned]:
    """Scan batches of chromosomes, begun in their order; yields results as they come."""
    workers = min(workers, len(jobs))
    if workers == 1:
        with scanner:
            for job in jobs:
                yield scanner.scan(*job)
        return
    context = fork_server()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(scanner,))
    try:
        futures = {pool.submit(_scan_in_worker, *job) for job in jobs}
        for future in as_completed(futures):
            futures.remove(future)
            yield pickle.loads(future.result().read_bytes())
    except BrokenProcessPool as error:
        time.sleep(SIGNAL_S)
        raise OSError(
            "a process of prepare ended abruptly, perhaps out of memory; try workers=1."
        ) from error
    except BaseException:  # a chromosome that nobody waits for may take minutes
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
