"""Kill a tiny experiment at random moments, fill its disk, and check that nothing is lost by it.

    python scripts/kill_and_fill.py                         # 100 trials, about fifteen minutes
    python scripts/kill_and_fill.py --trials 11 --seed 1    # each kind once, a minute

Prepare, train, evaluate and predict run once undisturbed. Each trial repeats one of them, disturbs
it in one of the ways of KINDS, goes on as the documentation says, and checks

- the exit code: 2 and one sentence where the user can mend it, 130 where it was told to stop;
- that earlier files are as they were, and every file under a final name is whole;
- that no process outlives a kill, and no temporary file the run that goes on;
- that all files then hold what the undisturbed run wrote, but for times (`kills/contents.py`).

The disk is a small tmpfs in a namespace of its own, which needs the program `unshare`; where that
is not permitted, trials with a full disk are left out, and say so.
"""

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

from bench.command import at_least, parser, script
from kills.contents import RECORDS, NotWhole, contents, files_of
from kills.steps import CHROMS, Process, Step, start, steps

MOUNTED = "DENOISEQ_SMALL_DISK"  # names the folder where the second start of this script finds it
DISK_MB = 64
# way to disturb a step -> exit codes that are right after it
KINDS = {
    "kill all": (0, -signal.SIGKILL),
    "kill main": (0, -signal.SIGKILL),
    "kill worker": (0, 2),
    "SIGTERM": (0, 130, -signal.SIGTERM),
    "SIGINT": (0, 130),
    "full disk": (0, 2),
    "file limit": (0, 2),
    "read-only": (0, 2),
    "directory": (2,),
    "half a file": (0,),
    "lost file": (0, 2),
}
IMPORTED = (
    *("denoiseq.cli", "denoiseq.training.run", "denoiseq.evaluation.run"),
    *("denoiseq.prediction.run", "matplotlib.pyplot", "torch.utils.tensorboard"),
)
# What torch and a killed Python leave in TMPDIR: an empty folder of caches, and of a socket.
NOT_OURS = ("torchinductor_", "pymp-")


class Trial:
    """One disturbed run of a step and the run that goes on; `faults` are sentences."""

    def __init__(self, step: Step, kind: str, rng: random.Random, work: Path):
        self.step, self.kind, self.rng = step, kind, rng
        self.work, self.out = work, work / "disk" / "out"
        self.file = self.out / rng.choice(step.outputs)
        self.moment = rng.uniform(0, 0.95 * step.seconds)
        self.code: int | None = None
        self.faults: list[str] = []

    def run(self) -> None:
        tempfile.tempdir = str(self.work / "tmp")
        self.in_tmp = {path.name for path in (self.work / "tmp").iterdir()}
        _restore(self.out, self.step.before)
        try:
            process = self._start()
            self._disturb(process)
            self.code = process.wait()
            self._check_no_process(process)
            self._mend()
            self._check_message(process.text())
            self._check_files(self.step.before, whole=True)
            if self.code or self.kind == "lost file":
                again = start(self._going_on(), self.work / "again.txt")
                if again.wait():
                    self.faults.append(f"going on ends with {again.code}: {again.text()[-500:]}")
            self._check_files(self.step.after, whole=False)
        except TimeoutError as error:
            self._mend()
            self.faults.append(str(error))

    def _start(self) -> Process:
        limit, sizes = None, [len(self.step.after[name]) for name in self.step.outputs]
        if self.kind == "directory":
            self.file.mkdir(parents=True)
        elif self.kind == "half a file":
            whole = self.step.after[str(self.file.relative_to(self.out))]
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_bytes(whole[: len(whole) // 2])
        elif self.kind == "file limit":
            limit = self.rng.randint(1, max(sizes))
        elif self.kind == "full disk":
            _fill(self.out.parent, self.rng.randint(0, sum(sizes)))
        more = self.step.shared if self.kind == "kill worker" else self.step.alone
        return start([*self.step.command, *more], self.work / "said.txt", limit)

    def _disturb(self, process: Process) -> None:
        """Wait for the moment and act, unless the step has ended."""
        until = time.monotonic() + self.moment
        while not process.ended() and time.monotonic() < until:
            time.sleep(0.002)
        if self.kind == "kill worker":
            while not process.ended() and not process.workers():
                time.sleep(0.002)
        if process.ended():
            return
        if self.kind == "kill all":
            os.killpg(process.pid, signal.SIGKILL)
        elif self.kind == "kill main":
            os.kill(process.pid, signal.SIGKILL)
        elif self.kind == "kill worker":
            os.kill(self.rng.choice(process.workers()), signal.SIGKILL)
        elif self.kind == "SIGTERM":
            os.kill(process.pid, signal.SIGTERM)
        elif self.kind == "SIGINT":  # a terminal's Ctrl-C goes to the whole group
            os.killpg(process.pid, signal.SIGINT)
        elif self.kind == "read-only":
            for folder in _folders(self.out):
                folder.chmod(0o555)
        elif self.kind == "lost file":
            earlier = {self.out / name for name in self.step.before}
            new = [path for path in self.out.rglob("*") if path.is_file()]
            if new := [path for path in new if path not in earlier]:
                self.file = self.rng.choice(new)
                self.file.unlink(missing_ok=True)

    def _mend(self) -> None:
        """Take away what the disturbed run met."""
        (self.out.parent / "filler").unlink(missing_ok=True)
        for folder in _folders(self.out):
            folder.chmod(0o755)
        if self.kind == "directory" and self.file.is_dir():
            self.file.rmdir()

    def _going_on(self) -> list[str]:
        last = self.out / "run/checkpoints/last.pt"
        resume = [f"resume={last}"] if self.step.name == "train" and last.is_file() else []
        return [*self.step.command, *self.step.alone, *resume]

    def _check_no_process(self, process: Process) -> None:
        limit = time.monotonic() + 10
        while process.others() and time.monotonic() < limit:
            time.sleep(0.01)
        for pid in process.others():
            os.kill(pid, signal.SIGKILL)
            self.faults.append(f"process {pid} outlives the step")

    def _check_message(self, text: str) -> None:
        if self.code not in KINDS[self.kind]:
            self.faults.append(f"exit code {self.code}: {text[-500:]}")
        if "Traceback" in text:
            self.faults.append(f"traceback: {text[-2000:]}")
        if self.code == 2 and sum(line.startswith("error: ") for line in text.splitlines()) != 1:
            self.faults.append(f"not one sentence: {text[-500:]}")

    def _check_files(self, expected: dict[str, bytes], whole: bool) -> None:
        """Compare with the expected files: all of them, or else further ones have to be whole."""
        files, names = files_of(self.out), {*expected}
        self.faults += [f"{name} is gone" for name in sorted(names - {*files})]
        for name in files:
            if name.endswith(RECORDS):
                continue
            if name in expected:
                if files[name] != expected[name]:
                    self._compare(name, expected[name])
            elif not whole:
                self.faults.append(f"{name} is left")
            elif not any(part in name for part in (".tmp-", ".parts", ".unfinished")):
                self._compare(name, None)
        if not whole:
            left = {path.name for path in (self.work / "tmp").iterdir()} - self.in_tmp
            ours = sorted(name for name in left if not name.startswith(NOT_OURS))
            self.faults += [f"{name} is left in TMPDIR" for name in ours]

    def _compare(self, name: str, expected: bytes | None) -> None:
        try:
            value = contents(self.out / name)
            if expected is not None:
                original = self.work / "original" / Path(name).name
                original.write_bytes(expected)
                if value != contents(original):
                    self.faults.append(f"{name} differs")
        except NotWhole as error:
            self.faults.append(str(error))


def _folders(out: Path) -> list[Path]:
    return [out, *(path for path in out.rglob("*") if path.is_dir())]


def _restore(out: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name, data in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)


def _fill(disk: Path, room: int) -> None:
    """Fill the disk but for about `room` bytes."""
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(disk).free - room))


def _undisturbed(work: Path) -> list[Step]:
    """The steps with what they write and how long they take, which the second run measures."""
    from denoiseq.genomics.synthetic import make_synthetic

    out = work / "disk" / "out"
    planned = steps(make_synthetic(work / "inputs", chroms=CHROMS), out)
    files: dict[str, bytes] = {}
    for step in planned:
        step.before = files
        _restore(out, files)
        began = time.monotonic()
        process = start([*step.command, *step.alone], work / "said.txt")
        if process.wait():
            raise ValueError(f"{step.name} fails undisturbed: {process.text()}")
        step.seconds = time.monotonic() - began
        files = step.after = files_of(out)
        print(f"{step.name}: {step.seconds:.1f} s, {len(step.outputs)} files", flush=True)
    return planned


def _warm_up() -> None:
    """Import all that the steps do, so that their forks need not."""
    for module in IMPORTED:
        import_module(module)
    logging.getLogger("denoiseq").addHandler(logging.NullHandler())  # of what is compared


def trials(work: Path, count: int, seed: int) -> int:
    """Do so many trials, each kind and step in turn; the number of faults."""
    for name in ("disk", "tmp", "original"):
        (work / name).mkdir(exist_ok=True)
    _warm_up()
    planned = _undisturbed(work)
    kinds = [kind for kind in KINDS if kind != "full disk" or MOUNTED in os.environ]
    if len(kinds) < len(KINDS):
        print("full disk: left out, a tmpfs cannot be mounted here")
    faults: Counter[tuple[str, str]] = Counter()
    done: Counter[tuple[str, str]] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        kind = kinds[number % len(kinds)]
        able = [step for step in planned if kind != "kill worker" or step.shared]
        # One step further for each kind, and for all kinds in the next round.
        trial = Trial(able[sum(divmod(number, len(kinds))) % len(able)], kind, rng, work)
        trial.run()
        at = trial.step.name, kind
        done[at] += 1
        faults[at] += len(trial.faults)
        print(f"{number:3} {trial.step.name:9}{kind:12}{trial.moment:5.2f} s  exit {trial.code}",
              *trial.faults, sep="\n      ! ", flush=True)  # fmt: skip
    _print_table(planned, kinds, done, faults)
    return faults.total()


def _print_table(planned: list[Step], kinds: list[str], done: Counter, faults: Counter) -> None:
    print(f"\n{'trials (faults)':16}", *(f"{step.name:>10}" for step in planned))
    for kind in kinds:
        cells = [f"{done[s.name, kind]} ({faults[s.name, kind]})" for s in planned]
        print(f"{kind:16}", *(f"{cell:>10}" for cell in cells))
    print(f"{done.total()} trials, {faults.total()} faults")


def _mount_a_small_disk(work: Path) -> int | None:
    """Start this script again where a small disk is mounted in `work`; None where it cannot be."""
    disk = work / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={DISK_MB}m tmpfs '{disk}'"
    space = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        if subprocess.run([*space, mount], capture_output=True).returncode:
            return None
    except FileNotFoundError:
        return None
    again = f'{mount} && exec "$0" "$@"'
    command = [*space, again, sys.executable, *sys.argv]
    return subprocess.run(command, env={**os.environ, MOUNTED: str(work)}).returncode


@script
def main() -> int:
    options = parser(__doc__)
    options.add_argument("--trials", type=at_least(1), default=100, help="how many")
    options.add_argument("--seed", type=int, default=0, help="of the moments and the files")
    arguments = options.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if MOUNTED in os.environ:
        return int(trials(Path(os.environ[MOUNTED]), arguments.trials, arguments.seed) > 0)
    with tempfile.TemporaryDirectory(prefix="denoiseq-kills-") as folder:
        code = _mount_a_small_disk(Path(folder))
        if code is None:
            code = int(trials(Path(folder), arguments.trials, arguments.seed) > 0)
    return code
