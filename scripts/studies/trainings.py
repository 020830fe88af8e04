"""Trainings of a study and evaluations of theirs, each a process: what is finished is kept, an
interrupted training is resumed.
"""

import os
import subprocess
import sys
from pathlib import Path

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
    if not quiet:
        print(f"training in {folder}", flush=True)
    _run([*command, "trainer.tensorboard=false"] if quiet else command, folder, quiet)
    return folder


def evaluated(folder, name, options):
    """The metrics.json of an evaluation of the training in `folder`, on one thread, unless its
    folder `name` has one.
    """
    metrics = folder / name / "metrics.json"
    if not metrics.is_file():
        best = folder / "checkpoints" / "best.pt"
        program = (sys.executable, str(ROOT / "app" / "evaluate.py"))
        _run([*program, f"checkpoint={best}", f"out={metrics.parent}", *options], folder, True)
    return metrics


def _run(command, folder, quiet):
    """Run a command of denoiseq; quiet: nothing on the terminal, one thread."""
    environment, pipe = dict(os.environ), None
    if quiet:
        command = [*command, "trainer.threads=1", "trainer.progress=false"]
        environment["OMP_NUM_THREADS"], pipe = "1", subprocess.PIPE
    ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
    if ended.returncode:
        reason = (ended.stderr or "see the log there").strip().splitlines()[-1]
        raise ValueError(f"{Path(command[1]).stem} in {folder} failed: {reason}")
