"""Shared fixtures: the command line in this process, and a synthetic genome with a checkpoint."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

# A busy machine makes any example slow now and then.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).parents[1]
for source_root in (ROOT / "app", ROOT / "kernels"):
    if str(source_root) not in sys.path:
        sys.path.append(str(source_root))


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def set_threads():
    """`set_threads(n)` sets torch's number of threads until the test ends."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def denoiseq(capfd):
    """`denoiseq("prepare", "bam=x")` runs the command in this process."""
    from denoiseq import cli

    def run(*arguments) -> Outcome:
        capfd.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code or 0
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def fails(denoiseq):
    """`fails("prepare", "bam=x")` asserts one `error:` line and exit code 2; the sentence."""

    def run(*arguments) -> str:
        outcome = denoiseq(*arguments)
        lines = outcome.err.strip().splitlines()
        assert outcome.code == 2, outcome
        assert "Traceback" not in outcome.err
        assert [line.startswith("error: ") for line in lines].count(True) == 1, outcome.err
        assert lines[-1].startswith("error: "), outcome.err
        return lines[-1].removeprefix("error: ")

    return run


@pytest.fixture(scope="session")
def genome(tmp_path_factory) -> dict[str, Path]:
    """A synthetic genome: paths of its fasta, bam, peaks and blacklist."""
    from denoiseq.genomics.synthetic import make_synthetic

    return make_synthetic(tmp_path_factory.mktemp("genome"))


@pytest.fixture(scope="session")
def at(genome):
    """`at(folder)`: overrides of the smoke experiment for `genome`, with its store in `folder`."""

    def overrides(folder: Path) -> list[str]:
        return [
            f"data.store={folder / 'cuts.h5'}",
            f"data.prepare.bam={genome['bam']}",
            f"data.prepare.fasta={genome['fasta']}",
            f"data.prepare.blacklist={genome['blacklist']}",
            "data.prepare.workers=1",
            f"data.truth={genome['peaks']}",
            "optim.epochs=2",
        ]

    return overrides


@pytest.fixture(scope="session")
def workplace(tmp_path_factory, at) -> Path:
    """A folder where the smoke experiment has run on `genome`: store cuts.h5, run folder run/."""
    from denoiseq import cli

    folder = tmp_path_factory.mktemp("workplace")
    code = cli.main(["train", "+experiment=smoke", f"out={folder / 'run'}", *at(folder)])
    assert code == 0
    return folder


@pytest.fixture(scope="session")
def static_build(tmp_path_factory) -> Path:
    """The build folder of tests/emulation: kernels_check and the objects that it is made of."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("kernels_check is an x86-64 program")
    folder = tmp_path_factory.mktemp("static_build")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # cmake and ninja
    for command in (
        ["cmake", "-G", "Ninja", "-S", ROOT / "tests/emulation", "-B", folder],
        ["cmake", "--build", folder, "--target", "kernels_check"],
    ):
        done = subprocess.run(
            command, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder
