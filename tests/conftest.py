"""Shared fixtures: the command line in this process, and a synthetic genome with a checkpoint."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
for source_root in (ROOT / "app", ROOT / "kernels"):
    if str(source_root) not in sys.path:
        sys.path.append(str(source_root))


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


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
