"""Sweeps of Hydra: a folder a job, by its own launcher and by submitit's."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

BRIEF = ["+experiment=smoke", "stages=[train]", "trainer.tensorboard=false"]


@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_a_sweep_over_seeds_leaves_a_run_for_each(denoiseq, workplace, at, tmp_path, launcher):
    if launcher != "basic":
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    options = [*BRIEF, *at(workplace), "optim.epochs=1", f"hydra/launcher={launcher}"]
    outcome = denoiseq("train", "-m", "seed=3,4", f"hydra.sweep.dir={tmp_path}", *options)
    assert outcome.code == 0, outcome
    seeds, losses = [], []
    for job in ("0", "1"):
        run = tmp_path / job
        assert (run / "checkpoints" / "best.pt").is_file()
        seeds += [line for line in (run / "config.yaml").read_text().splitlines()
                  if line.startswith("seed:")]  # fmt: skip
        losses.append(json.loads((run / "metrics.json").read_text())["denoised"]["mse"])
    assert seeds == ["seed: 3", "seed: 4"]
    assert losses[0] != losses[1]


def test_a_job_that_fails_fails_the_sweep_with_a_sentence(fails, workplace, at, tmp_path):
    options = [*BRIEF, *at(workplace), f"hydra.sweep.dir={tmp_path}"]
    assert "optim.lr is -1" in fails("train", "-m", "optim.lr=-1,1e-3", *options)


# A launcher as submitit's: its handler requeues the job by an exit code.
LAUNCHER = """
import signal, sys
from denoiseq import cli
def requeue(*_):
    raise {outcome}
signal.signal(signal.SIGUSR2, requeue)
sys.exit(cli.main(["train", "-m", *sys.argv[1:]]))
"""


def launched(outcome: str, folder, *options) -> tuple[int, str]:
    """Exit code and errors of a sweep of one job that has USR2 once it has a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER.format(outcome=outcome), *options], text=True,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    while not (folder / "0/checkpoints/best.pt").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR2)
    return process.wait(60), process.stderr.read()


def test_a_job_is_requeued_after_saving_and_goes_on(workplace, at, tmp_path, denoiseq, monkeypatch):
    options = [*BRIEF, *at(workplace), "optim.epochs=12", f"hydra.sweep.dir={tmp_path}"]
    code, err = launched("SystemExit(144)", tmp_path, *options)
    assert code == 144, err
    assert "stopped: Training was interrupted: go on with resume=" in err
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    assert denoiseq("train", "-m", *options).code == 0
    log = (tmp_path / "0/train.log").read_text()
    assert log.count("epoch 1/12") <= 1 == log.count("epoch 12/12")
    assert "this job was started again: it goes on from" in log


def test_a_job_that_is_not_requeued_says_how_to_go_on(workplace, at, tmp_path):
    options = [*BRIEF, *at(workplace), "optim.epochs=99", f"hydra.sweep.dir={tmp_path}"]
    code, err = launched("RuntimeError('Timed out too often.')", tmp_path, *options)
    assert code == 2, err
    last = err.splitlines()[-1]
    assert last.startswith("error: Training was interrupted: go on with resume=")
    assert last.endswith("last.pt. Timed out too often.")
