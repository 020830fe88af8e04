"""The steps of a tiny experiment, and their processes: each a fork of this one.

A fork has imported everything already, so a signal meets work and not the seconds of imports.
"""

import atexit
import ctypes
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

CHROMS = {"chr1": 60_000, "chr2": 30_000, "chr3": 30_000}
TIMEOUT_S = 120
CAPABILITIES = 0x20080522  # version 3 of the structures that capset takes


@dataclass
class Step:
    """A command; seconds that it takes, and the files before and after it, undisturbed.

    alone, shared : the setting with which it has no worker processes, or some
    """

    name: str
    command: list[str]
    alone: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    seconds: float = 0.0
    before: dict[str, bytes] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """The files that it writes, but those whose names hold a time."""
        return sorted(name for name in {*self.after} - {*self.before} if "tfevents" not in name)


def steps(inputs: dict[str, Path], out: Path) -> list[Step]:
    """Prepare, train, evaluate and predict, as small as they can be, all in the folder `out`."""
    bam, truth = f"bam={inputs['bam']}", f"data.truth={inputs['peaks']}"
    blacklist = f"blacklist={inputs['blacklist']}"
    best = f"checkpoint={out}/run/checkpoints/best.pt"
    loci = ["loci=1", "random_loci=0", "trainer.progress=false"]
    smoke = "+experiment=smoke stages=[train] optim.epochs=2 optim.batch_size=4"
    store = [f"data.store={out}/cuts.h5", "data.prepare.bam=null", f"data.prepare.{blacklist}"]
    return [
        Step("prepare", ["prepare", bam, f"fasta={inputs['fasta']}", blacklist,
                         f"out={out}/cuts.h5"], ["workers=1"], ["workers=2"]),
        Step("train", ["train", *smoke.split(), *store, truth, f"out={out}/run"],
             ["trainer.workers=0"], ["trainer.workers=1"]),
        Step("evaluate", ["evaluate", best, "split=test", "bootstrap=20", *loci]),
        Step("predict", ["predict", best, bam, blacklist, "depth=trained", *loci,
                         f"out={out}/predict"], ["workers=1"], ["workers=2"]),
    ]  # fmt: skip


@dataclass
class Process:
    """A step that runs, leader of a process group."""

    pid: int
    output: Path
    code: int | None = None

    def ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def wait(self) -> int:
        """The exit code, -9 after a SIGKILL; TimeoutError where it hangs."""
        limit = time.monotonic() + TIMEOUT_S
        while not self.ended():
            if time.monotonic() > limit:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"hangs: no end after {TIMEOUT_S} s")
            time.sleep(0.005)
        return int(self.code or 0)

    def others(self) -> dict[int, int]:
        """The other processes of its group and their parents."""
        rest = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent, group = stat.read_text().rpartition(")")[2].split()[:3]
            except OSError:  # it has just ended
                continue
            if int(group) == self.pid and state != "Z" and int(stat.parent.name) != self.pid:
                rest[int(stat.parent.name)] = int(parent)
        return rest

    def workers(self) -> list[int]:
        """The processes that read or load windows: children of its fork server."""
        return [pid for pid, parent in self.others().items() if parent != self.pid]

    def text(self) -> str:
        return self.output.read_text(errors="replace")


def start(command: list[str], output: Path, file_limit: int | None = None) -> Process:
    """Start a command as an ordinary user would, what it prints in `output`.

    file_limit : the most bytes that a file may have, as `ulimit -f` sets it
    """
    sys.stdout.flush()
    if pid := os.fork():
        return Process(pid, output)
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored behind a shell's &
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        # Without the right of root to write to read-only folders.
        header, nothing = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
        ctypes.CDLL(None).capset(header, nothing)
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        from denoiseq import cli

        code = cli.main(command)
        atexit._run_exitfuncs()  # the caller's blocks are not for this process to leave
        sys.stdout.flush()
    finally:
        os._exit(code)
