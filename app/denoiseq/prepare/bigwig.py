"""A bigWig to a coverage store, for a track of which the reads are not at hand."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError
from denoiseq.genomics.bam import check_genome
from denoiseq.genomics.bigwig_reader import bigwig_sizes, stream_bigwig
from denoiseq.prepare.coverage_runs import write_runs
from denoiseq.prepare.cut_sites import Fragments
from denoiseq.prepare.quality import coverage_quality
from denoiseq.prepare.reader import StoreParts, Task
from denoiseq.settings import Prepare


class BigWigReader:
    """A bigWig: values as they are, 0 without data; see `reader.Reader`."""

    example = "track.bw"
    unit = "bp"
    ends: Mapping[str, Fragments] | None = None

    def __init__(self, settings: Prepare, genome: Mapping[str, int]) -> None:
        self.paths = [Path(str(settings.bigwig))]
        self._sizes, self._genome = bigwig_sizes(self.paths[0]), genome
        self.chroms: Collection[str] = self._sizes
        self.preprocessing: dict[str, Any] = {"kind": "coverage"}

    def total(self, chroms: Mapping[str, int]) -> int:
        return sum(chroms.values())

    def read(self, task: Task) -> list[StoreParts]:
        settings, (path,), coverage = task.settings, self.paths, {}
        check_genome(path, self._sizes, self._genome, settings.include, settings.exclude)
        for number, (chrom, size) in enumerate(task.chroms.items()):
            part = task.folder / f"{number}.part"
            track = stream_bigwig(path, chrom, size)
            coverage[chrom] = write_runs(path, chrom, track, task.blacklist, part)
            task.advance(size)
        qc = coverage_quality(coverage, task)
        if qc["covered_bp"] == 0:
            raise UserError(f"{path} is 0 everywhere on the chosen chromosomes.")
        parts = {chrom: result.part for chrom, result in coverage.items()}
        return [StoreParts(Path(str(settings.out)), qc, parts)]
