"""Trainings of a study, each a process: finished ones are kept, interrupted ones are resumed."""

import os
import subprocess
import sys

from bench.command import ROOT


def trained(folder, experiment, overrides, done="metrics.json", quiet=False):
    """Train in `folder`, unless its file `done` is there; returns the folder.

    quiet : nothing on the terminal and one thread, for several at a time.
    """
    if (folder / done).is_file():
        return folder
    last = folder / "checkpoints" / "last.pt"
    command = [
        *(sys.executable, str(ROOT / "app" / "train.py"), f"+experiment={experiment}"),
        *(f"out={folder}", f"resume={last if last.is_file() else 'null'}", *overrides),
    ]
    environment, stderr = dict(os.environ), None
    if quiet:
        command += ["trainer.threads=1", "trainer.progress=false", "trainer.tensorboard=false"]
        environment["OMP_NUM_THREADS"], stderr = "1", subprocess.PIPE
    else:
        print(f"training in {folder}", flush=True)
    ended = subprocess.run(command, cwd=ROOT, env=environment, stderr=stderr, text=True)
    if ended.returncode:
        reason = (ended.stderr or "see train.log there").strip().splitlines()[-1]
        raise ValueError(f"the training in {folder} failed: {reason}")
    return folder
