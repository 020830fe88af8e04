"""The results page and the README's tables come from the benchmarks' CSV files alone."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
from results import rows, scale, tables

ROOT = Path(__file__).parents[2]
README = "# Title\n\n<!-- speed tables -->\nText after the tables.\n"
COLUMNS = (
    "layer,N,C,K,S,d,W,pass,contender,threads,median_ms,iqr_ms,gflops,fraction_of_peak,"
    "speedup_over_torch,peak_gflops,cpu,isa,dtype,torch,onednn_isa,commit"
)
TAIL = "100.0,Some CPU,avx2,float32,2.13.0,,abc1234"
LAYERS = f"""{COLUMNS}
AtacWorks,1,15,15,51,8,60000,forward,torch,1,20.0,0.1,69.0,0.69,1.0,{TAIL}
AtacWorks,1,15,15,51,8,60000,forward,direct,1,18.0,0.1,69.0,0.78,1.1,{TAIL}
AtacWorks,1,15,15,51,8,60000,forward,auto,1,2.0,0.1,690.0,6.9,10.0,{TAIL}
AtacWorks,1,15,15,51,8,60000,forward_backward,auto,1,6.5,0.1,650.0,6.52,31.25,{TAIL}
S=3,1,15,15,3,8,60000,forward,auto,1,1.25,0.1,65.0,0.65,1.5,{TAIL}
S=3,1,15,15,3,8,60000,forward,auto,2,0.75,0.1,65.0,0.65,0.75,{TAIL}
"""
HALF = LAYERS.replace("float32", "bfloat16").replace("2.0,0.1,690", "1.6,0.1,690")
HERE = "cpu,isa,dtype,torch,onednn_isa,commit"
STEPS = f"""contender,N,threads,median_ms,speedup_over_torch,loss,share_conv_forward,{HERE}
native,1,1,80.4,25.5,0.92876,0.3,Some CPU,avx2,float32,2.13.0,,abc1234
torch,1,1,2050.6,1.0,0.92877,,Some CPU,avx2,float32,2.13.0,,abc1234
"""
EPOCHS = f"""on,form,threads,segments,batch,epoch_s,segments_per_second,loss,auroc,auprc,{HERE}
native,native,2,41,4,3.0,14.0,0.9,0.91,0.5,Some CPU,avx2,float32,2.13.0,,abc1234
native-bf16,native-bf16,2,41,4,2.5,16.4,0.9,0.91,0.5,Some CPU,avx2,bfloat16,2.13.0,,abc1234
torch,torch-conv2d,2,41,4,60.0,0.7,0.9,0.91,0.5,Some CPU,avx2,float32,2.13.0,,abc1234
torch-bf16,torch-bf16,2,41,4,50.0,0.8,0.9,0.91,0.5,Some CPU,avx2,bfloat16,2.13.0,,abc1234
"""

MODELS = """model,N,threads,dtype,parameters,forward_torch_ms,forward_dilconv_ms,forward_ratio,\
step_torch_ms,step_dilconv_ms,step_ratio,gradient_error_torch,gradient_error_dilconv,\
cpu,isa,torch,commit
BPNet,8,2,float32,1,90.1,30.2,2.998,400.1,100.6,3.998,8.0e-04,2.6e-05,CPU,avx2,2.13.0,abc1234
BPNet,64,2,float32,1,900.1,300.2,2.998,4000.1,1000.6,3.998,8.0e-04,2.6e-05,CPU,avx2,2.13.0,abc1234
"""


def run(script, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "layers.csv").write_text(LAYERS)
    return tmp_path


def make(folder, *options):
    there = ("--folder", folder / "results", "--readme", folder / "README.md")
    return run("make_tables.py", *there, *options)


def test_tables_are_made_once_and_again(folder):
    (folder / "results" / "layers_bf16.csv").write_text(HALF)
    (folder / "results" / "epochs.csv").write_text(EPOCHS)
    done = make(folder)
    assert done.returncode == 0, done.stderr
    readme = (folder / "README.md").read_text()
    page = (folder / "results" / "README.md").read_text()
    assert "| 1 | 1 | forward | 2.00 | 6.9 | 20.0 (torch) | **10.0** |" in readme
    assert "41 segments of 60,000 bp, 4 a step" in readme
    assert readme.startswith("# Title\n\n<!-- speed tables -->\n")
    assert readme.endswith("\n<!-- /speed tables -->\n\nText after the tables.\n")
    assert {p.name for p in (folder / "results").glob("*.png")} == {"layers.png", "layers_bf16.png"}
    assert "commit abc1234" in page
    assert make(folder, "--check").returncode == 0
    assert make(folder).returncode == 0
    assert (folder / "README.md").read_text() == readme


def test_models_have_a_table_on_their_own_page(folder):
    page = folder / "models.md"
    page.write_text("# Models\n\n<!-- models table -->\n<!-- /models table -->\n\nText.\n")
    (folder / "results" / "models.csv").write_text(MODELS)
    assert make(folder, "--models-page", page).returncode == 0
    text = page.read_text()
    line = "| BPNet | 64 | float32 | 2 | 900 → 300 (**3.00**) | 4000 → 1001 (**4.00**) | 8e-04 → "
    assert line in text and line in (folder / "results" / "README.md").read_text()
    assert text.startswith("# Models") and text.endswith("<!-- /models table -->\n\nText.\n")
    readme = (folder / "README.md").read_text()
    assert "| BPNet | 64 | float32 | 2 | 4000 → 1001 (**4.00**) |" in readme
    assert "| BPNet | 8 |" in text and "| BPNet | 8 |" not in readme
    page.write_text(text.replace("4.00", "5.00"))
    outcome = make(folder, "--models-page", page, "--check")
    assert outcome.returncode == 1 and "models.md is not what" in outcome.stderr


def test_a_changed_number_is_noticed(folder):
    make(folder)
    for path in (folder / "README.md", folder / "results" / "README.md"):
        text = path.read_text()
        path.write_text(text.replace("6.9", "7.9"))
        done = make(folder, "--check")
        assert done.returncode == 1 and str(path) in done.stderr
        path.write_text(text)
    assert make(folder, "--check").returncode == 0


def test_files_that_are_no_benchmark_are_refused(folder):
    (folder / "results" / "steps.csv").write_text("a,b\n1,2\n")
    outcome = make(folder)
    assert outcome.returncode == 2 and "steps.csv holds no rows" in outcome.stderr
    assert (folder / "README.md").read_text() == README


def test_an_empty_folder_is_one_sentence(tmp_path):
    outcome = run("make_tables.py", "--folder", tmp_path)
    assert outcome.returncode == 2 and "holds no results" in outcome.stderr
    assert not list(tmp_path.iterdir())


def read(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return rows.read(tmp_path)


def test_each_table_holds_its_rows(tmp_path):
    found = read(tmp_path, layers=LAYERS, layers_bf16=HALF, steps=STEPS, epochs=EPOCHS)
    layer = tables.layer_table(found["layers"])
    assert "| N | threads | pass | torch | direct | auto |" in layer
    assert "| 1 | 1 | forward + backward | - | - | 31.25 (6.52) |" in layer
    sweep = tables.sweep_table(found["layers"])
    assert "| S=3 | 1 | 15 | 15 | 3 | 8 | 60000 | 1.25 (1.50) | 0.75 (0.75) | - | - |" in sweep
    half = tables.precision_table(found["layers"], found["layers_bf16"])
    assert "| AtacWorks | forward | 1 | 2 | 1.6 | 1.25 |" in half
    assert "| 1 | 1 | dilconv | 80 | 25.5 | 25.5 | 0.9288 |" in tables.steps_table(found["steps"])
    epochs = tables.epochs_table(found["epochs"])
    assert "| dilconv-bf16 | dilconv-bf16 | 2.5 | 16.40 | 20.0 |" in epochs
    claims = tables.headline(found)
    assert "direct up to 78% (AtacWorks, forward)" in claims
    assert "FP32 20.0 x, BF16 20.0 x" in claims and "6.86 x oneDNN" in claims


def test_where_torch_wins_is_told(tmp_path):
    found = read(tmp_path, layers=LAYERS)["layers"]
    assert "1 of 4 measurements" in tables.torch_wins(found)
    assert "| S=3 | 1 | 15 | 15 | 3 | 8 | 60000 | forward | 2 | 0.75 |" in tables.torch_wins(found)
    ahead = [row for row in found if row["speedup_over_torch"] != 0.75]
    assert tables.torch_wins(ahead).endswith("in 0 of 3 measurements.")


def test_the_reckoning_of_a_socket():
    worst, likely, best = scale.estimates(segments_per_second=14.0, threads=2)
    assert best.minutes == pytest.approx(53_641 / (7.0 * 28) / 60)
    assert worst.minutes == pytest.approx(2 * best.minutes) and best.minutes < likely.minutes
    assert best.watt_hours == pytest.approx(205 * best.minutes / 60)
    assert best.sockets_for_v100s == pytest.approx(best.minutes / 2.7)


def test_the_pages_show_what_the_files_hold():
    outcome = run("make_tables.py", "--check")
    assert outcome.returncode == 0, outcome.stderr


def test_sweep_writes_every_point_and_resumes(tmp_path):
    pytest.importorskip("dilconv")
    path = tmp_path / "bench" / "layers.csv"
    options = ["--rounds", 2, "--seconds", 0.01, "--csv", path]
    options += ["--contenders", "torch-padded", "direct", "spectral", "auto", "--resume"]
    first = run("bench_layer.py", "--sweep", "--points", "W=1000", *options)
    assert first.returncode == 0, first.stderr
    assert not first.stderr  # no progress bar where nobody looks
    second = run("bench_layer.py", "--sweep", "--points", "W=1000", "1x1 15->1", *options)
    assert second.returncode == 0, second.stderr
    assert "W=1000" not in second.stdout and "1x1 15->1" in second.stdout
    with path.open() as file:
        found = list(csv.DictReader(file))
    assert [r["layer"] for r in found if r["pass"] == "forward"] == ["W=1000"] * 4 + [
        "1x1 15->1"
    ] * 4
    assert {r["pass"] for r in found} > {"backward_data", "backward_weight"}
    assert list(path.parent.iterdir()) == [path]
    assert "| 1x1 15->1 | 1 | 15 | 1 | 1 | 1 | 60000 |" in tables.sweep_table(
        rows.read(path.parent)["layers"]
    )


def test_planner_is_compared_with_both_algorithms():
    pytest.importorskip("dilconv")
    outcome = run("bench_layer.py", "--planner", "--points", "W=1000", "--rounds", 3)
    assert outcome.returncode == 0, outcome.stderr
    assert len(re.findall(r"^W=1000 ", outcome.stdout, re.MULTILINE)) == 4
    assert "within 25% of the better algorithm" in outcome.stdout
