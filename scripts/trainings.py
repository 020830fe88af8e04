"""Trainings of a study: processes of their own, not repeated when done, gone on with when begun."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def trained(folder, experiment, overrides, *, done="metrics.json", quiet=False):
    """Train in `folder`, unless its file `done` is there; returns the folder.

    quiet : bool
        Nothing on the terminal and one thread, for several at a time.

    Raises
    ------
    ValueError
        If the training fails.
    """
    if (folder / done).is_file():
        return folder
    last = folder / "checkpoints" / "last.pt"
    command = [
        *(sys.executable, str(ROOT / "app" / "train.py"), f"+experiment={experiment}"),
        *(f"out={folder}", f"resume={last if last.is_file() else 'null'}", *overrides),
    ]
    options = {}  # of subprocess.run
    if quiet:
        command += ["trainer.threads=1", "trainer.progress=false", "trainer.tensorboard=false"]
        options = {
            "stderr": subprocess.PIPE,
            "text": True,
            "env": {**os.environ, "OMP_NUM_THREADS": "1"},
        }
    else:
        print(f"training in {folder}", flush=True)
    ended = subprocess.run(command, cwd=ROOT, check=False, **options)
    if ended.returncode:
        reason = (ended.stderr or "see train.log there").strip().splitlines()[-1]
        raise ValueError(f"the training in {folder} failed: {reason}")
    return folder
