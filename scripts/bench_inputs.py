"""Benchmark of the input side: how fast reads become a store, how fast one is opened and sliced.

    python scripts/bench_inputs.py                                  # about five minutes
    python scripts/bench_inputs.py --csv docs/inputs/reading.csv

Generated reads are 2 x 40 bp without qualities, so small that decompression takes little of the
time. Rates are in millions a second, medians of contenders in turn. `by_cpu_time` is the same rate
by the time in which the process had a CPU: compare by that on a machine that others use too.
"times pysam alone" is the least CPU time of a preparation by that of iterating over the same reads.
"""

import gzip
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pysam
from bench.command import CORES, parser, script
from bench.stores import HUMAN, write_human_store
from bench.timing import medians, wall_and_cpu
from denoiseq.genomics.synthetic import make_synthetic
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Prepare
from denoiseq.store.coverage_store import CoverageStore, write_coverage_store
from denoiseq.store.cut_store import CutStore
from denoiseq.store.thinning import Thinning
from results.rows import Record, show

WINDOW_BP = 60_000
WINDOWS = 2_000
RUN_BP = 50  # mean length of a run of equal coverage
SIZES = {f"chr{i}": 2_500_000 for i in range(1, 9)}
COLUMNS = ("what", "of", "value", "unit", "by_cpu_time")


def iterate(bam):
    with pysam.AlignmentFile(str(bam)) as file:
        for chrom in file.references:
            for _ in file.fetch(chrom):
                pass


def as_cram(bam, fasta):
    path, reads = bam.with_suffix(".cram"), pysam.AlignmentFile(str(bam))
    made = {"template": reads, "reference_filename": str(fasta)}
    with pysam.AlignmentFile(str(path), "wc", **made) as file:
        for read in reads.fetch(until_eof=True):
            file.write(read)
    pysam.index(str(path))
    return path


def as_fragment_file(bam, barcodes=5_000):
    """The forward mates as lines with random barcodes; returns the path and the lines' number."""
    path, lines, rng = bam.with_name("fragments.tsv.gz"), 0, np.random.default_rng(0)
    with pysam.AlignmentFile(str(bam)) as reads, pysam.BGZFile(str(path), "wb") as file:
        for read in reads:
            if read.template_length > 0:
                start, barcode = read.reference_start, f"{rng.integers(barcodes):016d}-1"
                place = f"{read.reference_name}\t{start}\t{start + read.template_length}"
                file.write(f"{place}\t{barcode}\t1\n".encode())
                lines += 1
    return path, lines


def unzip(path):
    with gzip.open(path) as file:
        while file.read(1 << 22):
            pass


def contenders(folder, wanted):
    """(what, reads or lines of the file) -> what is timed, on generated files of 20 Mb."""
    made = make_synthetic(folder, chroms=SIZES, fragments_per_mb=wanted / 2 / 20)
    bam, fasta = made["bam"], made["fasta"]
    reads = pysam.AlignmentFile(str(bam)).mapped
    cram = as_cram(bam, fasta)
    fragments, lines = as_fragment_file(bam)

    def preparing(workers=1, **files):
        files = {kind: str(path) for kind, path in files.items()} | {"fasta": str(fasta)}
        quiet = {"out": str(folder / "x.h5"), "progress": False, "workers": workers}
        return lambda: prepare_stores(Prepare(**files, **quiet), SIZES)

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
    entered = contenders(folder, wanted)
    times = {key: [] for key in entered}
    for _ in range(rounds):
        for key, work in entered.items():
            times[key].append(wall_and_cpu(work))
    for kind in ("BAM", "CRAM"):
        alone, prepared = (
            min(
                cpu
                for (what, _), taken in times.items()
                if what.startswith(start)
                for _, cpu in taken
            )
            for start in (f"{kind}, pysam alone", f"{kind}, prepare, 1 process")
        )
        yield f"{kind}, prepare, 1 process", "", round(prepared / alone, 3), "times pysam alone", ""
    for (what, n), taken in times.items():
        wall, cpu = (round(n / seconds / 1e6, 3) for seconds in medians(taken))
        # the CPU time of other processes is not known here
        yield what, n, wall, "M/s", "" if "processes" in what else cpu


def write_runs(path):
    """A coverage store of random runs; returns their number."""
    rng, runs = np.random.default_rng(0), {}
    for chrom, size in HUMAN.items():
        starts = np.cumsum(rng.integers(1, 2 * RUN_BP, size // RUN_BP))
        starts = np.append(0, starts[starts < size]).astype(np.uint32)
        runs[chrom] = starts, rng.integers(0, 100, len(starts)).astype(np.float32)
    write_coverage_store(path, HUMAN, runs, {}, {}, {})
    return CoverageStore(path).n_runs


def slicing(what, n, opened, read):
    """Rows of opening a store and of reading windows at random places, once cold, then warm."""
    rng = np.random.default_rng(1)
    chroms = rng.choice(list(HUMAN), WINDOWS)
    starts = [int(rng.integers(0, HUMAN[chrom] - WINDOW_BP)) for chrom in chroms]
    times = {"open": statistics.median(wall_and_cpu(opened)[0] for _ in range(9))}
    store = opened()
    for turn in ("first", "again"):
        seconds = [
            wall_and_cpu(read, store, chrom, start, start + WINDOW_BP)[0]
            for chrom, start in zip(chroms, starts, strict=True)
        ]
        for name, share in (("median", 50), ("99%", 99)):
            times[f"{WINDOW_BP:,} bp, {turn}, {name}"] = np.percentile(seconds, share)
    return [
        (f"{what}, {words}", n, round(float(1e3 * s), 3), "ms", "") for words, s in times.items()
    ]


def large_stores(folder, fragments):
    def thinned(store, *window):
        return store.coverage(*window, 100, Thinning(0.1, seed=0))

    write_human_store(folder / "cuts.h5", fragments, in_peaks=0)
    runs = write_runs(folder / "track.h5")
    cut_store = partial(CutStore, folder / "cuts.h5")
    coverage_store = partial(CoverageStore, folder / "track.h5")
    return [
        *slicing("cut store", fragments, cut_store, CutStore.cuts),
        *slicing("cut store to thinned coverage", fragments, cut_store, thinned)[1:],
        *slicing("coverage store", runs, coverage_store, CoverageStore.coverage),
    ]


@script
def main():
    made = parser(__doc__, csv=None)
    made.add_argument("--reads", type=int, default=3_000_000, help="of the BAM, about")
    made.add_argument("--fragments", type=int, default=50_000_000, help="of the large store")
    made.add_argument("--rounds", type=int, default=3, help="turns of every contender")
    arguments = made.parse_args()
    record = Record(arguments.csv)
    with tempfile.TemporaryDirectory(prefix="bench-inputs-") as name:
        folder = Path(name)
        values = [*reading(folder, arguments.reads, arguments.rounds)]
        values += large_stores(folder, arguments.fragments)
    from dilconv.bench import machine  # imports torch: not in the processes of prepare

    facts = machine()
    about = {"cpu": facts["cpu"], "commit": facts["commit"], "pysam": pysam.__version__}
    record.add([dict(zip(COLUMNS, row, strict=True)) | about for row in values])
    show(record.rows, " ".join(COLUMNS))
