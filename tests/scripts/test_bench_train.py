"""The benchmark of training steps: equal losses, whole breakdowns, the rows that it writes."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("dilconv")
from bench import training_steps

ROOT = Path(__file__).parents[2]
TINY = {"channels": 3, "kernel_size": 5, "dilation": 2, "blocks": 1, "peak_blocks": 1}
TINY |= {"peak_kernel_size": 5, "peak_dilation": 2}


@pytest.fixture
def entered():
    return training_steps.contenders(2, 700, **TINY)


def test_contenders_are_one_network(entered):
    native, half, padded, inside = (c.model for c in entered[:4])
    for model in (half, padded, inside):
        for name, value in model.state_dict().items():
            assert torch.equal(value, native.state_dict()[name])
    first = [m.res_blocks[0].conv_act1 for m in (padded, inside)]
    assert [layer.conv_layer.padding for layer in first] == [(0,), (4,)]


def test_losses_agree_and_fall(entered, monkeypatch):
    monkeypatch.setattr(training_steps, "HOPELESS", float("inf"))
    assert training_steps.take_turns(entered, rounds=3, native_steps=2) == entered
    assert [len(c.losses) for c in entered] == [7, 7, 4, 4, 4, 4]
    assert [len(c.seconds) for c in entered] == [6, 6, 3, 3, 3, 3]
    steps = training_steps.check_losses(entered)
    assert len(steps) == 4 and steps[-1][0] < steps[0][0]


def test_a_hopeless_form_is_not_timed(entered, monkeypatch):
    monkeypatch.setattr(training_steps, "HOPELESS", 1)  # only the best of torch's is not
    timed = training_steps.take_turns(entered, rounds=2, native_steps=1)
    assert [c.name for c in timed[:2]] == ["native", "native-bf16"] and len(timed) == 3
    assert all(c.seconds for c in timed)


def test_other_losses_are_refused(entered):
    with torch.no_grad():
        entered[3].model.res_blocks[0].conv_act1.conv_layer.weight[0, 0, 0] += 0.5
    training_steps.take_turns(entered, rounds=2, native_steps=1)
    with pytest.raises(RuntimeError, match=r"losses of step 1 disagree: native .*, torch "):
        training_steps.check_losses(entered)


@pytest.mark.parametrize("which", [0, 2])
def test_the_breakdown_is_whole(entered, which):
    shares = training_steps.breakdown(entered[which], steps=2)
    assert tuple(shares) == training_steps.PARTS
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())


def test_the_script_writes_a_row_a_contender(tmp_path):
    path = tmp_path / "made" / "train.csv"
    options = ["-W", "600", "--rounds", "2", "--steps", "2", "--csv", str(path)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bench_train.py"), *options],
        capture_output=True,
        text=True,
        env={"ONEDNN_MAX_CPU_ISA": "AVX2"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "219,706 parameters" in done.stdout
    assert "everything but convolutions" in done.stdout
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["contender"] for row in rows]
    assert (
        names == [name for name in training_steps.CONTENDERS if name in names] and len(names) >= 3
    )
    columns = {"N", "W", "parameters", "threads", "steps", "median_ms", "iqr_ms", "loss"}
    columns |= {"speedup_over_torch", "onednn_isa", "cpu", "isa", "torch", "commit", "cpus_used"}
    columns.add("dtype")
    assert set(rows[0]) == columns | {"contender"} | {
        f"share_{part}" for part in training_steps.PARTS
    }
    assert {row["onednn_isa"] for row in rows} == {"AVX2"}
    assert [row["steps"] for row in rows] == ["4", "4", *["2"] * (len(rows) - 2)]
    values = {row["contender"]: float(row["loss"]) for row in rows}
    half = values.pop("native-bf16")
    assert half == pytest.approx(values["native"], rel=training_steps.BF16_TOLERANCE)
    assert all(
        v == pytest.approx(values["native"], rel=training_steps.LOSS_TOLERANCE)
        for v in values.values()
    )
    half = {row["contender"] for row in rows if row["dtype"] == "bfloat16"}
    assert half == {"native-bf16"}
    shares = [float(rows[0][f"share_{part}"]) for part in training_steps.PARTS]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    best = max(float(row["speedup_over_torch"]) for row in rows[2:])
    assert best == 1
