"""The command line itself: usage, versions, the sentences for what hydra cannot read, the shims."""

import os
import subprocess
import sys
from pathlib import Path

import denoiseq as package
import pytest
from denoiseq import cli

ROOT = Path(__file__).parents[1]


def test_no_arguments_print_the_usage(denoiseq):
    outcome = denoiseq()
    assert outcome.code == 2
    assert "prepare" in outcome.out


def test_help_and_version(denoiseq):
    assert denoiseq("--help").code == 0
    assert denoiseq("--version") == (0, f"denoiseq {package.__version__}\n", "")


@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "predict"])
def test_help_of_a_command_lists_its_keys(denoiseq, command):
    outcome = denoiseq(command, "--help")
    assert outcome.code == 0
    assert ("checkpoint:" if command in ("evaluate", "predict") else "workers:") in outcome.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["no command 'trian'", "train"]),
        (["prepare", "bma=x.bam"], ["unknown config key 'bma'", "'bam'"]),
        (["prepare", "+bma=x.bam"], ["unknown config key 'bma'"]),
        (["train", "optim.lrr=1"], ["unknown config key 'optim.lrr'", "'optim.lr'"]),
        (["train", "conv=fast"], ["conv/fast", "dilconv, torch"]),
        (["train", "+experiment=yaest"], ["experiment/yaest", "yeast"]),
        (["train", "experiment=yeast"], ["+experiment"]),
        (["train", "data.store"], ["data.store", "key=value"]),
        (["train", "+experiment=smoke", "optim.lr=fast"], ["optim.lr", "fast"]),
        (["train"], ["data.store is required"]),
        (["predict", "depth=deep"], ["depth", "deep"]),
    ],
)
def test_what_cannot_be_read_is_one_sentence(fails, arguments, words):
    text = fails(*arguments)
    for word in words:
        assert word in text


def test_a_wrong_config_leaves_no_folder(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails("train", "+experiment=smoke", "optim.lr=0")
    assert list(tmp_path.iterdir()) == []


def test_an_operating_system_error_names_the_file():
    assert cli.sentence(FileNotFoundError(2, "No such file or directory", "a.bam")) == (
        "a.bam: No such file or directory"
    )
    assert cli.sentence(ValueError("two\n  lines")) == "two lines"


@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "predict"])
def test_the_shims_run_from_any_folder(command, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "app" / f"{command}.py"), "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"denoiseq {package.__version__}\n")


def test_doctor_says_what_the_machine_has(denoiseq):
    outcome = denoiseq("doctor", "measure=false")
    assert outcome.code == 0
    for word in ("cores", "torch", "dilconv", package.__version__):
        assert word in outcome.out


def test_doctor_foretells_a_training(denoiseq, tmp_path):
    made = (f"data.store={tmp_path}/cuts.h5", f"data.prepare.bam={tmp_path}/reads.bam",
            f"data.prepare.fasta={tmp_path}/genome.fa", f"data.truth={tmp_path}/peaks.bed",
            f"data.prepare.blacklist={tmp_path}/blacklist.bed")  # fmt: skip
    outcome = denoiseq("doctor", "measure=false", "+experiment=smoke", *made)
    assert outcome.code == 0
    assert "41 windows of 5,800 bp" in outcome.out and "for 4 epochs" in outcome.out


def test_doctor_refuses_what_training_would(fails):
    assert "data.stroe" in fails("doctor", "data.stroe=x.h5")
    assert "data.validation" in fails("doctor", "data.store=x.h5", "data.test=[chr1]")


def test_debug_shows_the_traceback(denoiseq, monkeypatch):
    monkeypatch.setenv("DENOISEQ_DEBUG", "1")
    with pytest.raises(ValueError, match="no command"):
        denoiseq("trian")


def test_bench_refuses_what_it_does_not_know(fails):
    assert "threads=NUMBER" in fails("bench", "threads=many")
    assert "'speed=1'" in fails("bench", "speed=1")


def test_bench_prints_a_row_a_pass_and_contender(denoiseq):
    pytest.importorskip("dilconv")
    outcome = denoiseq("bench", "rounds=2")
    assert outcome.code == 0
    for word in ("forward", "backward_data", "backward_weight", "torch-padded", "direct"):
        assert word in outcome.out
