import subprocess
import sys
from pathlib import Path

import numpy as np
import pysam
import pytest
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.genomics.intervals import merge
from denoiseq.genomics.synthetic import CHROMS, make_synthetic
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Data, Prepare
from denoiseq.store.cut_store import CutStore
from denoiseq.windows.labels import poisson_peaks


def test_equal_seeds_give_equal_files(tmp_path):
    small = {"chr1": 30_000}
    made = [
        make_synthetic(tmp_path / name, seed, small)
        for name, seed in zip("abc", (0, 0, 1), strict=True)
    ]
    for key in ("fasta", "bam", "peaks", "blacklist"):
        data = [paths[key].read_bytes() for paths in made]
        assert data[0] == data[1]
        assert (data[0] == data[2]) == (key == "blacklist")


def test_reads_agree_with_the_genome(synthetic):
    assert chrom_sizes(synthetic["fasta"]) == CHROMS
    with (
        pysam.AlignmentFile(str(synthetic["bam"])) as bam,
        pysam.FastaFile(str(synthetic["fasta"])) as fasta,
    ):
        for number, read in enumerate(bam.fetch("chr2", 20_000, 40_000)):
            bases = fasta.fetch("chr2", read.reference_start, read.reference_end)
            assert read.query_sequence == bases
            assert number < 50_000
        assert number > 500


def test_the_planted_peaks_can_be_found(synthetic, tmp_path):
    out = tmp_path / "x.h5"
    sizes = chrom_sizes(synthetic["fasta"])
    files = {name: str(synthetic[name]) for name in ("bam", "blacklist")}
    prepare_stores(Prepare(**files, out=str(out), workers=1), sizes)
    planted = merge(read_bed(synthetic["peaks"]))
    rule = {"label_neglog10_p": 3.0, "label_min_length_bp": 200, "label_max_gap_bp": 30}
    for chrom, rows in poisson_peaks(CutStore(out), Data(half_window_bp=75, **rule)).items():
        summits = planted[chrom].mean(axis=1)
        found = [np.any((rows[:, 0] <= s) & (s < rows[:, 1])) for s in summits]
        assert np.mean(found) > 0.8
        assert len(rows) < 1.2 * len(summits)


def test_too_many_peaks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="peaks_per_mb"):
        make_synthetic(tmp_path, peaks_per_mb=2_000)


def test_the_script_in_data(tmp_path):
    root = Path(__file__).parents[2]
    script = [sys.executable, root / "data" / "make_synthetic.py", tmp_path / "x"]
    run = subprocess.run(
        script, env={"PYTHONPATH": str(root / "app")}, capture_output=True, check=True, text=True
    )
    listed = dict(line.split("\t") for line in run.stdout.splitlines())
    assert set(listed) == {"fasta", "bam", "peaks", "blacklist"}
    assert all(Path(path).is_file() for path in listed.values())
