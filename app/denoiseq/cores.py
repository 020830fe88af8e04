"""Cores that this process may use: by affinity, and by the CPU quota of its control groups.

A quota is a container's, a batch system's or systemd's. It shows in no other count of cores: more
threads than it allows are stopped together for most of each period.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

ROOT = Path("/")
_UNREADABLE = (OSError, ValueError, LookupError, ZeroDivisionError)


def cores(root: Path = ROOT) -> int:
    """Whole cores that all threads of this process may use together, at least one."""
    allowed = quota(root)
    return affinity() if allowed is None else max(1, min(affinity(), math.ceil(allowed)))


def cores_of_rank(root: Path = ROOT) -> int:
    """This rank's share of the cores: torchrun starts LOCAL_WORLD_SIZE ranks on a host."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, cores(root) // max(1, int(local) if local.isdecimal() else 1))


def affinity() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: Path = ROOT) -> float | None:
    """Cores that the control groups of this process may use up; None without a limit.

    The least quota of its own group and of those above, in version 1 and 2 of control groups.
    root : the folder that holds proc/ and sys/
    """
    limits = (_limit(group) for group in _groups(root))
    return min((limit for limit in limits if limit is not None), default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's CPU groups, each with those above it up to the mount."""
    own = _own_groups(root)
    for kind, top, mount in _mounts(root):
        if kind not in own:
            continue
        path = PurePosixPath(own[kind])
        # A container sees its own group as the mount, whatever its name outside.
        inner = path.relative_to(top) if path.is_relative_to(top) else PurePosixPath()
        folder = root / mount.lstrip("/")
        yield folder
        for depth in range(len(inner.parts)):
            yield folder.joinpath(*inner.parts[: depth + 1])


def _own_groups(root: Path) -> Mapping[str, str]:
    """The path of this process's group by kind of hierarchy: cgroup (version 1) or cgroup2."""
    groups = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            groups["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            groups["cgroup"] = path
    return groups


def _mounts(root: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, root and mount point of each hierarchy that may limit the CPU."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, (kind, *more) = before.split(), after.split() or [""]
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in more[-1].split(",")):
            yield kind, _unescaped(fields[3]), _unescaped(fields[4])


def _unescaped(path: str) -> str:
    """A path of mountinfo, which has blanks and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _limit(group: Path) -> float | None:
    """The quota that a group itself sets, in cores."""
    with suppress(*_UNREADABLE):
        values = (group / "cpu.max").read_text().split()
        return None if values[:1] == ["max"] else int(values[0]) / int(values[1])
    with suppress(*_UNREADABLE):
        limit = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
        return limit / period if limit > 0 else None
    return None
