"""Where worker processes come from, and how many there are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from denoiseq import cores, workers

PROGRAM = """
import sys
from concurrent.futures import ProcessPoolExecutor
from denoiseq.errors import UserError
from denoiseq import workers

if __name__ == "__main__":
    workers._SHORT_FOLDERS = (*sys.argv[1:],)
    try:
        with ProcessPoolExecutor(1, mp_context=workers.fork_server()) as pool:
            print(pool.submit(abs, -7).result())
    except UserError as error:
        print(error)
"""


def said(tmp_path: Path, tmpdir: Path, *short_folders: object) -> str:
    """What a program prints that has one worker compute 7, with such a TMPDIR."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), *map(str, short_folders)],
        env={**os.environ, "TMPDIR": str(tmpdir)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_fork_server_with_a_long_tmpdir(tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    assert said(tmp_path, long, "/tmp") == "7"
    assert list(long.iterdir()) == []


def test_fork_server_with_a_tmpdir_of_many_bytes(tmp_path):
    wide = tmp_path / ("ü" * 50)  # bytes count, not letters
    wide.mkdir()
    assert said(tmp_path, wide, "/tmp") == "7"


def test_fork_server_without_a_short_folder_is_a_sentence(tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    words = said(tmp_path, long, tmp_path / "absent")
    assert words.startswith("worker processes need a temporary folder") and "workers=1" in words


def test_fork_server_with_a_tmpdir_that_does_not_exist(tmp_path):
    assert said(tmp_path, tmp_path / "absent") == "7"


@pytest.mark.skipif(
    not (Path("/dev/shm").is_dir() and shutil.which("unshare")), reason="no /dev/shm, or no unshare"
)
def test_fork_server_in_a_full_dev_shm_is_a_sentence(tmp_path):
    full = "mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero >/dev/shm/f && "
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{full} exec '{sys.executable}' '{program}' /tmp"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no namespace of mounts here")
    assert "need room in /dev/shm" in done.stdout and "workers=1" in done.stdout, done


@pytest.mark.parametrize(("asked", "processes"), [(0, 2), (1, 1), (5, 5)])
def test_processes_are_those_of_the_quota(monkeypatch, asked, processes):
    monkeypatch.setattr(cores, "quota", lambda *_: 1.5)
    monkeypatch.setattr(cores, "affinity", lambda: 8)
    assert workers.processes(asked) == processes
