#!/usr/bin/env python
"""Benchmark of the input side: how fast reads become a store, how fast one is opened and sliced.

    python scripts/bench_inputs.py                                  # about five minutes
    python scripts/bench_inputs.py --csv docs/inputs/reading.csv
    python scripts/bench_inputs.py --reads 500000 --fragments 1000000

Reads are generated: 2 x 40 bp without qualities, so little that all but decompression shows. Rates
are in millions a second, beside those of iterating over the same file with pysam and doing nothing.
The large stores have the chromosomes of a human genome and are written directly. Contenders take
turns; medians. `by CPU time` is the same rate by the time in which the process had a CPU: compare
by that on a machine that others use too.
"""

import argparse
import gzip
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pysam
from denoiseq.atomic import write_csv
from denoiseq.genomics.bam import ReadFile, contig_sizes, reads_of
from denoiseq.genomics.synthetic import Density, make_synthetic
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Prepare
from denoiseq.store.coverage_store import CoverageStore, write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.thinning import Thinning

WINDOW_BP = 60_000
WINDOWS = 2_000
RUN_BP = 50  # mean length of a run of equal coverage
MBP = (248, 242, 198, 190, 181, 170, 159, 145, 138, 133, 135, 133, 114, 107, 101, 90, 83, 80, 58,
       64, 46, 50, 156, 57)  # fmt: skip
HUMAN = {
    f"chr{name}": mbp * 10**6 for name, mbp in zip([*range(1, 23), "X", "Y"], MBP, strict=True)
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reads", type=int, default=3_000_000, help="of the BAM, about")
    parser.add_argument("--fragments", type=int, default=50_000_000, help="of the large store")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contender")
    parser.add_argument("--csv", type=Path, help="write the rows here")
    return parser.parse_args()


def seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def wall_and_cpu(work):
    """Seconds on the clock, and those in which this process had a CPU."""
    began = time.process_time()
    return seconds(work), time.process_time() - began


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


def reading(folder, wanted, rounds):
    """Rows of how fast files of reads are prepared."""
    sizes = {f"chr{i}": 2_500_000 for i in range(1, 9)}
    density = Density(fragments_per_mb=wanted / 2 / 20)  # 20 Mb
    made = make_synthetic(folder, chroms=sizes, density=density)
    bam, fasta = made["bam"], made["fasta"]
    reads = pysam.AlignmentFile(str(bam)).mapped
    cram = as_cram(bam, fasta)
    fragments, lines = as_fragment_file(bam)
    cores = len(os.sched_getaffinity(0))

    def prepare(workers=1, **files):
        files = {kind: str(path) for kind, path in files.items()}
        quiet = {"out": str(folder / "x.h5"), "progress": False, "workers": workers}
        prepare_stores(Prepare(**files, fasta=str(fasta), **quiet), sizes)

    contenders = {
        ("BAM, pysam alone", reads): lambda: iterate(bam),
        ("BAM, prepare, 1 process", reads): lambda: prepare(bam=bam),
        (f"BAM, prepare, {cores} processes", reads): lambda: prepare(cores, bam=bam),
        ("CRAM, pysam alone, with bases", reads): lambda: iterate(cram),
        ("CRAM, prepare, 1 process", reads): lambda: prepare(bam=cram),
        ("fragment file, gzip alone", lines): lambda: unzip(fragments),
        ("fragment file, prepare", lines): lambda: prepare(fragments=fragments),
    }
    times = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, work in contenders.items():
            times[key].append(wall_and_cpu(work))
    rows = []
    for (what, n), taken in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*taken, strict=True))
        alone = "processes" not in what  # the CPU time of others is not known here
        rates = {"value": round(n / wall / 1e6, 3), "unit": "M/s"}
        by_cpu = round(n / cpu / 1e6, 3) if alone else ""
        rows.append({"what": what, "of": n, **rates, "by_cpu_time": by_cpu})
    return rows


def large_cut_store(path, fragments):
    """A store of evenly spread fragments of 40 to 400 bp."""
    rng, bases, cuts = np.random.default_rng(0), sum(HUMAN.values()), {}
    for chrom, size in HUMAN.items():
        starts = np.sort(rng.integers(0, size - 400, round(fragments * size / bases)))
        ends = starts + rng.integers(40, 400, len(starts))
        ids = np.arange(len(starts), dtype=np.uint32)
        positions = np.concatenate([starts, ends]).astype(np.uint32)
        order = np.argsort(positions, kind="stable")
        cuts[chrom] = positions[order], np.concatenate([ids, ids])[order]
    write_store(path, HUMAN, cuts, {}, {}, {})


def large_coverage_store(path):
    rng, runs = np.random.default_rng(0), {}
    for chrom, size in HUMAN.items():
        starts = np.cumsum(rng.integers(1, 2 * RUN_BP, size // RUN_BP))
        starts = np.append(0, starts[starts < size]).astype(np.uint32)
        runs[chrom] = starts, rng.integers(0, 100, len(starts)).astype(np.float32)
    write_coverage_store(path, HUMAN, runs, {}, {}, {})


def slicing(what, n, opened, read):
    """Rows of opening a store and of reading windows at random places, once cold, then warm."""
    rng = np.random.default_rng(1)
    chroms = rng.choice(list(HUMAN), WINDOWS)
    starts = [int(rng.integers(0, HUMAN[chrom] - WINDOW_BP)) for chrom in chroms]
    opening = 1e3 * statistics.median(seconds(opened) for _ in range(9))
    head = {"of": n, "unit": "ms", "by_cpu_time": ""}
    rows = [{"what": f"{what}, open", "value": round(opening, 3), **head}]
    store = opened()
    for turn in ("first", "again"):
        times = [
            seconds(lambda c=chrom, s=start: read(store, c, s, s + WINDOW_BP))
            for chrom, start in zip(chroms, starts, strict=True)
        ]
        for name, share in (("median", 50), ("99%", 99)):
            value = round(1e3 * float(np.percentile(times, share)), 3)
            label = f"{what}, {WINDOW_BP:,} bp, {turn}, {name}"
            rows.append({"what": label, "value": value, **head})
    return rows


def large_stores(folder, fragments):
    draw = Thinning(0.1, seed=0)
    cuts, track = folder / "cuts.h5", folder / "track.h5"
    large_cut_store(cuts, fragments)
    rows = slicing("cut store", fragments, lambda: CutStore(cuts), CutStore.cuts)
    rows += slicing(
        "cut store to thinned coverage",
        fragments,
        lambda: CutStore(cuts),
        lambda store, *window: store.coverage(*window, 100, draw),
    )[1:]
    large_coverage_store(track)
    runs = CoverageStore(track).n_runs
    return rows + slicing(
        "coverage store", runs, lambda: CoverageStore(track), CoverageStore.coverage
    )


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="bench-inputs-") as folder:
        rows = reading(Path(folder), arguments.reads, arguments.rounds)
        rows += large_stores(Path(folder), arguments.fragments)
    print(f"{'':56}{'of':>12}{'':>10}     {'by CPU time':>11}")
    for row in rows:
        number = f"{row['of']:12,}{row['value']:10.3f} {row['unit']:4}"
        print(f"{row['what']:56}{number}{row['by_cpu_time']:>11}")
    if arguments.csv:
        from dilconv import bench  # torch: not in the processes of prepare

        facts = bench.machine()
        machine = {key: facts[key] for key in ("cpu", "commit")} | {"pysam": pysam.__version__}
        write_csv(arguments.csv, [row | machine for row in rows])


if __name__ == "__main__":
    main()
