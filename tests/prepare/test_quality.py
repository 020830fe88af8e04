"""Fragment lengths counted again from a store equal those that `prepare` counted."""

import numpy as np
import pytest
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.prepare import quality
from denoiseq.prepare.bam import prepare
from denoiseq.prepare.cut_sites import SHIFTS, CutOptions
from denoiseq.prepare.quality import fragment_sizes
from denoiseq.store.cut_store import CutStore
from denoiseq.store.thinning import Thinning


def prepared(synthetic, out, **options):
    options = CutOptions(shift_check=False, **options)
    qc = prepare(
        synthetic["bam"], chrom_sizes(synthetic["fasta"]), out, options, [], progress=False
    )
    return qc["fragment_size"]["histogram"], CutStore(out)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("chunk_bp", [1_000, 1 << 22])
def test_lengths_are_those_that_prepare_counts(synthetic, tmp_path, monkeypatch, shift, chunk_bp):
    monkeypatch.setattr(quality, "_CHUNK_BP", chunk_bp)
    expected, store = prepared(synthetic, tmp_path / "cuts.h5", shift=shift)
    found = fragment_sizes(store)
    assert len(found) == 2001
    assert found[: len(expected)].tolist() == expected and not found[len(expected) :].any()


def test_a_draw_and_its_complement_are_all(synthetic, tmp_path):
    _, store = prepared(synthetic, tmp_path / "cuts.h5")
    draw = fragment_sizes(store, Thinning(0.3, seed=1))
    rest = fragment_sizes(store, Thinning(0.3, seed=1, complement=True))
    assert 0 < draw.sum() < rest.sum()
    assert np.array_equal(draw + rest, fragment_sizes(store))
    apart = [fragment_sizes(store, chroms=[chrom]) for chrom in store.chroms]
    assert np.array_equal(sum(apart), fragment_sizes(store)) and all(map(np.sum, apart))


def test_single_end_reads_have_no_lengths(synthetic, tmp_path):
    _, store = prepared(synthetic, tmp_path / "cuts.h5", layout="single")
    assert fragment_sizes(store).shape == (0,)
