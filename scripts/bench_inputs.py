#!/usr/bin/env python
"""Benchmark of the input side: how fast reads become a store, how fast one is opened and sliced.

    python scripts/bench_inputs.py                                  # about five minutes
    python scripts/bench_inputs.py --csv docs/inputs/reading.csv
    python scripts/bench_inputs.py --reads 500000 --fragments 1000000

Reads are generated: 2 x 40 bp without qualities, so small that decompression takes little of the
time. Rates are in millions a second, beside those of only iterating over the file with pysam.
The large stores have the chromosomes of a human genome and are written directly. Contenders take
turns; medians. `by_cpu_time` is the same rate by the time in which the process had a CPU: compare
by that on a machine that others use too.
"""

import gzip
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pysam
from bench.command import CORES, parser, script
from bench.stores import HUMAN, write_human_store
from bench.timing import medians, wall_and_cpu
from denoiseq.genomics.bam import ReadFile, contig_sizes, reads_of
from denoiseq.genomics.synthetic import make_synthetic
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Prepare
from denoiseq.store.coverage_store import CoverageStore, write_coverage_store
from denoiseq.store.cut_store import CutStore
from denoiseq.store.thinning import Thinning
from results.layout import show
from results.rows import Record

WINDOW_BP = 60_000
WINDOWS = 2_000
RUN_BP = 50  # mean length of a run of equal coverage


def parse_arguments():
    made = parser(__doc__, csv=True)
    add = made.add_argument
    add("--reads", type=int, default=3_000_000, help="of the BAM, about")
    add("--fragments", type=int, default=50_000_000, help="of the large store")
    add("--rounds", type=int, default=3, help="turns of every contender")
    return made.parse_args()


def iterate(bam):
    with pysam.AlignmentFile(str(bam)) as file:
        for chrom in file.references:
            for _ in file.fetch(chrom):
                pass


def as_cram(bam, fasta):
    path = bam.with_suffix(".cram")
    options = {"template": pysam.AlignmentFile(str(bam)), "reference_filename": str(fasta)}
    with pysam.AlignmentFile(str(path), "wc", **options) as file:
        for read in options["template"].fetch(until_eof=True):
            file.write(read)
    pysam.index(str(path))
    return path


def as_fragment_file(bam, barcodes=5_000):
    """The forward mates as lines with random barcodes; returns the path and the lines' number."""
    path, lines, rng = bam.with_name("fragments.tsv.gz"), 0, np.random.default_rng(0)
    names = [f"{number:016d}-1" for number in range(barcodes)]
    with pysam.BGZFile(str(path), "wb") as file:
        for chrom in contig_sizes(bam):
            with reads_of(ReadFile(bam), chrom) as reads:
                for read in reads:
                    if read.template_length > 0:
                        start, name = read.reference_start, names[rng.integers(barcodes)]
                        end = start + read.template_length
                        file.write(f"{chrom}\t{start}\t{end}\t{name}\t1\n".encode())
                        lines += 1
    return path, lines


def unzip(path):
    with gzip.open(path) as file:
        while file.read(1 << 22):
            pass


def contenders(folder, wanted):
    """(what, reads or lines of the file) -> what is timed, on generated files of 20 Mb."""
    sizes = {f"chr{i}": 2_500_000 for i in range(1, 9)}
    made = make_synthetic(folder, chroms=sizes, fragments_per_mb=wanted / 2 / 20)
    bam, fasta = made["bam"], made["fasta"]
    reads = pysam.AlignmentFile(str(bam)).mapped
    cram = as_cram(bam, fasta)
    fragments, lines = as_fragment_file(bam)

    def preparing(workers=1, **files):
        files = {kind: str(path) for kind, path in files.items()}
        quiet = {"out": str(folder / "x.h5"), "progress": False, "workers": workers}
        made = Prepare(**files, fasta=str(fasta), **quiet)
        return lambda: prepare_stores(made, sizes)

    return {
        ("BAM, pysam alone", reads): lambda: iterate(bam),
        ("BAM, prepare, 1 process", reads): preparing(bam=bam),
        (f"BAM, prepare, {CORES} processes", reads): preparing(CORES, bam=bam),
        ("CRAM, pysam alone, with bases", reads): lambda: iterate(cram),
        ("CRAM, prepare, 1 process", reads): preparing(bam=cram),
        ("fragment file, gzip alone", lines): lambda: unzip(fragments),
        ("fragment file, prepare", lines): preparing(fragments=fragments),
    }


def reading(folder, wanted, rounds):
    """Rows of how fast files of reads are prepared."""
    entered = contenders(folder, wanted)
    times = {key: [] for key in entered}
    for _ in range(rounds):
        for key, work in entered.items():
            times[key].append(wall_and_cpu(work))
    for (what, n), taken in times.items():
        wall, cpu = medians(taken)
        alone = "processes" not in what  # the CPU time of others is not known here
        rates = {"value": round(n / wall / 1e6, 3), "unit": "M/s"}
        yield {"what": what, "of": n, **rates,
               "by_cpu_time": round(n / cpu / 1e6, 3) if alone else ""}  # fmt: skip


def large_coverage_store(path):
    rng, runs = np.random.default_rng(0), {}
    for chrom, size in HUMAN.items():
        starts = np.cumsum(rng.integers(1, 2 * RUN_BP, size // RUN_BP))
        starts = np.append(0, starts[starts < size]).astype(np.uint32)
        runs[chrom] = starts, rng.integers(0, 100, len(starts)).astype(np.float32)
    write_coverage_store(path, HUMAN, runs, {}, {}, {})
    return CoverageStore(path)


def slicing(what, n, opened, read):
    """Rows of opening a store and of reading windows at random places, once cold, then warm."""

    def row(words, ms):
        value = round(float(ms), 3)
        return {"what": f"{what}, {words}", "of": n, "value": value, "unit": "ms",
                "by_cpu_time": ""}  # fmt: skip

    rng = np.random.default_rng(1)
    chroms = rng.choice(list(HUMAN), WINDOWS)
    starts = [int(rng.integers(0, HUMAN[chrom] - WINDOW_BP)) for chrom in chroms]
    yield row("open", 1e3 * statistics.median(wall_and_cpu(opened)[0] for _ in range(9)))
    store = opened()
    for turn in ("first", "again"):
        seconds = [
            wall_and_cpu(lambda c=chrom, s=start: read(store, c, s, s + WINDOW_BP))[0]
            for chrom, start in zip(chroms, starts, strict=True)
        ]
        for name, share in (("median", 50), ("99%", 99)):
            words = f"{WINDOW_BP:,} bp, {turn}, {name}"
            yield row(words, 1e3 * np.percentile(seconds, share))


def large_stores(folder, fragments):
    """Rows of opening and slicing a cut store and a coverage store of human size."""

    def thinned(store, *window):
        return store.coverage(*window, 100, Thinning(0.1, seed=0))

    cuts, track = folder / "cuts.h5", folder / "track.h5"
    write_human_store(cuts, fragments, in_peaks=0)
    yield from slicing("cut store", fragments, lambda: CutStore(cuts), CutStore.cuts)
    what = "cut store to thinned coverage"
    _, *rows = slicing(what, fragments, lambda: CutStore(cuts), thinned)
    yield from rows
    runs = large_coverage_store(track).n_runs
    yield from slicing("coverage store", runs, lambda: CoverageStore(track), CoverageStore.coverage)


@script
def main():
    arguments = parse_arguments()
    record = Record(arguments.csv)
    with tempfile.TemporaryDirectory(prefix="bench-inputs-") as name:
        folder = Path(name)
        rows = [*reading(folder, arguments.reads, arguments.rounds)]
        rows += large_stores(folder, arguments.fragments)
    from dilconv.bench import machine  # imports torch: not in the processes of prepare

    facts = machine()
    about = {key: facts[key] for key in ("cpu", "commit")} | {"pysam": pysam.__version__}
    record.add([row | about for row in rows])
    show(rows, "what of value unit by_cpu_time")


if __name__ == "__main__":
    main()
