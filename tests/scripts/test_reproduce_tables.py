"""The run of all benchmarks: every command parses, what is done is kept, what fails is told."""

import importlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("dilconv")
import reproduce_tables
from results import rows

ROOT = Path(__file__).parents[2]
LAYER = ("bench_layer.py", "-W", 1000, "--rounds", 2, "--contenders", "torch-padded", "auto")


@pytest.mark.parametrize("quick", [True, False])
def test_every_command_is_one_that_its_script_takes(tmp_path, quick, monkeypatch):
    everything = reproduce_tables.steps(quick, tmp_path, 2)
    assert {step.file for step in everything} <= set(rows.FILES)
    for step in everything:
        name, *options = map(str, reproduce_tables.command_of(step, tmp_path))
        monkeypatch.setattr(sys, "argv", [name, *options])
        assert importlib.import_module(Path(name).stem).parse_arguments()


def test_what_is_there_is_kept(tmp_path, monkeypatch, capfd):
    step = reproduce_tables.Step("layers.csv", "layers", LAYER, 1)
    monkeypatch.setattr(reproduce_tables, "steps", lambda *_: [step])
    monkeypatch.setattr(sys, "argv", ["reproduce_tables.py", "--out", str(tmp_path)])
    monkeypatch.chdir(ROOT)
    assert reproduce_tables.main() == 0
    assert "1/1 layers: about" in capfd.readouterr().out
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"machine.json", "layers.csv", "layers.png", "README.md"}
    first = (tmp_path / "layers.csv").stat().st_mtime_ns
    assert reproduce_tables.main() == 0
    assert "kept: layers" in capfd.readouterr().out
    assert (tmp_path / "layers.csv").stat().st_mtime_ns == first


def test_a_benchmark_that_fails_ends_the_run(tmp_path):
    step = reproduce_tables.Step("layers.csv", "layers", ("bench_layer.py", "--rounds", 1), 1)
    with pytest.raises(SystemExit, match=r"bench_layer.py ended with 2"):
        reproduce_tables.run(step, tmp_path)


def test_the_time_left_follows_the_pace():
    todo = [reproduce_tables.Step("a.csv", "a", (), 3), reproduce_tables.Step("b.csv", "b", (), 2)]
    assert reproduce_tables.time_left(todo, 0, 0) == "5 min"
    assert reproduce_tables.time_left(todo[1:], 360, 3) == "4 min"
