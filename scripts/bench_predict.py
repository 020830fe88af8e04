#!/usr/bin/env python
"""Benchmark of whole-genome prediction: the clock, the memory, and where the time goes.

    python scripts/bench_predict.py                              # about ten minutes
    python scripts/bench_predict.py --csv predict.csv
    python scripts/bench_predict.py --mbp 20 --checkpoint outputs/yeast/…/checkpoints/best.pt

Two predictions, each a process of its own from start to report:
- yeast: the bundled BAM, prepared inside predict, with --checkpoint, if it is given;
- human: a generated chromosome of --mbp with 20 M fragments per 3.1 Gb, a third of them in peaks,
  as a store, with AtacWorks' network (random weights: they take as long).

The floor is the network alone: its forward pass on one thread, the best of five, over the bases
without context, divided by the threads. `written_alone_pct` is the share of the clock in which
files are made and nothing is computed; all else overlaps. CPU times are those of the steps'
threads: compare by them on a machine that others use too. `whole_genome` extrapolates to 3.1 Gb;
`…_cpu_minutes_a_thread` is what that would take if no other program ran.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from bench.command import CORES, ROOT, parser, script
from bench.stores import HUMAN_BP, write_human_store
from denoiseq import models, settings
from denoiseq.models.checkpoint import open_checkpoint, save_checkpoint, trained_network
from denoiseq.prediction.tiles import Denoiser
from dilconv.bench import machine
from results.rows import Record

YEAST = ROOT / "data/yeast"
YEAST_INPUT = [f"bam={YEAST / 'yeast_atac_SRR1822137.bam'}", f"fasta={YEAST / 'sacCer3.fa.gz'}"]
HUMAN_FRAGMENTS, IN_PEAKS = 20e6, 1 / 3


def parse_arguments():
    made = parser(__doc__, csv=True)
    made.add_argument("--checkpoint", type=Path, help="for the yeast genome")
    made.add_argument("--mbp", type=float, default=150, help="of the human chromosome")
    made.add_argument("--threads", type=int, default=CORES, help="of the arithmetic")
    return made.parse_args()


def random_checkpoint(path, preprocessing, cuts_per_mb):
    """AtacWorks' network with fresh weights, as a training would leave it."""
    data = settings.Data(store="none.h5", validation=["chr1"], test=[])
    config = settings.Train(out="none", name="atacworks", data=data)
    network = models.build(config.model, config.conv, config.precision)
    facts = {"epoch": 0, "step": 0, "seed": 0, "fingerprint": "", "preprocessing": preprocessing}
    save_checkpoint(path, {
        "state_dict": network.state_dict(), "config": settings.plain(config), "peak_threshold": 0.9,
        "trained_cuts_per_mb": cuts_per_mb, **facts,
    })  # fmt: skip


def alone_s_per_mb(checkpoint):
    """CPU seconds a Mb of the network's forward pass with nothing around it."""
    payload, config = open_checkpoint(str(checkpoint))
    network = trained_network(payload, config, settings.Conv(), settings.Precision(), "auto")
    denoiser = Denoiser(network)
    x = torch.rand(1, network.in_channels, denoiser.tile_bp + 2 * denoiser.context_bp)

    def forward():
        began = time.thread_time()
        with torch.inference_mode():
            network(x)
        return time.thread_time() - began

    with ThreadPoolExecutor(1, initializer=lambda: torch.set_num_threads(1)) as pool:
        times = [pool.submit(forward).result() for _ in range(6)][1:]
    return min(times) / (x.shape[-1] / 1e6), sum(p.numel() for p in network.parameters())


def predicted(what, checkpoint, source, folder, threads):
    """A row: one run of app/predict.py in a process of its own."""
    command = [sys.executable, ROOT / "app/predict.py", f"checkpoint={checkpoint}", *source,
               f"out={folder}", f"trainer.threads={threads}", "trainer.progress=false",
               "depth=trained"]  # fmt: skip
    began = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)))
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise ValueError(f"{what}: predict failed")
    summary = json.loads((folder / "summary.json").read_text())
    cpu = used.ru_utime + used.ru_stime
    bases = sum(summary["input"]["preprocessing"]["genome"].values()) / 1e6
    alone, parameters = alone_s_per_mb(checkpoint)
    steps = {f"{step}_cpu_s": s for step, s in summary["seconds_of"].items() if step != "writing"}
    writing = summary["seconds_of"]["writing"]
    return {
        "what": what, "parameters": parameters, "mbp": round(bases, 1), "threads": threads,
        "wall_s": round(wall, 1), "cpu_s": round(cpu, 1),
        "peak_rss_mb": used.ru_maxrss // 1024, "predict_wall_s": summary["seconds"], **steps,
        "writing_wall_s": writing, "written_alone_pct": round(100 * writing / wall, 1),
        "floor_s": round(alone * bases / threads, 1),
        "floor_share": round(alone * bases / threads / wall, 2),
        "whole_genome_minutes": extrapolated(wall, summary["seconds"], bases),
        "whole_genome_cpu_minutes_a_thread": extrapolated(
            cpu / threads, sum(steps.values()) / threads, bases),
    }  # fmt: skip


def extrapolated(whole_s, growing_s, mbp):
    """Minutes for a human genome, of which `growing_s` of `whole_s` grow with the bases."""
    return round((whole_s - growing_s + growing_s * HUMAN_BP / (1e6 * mbp)) / 60, 1)


@script
def main():
    arguments = parse_arguments()
    record, bases = Record(arguments.csv), int(arguments.mbp * 1e6)
    facts = machine()
    facts = {key: facts[key] for key in ("cpu", "isa", "torch", "commit")}
    with tempfile.TemporaryDirectory(prefix="bench-predict-") as name:
        folder = Path(name)
        cuts, weights = folder / "human.h5", folder / "human.pt"
        fragments = round(HUMAN_FRAGMENTS * bases / HUMAN_BP)
        store = write_human_store(cuts, fragments, chroms={"chr1": bases}, in_peaks=IN_PEAKS)
        random_checkpoint(weights, store.preprocessing, store.cuts_per_mb)
        runs = [("human, store", weights, [f"store={cuts}"], folder / "human")]
        if arguments.checkpoint is not None:
            runs.insert(0, ("yeast, BAM", arguments.checkpoint, YEAST_INPUT, folder / "yeast"))
        for run in runs:
            row = predicted(*run, arguments.threads)
            print(json.dumps(row, indent=1))
            record.add([row | facts])


if __name__ == "__main__":
    main()
