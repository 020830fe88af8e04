"""Completion by the tab key, in a real bash too."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAIN = "import sys; from denoiseq.cli import main; sys.exit(main())"
PROGRAMS = {
    "denoiseq": f"#!{sys.executable}\n{MAIN}\n",
    "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("denoiseq ", ["prepare", "train", "evaluate", "predict", "doctor", "bench"]),
        ("denoiseq ev", ["evaluate"]),
        ("denoiseq nothing x", []),
        ("denoiseq train optim.l", ["optim.lr="]),
        ("denoiseq train op", ["optim=", "optim."]),
        ("denoiseq train --op", ["--optim", "--optim."]),
        ("denoiseq train --optim.l", ["--optim.lr"]),
        ("denoiseq train +experiment=sm", ["+experiment=smoke"]),
        ("denoiseq train --experiment sm", ["--experiment", "smoke"]),
        ("denoiseq train --experiment=sm", ["--experiment=smoke"]),
        ("denoiseq train model=un", ["model=unet"]),
        ("denoiseq train --model un", ["unet"]),
        ("denoiseq predict peak_t", ["peak_threshold="]),
        ("denoiseq predict --che", ["--checkpoint"]),
        ("denoiseq predict che", ["checkpoint="]),
        ("denoiseq prepare --shift n", ["none"]),
        ("denoiseq prepare --shift=n", ["--shift=none"]),
        ("denoiseq prepare shift=n", ["shift=none"]),
        ("denoiseq prepare progress=", ["progress=true", "progress=false"]),
        ("denoiseq prepare --no-p", ["--no-progress"]),
        ("denoiseq prepare --progress bl", ["blacklist="]),
        ("denoiseq prepare --bam ", []),
        ("denoiseq prepare bam=", []),
        ("denoiseq prepare --bam 'a b", []),
        ("denoiseq train --cf", ["--cfg"]),
        ("denoiseq doctor --me", ["--measure"]),
        ("denoiseq bench t", ["threads="]),
    ],
)
def test_the_shell_completes_commands_settings_and_values(denoiseq, monkeypatch, line, words):
    monkeypatch.setenv("COMP_LINE", line)
    expected = words[1:] if words[:1] == ["--experiment"] else words
    assert denoiseq("-sc", "query=bash").out.split() == expected


def test_fish_gets_file_names_from_us(denoiseq, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reads").mkdir()
    (tmp_path / "reads" / "a b.bam").touch()
    for typed, completed in (
        ("--bam re", "reads/"),
        ("bam=re", "bam=reads/"),
        ("--bam=reads/", "--bam=reads/a b.bam"),
        ("--bam none/x", ""),
    ):
        monkeypatch.setenv("COMP_LINE", f"denoiseq prepare {typed}")
        assert denoiseq("-sc", "query=fish").out.strip() == completed


@pytest.mark.parametrize(
    ("program", "name"), [("/x/bin/denoiseq", "denoiseq"), ("app/train.py", "python")]
)
def test_completion_is_installed_for_the_program_that_runs(denoiseq, monkeypatch, program, name):
    monkeypatch.setattr("sys.argv", [program])
    command = [] if name == "denoiseq" else ["train"]
    script = denoiseq(*command, "-sc", "install=bash").out
    assert script.endswith(f"-F _denoiseq {name}\n")


def test_completion_of_other_shells_is_installed_by_hydra(denoiseq):
    assert "complete -c" in denoiseq("-sc", "install=fish").out


@pytest.mark.parametrize(
    ("line", "breaks", "words"),
    [
        ("denoiseq train optim.l", "' ='", "optim.lr="),
        ("denoiseq train model=un", "' ='", "unet"),  # bash replaces what follows =
        ("denoiseq train model=un", "' '", "model=unet"),
        ("denoiseq train --model=un", "' '", "--model=unet"),
        ("denoiseq prepare bam=re", "' ='", ""),  # so that bash completes the file name
        ("denoiseq prepare bam=re", "' '", "bam=reads.bam"),
        ("denoiseq prepare --bam a\\ ", "' ='", ""),
        ("python app/train.py --model un", "' ='", "unet"),
        ("python other.py --model un", "' ='", ""),
    ],
)
def test_bash_completes_with_what_was_installed(tmp_path, line, breaks, words):
    """The script in a real shell: what the tab key proposes."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "reads.bam").touch()
    (tmp_path / "app").symlink_to(ROOT / "app")
    script = f"""
    eval "$(python app/train.py -sc install=bash)"
    eval "$(denoiseq -sc install=bash)"
    COMP_WORDBREAKS={breaks} COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
    _denoiseq {line.split()[0]}
    echo "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "-c", script]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (words, "")
