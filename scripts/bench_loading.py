"""Share of a training's time that goes into making windows: reading, thinning, coverage, bases.

    export GOMP_SPINCOUNT=1000      # as the commands do: idle threads sleep
    python scripts/bench_loading.py --threads 2 --batch 8 --steps 6 --csv docs/inputs/loading.csv

The full AtacWorks network trains on windows of 50,000 bp and 5,000 bp of context on each side, of
the bundled yeast BAM and of 50 million generated fragments on human-size chromosomes. What is timed
is how long a step waits for its batch, made in this process or by a worker, the step itself, and
one window alone. `cpus_used` is CPU time over time on the clock: below --threads other programs
took the cores.
"""

import statistics
import time
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from bench import training_steps
from bench.command import ROOT, at_least, parser, script
from bench.stores import DATA, PEAK_BP, PEAK_EVERY, YEAST, write_human_store
from bench.timing import medians, wall_and_cpu
from denoiseq import settings
from denoiseq.genomics.fasta import Genome
from denoiseq.prepare.run import prepare_stores
from denoiseq.store.cut_store import CutStore
from denoiseq.windows.batches import TileBatches, WindowLoader
from denoiseq.windows.dataset import WindowDataset
from dilconv.bench import machine
from dilconv.memory import keep_freed_memory
from results.rows import Record, show

MOST = 0.10
FRAGMENTS = 50_000_000
SIZES = {"interval_bp": 50_000, "pad_bp": 5_000}
KINDS = {
    "thinned": {},
    "range of depths": {"thin_range": (0.01, 0.5)},
    "both strands": {"thin_range": (0.01, 0.5), "reverse_complement": True},
}


def yeast_store(folder):
    """The bundled yeast data, prepared as its experiment does."""
    path, blacklist = folder / "yeast.h5", str(DATA / "sacCer3.blacklist.bed")
    if not path.is_file():
        prepare_stores(settings.Prepare(**YEAST, blacklist=blacklist, out=str(path), min_mapq=0))
    return CutStore(path)


def human_store(folder):
    """50 million fragments, two in five of them in peaks, and 900 blacklisted regions."""
    path = folder / "human_size.h5"
    return CutStore(path) if path.is_file() else write_human_store(path, FRAGMENTS, blacklist=True)


def datasets(folder):
    """(store's name, kind, windows to train on), with peaks at regular places as labels."""
    stores = {"yeast": yeast_store(folder), "human size": human_store(folder)}
    for name, store in stores.items():
        chroms = [chrom for chrom, size in store.chroms.items() if size >= 60_000]
        starts = {c: np.arange(1_000, size - 1_000, PEAK_EVERY) for c, size in store.chroms.items()}
        peaks = {chrom: np.stack([at, at + PEAK_BP], axis=1) for chrom, at in starts.items()}
        windows = partial(WindowDataset, store, chroms, peaks=peaks, training=True)
        for kind, more in KINDS.items():
            data = settings.Data(**SIZES, **more)
            yield name, kind, windows(settings=data)
        if name == "yeast":
            genome = Genome(YEAST["fasta"])
            yield name, "with the sequence", windows(settings=data, genome=genome)


def batches_of(data, batch, workers):
    """Fresh batches for ever: epoch after epoch, in a shuffled order."""
    tiles = TileBatches(data, batch, seed=0)
    loader = WindowLoader(tiles, workers)
    for epoch in count():
        tiles.start(epoch)
        yield from loader


def window_ms(data, n):
    """Median time of one window made in this process, with caches as a training finds them."""
    order = np.random.default_rng(1).permutation(len(data))
    seconds = (wall_and_cpu(data.__getitem__, int(i))[0] for i in np.resize(order, n))
    return 1e3 * statistics.median(seconds)


def medians_ms(training, batches, steps):
    """[Waiting for a batch, the step on it, its CPU time]; the first two are not counted."""
    times = []
    for _ in range(steps + 2):
        began = time.perf_counter()
        training.batch = next(batches)
        waited = time.perf_counter() - began
        times.append((waited, *training.step()))
    return [1e3 * seconds for seconds in medians(times[2:])]


def measure(name, kind, data, arguments):
    alone = window_ms(data, arguments.windows)
    network = training_steps.network("native", rows=data.settings.rows)
    training = training_steps.Contender("native", network, {})
    for workers in (0, 1):
        batches = batches_of(data, arguments.batch, workers)
        wait, step, cpu = medians_ms(training, batches, arguments.steps)
        yield {
            "data": name,
            "input": kind,
            "workers": workers,
            "threads": arguments.threads,
            "batch": arguments.batch,
            "windows": len(data),
            "window_ms": round(alone, 3),
            "wait_ms": round(wait, 3),
            "step_ms": round(step, 1),
            "share": round(wait / (wait + step), 5),
            "cpus_used": round(cpu / step, 3),
            **machine(),
        }


@script
def main():
    made = parser(__doc__, csv=None)
    add, positive = made.add_argument, at_least(1)
    add("--threads", type=positive, default=2, help="of the arithmetic")
    add("--batch", type=positive, default=settings.Optim().batch_size, help="windows a step")
    add("--steps", type=positive, default=6, help="timed steps of every kind")
    add("--windows", type=positive, default=200, help="windows timed alone")
    folder = ROOT / "outputs" / "bench_loading"
    add("--folder", type=Path, default=folder, help="for the stores that it makes")
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    record = Record(arguments.csv)
    for name, kind, data in datasets(arguments.folder):
        print(f"measuring {name}, {kind}", flush=True)
        record.add(measure(name, kind, data, arguments))
    show(record.rows, "data input workers window_ms wait_ms step_ms share cpus_used")
    worst = max(row["share"] for row in record.rows)
    verdict = f"{'MORE' if worst > MOST else 'less'} than {MOST:.0%}"
    print(f"a step waits at most {worst:.1%} of the time for its windows, {verdict}")
