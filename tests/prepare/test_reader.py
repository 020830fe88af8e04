"""What a new input format takes: a reader and its entry in READERS. Here a bedGraph."""

from dataclasses import make_dataclass
from pathlib import Path

import numpy as np
import pytest
from denoiseq.errors import UserError
from denoiseq.prepare import run
from denoiseq.prepare.coverage_runs import write_runs
from denoiseq.prepare.cut_sites import resolve_shift
from denoiseq.prepare.quality import coverage_quality
from denoiseq.prepare.reader import StoreParts, beside, store_paths
from denoiseq.settings import Prepare
from denoiseq.store.store import open_store


class BedGraphReader:
    """Holds the whole track in memory; its lines are right."""

    example, unit, ends = "track.bedGraph", "bp", None

    def __init__(self, settings, genome):
        self.paths = [settings.bedgraph]
        self.preprocessing = {"kind": "coverage"}
        self.chroms = {}
        for line in settings.bedgraph.read_text().splitlines():
            chrom, start, end, value = line.split()
            track = self.chroms.setdefault(chrom, np.zeros(genome[chrom], np.float32))
            track[int(start) : int(end)] = float(value)

    def total(self, chroms):
        return sum(chroms.values())

    def read(self, task):
        coverage = {}
        for chrom in task.chroms:
            part, track = task.folder / chrom, [(0, self.chroms[chrom])]
            coverage[chrom] = write_runs(self.paths[0], chrom, track, task.blacklist, part)
        qc = coverage_quality(coverage, task)
        parts = {chrom: result.part for chrom, result in coverage.items()}
        return [StoreParts(task.settings.out, qc, parts)]


def test_a_new_format_is_one_class_and_one_setting(tmp_path, monkeypatch):
    settings = make_dataclass("Settings", [("bedgraph", object, None)], bases=(Prepare,))
    monkeypatch.setitem(run.READERS, "bedgraph", BedGraphReader)
    track, out, bed = (tmp_path / name for name in ("track.bedGraph", "x.h5", "b.bed"))
    track.write_text("chr1\t10\t20\t1.5\nchr1\t20\t25\t4\n")
    bed.write_text("chr1\t18\t21\n")
    sizes = {"chr1": 100, "chr2": 50}
    given = settings(bedgraph=track, out=out, blacklist=str(bed), progress=False)
    ((path, qc),) = run.prepare_stores(given, sizes).items()
    store = open_store(path)
    expected = [0] * 2 + [1.5] * 8 + [0] * 3 + [4] * 4 + [0]
    assert store.coverage("chr1", 8, 26).tolist() == expected
    assert store.chroms == {"chr1": 100}
    assert {c: rows.tolist() for c, rows in store.blacklist.items()} == {"chr1": [[18, 21]]}
    assert qc["mean_coverage"] == store.mean_coverage == 28 / 97
    assert "shift_check" not in qc
    assert store.provenance["inputs"]["bedgraph"]["name"] == "track.bedGraph"
    with pytest.raises(UserError, match=r"give one of bam=.*, bedgraph=track.bedGraph"):
        run.prepare_stores(settings(out=str(out)), sizes)


@pytest.mark.parametrize("store", ["a/rep.1", "a/rep.1.h5", "a/rep.1.hdf5"])
def test_the_files_beside_a_store(store):
    assert str(beside(Path(store), ".qc.json")) == "a/rep.1.qc.json"


@pytest.mark.parametrize("name", ["bam", "fragments", "blacklist"])
def test_an_input_is_not_written_over(name, tmp_path):
    (tmp_path / "x").write_bytes(b"anything")
    (tmp_path / "y").symlink_to(tmp_path / "x")
    settings = Prepare(**{"bam": "r.bam", name: str(tmp_path / "x")}, out=str(tmp_path / "y"))
    if name == "fragments":
        settings.bam = None
    with pytest.raises(UserError, match=f"y is the input {name}=.*x: give the store a new name"):
        run.prepare_stores(settings)
    assert (tmp_path / "x").read_bytes() == b"anything"


def test_names_of_several_stores():
    names = {label: path.name for label, path in store_paths("a/cuts.h5", ["B cells", "T"]).items()}
    assert names == {"B cells": "cuts.B_cells.h5", "T": "cuts.T.h5"}
    with pytest.raises(UserError, match=r"two inputs would both be written to a/cuts.T_cell.h5"):
        store_paths("a/cuts.h5", ["T cell", "T/cell"])


@pytest.mark.parametrize(
    ("settings", "shift"),
    [
        ({"bam": "x.bam"}, "+4/-4"),
        ({"fragments": "x.tsv"}, "10x"),
        ({"fragments": "x.tsv", "shift": "none"}, "none"),
    ],
)
def test_the_shift_that_auto_stands_for(settings, shift):
    assert resolve_shift(Prepare(**settings)).shift == shift


def test_files_beside_a_store_have_a_name_of_their_own():
    names = {
        store: beside(store, ".qc.json").name for store in ("a/cuts.h5", "1.10", "1.20", "s.x")
    }
    assert names["a/cuts.h5"] == "cuts.qc.json" and names["1.10"] == "1.10.qc.json"
    assert len(set(names.values())) == 4
