"""Stores that `denoiseq prepare` of version 0.1.0 wrote, from a synthetic genome: they still open.

The expected values were read with the code of that version.
"""

import hashlib
from pathlib import Path

import pytest
from denoiseq.store.coverage_store import CoverageStore
from denoiseq.store.cut_store import CutStore
from denoiseq.store.header import fingerprint
from denoiseq.store.store import open_store
from denoiseq.store.thinning import Thinning

DATA = Path(__file__).parent / "data"
SIZES = {"chr1": 12_000, "chr2": 6_000}
COMMON = {
    "include": None,
    "exclude": ["M", "MT", "Mito", "chrM", "chrMT", "chrMito"],
    "blacklist_sha256": "954369b41e80378ba830bb1bda8f83e63782e50b9291296c6ae0d8e824aa948c",
    "genome": SIZES,
}
FASTA = {"name": "genome.fa", "bytes": 20_352, "mtime": 1_795_811_246}


def sha256(*arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def test_a_cut_site_store():
    store = open_store(DATA / "cuts_v1.h5")
    assert isinstance(store, CutStore)
    assert (store.n_cuts, store.n_fragments) == (2_153, 1_080)
    assert list(store.chroms.items()) == list(SIZES.items())
    assert {c: rows.tolist() for c, rows in store.blacklist.items()} == {
        "chr1": [[6_000, 6_120]],
        "chr2": [[3_000, 3_060]],
    }
    assert store.depths(75) == [store.cuts_per_mb] == [pytest.approx(120_819.3042)]
    positions, fragments = store.cuts("chr1", 4_000, 4_150)
    assert positions.tolist() == [4_011, 4_022, 4_061, 4_099, 4_113, 4_117, 4_138]
    assert fragments.tolist() == [375, 378, 379, 378, 377, 380, 381]
    assert sha256(*store.cuts("chr1", 0, 12_000)) == "0e61144d69247d8b"
    assert sha256(*store.cuts("chr2", 0, 6_000)) == "c4a2fc4483f2f678"
    track = store.coverage("chr1", 4_000, 4_100, 75)
    assert track[::10].tolist() == [11, 10, 9, 8, 9, 9, 9, 9, 7, 8]
    thinned = store.coverage("chr1", 4_000, 4_100, 75, Thinning(0.3, 1))
    assert thinned[::10].tolist() == [5, 5, 4, 4, 4, 4, 4, 3, 2, 3]


def test_how_the_cut_site_store_was_made():
    store = open_store(DATA / "cuts_v1.h5")
    filters = {"shift": "+4/-4", "min_mapq": 20, "keep_duplicates": False, "max_fragment_bp": 2_000}
    assert store.preprocessing == {**filters, **COMMON}
    made = "9b65389e3c3e75ea45cc441fefeccd6bcc3f3d614870499049a1bec0ebc796c9"
    assert store.fingerprint == fingerprint(store.preprocessing) == made
    assert store.provenance["inputs"] == {
        "bam": {"name": "reads.bam", "bytes": 45_776, "mtime": 1_795_811_246},
        "fasta": FASTA,
    }
    assert store.provenance["command"][:2] == ["denoiseq prepare", "bam=reads.bam"]
    assert store.provenance["versions"]["denoiseq"] == "0.1.0"


def test_a_coverage_store():
    store = open_store(DATA / "coverage_v1.h5")
    assert isinstance(store, CoverageStore)
    assert (store.n_runs, store.chroms) == (570, SIZES)
    assert store.mean_coverage == pytest.approx(3.9860044958615544)
    track = store.coverage("chr1", 5_980, 6_140)[::10].tolist()
    assert track == pytest.approx([6.2, 6.2, *[0] * 12, 6.3, 6.3])
    assert store.coverage("chr2", 0, 60)[::6].tolist() == pytest.approx([2.8] * 6 + [0.1] * 4)
    assert sha256(store.coverage("chr1", 0, 12_000)) == "bb520c927c9abbad"
    assert sha256(store.coverage("chr2", 0, 6_000)) == "ab5d1fb532ab1fb2"
    assert store.preprocessing == {"kind": "coverage", **COMMON}
    made = "6d706bb445762094875209edd1afa6fc8cdc5cc9a7118e08cee4ac833c9effac"
    assert store.fingerprint == fingerprint(store.preprocessing) == made
    assert store.provenance["inputs"]["fasta"] == FASTA
