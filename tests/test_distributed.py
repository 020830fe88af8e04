"""Trainings of several processes, as torchrun starts them: the same, and killed and resumed."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from denoiseq.models.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_gloo_available(), reason="torch is built without gloo"
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def launch(workplace, at):
    """`launch(n, *options)` starts a training of the smoke experiment on n processes.

    `host` stands in front of the command: where it is run; `launcher`: options of torchrun.
    """
    started = []

    def run(n: int, *options: str, host=(), launcher=(), interface="lo") -> subprocess.Popen:
        torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={n}",
                    *(launcher or [f"--master-port={free_port()}"])]  # fmt: skip
        command = [*host, *(torchrun if n > 1 or launcher else [sys.executable]), "app/train.py",
                   "+experiment=smoke", *at(workplace), "stages=[train]",
                   "trainer.tensorboard=false", "trainer.device=cpu",
                   *map(str, options)]  # fmt: skip
        env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": interface}
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()


def finished(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    return said


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [{k: v for k, v in r.items() if k not in ("seconds", "segments_per_second")}
            for r in rows]  # fmt: skip


def workers_of(process: subprocess.Popen) -> list[int]:
    """The processes that a launcher has started, in the order of their ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(map(int, children))


def when_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    """Return once the checkpoint has come so far."""
    last, deadline = folder / "checkpoints" / "last.pt", time.monotonic() + 120
    while not last.is_file() or load_checkpoint(last)["step"] < step:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.05)


def test_several_ranks_without_a_launcher_are_a_sentence(launch, tmp_path, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    process = launch(1, f"out={tmp_path}")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert said.startswith("error: WORLD_SIZE=2") and "torchrun" in said


# 41 windows an epoch in batches of 4: each epoch ends with one window for all processes together.
@pytest.mark.parametrize("n", [2, 3])
def test_any_number_of_processes_trains_the_same(launch, tmp_path, n):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    processes = launch(1, f"out={alone}", "optim.batch_size=4"), launch(
        n, f"out={shared}", "optim.batch_size=4")  # fmt: skip
    _, said = map(finished, processes)
    assert f"{n} processes of 1 threads" in said
    for one, other in zip(history(alone), history(shared), strict=True):
        assert one == pytest.approx(other, rel=2e-4)
    ends = [load_checkpoint(folder / "checkpoints" / "best.pt") for folder in (alone, shared)]
    for name, weight in ends[0]["state_dict"].items():
        assert (weight - ends[1]["state_dict"][name]).norm() < 1e-2 * weight.norm(), name
    assert sorted(p.name for p in alone.iterdir()) == sorted(p.name for p in shared.iterdir())


def test_what_ends_one_process_ends_the_training_and_loses_nothing(launch, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    steps = ["optim.epochs=10", "trainer.checkpoint_minutes=0", "optim.ema_decay=0.9"]
    finished(launch(2, f"out={whole}", *steps))
    last = cut / "checkpoints" / "last.pt"

    process = launch(2, f"out={cut}", *steps)
    when_step(process, cut, 3)
    os.kill(workers_of(process)[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    # The watch's word comes first, or the launcher's, which ends the others.
    assert "process 1 died or is out of reach" in said or "Training was interrupted" in said, said
    assert f"go on with resume={last}" in said

    process = launch(2, f"out={cut}", f"resume={last}", *steps)
    when_step(process, cut, load_checkpoint(last)["step"] + 3)
    for worker in workers_of(process):  # as a terminal does with Ctrl-C
        os.kill(worker, signal.SIGINT)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert "Training was interrupted: go on with resume=" in said, said

    finished(launch(2, f"out={cut}", f"resume={last}", *steps))
    assert history(cut) == history(whole)
    one, other = (load_checkpoint(f / "checkpoints" / "last.pt") for f in (whole, cut))
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, other["state_dict"][name]), name
    assert not list(cut.rglob("*.tmp-*"))


@pytest.fixture
def hosts():
    """Two network namespaces joined by a cable: name -> (command prefix, address, interface)."""
    names = [f"denoiseq{os.getpid()}{letter}" for letter in "ab"]
    found = {
        name: (["ip", "netns", "exec", name], f"10.77.0.{i}", f"dq{os.getpid() % 100000}{i}")
        for i, name in enumerate(names, 1)
    }
    cables = [cable for _, _, cable in found.values()]
    commands = [f"ip netns add {name}" for name in names]
    commands.append(f"ip link add {cables[0]} type veth peer name {cables[1]}")
    for name, (_, address, cable) in found.items():
        commands += [
            f"ip link set {cable} netns {name}",
            f"ip -n {name} addr add {address}/24 dev {cable}",
            f"ip -n {name} link set {cable} up",
            f"ip -n {name} link set lo up",
        ]
    try:
        for command in commands:
            done = shutil.which("ip") and subprocess.run(command.split(), capture_output=True)
            if not done or done.returncode:
                pytest.skip("network namespaces need the program ip and the rights of root")
        yield list(found.values())
    finally:
        for name in names:
            if shutil.which("ip"):
                subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_two_hosts_train_the_same(launch, hosts, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    processes = [launch(1, f"out={alone}")]
    meeting = [f"--master-addr={hosts[0][1]}", f"--master-port={free_port()}", "--nnodes=2"]
    for number, (n, (prefix, _, interface)) in enumerate(zip((2, 1), hosts, strict=True)):
        processes.append(launch(
            n, f"out={shared}", host=prefix, interface=interface,
            launcher=[*meeting, f"--node-rank={number}"],
        ))  # fmt: skip
    for process in processes:
        finished(process)
    for one, other in zip(history(alone), history(shared), strict=True):
        assert one == pytest.approx(other, rel=2e-4)


# A rank of three, without a launcher, which would end the others itself.
A_RANK = """
import sys, time
from pathlib import Path
import numpy as np
from denoiseq import cli
from denoiseq.distributed import joined, leave
from denoiseq.errors import UserError
from denoiseq.interrupt import Stop

what, folder = sys.argv[1], Path(sys.argv[2])
code = 0
try:
    with Stop("Work", lambda: "go on with it"), joined("cpu") as ranks:
        (folder / str(ranks.rank)).touch()
        if what == "all_fail" or (what == "one_fails" and ranks.rank == 1):
            raise UserError("no such setting")
        while what == "sums":
            ranks.total_array(np.zeros(100_000))
        while what != "nothing" and ranks.main:
            time.sleep(0.1)
except (Exception, KeyboardInterrupt) as error:
    code = cli._failed(error, "train")
leave(code)
"""


@pytest.fixture
def three(tmp_path):
    """`three(what)` starts three ranks that do it; returns when all have joined.

    "waits": the first works, and the others wait for it; "sums": all sum.
    """
    started = []

    def run(what: str, hosts=(([], "127.0.0.1", "lo"),) * 3) -> list[subprocess.Popen]:
        port = str(free_port())
        for rank, (prefix, _, interface) in enumerate(hosts):
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1",
                   "RANK": str(rank), "WORLD_SIZE": "3", "MASTER_ADDR": hosts[0][1],
                   "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": interface}  # fmt: skip
            started.append(subprocess.Popen(
                [*prefix, sys.executable, "-c", A_RANK, what, str(tmp_path)],
                env=env, text=True, stderr=subprocess.PIPE,
            ))  # fmt: skip
        deadline = time.monotonic() + 120
        while len(list(tmp_path.iterdir())) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        return started

    yield run
    for process in started:
        process.kill()


def ends(processes: list[subprocess.Popen]) -> tuple[list[int], list[str]]:
    """Exit codes, and the errors that were said."""
    said = [process.communicate(timeout=60)[1].splitlines() for process in processes]
    errors = [line for lines in said for line in lines if line.startswith(("error", "stopped"))]
    return [process.returncode for process in processes], errors


@pytest.mark.parametrize("what", ["waits", "sums"])
@pytest.mark.parametrize("lost", [0, 2])
def test_a_lost_rank_ends_the_others_with_a_sentence(three, what, lost):
    processes = three(what)
    processes.pop(lost).kill()
    codes, said = ends(processes)
    assert codes == [2, 2]
    whose = ["process 1: ", "process 2: "] if lost == 0 else [""]
    assert sorted(said) == [
        f"error: {who}process {lost} died or is out of reach: go on with it." for who in whose
    ]


def test_a_rank_lost_on_another_host_ends_the_others(three, hosts):
    processes = three("waits", [hosts[0], hosts[1], hosts[1]])
    processes.pop(2).kill()
    codes, said = ends(processes)
    assert codes == [2, 2]
    assert said == ["error: process 2 died or is out of reach: go on with it."]


@pytest.mark.parametrize(("what", "sentence"), [
    ("all_fail", "no such setting"),
    ("one_fails", "process 1 stopped (no such setting): go on with it."),
])  # fmt: skip
def test_an_error_of_a_rank_ends_all_with_one_sentence(three, what, sentence):
    codes, said = ends(three(what))
    assert codes == [2, 2, 2]
    assert said == [f"error: {sentence}"]


def test_a_signal_to_the_first_rank_ends_all_with_one_sentence(three):
    processes = three("waits")
    processes[0].send_signal(signal.SIGUSR1)
    codes, said = ends(processes)
    assert codes == [130, 2, 2]
    assert said == ["stopped: Work was interrupted: go on with it."]


def test_ranks_that_end_well_lose_none(three):
    assert ends(three("nothing")) == ([0, 0, 0], [])
