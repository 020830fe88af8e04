"""Shared fixtures: the command line in this process, and a synthetic genome with a checkpoint."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pysam
import pytest
from hypothesis import settings

# The same examples in every run, so that what fails is the change at hand; for others:
# pytest --hypothesis-profile=search --hypothesis-seed=N. A busy machine makes any example slow.
settings.register_profile("search", deadline=None, max_examples=3_000)
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")

ROOT = Path(__file__).parents[1]
for source_root in (ROOT / "app", ROOT / "kernels"):
    if str(source_root) not in sys.path:
        sys.path.append(str(source_root))


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def set_threads(monkeypatch):
    """`set_threads(n)` sets torch's number of threads until the test ends, on as many cores."""
    import torch
    from dilconv import _native

    monkeypatch.setattr(_native, "cores", lambda: 1024)
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def denoiseq(capfd):
    """`denoiseq("prepare", "bam=x")` runs the command in this process."""
    from denoiseq import cli

    def run(*arguments) -> Outcome:
        capfd.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code or 0
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def fails(denoiseq):
    """`fails("prepare", "bam=x")` asserts one `error:` line and exit code 2; the sentence."""

    def run(*arguments) -> str:
        outcome = denoiseq(*arguments)
        lines = outcome.err.strip().splitlines()
        assert outcome.code == 2, outcome
        assert "Traceback" not in outcome.err
        assert [line.startswith("error: ") for line in lines].count(True) == 1, outcome.err
        assert lines[-1].startswith("error: "), outcome.err
        return lines[-1].removeprefix("error: ")

    return run


@pytest.fixture(scope="session")
def genome(tmp_path_factory) -> dict[str, Path]:
    """A synthetic genome: paths of its fasta, bam, peaks and blacklist."""
    from denoiseq.genomics.synthetic import make_synthetic

    return make_synthetic(tmp_path_factory.mktemp("genome"))


@pytest.fixture(scope="session")
def at(genome):
    """`at(folder)`: overrides of the smoke experiment for `genome`, with its store in `folder`."""

    def overrides(folder: Path) -> list[str]:
        return [
            f"data.store={folder / 'cuts.h5'}",
            f"data.prepare.bam={genome['bam']}",
            f"data.prepare.fasta={genome['fasta']}",
            f"data.prepare.blacklist={genome['blacklist']}",
            "data.prepare.workers=1",
            f"data.truth={genome['peaks']}",
            "optim.epochs=2",
        ]

    return overrides


@pytest.fixture(scope="session")
def workplace(tmp_path_factory, at) -> Path:
    """A folder where the smoke experiment has run on `genome`: store cuts.h5, run folder run/."""
    from denoiseq import cli

    folder = tmp_path_factory.mktemp("workplace")
    code = cli.main(["train", "+experiment=smoke", f"out={folder / 'run'}", *at(folder)])
    assert code == 0
    return folder


@pytest.fixture(scope="session")
def static_build(tmp_path_factory) -> Path:
    """The build folder of tests/emulation: kernels_check and the objects that it is made of."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("kernels_check is an x86-64 program")
    folder = tmp_path_factory.mktemp("static_build")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # cmake and ninja
    for command in (
        ["cmake", "-G", "Ninja", "-S", ROOT / "tests/emulation", "-B", folder],
        ["cmake", "--build", folder, "--target", "kernels_check"],
    ):
        done = subprocess.run(
            command, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


PAIRED, PROPER, UNMAPPED, REVERSE, MATE_REVERSE = 0x1, 0x2, 0x4, 0x10, 0x20


class Read(NamedTuple):
    """One read of a hand-made BAM; by default the forward mate of a proper pair, which is alone.

    length : TLEN; mate_start : on the same chromosome; mate_cigar : of its MC tag
    """

    start: int
    length: int = 100
    flag: int = PAIRED | PROPER | MATE_REVERSE
    mapq: int = 60
    chrom: str = "chr1"
    name: str | None = None
    cigar: str = "10M"
    mate_start: int | None = None
    mate_cigar: str | None = None


def write_bam(path: Path, reads, sizes=None, order="coordinate", index=True) -> Path:
    """Write reads in the order given."""
    sizes = sizes or {"chr1": 10_000}
    contigs = [{"SN": chrom, "LN": size} for chrom, size in sizes.items()]
    head = pysam.AlignmentHeader.from_dict({"HD": {"VN": "1.6", "SO": order}, "SQ": contigs})
    with pysam.AlignmentFile(str(path), "wb", header=head) as file:
        for number, read in enumerate(reads):
            record = pysam.AlignedSegment(head)
            record.query_name = read.name or f"r{number}"
            record.flag = read.flag
            record.reference_id = head.get_tid(read.chrom)
            record.reference_start = read.start
            record.mapping_quality = read.mapq
            record.template_length = read.length
            if not read.flag & UNMAPPED:
                record.cigarstring = read.cigar
            if read.mate_start is not None:
                record.next_reference_id = record.reference_id
                record.next_reference_start = read.mate_start
            if read.mate_cigar is not None:
                record.set_tag("MC", read.mate_cigar)
            file.write(record)
    if index:
        pysam.index(str(path))
    return path


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Paths of the default synthetic data set: fasta, bam, peaks, blacklist."""
    from denoiseq.genomics.synthetic import make_synthetic

    return make_synthetic(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture
def bam_of(tmp_path):
    """`bam_of([Read(...), ...], ...)` writes a BAM and returns its path."""

    def make(reads, **options):
        return write_bam(tmp_path / "reads.bam", reads, **options)

    return make


@pytest.fixture(scope="session")
def read_type():
    return Read


@pytest.fixture(scope="session")
def bam_writer():
    return write_bam


def write_track(path: Path, chroms, pieces, decimals=1) -> Path:
    """Write (chrom, start, values) to a bigWig, encoded piece by piece."""
    from denoiseq.genomics.bigwig_writer import Encoded, Stored, encode, part_file, write_bigwig

    stem, numbers, found = path.with_suffix(".part"), list(chroms), {}
    files = [part_file(stem, name).open("wb") for name in Encoded._fields]
    for chrom, start, values in pieces:
        begins = [file.tell() for file in files]
        encoded = encode(numbers.index(chrom), start, np.asarray(values, np.float32), decimals)
        for file, part in zip(files, encoded, strict=True):
            file.write(part)
        if chrom in found:
            begins = [bounds[0] for bounds in found[chrom][1:]]
        ends = [file.tell() for file in files]
        found[chrom] = Stored(stem, *zip(begins, ends, strict=True))
    for file in files:
        file.close()
    write_bigwig(path, chroms, found)
    for name in Encoded._fields:
        part_file(stem, name).unlink()
    return path


@pytest.fixture(scope="session")
def track_writer():
    return write_track


ONE_THREAD = ("windows", "models", "training", "evaluation", "prediction")
SIZES = {"chrA": 24_000, "chrB": 10_000, "chrC": 7_777, "chrShort": 700}
PEAK_EVERY, PEAK_BP = 1_500, 300


@pytest.fixture(autouse=True)
def _one_thread(request):
    """Rooms whose tests do small arithmetic run on one thread."""
    if request.path.parent.name in ONE_THREAD:
        request.getfixturevalue("set_threads")(1)


@pytest.fixture(scope="session")
def peaks() -> dict[str, np.ndarray]:
    """Where the store's cuts pile up: int64 (M, 2) for each chromosome but the short one."""
    found = {}
    for chrom, size in SIZES.items():
        starts = np.arange(600, size - PEAK_BP, PEAK_EVERY, dtype=np.int64)
        found[chrom] = np.stack([starts, starts + PEAK_BP], axis=1)
    return found


@pytest.fixture(scope="session")
def store_path(tmp_path_factory, peaks):
    """Fragments of 80 bp: a thin background and 40 in each peak, one of them half blacklisted."""
    from denoiseq.genomics.intervals import Interval, merge
    from denoiseq.store.cut_store import write_store

    rng = np.random.default_rng(7)
    cuts = {}
    for chrom, size in SIZES.items():
        left = rng.integers(0, size - 80, size // 40)
        heaps = [rng.integers(s, e - 80, 40) for s, e in peaks[chrom]]
        left = np.concatenate([left, *heaps])
        fragment = np.arange(len(left))
        position = np.concatenate([left, left + 79])
        fragment = np.concatenate([fragment, fragment])
        order = np.argsort(position, kind="stable")
        cuts[chrom] = position[order], fragment[order]
    path = tmp_path_factory.mktemp("store") / "toy.h5"
    blacklist = merge([Interval("chrA", 9_200, 9_700), Interval("chrB", 0, 100)])
    write_store(path, SIZES, cuts, blacklist, {"shift": "+4/-4"}, {})
    return path


@pytest.fixture
def store(store_path):
    from denoiseq.store.cut_store import CutStore

    return CutStore(store_path)


@pytest.fixture(scope="session")
def evaluate():
    """`evaluate(model, data, trained)` tunes on `data`, or has `tuned`, and measures."""
    from denoiseq.evaluation.measure import measure, tune
    from denoiseq.settings import Evaluate

    def run(model, data, trained, tuned=None):
        tuned = tuned or tune(model, data, trained)
        return measure(model, data, Evaluate(), trained, tuned).metrics, tuned

    return run


@pytest.fixture(scope="session")
def make_network():
    """`make_network("unet", channels=[4, 8], …)`: a network from settings; by default on torch."""
    from denoiseq import models
    from denoiseq.settings import MODELS, Conv, Precision
    from denoiseq.settings.data import Rows

    def make(
        name,
        *,
        conv="torch",
        algorithm="auto",
        precision="fp32",
        in_channels=1,
        rows=None,
        seed=0,
        **sizes,
    ):
        model = MODELS[name](**sizes)
        rows = rows or Rows(bases=in_channels == 5)
        return models.build(model, Conv(conv, algorithm), Precision(precision), seed, rows)

    return make


@pytest.fixture(scope="session")
def train_settings():
    """`train_settings(out, epochs=3, workers=1, seed=2, …)`: settings of a training, groups named
    by their keys alone; `optimizer` is optim.name.
    """
    from dataclasses import fields

    from denoiseq.settings import Optim, Train, Trainer

    def make(out, optimizer="adam", **values) -> Train:
        groups = {
            name: kind(**{f.name: values.pop(f.name) for f in fields(kind) if f.name in values})
            for name, kind in (("optim", Optim), ("trainer", Trainer))
        }
        groups["optim"].name = optimizer
        return Train(out=str(out), **groups, **values)

    return make


@pytest.fixture
def make_model(make_network):
    """A network of 3 + 3 layers, the same weights for the same seed."""

    def make(seed: int = 0, **more):
        shape = {"channels": 4, "kernel_size": 5, "dilation": 2, "blocks": 1, "peak_blocks": 1}
        shape |= {"peak_kernel_size": 5, "peak_dilation": 2}
        return make_network("denoising_resnet", seed=seed, **(shape | more))

    return make
