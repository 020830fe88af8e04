import numpy as np
import pytest
from denoiseq.genomics.intervals import Interval, merge, unmasked_bp
from denoiseq.settings import Data
from denoiseq.store.coverage_store import CoverageStore, runs_of, write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.samples import Samples
from denoiseq.store.thinning import Thinning
from denoiseq.windows.labels import poisson_peaks

SIZES = {"chr1": 3_000, "chr2": 2_000}


@pytest.fixture
def make(tmp_path):
    def store(name, seed=0, sizes=SIZES, blacklist=(), n=400):
        rng = np.random.default_rng(seed)
        cuts = {
            chrom: (np.sort(rng.integers(0, size, n)), rng.permutation(np.repeat(range(n // 2), 2)))
            for chrom, size in sizes.items()
        }
        write_store(tmp_path / name, sizes, cuts, merge(blacklist), {"seed": seed}, {})
        return CutStore(tmp_path / name)

    return store


def test_each_sample_has_chromosomes_of_its_own(make):
    one, two = make("a.h5"), make("b.h5", 1, blacklist=[Interval("chr2", 10, 60)])
    both = Samples([one, two])
    assert both.chroms == {
        "sample1/chr1": 3_000,
        "sample1/chr2": 2_000,
        "sample2/chr1": 3_000,
        "sample2/chr2": 2_000,
    }
    assert both.plain_names["sample2/chr1"] == "chr1"
    assert one.plain_names == {"chr1": "chr1", "chr2": "chr2"}
    assert (both.samples, two.samples) == ([one, two], [two])
    assert list(both.blacklist) == ["sample2/chr2"]
    assert (
        unmasked_bp(both.chroms, both.blacklist, "sample1/chr2"),
        unmasked_bp(both.chroms, both.blacklist, "sample2/chr2"),
    ) == (2_000, 1_950)
    for thinning in (None, Thinning(0.4, seed=2)):
        for name, store in (("sample1", one), ("sample2", two)):
            given = both.coverage(f"{name}/chr2", 100, 900, 50, thinning)
            expected = store.coverage("chr2", 100, 900, 50, thinning)
            np.testing.assert_array_equal(given, expected)


def test_labels_are_each_sample_s_own(make):
    one, two = make("a.h5"), make("b.h5", 1)
    rule = {"label_neglog10_p": 2.0, "label_min_length_bp": 20, "label_max_gap_bp": 10}
    rule = Data(half_window_bp=50, **rule)
    found = poisson_peaks(Samples([one, two]), rule)
    for name, store in (("sample1", one), ("sample2", two)):
        alone = poisson_peaks(store, rule)
        for chrom in SIZES:
            np.testing.assert_array_equal(found[f"{name}/{chrom}"], alone[chrom])
    assert any(len(rows) for rows in found.values())


def test_the_fingerprint_is_of_all(make):
    one, two = make("a.h5"), make("b.h5", 1)
    prints = {Samples(stores).fingerprint for stores in ([one, two], [two, one], [one, one])}
    assert len(prints) == 3


def test_samples_of_two_genomes_are_refused(make):
    with pytest.raises(ValueError, match=r"b.h5 has other chromosomes than .*a.h5"):
        Samples([make("a.h5"), make("b.h5", sizes={"chr1": 3_000})])


def test_depth_of_a_coverage_store_is_that_of_its_cuts(make, tmp_path):
    cuts = make("a.h5", blacklist=[Interval("chr1", 3_000 - 500, 3_000)])
    tracks = {c: cuts.coverage(c, 0, size, 10) for c, size in SIZES.items()}
    tracks["chr1"][2_500:] = 0
    path = tmp_path / "c.h5"
    runs = {chrom: runs_of(track, 0) for chrom, track in tracks.items()}
    write_coverage_store(path, SIZES, runs, cuts.blacklist, {}, {})
    covered = CoverageStore(path)
    bases = 2_500 + 2_000
    expected = 1e6 * sum(track.sum() for track in tracks.values()) / 21 / bases
    assert covered.depths(10) == pytest.approx([expected])
    assert Samples([cuts, covered]).depths(10) == [cuts.cuts_per_mb, covered.depths(10)[0]]


def test_a_coverage_store_gives_its_track_and_cannot_be_thinned(tmp_path):
    track = np.repeat([0.0, 2.5, 1.0], [10, 5, 85]).astype(np.float32)
    write_coverage_store(tmp_path / "c.h5", {"chr1": 100}, {"chr1": runs_of(track, 0)}, {}, {}, {})
    store = CoverageStore(tmp_path / "c.h5")
    np.testing.assert_array_equal(store.coverage("chr1", 5, 40, 100), track[5:40])
    with pytest.raises(ValueError, match=r"c.h5 holds coverage, not fragments"):
        store.coverage("chr1", 5, 40, 100, Thinning(0.5, 0))
