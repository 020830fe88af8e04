"""Sweeps of Hydra: a folder a job, by its own launcher and by submitit's."""

import json

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
