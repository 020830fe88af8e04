"""The cores that a process may use: affinity, and quotas in made-up trees of control groups."""

import os

import pytest
import torch
from denoiseq import cores, distributed

V1 = "30 20 0:26 {top} /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
V2 = "31 20 0:27 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(own, mounts, {file: text})` makes a root of 8 cores with such control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def make(own, mounts, files):
        proc = tmp_path / "proc/self"
        proc.mkdir(parents=True)
        (proc / "cgroup").write_text(own + "\n")
        (proc / "mountinfo").write_text("1 0 8:1 / / rw - ext4 /dev/sda rw\n" + mounts + "\n")
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path

    return make


def v1(folder, quota, period=100_000):
    group = f"cpu,cpuacct/{folder}"
    return {f"{group}/cpu.cfs_quota_us": str(quota), f"{group}/cpu.cfs_period_us": str(period)}


NONE = {"cpu.max": "max 100000"}
SLICE = "0::/user.slice/user-7.slice/job.scope"


@pytest.mark.parametrize(
    ("own", "top", "files", "quota", "usable"),
    [
        ("0::/", "/", NONE, None, 8),
        ("0::/", "/", {"cpu.max": "150000 100000"}, 1.5, 2),
        (SLICE, "/", {"user.slice/user-7.slice/job.scope/cpu.max": "50000 100000"}, 0.5, 1),
        # of a group above, and the least of several
        (SLICE, "/", {"user.slice/cpu.max": "300000 100000", **NONE}, 3.0, 3),
        (SLICE, "/", {"user.slice/cpu.max": "300000 100000",
                      "user.slice/user-7.slice/cpu.max": "200000 100000"}, 2.0, 2),
        # of another group
        (SLICE, "/", {"user.slice/user-8.slice/cpu.max": "50000 100000"}, None, 8),
        # a container that sees its own group as the mount
        ("0::/docker/12ab", "/docker/12ab", {"cpu.max": "250000 100000"}, 2.5, 3),
        ("0::/docker/12ab/in", "/docker/12ab", {"in/cpu.max": "90000 100000"}, 0.9, 1),
        ("0::/../../job", "/", {"cpu.max": "400000 100000"}, 4.0, 4),
        ("0::/a\\x2db.scope", "/a\\134x2db.scope", {"cpu.max": "400000 100000"}, 4.0, 4),
        ("0::/", "/", {"cpu.max": "1600000 100000"}, 16.0, 8),  # more than there is
        ("0::/", "/", {"cpu.max": ""}, None, 8),
    ],
)  # fmt: skip
def test_quota_of_version_2(machine, own, top, files, quota, usable):
    root = machine(own, V2.format(top=top), files)
    assert (cores.quota(root), cores.cores(root)) == (quota, usable)


@pytest.mark.parametrize(
    ("own", "top", "files", "quota", "usable"),
    [
        ("4:cpu,cpuacct:/", "/", v1("", -1), None, 8),
        ("4:cpuacct,cpu:/batch/job7", "/", v1("batch/job7", 50_000), 0.5, 1),
        ("4:cpu,cpuacct:/batch/job7/step0", "/", v1("batch/job7", 250_000), 2.5, 3),
        ("4:cpu,cpuacct:/docker/12ab", "/docker/12ab", v1("", 100_000, 50_000), 2.0, 2),
        ("4:cpu,cpuacct:/kubepods/pod1/c", "/", v1("kubepods/pod1", 400_000), 4.0, 4),
        ("4:cpuset:/batch", "/", v1("batch", 50_000), None, 8),
        ("4:cpu,cpuacct:/batch", "/", {"cpu,cpuacct/batch/cpu.cfs_quota_us": "5"}, None, 8),
    ],
)  # fmt: skip
def test_quota_of_version_1(machine, own, top, files, quota, usable):
    root = machine(f"9:memory:/elsewhere\n{own}\n0::/", V1.format(top=top), files)
    assert (cores.quota(root), cores.cores(root)) == (quota, usable)


def test_quota_without_control_groups(tmp_path):
    assert cores.quota(tmp_path) is None
    assert cores.cores(tmp_path) == cores.affinity() >= 1


def test_cores_of_rank_are_a_share(machine, monkeypatch):
    root = machine("0::/", V2.format(top="/"), {"cpu.max": "500000 100000"})
    for ranks, share in {"": 5, "1": 5, "2": 2, "3": 1, "9": 1}.items():
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        assert cores.cores_of_rank(root) == share


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("readers", [0, 1, 2])
def test_use_threads_asks_for_no_more_than_the_quota(monkeypatch, set_threads, ranks, readers):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    monkeypatch.setattr(cores, "quota", lambda *_: 9.0)
    monkeypatch.setattr(cores, "affinity", lambda: 16)
    set_threads(16)
    threads = distributed.use_threads(None, readers)
    assert threads == 9 // ranks - readers
    assert ranks * (threads + readers) <= 9


def test_use_threads_keeps_what_was_asked_for(monkeypatch, set_threads):
    monkeypatch.setattr(cores, "quota", lambda *_: 1.0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert distributed.use_threads(3) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    set_threads(2)
    assert distributed.use_threads(None) == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert distributed.use_threads(None) == 1
    assert torch.get_num_threads() == 1
