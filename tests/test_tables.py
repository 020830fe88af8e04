"""The README's speed tables come from the benchmark's CSV files; the sweep writes such files."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = "# Title\n\n<!-- speed tables -->\nText after the tables.\n"
COLUMNS = (
    "layer,N,C,K,S,d,W,pass,contender,threads,median_ms,iqr_ms,gflops,fraction_of_peak,"
    "speedup_over_torch,peak_gflops,cpu,isa,torch,commit"
)
TAIL = "100.0,Some CPU,avx2,2.13.0,abc1234"
LAYER = f"""{COLUMNS}
AtacWorks,1,15,15,51,8,60000,forward,torch,1,20.0,0.1,69.0,0.69,1.0,{TAIL}
AtacWorks,1,15,15,51,8,60000,forward,auto,1,2.0,0.1,690.0,6.9,10.0,{TAIL}
AtacWorks,1,15,15,51,8,60000,forward_backward,auto,1,6.5,0.1,650.0,6.52,31.25,{TAIL}
"""
SWEEP = f"""{COLUMNS}
AtacWorks,1,15,15,51,8,60000,forward,auto,1,9.9,0.1,1.0,1.0,99.0,{TAIL}
S=3,1,15,15,3,8,60000,forward,auto,1,1.25,0.1,65.0,0.65,1.5,{TAIL}
S=3,1,15,15,3,8,60000,forward,auto,2,0.75,0.1,65.0,0.65,1.75,{TAIL}
"""

TRAINING = """contender,N,W,parameters,threads,median_ms,speedup_over_torch,loss,cpu,isa,torch
native,1,60000,219706,1,80.4,25.5,0.92876,Some CPU,avx2,2.13.0
torch,1,60000,219706,1,2050.6,1.0,0.92877,Some CPU,avx2,2.13.0
"""

MODELS = """model,N,threads,dtype,parameters,forward_torch_ms,forward_dilconv_ms,forward_ratio,\
step_torch_ms,step_dilconv_ms,step_ratio,gradient_error_torch,gradient_error_dilconv,cpu,isa,torch
BPNet,64,2,float32,1,900.1,300.2,2.998,4000.1,1000.6,3.998,8.0e-04,2.6e-05,Some CPU,avx2,2.13.0
"""


def run(script, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "atacworks.csv").write_text(LAYER)
    (tmp_path / "bench" / "sweep.csv").write_text(SWEEP)
    return tmp_path


def tables(folder, *options):
    return run(
        "make_tables.py", "--folder", folder / "bench", "--readme", folder / "README.md", *options
    )


def test_tables_are_made_once_and_again(folder):
    assert tables(folder).returncode == 0
    text = (folder / "README.md").read_text()
    assert "| N | threads | pass | torch | auto |" in text
    assert "| 1 | 1 | forward | 1.00 (0.69) | 10.00 (6.90) |" in text
    assert "| 1 | 1 | forward + backward | - | 31.25 (6.52) |" in text
    assert "| S=3 | 1 | 15 | 15 | 3 | 8 | 60000 | 1.25 (1.50) | 0.75 (1.75) | - | - |" in text
    assert "99.00" not in text  # the first file has this layer and pass
    assert text.startswith("# Title\n\n<!-- speed tables -->\n")
    assert text.endswith("\n<!-- /speed tables -->\n\nText after the tables.\n")
    assert tables(folder, "--check").returncode == 0
    assert tables(folder).returncode == 0
    assert (folder / "README.md").read_text() == text


def test_training_steps_have_a_table_of_their_own(folder):
    (folder / "bench" / "training.csv").write_text(TRAINING)
    assert tables(folder).returncode == 0
    text = (folder / "README.md").read_text()
    assert "219,706 parameters, W=60,000" in text
    assert "| 1 | 1 | native | 80 | 25.5 | 0.9288 |" in text
    assert text.index("The sweep on") < text.index("Whole training steps") < text.index("<!-- /")


def test_models_have_a_table_on_their_own_page(folder):
    page = folder / "models.md"
    page.write_text("# Models\n\n<!-- models table -->\n<!-- /models table -->\n\nText.\n")
    (folder / "bench" / "models.csv").write_text(MODELS)
    assert tables(folder, "--models-page", page).returncode == 0
    text = page.read_text()
    assert "| BPNet | 64 | float32 | 2 | 900 -> 300 (3.00) | 4000 -> 1001 (4.00) | 8.0e-04" in text
    assert text.startswith("# Models") and text.endswith("<!-- /models table -->\n\nText.\n")
    assert "BPNet" not in (folder / "README.md").read_text()
    page.write_text(text.replace("4.00", "5.00"))
    outcome = tables(folder, "--models-page", page, "--check")
    assert outcome.returncode == 1 and "models.md is not what" in outcome.stderr


def test_a_changed_number_is_noticed(folder):
    tables(folder)
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("31.25", "41.25"))
    assert tables(folder, "--check").returncode == 1
    assert "41.25" in readme.read_text()


@pytest.mark.parametrize("name", ["other.csv", "training_other.csv"])
def test_files_that_are_no_benchmark_are_refused(folder, name):
    (folder / "bench" / name).write_text("a,b\n1,2\n")
    outcome = tables(folder)
    assert outcome.returncode == 2 and f"{name} holds no rows" in outcome.stderr
    assert (folder / "README.md").read_text() == README


def test_the_readme_shows_what_the_files_hold():
    outcome = run("make_tables.py", "--check")
    assert outcome.returncode == 0, outcome.stderr


def test_sweep_writes_every_point_and_resumes(tmp_path):
    pytest.importorskip("dilconv")
    path = tmp_path / "bench" / "sweep.csv"
    options = ["--rounds", 2, "--seconds", 0.01, "--csv", path]
    options += ["--contenders", "torch-padded", "direct", "spectral", "auto", "--resume"]
    first = run("bench_layer.py", "--sweep", "--points", "W=1000", *options)
    assert first.returncode == 0, first.stderr
    assert not first.stderr  # no progress bar where nobody looks
    second = run("bench_layer.py", "--sweep", "--points", "W=1000", "1x1 15->1", *options)
    assert second.returncode == 0, second.stderr
    assert "W=1000" not in second.stdout and "1x1 15->1" in second.stdout
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [r["layer"] for r in rows if r["pass"] == "forward"] == ["W=1000"] * 4 + [
        "1x1 15->1"
    ] * 4
    assert {r["pass"] for r in rows} > {"backward_data", "backward_weight"}
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "README.md").write_text(README)
    assert tables(tmp_path).returncode == 0
    assert "| 1x1 15->1 | 1 | 15 | 1 | 1 | 1 | 60000 |" in (tmp_path / "README.md").read_text()


def test_planner_is_compared_with_both_algorithms():
    pytest.importorskip("dilconv")
    outcome = run("bench_layer.py", "--planner", "--points", "W=1000", "--rounds", 3)
    assert outcome.returncode == 0, outcome.stderr
    assert len(re.findall(r"^W=1000 ", outcome.stdout, re.MULTILINE)) == 4
    assert "within 25% of the better algorithm" in outcome.stdout
