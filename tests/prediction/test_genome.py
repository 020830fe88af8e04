"""Predictions that are stopped, killed, shared between processes or short of something."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from threading import Lock

import numpy as np
import pysam
import pytest
import torch
from denoiseq.errors import UserError
from denoiseq.genomics.bigwig_reader import read_bigwig
from denoiseq.genomics.fasta import Genome
from denoiseq.prediction import genome as genome_module
from denoiseq.prediction import resume
from denoiseq.prediction.sample import Source
from denoiseq.prediction.tiles import Denoiser
from denoiseq.store.cut_store import CutStore
from denoiseq.store.input_rows import InputRows

ROOT = Path(__file__).parents[2]
CHROMS = {"chr1": 200_000, "chr2": 100_000, "chr3": 100_000}
OUTPUTS = ("x.coverage.bw", "x.peak_probability.bw", "x.peaks.narrowPeak",
           "x.cutoff_analysis.tsv")  # fmt: skip


def given(workplace, out, *more) -> list[str]:
    best = workplace / "run/checkpoints/best.pt"
    return [f"checkpoint={best}", f"store={workplace / 'cuts.h5'}", f"out={out}", "name=x",
            "depth=trained", "trainer.device=cpu", *more]  # fmt: skip


def contents(out) -> list[bytes]:
    return [(out / name).read_bytes() for name in OUTPUTS]


@pytest.fixture(scope="module")
def straight(workplace, tmp_path_factory):
    """The outputs of a prediction that nothing happened to."""
    from denoiseq import cli

    out = tmp_path_factory.mktemp("straight")
    assert cli.main(["predict", *given(workplace, out)]) == 0
    assert not list(out.glob(".*"))
    return contents(out)


@pytest.fixture
def computed(monkeypatch):
    """Names of the chromosomes that are computed."""
    names = []
    tiles = Denoiser.tiles

    def noted(self, chrom, size):
        names.append(chrom)
        return tiles(self, chrom, size)

    monkeypatch.setattr(Denoiser, "tiles", noted)
    return names


@pytest.fixture(autouse=True)
def each_chromosome_is_recorded_by_itself(monkeypatch):
    monkeypatch.setattr(genome_module, "BATCH_BP", 1)


@pytest.fixture
def stopped(denoiseq, workplace, tmp_path, monkeypatch):
    """The folder of a prediction that Ctrl-C ended when two chromosomes were done."""
    finish = resume.Writer.finish

    def third(self, chrom, *called):
        if chrom == "chr3":
            raise KeyboardInterrupt
        finish(self, chrom, *called)

    with monkeypatch.context() as patch:
        patch.setattr(resume.Writer, "finish", third)
        outcome = denoiseq("predict", *given(workplace, tmp_path / "p"))
    assert outcome.code == 130
    last = outcome.err.strip().splitlines()[-1]
    assert last == "stopped: chromosomes done: 2; the same command goes on from there"
    assert {path.name for path in (tmp_path / "p").iterdir()} == {".x.unfinished", "predict.log"}
    return tmp_path / "p"


def test_a_stopped_prediction_goes_on_to_the_same_bytes(
    denoiseq, workplace, stopped, straight, computed
):
    assert denoiseq("predict", *given(workplace, stopped)).code == 0
    assert computed == ["chr3"]
    assert contents(stopped) == straight
    assert not (stopped / ".x.unfinished").exists()
    computed.clear()
    assert denoiseq("predict", *given(workplace, stopped)).code == 0
    assert computed == [*CHROMS]  # one that is complete is made anew


@pytest.mark.parametrize("change", ["seed=1", "peak_threshold=0.3", "tile_bp=30000", "conv=torch"])
def test_what_another_prediction_left_is_not_taken(denoiseq, workplace, stopped, computed, change):
    assert denoiseq("predict", *given(workplace, stopped, change)).code == 0
    assert computed == [*CHROMS]


def test_what_another_checkpoint_or_input_left_is_not_taken(
    denoiseq, workplace, stopped, computed, tmp_path
):
    payload = torch.load(workplace / "run/checkpoints/best.pt", weights_only=True)
    payload["state_dict"]["classifier.conv_layer.bias"] += 1
    torch.save(payload, tmp_path / "other.pt")
    other = given(workplace, stopped, f"checkpoint={tmp_path / 'other.pt'}")
    assert denoiseq("predict", *other).code == 0
    assert computed == [*CHROMS]


KILLED = """
import os
from denoiseq import cli
from denoiseq.prediction import genome, resume
genome.BATCH_BP = 1
finish = resume.Writer.finish
def killed(self, chrom, *called):
    if chrom == "chr2":
        for file in [f for files in self._files for f in files]:
            file.flush()
        self._record.write(b'{"chroms": [{"chrom": "chr2", "tra')
        self._record.flush()
        os._exit(9)
    finish(self, chrom, *called)
resume.Writer.finish = killed
cli.main(["predict", *__import__("sys").argv[1:]])
"""


def test_a_killed_prediction_goes_on_to_the_same_bytes(
    denoiseq, workplace, straight, computed, tmp_path
):
    options = given(workplace, tmp_path)
    process = subprocess.run([sys.executable, "-c", KILLED, *options], stderr=subprocess.PIPE)
    assert process.returncode == 9, process.stderr
    assert not [name for name in OUTPUTS if (tmp_path / name).exists()]
    assert denoiseq("predict", *options).code == 0
    assert computed == ["chr2", "chr3"]
    assert contents(tmp_path) == straight


def test_reads_are_prepared_once(denoiseq, workplace, genome, tmp_path, monkeypatch):
    options = [*given(workplace, tmp_path), f"bam={genome['bam']}", "store=null"]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.Writer, "finish", stop)
        assert denoiseq("predict", *options).code == 130
    assert (tmp_path / ".x.unfinished" / resume.CUTS).exists()
    monkeypatch.setattr("denoiseq.prediction.sample.prepare_stores", None)
    assert denoiseq("predict", *options).code == 0


@pytest.mark.parametrize("options", ["trainer.threads=1", "trainer.threads=3", "tile_bp=1000000"])
def test_threads_and_tiles_do_not_show(denoiseq, workplace, straight, tmp_path, options):
    threads = torch.get_num_threads()
    assert denoiseq("predict", *given(workplace, tmp_path, options)).code == 0
    torch.set_num_threads(threads)
    if "threads" in options:
        assert contents(tmp_path) == straight
    for chrom, size in CHROMS.items():
        (tmp_path / "y.bw").write_bytes(straight[0])
        one, other = (read_bigwig(tmp_path / name, chrom, 0, size) for name in (OUTPUTS[0], "y.bw"))
        assert np.abs(one - other).max() < 0.11  # a rounding at the edge of a decimal
        assert (one != other).mean() < 1e-3


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch without gloo")
def test_only_the_bases_are_read_by_one_thread_at_a_time(workplace, genome, monkeypatch):
    alone, held = Lock(), {}

    def noting(name, function):
        def run(*arguments):
            held[name] = alone.locked()
            return function(*arguments)

        return run

    monkeypatch.setattr(CutStore, "coverage", noting("coverage", CutStore.coverage))
    monkeypatch.setattr(Genome, "one_hot", noting("bases", Genome.one_hot))
    source = Source(InputRows(CutStore(workplace / "cuts.h5"), 100, Genome(genome["fasta"])))
    assert source.read("chr1", 0, 1_000, alone).shape == (5, 1_000)
    assert held == {"coverage": False, "bases": True} and not alone.locked()


def test_several_processes_make_the_same_files(workplace, straight, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               "app/predict.py", *given(workplace, tmp_path)]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == straight
    assert not (tmp_path / ".x.unfinished").exists()


def test_two_predictions_do_not_write_to_one_place(fails, workplace, tmp_path):
    with resume.claimed(tmp_path / ".x.unfinished", {}):
        assert "another prediction is writing" in fails("predict", *given(workplace, tmp_path))


def test_a_full_disk_is_a_sentence_and_loses_nothing(
    denoiseq, fails, workplace, straight, tmp_path, monkeypatch
):
    add = resume.Writer.add

    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(self, pieces):
        if len(resume.finished(self.folder)) == 1:
            self._files = [[Full()] * 3] * 2
        add(self, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(resume.Writer, "add", full)
        assert "no space left on the disk" in fails("predict", *given(workplace, tmp_path))
    assert not [name for name in OUTPUTS if (tmp_path / name).exists()]
    assert denoiseq("predict", *given(workplace, tmp_path)).code == 0
    assert contents(tmp_path) == straight


@pytest.mark.parametrize("last", ["report.page.write_text", "prediction.run.write_json"])
def test_a_disk_that_fills_up_at_the_report_costs_the_report_alone(
    denoiseq, fails, workplace, straight, tmp_path, monkeypatch, computed, last
):
    def full(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(f"denoiseq.{last}", full)
        assert "No space left" in fails("predict", *given(workplace, tmp_path))
    computed.clear()
    assert denoiseq("predict", *given(workplace, tmp_path)).code == 0
    assert not computed  # of the chromosomes
    assert contents(tmp_path) == straight


def test_an_error_of_any_type_keeps_finished_chromosomes(
    denoiseq, workplace, straight, tmp_path, monkeypatch, computed
):
    """A prediction that is not finite on the last chromosome, then a page that cannot be drawn."""
    answer = Denoiser.answer

    def broken(self, x, tile, size):
        if tile.chrom == "chr3":
            raise UserError("The model's answer at chr3:0-1 is not finite")
        return answer(self, x, tile, size)

    with monkeypatch.context() as patch:
        patch.setattr(Denoiser, "answer", broken)
        outcome = denoiseq("predict", *given(workplace, tmp_path))
    assert outcome.code == 2 and "not finite" in outcome.err.splitlines()[-1]
    assert "chromosomes done: 2; the same command goes on from there" in outcome.err
    computed.clear()

    def undrawn(*_):
        raise ValueError("Image size of 200000x200 pixels is too large")

    with monkeypatch.context() as patch:
        patch.setattr("denoiseq.prediction.run.prediction_page", undrawn)
        assert denoiseq("predict", *given(workplace, tmp_path)).code == 1
    assert computed == ["chr3"]
    assert contents(tmp_path) == straight  # the outputs are written before the page
    computed.clear()
    assert denoiseq("predict", *given(workplace, tmp_path)).code == 0
    assert not computed and contents(tmp_path) == straight
    assert not (tmp_path / ".x.unfinished").exists()


def test_a_refused_start_takes_no_finished_chromosomes(
    denoiseq, fails, workplace, stopped, computed
):
    fails("predict", *given(workplace, stopped, "peak_threshold=7"))
    assert denoiseq("predict", *given(workplace, stopped)).code == 0
    assert computed == ["chr3"]


def test_a_refused_start_leaves_nothing_but_its_log(fails, workplace, tmp_path):
    fails("predict", *given(workplace, tmp_path, "regions=[chr9:0-1000]"))
    assert {path.name for path in tmp_path.iterdir()} == {"predict.log"}


def test_prepared_reads_outlive_a_refusal(
    fails, denoiseq, workplace, genome, tmp_path, monkeypatch
):
    options = [*given(workplace, tmp_path), f"bam={genome['bam']}", "store=null"]
    fails("predict", *options, "regions=[chr9:0-1000]")
    assert (tmp_path / ".x.unfinished" / resume.CUTS).exists()
    monkeypatch.setattr("denoiseq.prediction.sample.prepare_stores", None)
    assert denoiseq("predict", *options).code == 0


def without(bam, path, unwanted):
    """A copy of a BAM without the reads that `unwanted` says."""
    with (
        pysam.AlignmentFile(str(bam)) as old,
        pysam.AlignmentFile(str(path), "wb", template=old) as new,
    ):
        for read in old.fetch(until_eof=True):
            if not unwanted(read):
                new.write(read)
    pysam.index(str(path))
    return path


def test_a_chromosome_without_reads_has_the_answer_to_nothing(
    denoiseq, workplace, genome, tmp_path
):
    bam = without(genome["bam"], tmp_path / "x.bam", lambda read: read.reference_name == "chr2")
    options = [*given(workplace, tmp_path / "p"), f"bam={bam}", "store=null"]
    assert denoiseq("predict", *options).code == 0
    track = read_bigwig(tmp_path / "p/x.coverage.bw", "chr2", 20_000, 60_000)
    assert len(np.unique(track)) <= 2  # 0 in the blacklist
    assert read_bigwig(tmp_path / "p/x.coverage.bw", "chr1", 0, 200_000).max() > 1
    assert "chr2" not in (tmp_path / "p/x.peaks.narrowPeak").read_text()


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_bam_without_usable_reads_is_a_sentence(fails, workplace, genome, tmp_path, all_of_them):
    bam = without(
        genome["bam"],
        tmp_path / "x.bam",
        lambda read: all_of_them or read.mapping_quality >= 30,
    )
    options = [*given(workplace, tmp_path / "p"), f"bam={bam}", "store=null"]
    assert "x.bam" in fails("predict", *options)
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"predict.log"}
