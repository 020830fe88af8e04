"""The bundled real data, whole: figures that data/yeast/README.md states, measured anew."""

from pathlib import Path

import numpy as np
import pytest
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import Genome, chrom_sizes
from denoiseq.genomics.intervals import mask, merge, unmasked_bp
from denoiseq.store.cut_store import CutStore
from denoiseq.store.thinning import Thinning

YEAST = Path(__file__).parents[2] / "data" / "yeast"
BAM, FASTA = YEAST / "yeast_atac_SRR1822137.bam", YEAST / "sacCer3.fa.gz"


@pytest.fixture(scope="module")
def prepare_yeast(prepare):
    def run(out, **settings):
        blacklist = read_bed(YEAST / "sacCer3.blacklist.bed")
        return prepare(chrom_sizes(FASTA), out, blacklist, bam=BAM, **settings)

    return run


@pytest.fixture(scope="module")
def prepared(prepare_yeast, tmp_path_factory):
    out = tmp_path_factory.mktemp("yeast") / "yeast.h5"
    return prepare_yeast(out, min_mapq=0), CutStore(out)


def tracks(store, chroms):
    """Full coverage, a tenth of the fragments, and MACS3 peaks, over the unmasked bases."""
    macs = merge(read_bed(YEAST / "macs3_full_cutsites_q05.narrowPeak"))
    columns = []
    for chrom in chroms:
        size = store.chroms[chrom]
        full = store.coverage(chrom, 0, size, 75)
        thin = store.coverage(chrom, 0, size, 75, Thinning(0.1, seed=0))
        kept = ~mask(store.blacklist, chrom, 0, size)
        columns.append(np.stack([full, thin, mask(macs, chrom, 0, size)])[:, kept])
    full, thin, peaks = np.concatenate(columns, axis=1)
    return full, thin, peaks.astype(bool)


def test_reads_by_filter(prepared):
    qc, store = prepared
    reads = qc["reads"]
    assert reads["total"] == 1_000_000
    assert reads["excluded_chromosome"] == 33_941  # chrM
    pairs = 467_908 - 16_876  # proper pairs but for those on chrM
    assert reads["reverse_mate"] == reads["forward_mate"] + reads["too_short"] == pairs
    assert reads["too_short"] == 16
    # the rDNA array holds 32% of all fragments
    assert qc["blacklisted"]["fragments"] / 467_908 == pytest.approx(0.32, abs=0.005)
    assert qc["fragments"] == store.n_fragments == 302_252
    assert unmasked_bp(store.chroms, store.blacklist, "chrXII") == 1_078_177 - 40_000


def test_mapq_30_drops_a_twelfth_of_the_fragments(prepared, prepare_yeast, tmp_path):
    qc = prepare_yeast(tmp_path / "x.h5")
    assert 1 - qc["fragments"] / prepared[0]["fragments"] == pytest.approx(0.083, abs=0.02)


def information_bits(store, moved_bp=0, reach_bp=10):
    """Information over the 2 * reach + 1 bases around the cuts, against the genome's own bases.

    Left cuts are read along the forward strand, right cuts along the reverse one: only under the
    right shift do the two halves of the Tn5 motif add up.
    """
    genome = Genome(FASTA)
    counts, background = np.zeros((4, 2 * reach_bp + 1)), np.zeros(4)
    for chrom, size in store.chroms.items():
        bases = genome.one_hot(chrom, 0, size)
        background += bases.sum(axis=1)
        positions, fragments = store.cuts(chrom, 0, size)
        _, first = np.unique(fragments, return_index=True)
        is_left = np.zeros(len(positions), dtype=bool)
        is_left[first] = True
        inside = (positions > 100) & (positions < size - 100)
        for left in (True, False):
            at = positions[inside & (is_left == left)] + (moved_bp if left else -moved_bp)
            for column, offset in enumerate(range(-reach_bp, reach_bp + 1)):
                found = bases[:, at + (offset if left else -offset)].sum(axis=1)
                counts[:, column] += found if left else found[::-1]
    share = counts / counts.sum(axis=0)
    expected = (background + background[::-1]) / (2 * background.sum())
    return float((share * np.log2(share / expected[:, None])).sum())


def test_the_motif_lies_at_the_cut_sites_and_both_ends_coincide(prepared, prepare_yeast, tmp_path):
    at_cuts = information_bits(prepared[1])
    assert at_cuts == pytest.approx(1.28, abs=0.02)
    assert information_bits(prepared[1], moved_bp=40) < 0.15  # what AT-rich promoters leave
    for shift in ("+4/-5", "none", "atacworks"):  # the halves no longer coincide
        prepare_yeast(tmp_path / "x.h5", min_mapq=0, shift=shift)
        assert information_bits(CutStore(tmp_path / "x.h5")) < 0.9 * at_cuts


def average_precision(score, truth):
    """Step-wise, equal scores together."""
    values = np.unique(score)[::-1]
    called = len(score) - np.searchsorted(np.sort(score), values)
    right = truth.sum() - np.searchsorted(np.sort(score[truth]), values)
    recall = right / truth.sum()
    return float((np.diff(recall, prepend=0) * right / called).sum())


def test_raw_coverage_at_a_tenth_against_the_full_peaks(prepared):
    full, thin, peaks = tracks(prepared[1], prepared[1].chroms)
    assert peaks.mean() == pytest.approx(0.056, abs=0.001)
    assert average_precision(thin, peaks) == pytest.approx(0.769, abs=0.012)
    assert np.corrcoef(thin, full)[0, 1] == pytest.approx(0.919, abs=0.008)
    assert np.corrcoef(np.log1p(thin), np.log1p(full))[0, 1] == pytest.approx(0.735, abs=0.008)


def test_the_held_out_chromosomes_as_the_data_states_them(prepared):
    full, thin, peaks = tracks(prepared[1], ["chrIV", "chrXV"])
    assert average_precision(thin, peaks) == pytest.approx(0.780, abs=0.015)
    assert average_precision(full, peaks) == pytest.approx(0.978, abs=0.005)
    assert np.corrcoef(thin, full)[0, 1] == pytest.approx(0.918, abs=0.01)
