"""Benchmark of bigWig writers inside whole predictions: our encoder, pybigtools and pyBigWig.

    pip install pybigtools
    python scripts/bench_bigwig.py --csv bigwig.csv      # about ten minutes

Predictions take turns, each a process of its own from start to report: the bundled yeast BAM, and a
generated chromosome. For a library the threads of a prediction keep runs of equal values as plain
arrays, and a writer for each track reads them back while the network goes on: pybigtools in a
thread, pyBigWig, which holds Python's lock, in a process. Full disks are not looked for. After each
prediction its tracks are compared with our encoder's at every base, off the clock. Medians;
`other_cores` is what other programs used: where it is not about 0, compare by CPU time.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from itertools import chain, product, repeat
from pathlib import Path

import numpy as np
import pyBigWig
from bench.command import CORES, parser, script
from bench.stores import DATA, HUMAN_BP, YEAST, write_human_store
from bench.timing import medians
from bench_predict import HUMAN_FRAGMENTS, IN_PEAKS, random_checkpoint
from dilconv.bench import machine
from results.rows import Record

WRITERS = {"ours": "denoiseq", "pybigtools": "pybigtools", "pyBigWig": "pyBigWig"}
SPAWN = multiprocessing.get_context("spawn")
RUN = np.dtype([("start", "<u4"), ("value", "<f4")])


def stored(messages):
    """(chrom, starts, ends, values) of the pieces that (chrom, end, path, offset, n) name."""
    for chrom, end, path, offset, n in iter(messages.get, None):
        runs = np.fromfile(path, RUN, n, offset=offset)
        yield chrom, runs["start"], np.append(runs["start"][1:], np.uint32(end)), runs["value"]


def with_pybigtools(path, sizes, messages):
    import pybigtools

    def entries():
        for chrom, starts, ends, values in stored(messages):
            first = starts.tolist()
            yield zip(repeat(chrom), first, [*first[1:], int(ends[-1])], values.tolist())

    pybigtools.open(path, "w").write(sizes, chain.from_iterable(entries()))


def with_pybigwig(path, sizes, messages):
    with pyBigWig.open(path, "w") as file:
        file.addHeader(list(sizes.items()))
        for chrom, starts, ends, values in stored(messages):
            more = {"ends": ends.astype("i8"), "values": values.astype("f8"), "validate": False}
            file.addEntries(np.full(len(starts), chrom), starts.astype("i8"), **more)


def runs_of_equal_values(number, start, values, decimals):
    """In place of the encoder: runs of the rounded values, and where the piece lies."""
    from denoiseq.genomics.bigwig_writer import Encoded

    scale = np.float32(10**decimals)
    rounded = np.rint(values * scale) / scale + np.float32(0)
    first = np.flatnonzero(np.append(True, rounded[1:] != rounded[:-1]))
    runs = np.empty(len(first), dtype=RUN)
    runs["start"], runs["value"] = first + start, rounded[first]
    return Encoded(runs, np.array([number, start + len(values)]), b"")


def predict(writer, options):
    """A prediction in this process, its tracks written by `writer`."""
    from denoiseq import cli
    from denoiseq.prediction import genome, resume, run

    begin, add, followers = genome.predict_genome, resume.Writer.add, {}

    def predict_genome(model, source, settings, folder, ranks):
        for path in (genome.output_file(settings, name) for name in model.track_names):
            given = f"{folder / path.name}", dict(source.store.chroms), SPAWN.SimpleQueue()
            if writer == "pybigtools":
                follower = threading.Thread(target=with_pybigtools, args=given)
            else:
                follower = SPAWN.Process(target=with_pybigwig, args=given)
            followers[path] = follower, *given
            follower.start()
        return begin(model, source, settings, folder, ranks)

    def keep(self, pieces):
        add(self, pieces)
        rows = zip(self._files, pieces, followers.values(), strict=True)
        for files, piece, (*_, sizes, messages) in rows:
            files[0].flush()
            number, end = piece.blocks.tolist()
            offset = files[0].tell() - piece.data.nbytes
            messages.put(([*sizes][number], end, str(files[0].name), offset, len(piece.data)))

    def write(path, *_):
        if path == next(iter(followers)):
            for *_, messages in followers.values():
                messages.put(None)
        follower, written, *_ = followers[path]
        follower.join()
        Path(written).replace(path)

    if writer != "ours":
        run.predict_genome, resume.Writer.add = predict_genome, keep
        genome.encode, genome.write_bigwig = runs_of_equal_values, write
    return cli.main(["predict", *options])


def timed(writer, options):
    """Wall seconds and CPU seconds of one prediction, and the cores that others used."""
    before, began = busy_s(), time.perf_counter()
    process = subprocess.Popen([sys.executable, __file__, writer, *options])
    _, status, used = os.wait4(process.pid, 0)
    wall, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
    if status:
        raise ValueError(f"{writer}: predict failed")
    return wall, cpu, max(0.0, busy_s() - before - cpu) / wall


def busy_s():
    """CPU seconds of all programs since the machine started."""
    return sum(map(int, Path("/proc/stat").read_text().split()[1:4])) / os.sysconf("SC_CLK_TCK")


def check_same(one, other):
    for name in ("x.coverage.bw", "x.peak_probability.bw"):
        with pyBigWig.open(f"{one / name}") as a, pyBigWig.open(f"{other / name}") as b:
            for chrom, size in a.chroms().items():
                tracks = (file.values(chrom, 0, size, numpy=True) for file in (a, b))
                np.testing.assert_array_equal(*tracks)


def sources(folder, mbp):
    """What is predicted from: name -> options of predict."""
    cuts, weights, bases = folder / "human.h5", folder / "human.pt", int(mbp * 1e6)
    fragments = round(HUMAN_FRAGMENTS * bases / HUMAN_BP)
    store = write_human_store(cuts, fragments, chroms={"chr1": bases}, in_peaks=IN_PEAKS)
    random_checkpoint(weights, store.preprocessing, store.cuts_per_mb)
    bundled = [f"{key}={path}" for key, path in YEAST.items()]
    return {
        "yeast": [f"checkpoint={DATA / 'denoiser.pt'}", *bundled],
        "human": [f"checkpoint={weights}", f"store={cuts}"],
    }


@script
def main():
    if sys.argv[1:] and sys.argv[1] in WRITERS:
        return predict(sys.argv[1], sys.argv[2:])
    made = parser(__doc__, csv=None)
    made.add_argument("--rounds", type=int, default=3, help="predictions of each writer")
    made.add_argument("--mbp", type=float, default=100, help="of the human chromosome")
    arguments = made.parse_args()
    record, facts = Record(arguments.csv), machine()
    common = ["name=x", "depth=trained", f"trainer.threads={CORES}", "trainer.progress=false"]
    with tempfile.TemporaryDirectory(prefix="bench-bigwig-") as name:
        folder = Path(name)
        for data, source in sources(folder, arguments.mbp).items():
            times = {writer: [] for writer in WRITERS}
            for _, writer in product(range(arguments.rounds), WRITERS):
                out = folder / writer
                times[writer].append(timed(writer, [*source, *common, f"out={out}"]))
                check_same(folder / "ours", out)
            for writer, taken in times.items():
                wall, cpu, others = (round(value, 2) for value in medians(taken))
                record.add([{
                    "data": data, "writer": writer, "version": version(WRITERS[writer]),
                    "wall_s": wall, "cpu_s": cpu, "rounds": arguments.rounds,
                    "cpu": facts["cpu"], "threads": CORES, "other_cores": others,
                    "commit": facts["commit"],
                }])  # fmt: skip
    return None
