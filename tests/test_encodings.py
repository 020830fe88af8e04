"""File names that the locale cannot write, or that are no text at all."""

import json
import os
import shutil
import subprocess
import sys

import pytest

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MAIN = "import sys; from denoiseq.cli import main; sys.exit(main())"


def run(folder, environment, *arguments):
    """The command in `folder`; arguments are bytes, as in a shell."""
    return subprocess.run(
        [os.fsencode(sys.executable), b"-c", MAIN.encode(), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
    )


@pytest.mark.parametrize("name", ["grüße".encode(), b"lat\xfcn"])
@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"}, {}])
def test_prepare_of_files_with_any_name(genome, tmp_path, name, environment):
    folder = os.fsencode(tmp_path)
    for kind, ending in {"fasta": b".fa", "bam": b".bam"}.items():
        shutil.copy(genome[kind], os.path.join(folder, name + ending))  # noqa: PTH118
    shutil.copy(f"{genome['bam']}.bai", os.path.join(folder, name + b".bam.bai"))  # noqa: PTH118
    done = run(tmp_path, environment, b"prepare", b"bam=" + name + b".bam", b"fasta=" + name
               + b".fa", b"out=" + name + b".h5", b"workers=1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    qc = tmp_path / os.fsdecode(name + b".qc.json")
    assert json.loads(qc.read_text())["files"][0]["name"] == os.fsdecode(name + b".bam")


@pytest.mark.parametrize("command", [b"train", b"prepare", b"doctor"])
def test_help_in_ascii(tmp_path, command):
    done = run(tmp_path, ASCII, command, b"--help")
    assert (done.returncode, done.stderr) == (0, b"")
