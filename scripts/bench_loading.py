#!/usr/bin/env python
"""Share of a training's time that goes into making windows: reading, thinning, coverage, bases.

    export GOMP_SPINCOUNT=1000      # as the commands do: idle threads sleep
    python scripts/bench_loading.py # yeast, and a made-up human-size store
    python scripts/bench_loading.py --threads 2 --batch 8 --steps 6 --csv docs/inputs/loading.csv

The full AtacWorks network trains on windows of 50,000 bp and 5,000 bp of context on each side. What
is timed is how long a step waits for its batch, made in this process or by a worker, and the step
itself; with a worker, making windows takes a core's time too, which the time of one window tells.
`cpus_used` is CPU time over time on the clock: below --threads other programs took the cores.
The yeast store is prepared from the bundled BAM; the other has
50 million fragments on chromosomes of human size, written once to --folder and kept there.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from denoiseq import models, settings
from denoiseq.atomic import write_csv
from denoiseq.genomics.fasta import Genome
from denoiseq.genomics.intervals import Interval, merge
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings.model import DenoisingResNet
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.training.losses import atacworks_loss
from denoiseq.training.step import optimizer_step
from denoiseq.windows.batches import TileBatches, window_loader
from denoiseq.windows.dataset import WindowDataset
from dilconv import bench
from dilconv.memory import keep_freed_memory
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
YEAST = ROOT / "data" / "yeast"
MOST = 0.10
FRAGMENTS, FRAGMENT_BP, PEAK_BP = 50_000_000, 180, 400
HUMAN_MB = (249, 242, 198, 190, 182, 171, 159, 145, 138, 134, 135, 133, 114, 107, 102, 90, 83, 80,
            59, 64, 47, 51, 156, 57)  # fmt: skip
KINDS = {
    "thinned": {},
    "range of depths": {"thin_range": (0.01, 0.5)},
    "both strands": {"thin_range": (0.01, 0.5), "reverse_complement": True},
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of the arithmetic")
    parser.add_argument(
        "--batch", type=int, default=settings.Optim().batch_size, help="windows a step"
    )
    parser.add_argument("--steps", type=int, default=6, help="timed steps of every kind")
    parser.add_argument("--windows", type=int, default=200, help="windows timed alone")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "outputs" / "bench_loading",
        help="for the stores that it makes",
    )
    parser.add_argument("--csv", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    if min(arguments.threads, arguments.batch, arguments.steps, arguments.windows) < 1:
        parser.error("--threads, --batch, --steps and --windows must be at least 1")
    return arguments


def yeast_store(folder):
    """The bundled yeast data, prepared as its experiment does."""
    path = folder / "yeast.h5"
    if not path.is_file():
        prepare_stores(
            settings.Prepare(
                bam=str(YEAST / "yeast_atac_SRR1822137.bam"),
                fasta=str(YEAST / "sacCer3.fa.gz"),
                out=str(path),
                blacklist=str(YEAST / "sacCer3.blacklist.bed"),
                min_mapq=0,
            )
        )
    return CutStore(path)


def human_store(folder):
    """50 million fragments, two in five of them in 200,000 peaks, and 900 blacklisted regions."""
    path = folder / "human_size.h5"
    if not path.is_file():
        sizes = {f"chr{n}": mb * 1_000_000 for n, mb in enumerate(HUMAN_MB, start=1)}
        rng = np.random.default_rng(0)
        total = sum(sizes.values())
        cuts = {
            chrom: made_cuts(rng, size, round(FRAGMENTS * size / total))
            for chrom, size in tqdm(sizes.items(), desc="made-up store")
        }
        places = [(c, int(rng.integers(size - 50_000))) for c, size in sizes.items()] * 38
        blacklist = merge(Interval(c, at, at + 20_000) for c, at in places)
        write_store(path, sizes, cuts, blacklist, {"genome": sizes}, {})
    return CutStore(path)


def made_cuts(rng, size, n):
    """Positions (2n,) ascending and the fragments they belong to, of one chromosome."""
    starts = rng.integers(0, size - FRAGMENT_BP, n, dtype=np.int64)
    peaks = rng.integers(0, size - PEAK_BP - FRAGMENT_BP, size // 15_000, dtype=np.int64)
    inside = rng.random(n) < 0.4
    where = rng.integers(len(peaks), size=int(inside.sum()))
    starts[inside] = peaks[where] + rng.integers(0, PEAK_BP, len(where))
    starts.sort()
    keys = np.concatenate([starts, starts + FRAGMENT_BP]) << 32
    keys |= np.tile(np.arange(n, dtype=np.int64), 2)
    keys.sort()
    return keys >> 32, keys & 0xFFFFFFFF


def made_peaks(store):
    """A peak of 400 bp every 15 kb: labels for a store that has none."""
    starts = {chrom: np.arange(1_000, size - 1_000, 15_000) for chrom, size in store.chroms.items()}
    return {chrom: np.stack([at, at + PEAK_BP], axis=1) for chrom, at in starts.items()}


def datasets(folder):
    """(store's name, kind) -> windows to train on."""
    stores = {"yeast": yeast_store(folder), "human size": human_store(folder)}
    fasta = Genome(YEAST / "sacCer3.fa.gz")
    for name, store in stores.items():
        peaks = made_peaks(store)
        chroms = [chrom for chrom, size in store.chroms.items() if size >= 60_000]
        for kind, more in KINDS.items():
            options = settings.Data(interval_bp=50_000, pad_bp=5_000, **more)
            yield name, kind, WindowDataset(store, chroms, options, peaks, training=True)
        if name == "yeast":
            yield name, "with the sequence", WindowDataset(
                store, chroms, options, peaks, training=True, genome=fasta
            )  # fmt: skip


def batches_of(data, batch, workers):
    """Fresh batches for ever: epoch after epoch, in a shuffled order."""
    tiles = TileBatches(data, batch, seed=0)
    loader = window_loader(tiles, workers)
    epoch = 0
    while True:
        tiles.start(epoch)
        yield from loader
        epoch += 1


def window_ms(data, n):
    """Median time of one window made in this process, with caches as a training finds them."""
    order = np.random.default_rng(1).permutation(len(data))
    times = []
    for index in np.resize(order, n):
        began = time.perf_counter()
        data[int(index)]
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


class Training:
    """Steps of the full network, and what they take."""

    def __init__(self, in_channels):
        self.model = models.build(
            DenoisingResNet(), settings.Conv(), settings.Precision(), in_channels=in_channels
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-4)

    def step(self, batch):
        optimizer_step(self.model, self.optimizer, loss, batch)

    def medians_ms(self, batches, steps):
        """(Waiting for a batch, the step on it, its CPU time); two of each are not counted."""
        found = []
        for _ in range(steps + 2):
            asked = time.perf_counter()
            batch = next(batches)
            began, cpu = time.perf_counter(), time.process_time()
            self.step(batch)
            ended = time.perf_counter()
            found.append((began - asked, ended - began, time.process_time() - cpu))
        return (1e3 * statistics.median(times) for times in zip(*found[2:], strict=True))


def loss(prediction, batch):
    return atacworks_loss(prediction, batch, settings.Loss())


def measure(name, kind, data, arguments):
    """A row for each number of workers."""
    one = window_ms(data, arguments.windows)
    training = Training(data[0]["x"].shape[0])
    for workers in (0, 1):
        batches = batches_of(data, arguments.batch, workers)
        wait, step, cpu = training.medians_ms(batches, arguments.steps)
        yield {
            "data": name,
            "input": kind,
            "workers": workers,
            "threads": arguments.threads,
            "batch": arguments.batch,
            "windows": len(data),
            "window_ms": round(one, 3),
            "wait_ms": round(wait, 3),
            "step_ms": round(step, 1),
            "share": round(wait / (wait + step), 5),
            "cpus_used": round(cpu / step, 3),
            **bench.machine(),
        }


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    print(
        f"{'':30}{'workers':>8}{'window':>10}{'wait':>10}{'step':>10}{'share':>8}{'CPUs':>6}   (ms)"
    )
    rows = []
    for name, kind, data in datasets(arguments.folder):
        for row in measure(name, kind, data, arguments):
            shown = "".join(f"{row[key]:10}" for key in ("window_ms", "wait_ms", "step_ms"))
            label = f"{name}, {kind}"
            used = f"{row['share']:8.2%}{row['cpus_used']:6.2f}"
            print(f"{label:30}{row['workers']:8}{shown}{used}", flush=True)
            rows.append(row)
    worst = max(row["share"] for row in rows)
    verdict = "MORE" if worst > MOST else "less"
    print(
        f"a step waits at most {worst:.1%} of the time for its windows, {verdict} than {MOST:.0%}"
    )
    if arguments.csv:
        write_csv(arguments.csv, rows)


if __name__ == "__main__":
    main()
