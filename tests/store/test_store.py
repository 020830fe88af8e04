"""Every store answers the same calls, and nobody outside of the package asks which class it is."""

import re
from pathlib import Path

import numpy as np
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.intervals import unmasked_bp
from denoiseq.store.samples import Samples
from denoiseq.store.store import open_store
from denoiseq.store.thinning import Thinning

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
CUTS, TRACK = DATA / "cuts_v1.h5", DATA / "coverage_v1.h5"
ASKS_THE_CLASS = re.compile(
    r"(isinstance|issubclass)\([^)]*(Store|Samples)\b|type\([^)]*\) (is|==) .*(Store|Samples)\b"
)


def asks_the_class(source):
    return [line for line in source.splitlines() if ASKS_THE_CLASS.search(line)]


def test_no_code_outside_of_the_package_asks_for_the_class_of_a_store():
    assert asks_the_class("if isinstance(noisy, Samples | CutStore):")
    sources = [*(ROOT / "app" / "denoiseq").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    outside = [path for path in sources if path.parent.name != "store"]
    assert len(sources) > len(outside) > 50
    assert not [(path.name, line) for path in outside for line in asks_the_class(path.read_text())]


@pytest.fixture(params=["cuts", "track", "samples", "mixed"])
def store(request):
    cuts, track = open_store(CUTS), open_store(TRACK)
    return {
        "cuts": cuts,
        "track": track,
        "samples": Samples([cuts, open_store(CUTS)]),
        "mixed": Samples([cuts, track]),
    }[request.param]


def test_every_store_answers_the_same(store):
    assert set(store.plain_names) == set(store.chroms)
    for chrom, size in store.chroms.items():
        sample, plain = store.home(chrom)
        assert sample in store.samples
        assert plain == store.plain_names[chrom] and sample.chroms[plain] == size
        assert (
            unmasked_bp(store.chroms, store.blacklist, chrom)
            == unmasked_bp(sample.chroms, sample.blacklist, plain)
            < size
        )
        window = 1_000, 1_400
        track = store.coverage(chrom, *window, 20)
        assert track.dtype == np.float32 and track.shape == (400,)
        np.testing.assert_array_equal(track, sample.coverage(plain, *window, 20))
        positions, weights = store.signal(chrom, *window)
        assert weights.sum() == pytest.approx(store.coverage(chrom, *window).sum(), rel=1e-5)
        assert np.all(np.diff(positions) >= 0) and np.all(
            (positions >= 1_000) & (positions < 1_400)
        )
    assert len(store.depths(75)) == len(store.samples)
    assert all(str(sample.path) in sample.describe() for sample in store.samples)
    assert store.thinnable == all(sample.thinnable for sample in store.samples)
    for sample in store.samples:
        assert sample.fragment_sizes().dtype == np.int64
        assert sample.facts()


def test_what_cannot_be_thinned_says_so(store):
    for chrom in store.chroms:
        if store.home(chrom)[0].thinnable:
            store.coverage(chrom, 0, 50, 5, Thinning(0.5, 1))
            positions, fragments = store.cuts(chrom, 0, 5_000)
            kept = positions[Thinning(0.5, 1).keep(fragments)]
            assert store.signal(chrom, 0, 5_000, Thinning(0.5, 1))[0].tolist() == kept.tolist()
            assert 0 < len(kept) < len(positions)
            continue
        with pytest.raises(UserError, match=r"coverage_v1.h5 holds coverage, not fragments"):
            store.coverage(chrom, 0, 50, 5, Thinning(0.5, 1))
        with pytest.raises(UserError, match=r"coverage_v1.h5 holds coverage, not fragments"):
            store.cuts(chrom, 0, 50)
        with pytest.raises(UserError, match=r"coverage_v1.h5 holds coverage, not fragments"):
            store.signal(chrom, 0, 50, Thinning(0.5, 1))


def test_only_a_track_is_scaled_to_a_depth():
    cuts, track = open_store(CUTS), open_store(TRACK)
    assert cuts.unit == 1 and track.unit == pytest.approx(0.1)
    assert track.at_depth(9, 75).depths(75) == pytest.approx([9])
    with pytest.raises(UserError, match=r"cuts_v1.h5 holds cut sites, whose depth is counted: "):
        cuts.at_depth(9, 75)


def test_facts_are_those_of_a_summary():
    facts = open_store(CUTS).facts()
    assert list(facts) == ["files", "fragments", "cut_sites", "fingerprint", "preprocessing"]
    assert (facts["fragments"], facts["cut_sites"]) == (1_080, 2_153)
    assert list(open_store(TRACK).facts()) == ["files", "fingerprint", "preprocessing"]
