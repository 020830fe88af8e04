"""The benchmark of other people's models: equal results, rows that are kept, wrong ones refused."""

import csv
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("dilconv")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench_models(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import bench_models

    return bench_models


def run(*options):
    command = [sys.executable, ROOT / "scripts" / "bench_models.py", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_rows_are_written_and_kept(tmp_path):
    path = tmp_path / "models.csv"
    options = ("--models", "filterbank S=101", "-N", 1, "--rounds", 2, "--csv", path)
    first = run(*options)
    assert first.returncode == 0, first.stderr
    with path.open() as file:
        (row,) = csv.DictReader(file)
    assert (row["model"], row["N"], row["threads"]) == ("filterbank S=101", "1", "1")
    assert float(row["step_dilconv_ms"]) > 0 and float(row["gradient_error_dilconv"]) <= 1e-4
    again = run(*options, "--resume", "--threads", 1)
    assert again.returncode == 0 and "filterbank" not in again.stdout
    assert path.read_text().count("\n") == 2


@pytest.mark.parametrize("name", ["WaveNet S=2", "BPNet, 2 controls"])
def test_converted_models_are_the_same(bench_models, name):
    example = next(e for e in bench_models.EXAMPLES if e.name == name)
    if not example.available():
        pytest.skip(f"not installed: {example.install}")
    errors = bench_models.check(name, *bench_models.pair_of(example, 1, "float32"))
    assert 0 < float(errors["output_error_dilconv"]) <= 1e-5
    assert 0 < float(errors["gradient_error_dilconv"]) <= bench_models.FLIPPED


def test_a_wrong_model_is_refused(bench_models):
    example = next(e for e in bench_models.EXAMPLES if e.name == "filterbank S=101")
    stock, converted = bench_models.pair_of(example, 1, "float32")
    converted.model.classify.bias.data[0] += 1e-2
    with pytest.raises(
        RuntimeError, match="filterbank S=101: converted, it errs in its outputs by"
    ):
        bench_models.check(example.name, stock, converted)


@pytest.mark.skipif(find_spec("bpnetlite") is not None, reason="bpnet-lite is installed")
def test_a_model_that_is_not_installed_is_left_out():
    outcome = run("--models", "BPNet", "--quick")
    assert outcome.returncode == 0
    assert "BPNet is left out: pip install --no-deps bpnet-lite" in outcome.stdout


def test_an_unknown_model_is_named():
    outcome = run("--models", "GPNet")
    assert outcome.returncode == 2 and "unknown model 'GPNet': choose from BPNet" in outcome.stderr
