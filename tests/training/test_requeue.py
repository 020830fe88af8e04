"""Which checkpoint a job goes on from that its scheduler starts again."""

import pytest
from denoiseq.models.checkpoint import save_checkpoint
from denoiseq.settings import Data, plain
from denoiseq.training.requeue import RESTARTS, SUBMITIT, checkpoint_of_job

DATA = Data(store="cuts.h5", validation=["chrB"], test=[])


@pytest.fixture(autouse=True)
def _no_job(monkeypatch):
    for name in (*RESTARTS, SUBMITIT):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def last(train_settings, tmp_path):
    """The checkpoint of a training in tmp_path, with the settings' defaults."""
    path = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(path, {"config": plain(train_settings(tmp_path, data=DATA))})
    return path


def test_checkpoint_of_job_is_none_outside_of_a_job(train_settings, last, tmp_path, monkeypatch):
    assert checkpoint_of_job(train_settings(tmp_path, data=DATA)) is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    assert checkpoint_of_job(train_settings(tmp_path, data=DATA)) is None


@pytest.mark.parametrize(("name", "value"), [
    ("SLURM_RESTART_COUNT", "1"), ("TORCHELASTIC_RESTART_COUNT", "2"), ("RESTARTED", "1"),
    ("LSB_RESTART", "Y"), ("SUBMITIT_EXECUTOR", "local"),
])  # fmt: skip
def test_checkpoint_of_job_is_the_run_folders(
    train_settings, last, tmp_path, monkeypatch, name, value
):
    monkeypatch.setenv(name, value)
    assert checkpoint_of_job(train_settings(tmp_path, data=DATA, workers=1)) == str(last)


def test_checkpoint_of_job_is_none_with_other_settings(
    train_settings, last, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert checkpoint_of_job(train_settings(tmp_path, data=DATA, lr=0.5)) is None
    assert "last.pt is of other settings (optim.lr " in caplog.text


def test_checkpoint_of_job_warns_where_there_is_none(train_settings, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(SUBMITIT, "local")  # perhaps its first start
    assert checkpoint_of_job(train_settings(tmp_path, data=DATA)) is None
    assert not caplog.text
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert checkpoint_of_job(train_settings(tmp_path, data=DATA)) is None
    assert "last.pt does not exist: the training starts anew" in caplog.text
