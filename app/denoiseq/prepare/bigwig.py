"""A bigWig to a coverage store, for a track of which the reads are not at hand."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError
from denoiseq.genomics.bam import check_genome
from denoiseq.genomics.bigwig_reader import bigwig_sizes, bigwig_sums, stream_bigwig
from denoiseq.prepare.contigs import check_contigs
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
        sizes = bigwig_sizes(self.paths[0])
        check_genome(self.paths[0], sizes, genome, settings.include, settings.exclude)
        fits = sizes.keys() <= genome.keys()
        sums = dict.fromkeys(sizes, 0.0) if fits else bigwig_sums(self.paths[0])  # takes seconds
        contigs, lost = check_contigs(self.paths, sums, genome, settings, "units of signal")
        self._not_in_fasta = {"contigs": contigs, "signal": lost}
        self.chroms: Collection[str] = sizes
        self.preprocessing: dict[str, Any] = {"kind": "coverage"}

    @staticmethod
    def own_sizes(settings: Prepare) -> Mapping[str, int]:
        return bigwig_sizes(str(settings.bigwig))

    def total(self, chroms: Mapping[str, int]) -> int:
        return sum(chroms.values())

    def read(self, task: Task) -> list[StoreParts]:
        settings, (path,), coverage = task.settings, self.paths, {}
        stem = task.folder / "track.part"
        for chrom, track in stream_bigwig(path, task.chroms):
            coverage[chrom] = write_runs(path, chrom, track, task.blacklist, stem)
            task.advance(task.chroms[chrom])
        qc = coverage_quality(coverage, task) | {"not_in_fasta": self._not_in_fasta}
        if qc["covered_bp"] == 0:
            raise UserError(f"{path} is 0 everywhere on the chosen chromosomes.")
        parts = {chrom: result.part for chrom, result in coverage.items()}
        return [StoreParts(Path(str(settings.out)), qc, parts)]
