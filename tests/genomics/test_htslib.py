import logging
import os
import subprocess
import sys

import pysam
import pytest
from denoiseq.genomics.htslib import htslib_messages, quiet_htslib


def write(line):
    """As C code writes to stderr."""
    os.write(2, f"{line}\n".encode())


def test_htslib_messages_logs_each_warning_once_and_keeps_the_errors(tmp_path, caplog, capfd):
    before = pysam.get_verbosity()
    with htslib_messages(tmp_path / "x.bam") as errors:
        assert pysam.get_verbosity() == 3
        write("[W::hts_idx_load3] The index is old: x.bai")
        write("[W::hts_idx_load3] The index is old: x.bai")
        write("[E::bgzf_read_block] Failed to read")
        write("a line of another thread")
    assert errors == ["Failed to read"]
    ((_, level, text),) = caplog.record_tuples
    assert (level, text) == (
        logging.WARNING,
        f"htslib on {tmp_path / 'x.bam'}: The index is old: x.bai",
    )
    assert capfd.readouterr().err == "a line of another thread\n"
    write("stderr is as it was")
    assert capfd.readouterr().err == "stderr is as it was\n"
    assert pysam.get_verbosity() == before


def test_htslib_messages_restores_stderr_after_an_error(tmp_path, caplog, capfd):
    with pytest.raises(OSError, match="stop"), htslib_messages(tmp_path):
        write("[W::x] said before")
        raise OSError("stop")
    assert [record.getMessage() for record in caplog.records] == [
        f"htslib on {tmp_path}: said before"
    ]
    write("here again")
    assert capfd.readouterr().err == "here again\n"


def test_quiet_htslib_restores_the_verbosity():
    before = pysam.set_verbosity(2)
    with quiet_htslib():
        assert pysam.get_verbosity() == 0
    assert pysam.set_verbosity(before) == 2


def test_htslib_messages_with_stderr_closed(tmp_path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from denoiseq.genomics.htslib import htslib_messages\n"
        "with htslib_messages(Path('x')) as errors:\n"
        "    pass\n"
        "print('done')\n"
    )
    command = f'{sys.executable} -c "$SCRIPT" 2>&-'
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "SCRIPT": script}
    done = subprocess.run(["sh", "-c", command], env=environment, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n")
