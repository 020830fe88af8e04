"""What a `.qc.json` says: fragment lengths, which a store counts again, and warnings."""

import json

import numpy as np
import pytest
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.genomics.intervals import Interval
from denoiseq.logs import collected_warnings
from denoiseq.settings.prepare import SHIFTS
from denoiseq.store import cut_store
from denoiseq.store.cut_store import CutStore
from denoiseq.store.store import open_store
from denoiseq.store.thinning import Thinning


@pytest.fixture
def prepared(synthetic, prepare):
    def run(out, **settings):
        sizes = chrom_sizes(synthetic["fasta"])
        settings |= {"shift_check": False, "progress": False}
        qc = prepare(sizes, out, bam=synthetic["bam"], **settings)
        return qc["fragment_size"]["histogram"], CutStore(out)

    return run


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("chunk_bp", [1_000, 1 << 22])
def test_lengths_are_those_that_prepare_counts(prepared, tmp_path, monkeypatch, shift, chunk_bp):
    monkeypatch.setattr(cut_store, "_CHUNK_BP", chunk_bp)
    expected, store = prepared(tmp_path / "cuts.h5", shift=shift)
    found = store.fragment_sizes()
    assert len(found) == 2001
    assert found[: len(expected)].tolist() == expected and not found[len(expected) :].any()


def test_a_draw_and_its_complement_are_all(prepared, tmp_path):
    _, store = prepared(tmp_path / "cuts.h5")
    draw = store.fragment_sizes(Thinning(0.3, seed=1))
    rest = store.fragment_sizes(Thinning(0.3, seed=1, complement=True))
    assert 0 < draw.sum() < rest.sum()
    assert np.array_equal(draw + rest, store.fragment_sizes())
    apart = [store.fragment_sizes(chroms=[chrom]) for chrom in store.chroms]
    assert np.array_equal(sum(apart), store.fragment_sizes()) and all(map(np.sum, apart))


def test_single_end_reads_have_no_lengths(prepared, tmp_path):
    _, store = prepared(tmp_path / "cuts.h5", layout="single")
    assert store.fragment_sizes().shape == (0,)


def test_warnings_are_in_the_qc_json_and_logged_again_when_the_store_is_opened(
    synthetic, prepare, tmp_path
):
    out, sizes = tmp_path / "cuts.h5", chrom_sizes(synthetic["fasta"])
    blacklist = [Interval(next(iter(sizes)), 0, 10), Interval("chrOther", 0, 10)]
    prepare(sizes, out, blacklist, bam=synthetic["bam"], shift_check=False)
    with collected_warnings() as warnings:
        open_store(out)
    assert warnings == ["the blacklist names sequences that the FASTA lacks: chrOther"]
    assert json.loads(out.with_suffix(".qc.json").read_text())["warnings"] == warnings
