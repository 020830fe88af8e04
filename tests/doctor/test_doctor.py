"""`denoiseq doctor`: what it measures, warns of, and how long a training it foretells."""

import copy
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("dilconv")
from denoiseq.doctor import layer, machine, remedies, run

FACTS = {
    "cpu": {"cores": 8, "quota": None},
    "memory_gib": {"total": 32.0, "available": 20.0},
    "load": 0.1,
    "threads": {"torch": 8, "openmp": ["/a/libgomp.so.1"], "environment": {}},
    "dilconv": {"loaded": True, "isas": ["generic", "avx2"], "active": "avx2"},
}
TIMES = {"torch-padded": 80.0, "torch-phases": 60.0, "auto": 5.0, "auto, bfloat16": 5.5}


def warnings(facts, measured):
    return list(remedies.warnings(facts, measured))


def measured(one=100.0, together=780.0, **times):
    rows = []
    for name, ms in {**TIMES, **{k.replace("_", "-"): v for k, v in times.items()}}.items():
        contender, _, dtype = name.partition(", ")
        rows.append({"contender": contender, "dtype": dtype or "float32", "median_ms": ms,
                     "threads": 8})  # fmt: skip
    return {"peak_gflops": {"one core": one, "together": together}, "bandwidth_gb_s": 20.0,
            "layer": rows}  # fmt: skip


def test_a_sound_machine_has_nothing_to_mend():
    assert warnings(FACTS, measured()) == []
    assert warnings(FACTS, None) == []


@pytest.mark.parametrize(
    ("path", "value", "what", "remedy"),
    [
        ("dilconv", {"loaded": False, "reason": "no such file"}, "no such file", "reinstall"),
        ("dilconv.active", "generic", "no AVX2", "machine"),
        ("threads.environment", {"DILCONV_ISA": "avx2"}, "DILCONV_ISA", "unset DILCONV_ISA"),
        ("threads.openmp", ["/a/libgomp.so.1", "/b/libiomp5.so"], "2 OpenMP", "one fresh"),
        ("threads.torch", 16, "16 threads", "OMP_NUM_THREADS=8"),
        ("cpu.quota", 1.5, "may use 1.5 cores", "OMP_NUM_THREADS=2"),
        ("cpu.quota", 7.5, "use 7.5 of its 8 cores", "docker run --cpus"),
        ("memory_gib.available", 0.5, "0.5 GiB", "micro_batch"),
        ("load", 7.0, "other programs", "trainer.threads"),
    ],
)
def test_each_fact_that_stands_in_the_way_is_told_with_its_remedy(path, value, what, remedy):
    facts = copy.deepcopy(FACTS)
    *parents, last = path.split(".")
    there = facts
    for name in parents:
        there = there[name]
    there[last] = value
    ((said, mend),) = warnings(facts, None)
    assert what in said and remedy in mend


def test_openmp_held_to_one_thread_is_told():
    facts = copy.deepcopy(FACTS)
    facts["threads"] |= {"torch": 1, "environment": {"OMP_NUM_THREADS": "1"}}
    ((said, mend),) = warnings(facts, None)
    assert "1 of 8" in said and "unset" in mend


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (measured(together=410.0), "4.1 times"),
        (measured(auto=70.0, **{"auto, bfloat16": 70.0}), "slower than torch"),
        (measured(**{"auto, bfloat16": 9.0}), "bfloat16 is slower"),
    ],
)
def test_each_measurement_that_is_out_of_line_is_told(found, what):
    ((said, _),) = warnings(FACTS, found)
    assert what in said
    busy = FACTS | {"load": 8.0}
    assert len(warnings(busy, found)) == 1  # and nothing is judged on a busy machine


def test_two_names_of_one_runtime_are_one(tmp_path):
    real, link = tmp_path / "libgomp.so.1.0.0", tmp_path / "libgomp.so.1"
    real.touch()
    link.symlink_to(real)
    facts = copy.deepcopy(FACTS)
    facts["threads"]["openmp"] = [str(real), str(link)]
    assert warnings(facts, None) == []


def test_the_runtimes_of_this_process_are_found(tmp_path):
    assert machine.openmp_runtimes()
    maps = tmp_path / "maps"
    line = "7f00-7f01 r-xp 00000000 08:01 5      "
    maps.write_text(
        f"{line}/x y/libomp.so\n{line}/lib/libc.so.6\n7f00-7f01 rw-p 0 00:00 0 [heap]\n"
    )
    assert machine.openmp_runtimes(maps) == ["/x y/libomp.so"]


def test_the_runtimes_are_found_in_a_folder_that_is_no_ascii(tmp_path):
    maps = tmp_path / "maps"
    maps.write_bytes("1-2 r-xp 0 08:01 5 /Bäume/libgomp.so.1\n".encode())
    program = (
        "import sys; from pathlib import Path; from denoiseq.doctor import machine; "
        "print(len(machine.openmp_runtimes(Path(sys.argv[1]))))"
    )
    locale = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, maps], env=locale, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_examine_lists_what_decides_threads(monkeypatch):
    monkeypatch.setenv("DILCONV_YIELD", "0")
    monkeypatch.setattr(machine, "quota", lambda: 0.5)
    facts = machine.examine()
    assert facts["cpu"]["quota"] == 0.5 and facts["cpu"]["cores"] >= 1
    assert facts["threads"]["torch"] >= 1
    assert facts["threads"]["environment"]["DILCONV_YIELD"] == "0"


def test_what_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(layer, "LAYER", ("small", 1, 4, 4, 9, 4, 2_000))
    monkeypatch.setattr(layer, "COPIED_BYTES", 2**22)
    found = layer.measure()
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert found["peak_gflops"]["one core"] > 1 and found["bandwidth_gb_s"] > 0.1
    times = layer.layer_ms(found)
    assert {"auto", "direct", "torch-padded", "auto, bfloat16"} <= set(times)
    assert {row["threads"] for row in found["layer"]} == {torch.get_num_threads()}
    text = run.report(machine.examine(), found, "")
    assert "x torch" in text and "GFLOP/s" in text


WITHOUT = """
import sys
sys.modules[{missing!r}] = None  # as where it is not installed
from denoiseq.cli import main
sys.exit(main([{command!r}]))
"""


def without(missing, command="doctor"):
    """The command in a process where the package `missing` cannot be imported."""
    program = WITHOUT.format(missing=missing, command=command)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("missing", "words"), [("torch", "torch does not load"), ("dilconv", "only conv=torch works")]
)
def test_doctor_examines_an_installation_that_is_broken(missing, words):
    done = without(missing)
    assert (done.returncode, done.stderr) == (0, "")
    assert words in done.stdout and "cores" in done.stdout and "remedy:" in done.stdout


def test_bench_says_what_it_lacks():
    done = without("dilconv", "bench")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the benchmark needs dilconv, which does not load")


@pytest.mark.parametrize(("seconds", "said"), [(12, "12 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds, said):
    assert run.duration(seconds) == said
