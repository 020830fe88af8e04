"""Benchmark of whole-genome prediction: the clock, the memory, and where the time goes.

    python scripts/bench_predict.py --csv predict.csv            # about ten minutes
    python scripts/bench_predict.py --mbp 20 --checkpoint outputs/yeast/…/checkpoints/best.pt

Two predictions, each a process of its own from start to report: the bundled yeast BAM with
--checkpoint, if it is given, and a generated chromosome with 20 M fragments per 3.1 Gb, a third of
them in peaks, with AtacWorks' network (random weights: they take as long).

The floor is the network alone: the best of five forward passes on one thread, over the bases
without context, divided by the threads. In `written_alone_pct` of the clock files are made and
nothing is computed; all else overlaps. CPU times are those of the steps' threads: compare by them
on a machine that others use too. `whole_genome` extrapolates to 3.1 Gb;
`…_cpu_minutes_a_thread` is what that would take if no other program ran.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench.command import CORES, ROOT, parser, script
from bench.stores import HUMAN_BP, YEAST, write_human_store
from denoiseq import models, settings
from denoiseq.models.checkpoint import open_checkpoint, save_checkpoint, trained_network
from denoiseq.prediction.tiles import Denoiser
from dilconv.bench import machine, torch_threads
from results.rows import Record

HUMAN_FRAGMENTS, IN_PEAKS = 20e6, 1 / 3


def parse_arguments():
    made = parser(__doc__, csv=None)
    made.add_argument("--checkpoint", type=Path, help="for the yeast genome")
    made.add_argument("--mbp", type=float, default=150, help="of the human chromosome")
    made.add_argument("--threads", type=int, default=CORES, help="of the arithmetic")
    return made.parse_args()


def random_checkpoint(path, preprocessing, cuts_per_mb):
    """AtacWorks' network with fresh weights, as a training would leave it."""
    data = settings.Data(store="none.h5", validation=["chr1"], test=[])
    train = settings.Train(out="none", name="atacworks", data=data)
    network = models.build(train.model, train.conv, train.precision)
    save_checkpoint(path, {
        "state_dict": network.state_dict(), "config": settings.plain(train), "peak_threshold": 0.9,
        "epoch": 0, "step": 0, "seed": 0, "fingerprint": "", "preprocessing": preprocessing,
        "trained_cuts_per_mb": cuts_per_mb,
    })  # fmt: skip


def alone(checkpoint):
    """CPU seconds a Mb of the network's forward pass on one thread, and its parameters' number."""
    payload, trained = open_checkpoint(str(checkpoint))
    network = trained_network(payload, trained, settings.Conv(), settings.Precision(), "auto")
    denoiser = Denoiser(network)
    x = torch.rand(1, network.in_channels, denoiser.tile_bp + 2 * denoiser.context_bp)

    def forward():
        began = time.thread_time()
        with torch.inference_mode():
            network(x)
        return time.thread_time() - began

    with torch_threads(1):
        times = [forward() for _ in range(6)][1:]
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
    seconds, cpu = summary["seconds_of"], used.ru_utime + used.ru_stime
    writing = seconds.pop("writing")
    bases = sum(summary["input"]["preprocessing"]["genome"].values()) / 1e6
    seconds_a_mb, parameters = alone(checkpoint)
    floor = seconds_a_mb * bases / threads
    return {
        "what": what, "parameters": parameters, "mbp": round(bases, 1), "threads": threads,
        "wall_s": round(wall, 1), "cpu_s": round(cpu, 1),
        "peak_rss_mb": used.ru_maxrss // 1024, "predict_wall_s": summary["seconds"],
        **{f"{step}_cpu_s": s for step, s in seconds.items()},
        "writing_wall_s": writing, "written_alone_pct": round(100 * writing / wall, 1),
        "floor_s": round(floor, 1), "floor_share": round(floor / wall, 2),
        "whole_genome_minutes": extrapolated(wall, summary["seconds"], bases),
        "whole_genome_cpu_minutes_a_thread": extrapolated(
            cpu / threads, sum(seconds.values()) / threads, bases),
    }  # fmt: skip


def extrapolated(whole_s, growing_s, mbp):
    """Minutes for a human genome, of which `growing_s` of `whole_s` grow with the bases."""
    return round((whole_s - growing_s + growing_s * HUMAN_BP / (1e6 * mbp)) / 60, 1)


@script
def main():
    arguments = parse_arguments()
    record, bases = Record(arguments.csv), int(arguments.mbp * 1e6)
    facts = machine()
    about = {key: facts[key] for key in ("cpu", "isa", "torch", "commit")}
    with tempfile.TemporaryDirectory(prefix="bench-predict-") as name:
        cuts, weights = Path(name) / "human.h5", Path(name) / "human.pt"
        fragments = round(HUMAN_FRAGMENTS * bases / HUMAN_BP)
        store = write_human_store(cuts, fragments, chroms={"chr1": bases}, in_peaks=IN_PEAKS)
        random_checkpoint(weights, store.preprocessing, store.cuts_per_mb)
        runs = {"human, store": (weights, [f"store={cuts}"])}
        if arguments.checkpoint is not None:
            bundled = [f"{key}={path}" for key, path in YEAST.items()]
            runs = {"yeast, BAM": (arguments.checkpoint, bundled)} | runs
        for what, run in runs.items():
            row = predicted(what, *run, Path(name) / what.split(",")[0], arguments.threads)
            print(json.dumps(row, indent=1))
            record.add([row | about])
