"""MACS3 run as a program: the bundled peaks again, draws of fragments, what goes wrong."""

import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from denoiseq.evaluation import external_peaks
from denoiseq.evaluation.peak_metrics import agreement, total_counts
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.genomics.intervals import Interval, merge
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Prepare
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.thinning import Thinning

YEAST = Path(__file__).parents[2] / "data" / "yeast"
FULL = YEAST / "macs3_full_cutsites_q05.narrowPeak"
needs_macs3 = pytest.mark.skipif(
    shutil.which("macs3") is None, reason="macs3 is not on PATH (pip install '.[macs3]')"
)


@pytest.fixture
def store(tmp_path):
    """Two chromosomes of background with one strong peak each, a fragment a cut."""
    rng = np.random.default_rng(4)
    cuts = {}
    for chrom, centre in (("chr1", 40_000), ("chr2", 70_000)):
        places = [rng.integers(0, 100_000, 300), rng.integers(centre - 100, centre + 100, 400)]
        positions = np.sort(np.concatenate(places))
        cuts[chrom] = positions, np.arange(len(positions))
    path = tmp_path / "x.h5"
    blacklist = merge([Interval("chr1", 10_000, 20_000)])
    write_store(path, {"chr1": 100_000, "chr2": 100_000}, cuts, blacklist, {}, {})
    return CutStore(path)


def program(folder, body):
    """An executable `macs3` that is a Python script."""
    path = folder / "macs3"
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@needs_macs3
def test_all_fragments_give_the_bundled_peaks(tmp_path, monkeypatch):
    """With chrM and the rDNA in, and the genome size that the bundled file was made with."""
    out = tmp_path / "yeast.h5"
    sizes = chrom_sizes(YEAST / "sacCer3.fa.gz")
    bam, everything = YEAST / "yeast_atac_SRR1822137.bam", {"min_mapq": 0, "exclude": []}
    prepare_stores(Prepare(bam=str(bam), out=str(out), workers=1, **everything), sizes)
    opened = CutStore(out)
    bases = {"chrI": 12_000_000}
    monkeypatch.setattr(external_peaks, "unmasked_bp", lambda *where: bases.get(where[-1], 0))
    found, bundled = external_peaks.call_peaks(opened, sizes, None), merge(read_bed(FULL))
    assert set(found) == set(sizes)
    # Not the same base by base: there right ends were given as of the reverse strand, which MACS3
    # widens to one base further right. With them so it calls the same 1,902 peaks.
    agreed = agreement(total_counts(found, bundled))
    assert agreed["f1"] > 0.995
    assert agreed["iou_bp"] > 0.99


@needs_macs3
def test_only_what_the_draw_keeps_is_called_on(store):
    for chroms in (["chr1", "chr2"], ["chr2"]):
        found = external_peaks.call_peaks(store, chroms, None)
        assert list(found) == chroms
        assert all(len(rows) == 1 for rows in found.values())
    ((start, end),) = found["chr2"]
    assert 69_000 < start < 70_000 < end < 71_000
    half = external_peaks.call_peaks(store, ["chr2"], Thinning(0.5, seed=1))["chr2"]
    assert len(half) == 1
    assert half.tolist() != found["chr2"].tolist()


def test_what_macs3_is_given(store, tmp_path, monkeypatch):
    """A stand-in keeps what it got: the command line of ATAC-seq, and the drawn cut sites."""
    program(
        tmp_path,
        "import pathlib, shutil, sys\n"
        "options = dict(a[2:].split('=') for a in sys.argv[3:])\n"
        f"pathlib.Path({str(tmp_path / 'said')!r}).write_text(' '.join(sys.argv[1:]))\n"
        f"shutil.copy(options['treatment'], {str(tmp_path / 'cuts.bed')!r})\n"
        "out = pathlib.Path(options['outdir'], 'cuts_peaks.narrowPeak')\n"
        "out.write_text('chr2\\t5\\t9\\tb\\nchr2\\t1\\t3\\ta\\nchr2\\t2\\t4\\tc\\n')\n",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    draw = Thinning(0.3, seed=5)
    found = external_peaks.call_peaks(
        store, ["chr2", "chr1"], draw, qvalue=0.01, ext_bp=200, keep_dup="1"
    )
    assert {chrom: rows.tolist() for chrom, rows in found.items()} == {
        "chr2": [[1, 4], [5, 9]],
        "chr1": [],
    }
    said = (tmp_path / "said").read_text()
    assert said.startswith("callpeak --nomodel ")
    for option in (
        "--format=BED",
        "--gsize=190000",
        "--qvalue=0.01",
        "--shift=-100",
        "--extsize=200",
        "--keep-dup=1",
    ):
        assert f" {option} " in f"{said} "
    lines = [line.split("\t") for line in (tmp_path / "cuts.bed").read_text().splitlines()]
    expected = []
    for chrom in ("chr2", "chr1"):
        positions, ids = store.cuts(chrom, 0, 100_000)
        expected += [[chrom, str(c), str(c + 1)] for c in positions[draw.keep(ids)]]
    assert [line[:3] for line in lines] == expected


def test_no_cut_site_is_no_peak_and_needs_no_macs3_run(store, tmp_path, monkeypatch):
    program(tmp_path, "raise SystemExit('must not run')\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = external_peaks.call_peaks(store, ["chr1"], Thinning(0.0, seed=1))
    assert found["chr1"].shape == (0, 2)


def test_what_is_absent_or_fails_is_a_sentence(store, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ValueError, match="MACS3 is not installed"):
        external_peaks.call_peaks(store, ["chr1"], None)
    monkeypatch.undo()
    program(tmp_path, "raise SystemExit('INFO reading\\nthe disk is full')\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="macs3 callpeak failed: the disk is full"):
        external_peaks.call_peaks(store, ["chr1"], None)
    program(tmp_path, "")  # ends well and writes nothing
    with pytest.raises(OSError, match="macs3 callpeak left no narrowPeak"):
        external_peaks.call_peaks(store, ["chr1"], None)
