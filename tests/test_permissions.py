"""Files that may not be read, and stores that are locked, are said to be so."""

import fcntl
import os
import shutil
import subprocess
import sys

import pyBigWig
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.store.cut_store import write_store
from denoiseq.store.store import open_store

OPENS = """
import sys
from denoiseq.errors import sentence
from denoiseq.genomics.bam import contig_sizes
from denoiseq.genomics.bigwig_reader import bigwig_sizes
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.store.store import open_store

openers = dict(bam=contig_sizes, bw=bigwig_sizes, fa=chrom_sizes, sizes=chrom_sizes, h5=open_store)
for path in sys.argv[1:]:
    try:
        openers[path.rsplit(".", 1)[1]](path)
    except (OSError, ValueError) as error:
        print(sentence(error))
"""


@pytest.fixture(scope="session")
def unprivileged():
    """What a command has to begin with to lack the rights of root, which reads every file."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root reads every file, and there is no setpriv to drop its rights")
    caps = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"]


def make_store(path):
    write_store(path, {"chr1": 1_000}, {}, {}, {"genome": {"chr1": 1_000}}, {})
    return path


def test_a_file_that_may_not_be_read_is_said_to_be_so(unprivileged, synthetic, tmp_path):
    shutil.copy(synthetic["bam"], tmp_path / "a.bam")
    shutil.copy(f"{synthetic['bam']}.bai", tmp_path / "a.bam.bai")
    shutil.copy(synthetic["bam"], tmp_path / "b.bam")
    shutil.copy(synthetic["fasta"], tmp_path / "c.fa")
    chrom_sizes(tmp_path / "c.fa")
    (tmp_path / "d.sizes").write_text("chr1\t1000\n")
    with pyBigWig.open(str(tmp_path / "e.bw"), "w") as track:
        track.addHeader([("chr1", 1_000)])
        track.addEntries(["chr1"], [0], ends=[9], values=[1.0])
    make_store(tmp_path / "f.h5")
    names = ("a.bam", "b.bam", "c.fa", "d.sizes", "e.bw", "f.h5")
    secret = [tmp_path / {"a.bam": "a.bam.bai", "c.fa": "c.fa.fai"}.get(n, n) for n in names]
    for path in secret:
        path.chmod(0)
    command = [*unprivileged, sys.executable, "-c", OPENS, *(str(tmp_path / n) for n in names)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{path}: Permission denied" for path in secret]


def test_a_locked_store_is_said_to_be_locked(tmp_path):
    path = make_store(tmp_path / "cuts.h5")
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"cuts.h5 is locked by another process, which may"):
            open_store(path)
    assert open_store(path).chroms == {"chr1": 1_000}
