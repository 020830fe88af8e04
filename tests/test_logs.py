"""The log of a command: how warnings are written, and who gathers them."""

import logging
from pathlib import Path

import pytest
from denoiseq.logs import close_logging, collected_warnings, log_to, start_logging

log = logging.getLogger("denoiseq.prepare.anything")


@pytest.fixture
def closing():
    yield
    close_logging()


def test_a_warning_says_so_and_is_logged_once(closing, capsys, tmp_path):
    start_logging()
    log_to(tmp_path / "run.log")
    for _ in range(2):
        log.warning("%s lacks %d mates", "r.bam", 3)
        log.info("read")
    assert capsys.readouterr().err == "warning: r.bam lacks 3 mates\nread\nread\n"
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "WARNING denoiseq.prepare.anything: r.bam lacks 3 mates",
        *["INFO denoiseq.prepare.anything: read"] * 2,
    ]


def test_warnings_are_collected_within_the_block_alone():
    log.warning("before")
    with collected_warnings() as outer:
        log.warning("first")
        with collected_warnings(["earlier"]) as inner:
            log.warning("second")
            log.warning("second")
            log.error("no warning")
    log.warning("after")
    assert outer == ["first", "second"] and inner == ["earlier", "second"]


def test_log_to_a_full_disk_is_silent(capsys):
    """What the command writes next says it, in a sentence."""
    log_to(Path("/dev/full"))
    log.warning("an odd file")
    close_logging()
    assert "Traceback" not in capsys.readouterr().err
