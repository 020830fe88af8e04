"""A tiny experiment that is killed, or whose disk fills up, in each way once; damage is noticed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from denoiseq.atomic import write_json
from denoiseq.genomics.synthetic import make_synthetic
from denoiseq.store.cut_store import write_store
from kills.contents import NotWhole, contents
from kills.steps import steps

ROOT = Path(__file__).parents[2]


def test_kill_and_fill_finds_no_fault_in_each_kind():
    script = [sys.executable, str(ROOT / "scripts/kill_and_fill.py"), "--trials=11", "--seed=0"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 trials, 0 faults" in done.stdout
    trials = re.findall(r"^ +\d+ (\w+) ", done.stdout, re.MULTILINE)
    assert {*trials} == {"prepare", "train", "evaluate", "predict"}


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.h5", "a.html", "a.png", "a.pt", "a.bw"])
def test_contents_of_half_a_file_are_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'{"a": [1, 2')
    with pytest.raises(NotWhole, match=name):
        contents(path)


def test_contents_leave_out_times_alone(tmp_path):
    for name, values in {"a": (1, 2.5), "b": (9, 2.5), "c": (1, 3.5)}.items():
        seconds, score = values
        write_json(tmp_path / f"{name}.json", {"seconds": seconds, "scores": [score]})
    a, b, c = (contents(tmp_path / f"{name}.json") for name in "abc")
    assert a == b != c


def test_contents_of_a_store_are_its_bytes(tmp_path):
    write_store(tmp_path / "a.h5", {"chr1": 100}, {}, {}, {}, {})
    assert contents(tmp_path / "a.h5") == (tmp_path / "a.h5").read_bytes()


def test_steps_have_workers_but_to_evaluate(tmp_path):
    planned = steps(make_synthetic(tmp_path), tmp_path / "out")
    assert [step.name for step in planned if not step.shared] == ["evaluate"]
