"""The study of precisions: both trained, compared in a table and a figure, nothing done twice."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dilconv")
ROOT = Path(__file__).parents[2]


def study(out, *overrides):
    script = ROOT / "scripts" / "bf16_study.py"
    options = ["--experiment", "smoke", "--seeds", "0", "--out", str(out)]
    command = [sys.executable, str(script), *options, *overrides]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_study_compares_both_and_repeats_nothing(at, tmp_path):
    done = study(tmp_path, *at(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("training in") == 2
    with (tmp_path / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["precision"] for row in rows] == ["fp32", "bf16"]
    losses = [float(row["last_train_loss"]) for row in rows]
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.1)
    table = (tmp_path / "study.md").read_text().splitlines()
    assert table[-1].startswith("| bf16 - fp32 |")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    again = study(tmp_path, *at(tmp_path))
    assert again.returncode == 0 and "training in" not in again.stdout


def test_a_failed_training_is_a_sentence(at, tmp_path):
    done = study(tmp_path, *at(tmp_path), "optim.lr=-1")
    assert done.returncode == 2
    assert "fp32_seed0 failed" in done.stderr and "optim.lr is -1.0" in done.stderr
