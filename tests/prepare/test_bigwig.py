import json
import os
import subprocess
import sys

import numpy as np
import pyBigWig
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.bigwig_reader import bigwig_sizes, stream_bigwig
from denoiseq.genomics.intervals import Interval, unmasked_bp
from denoiseq.prepare import bigwig
from denoiseq.store.coverage_store import CoverageStore
from denoiseq.store.store import open_store

SIZES = {"chr2": 3_000, "chr1": 5_000, "chrM": 100}


@pytest.fixture
def tracks():
    rng = np.random.default_rng(0)
    steps = np.repeat(rng.integers(0, 5, 100), 50).astype(np.float32)
    return {"chr1": steps, "chr2": np.round(rng.random(2_000) * 9).astype(np.float32)}


@pytest.fixture
def path(tracks, tmp_path, track_writer):
    sizes = {"chr1": 5_000, "chr2": 3_000, "chrM": 100}
    pieces = [("chr1", 0, tracks["chr1"]), ("chr2", 500, tracks["chr2"])]
    return track_writer(tmp_path / "clean.bw", sizes, pieces)


@pytest.mark.parametrize("chunk_bp", [1 << 20, 70])
def test_the_store_holds_the_track(prepare, path, tracks, tmp_path, monkeypatch, chunk_bp):
    monkeypatch.setattr(bigwig, "stream_bigwig", lambda *a: stream_bigwig(*a, chunk_bp=chunk_bp))
    out = tmp_path / "x.h5"
    qc = prepare(SIZES, out, [Interval("chr1", 1_000, 1_500)], bigwig=path)
    store = open_store(out)
    assert isinstance(store, CoverageStore)
    assert store.chroms == {"chr2": 3_000, "chr1": 5_000}
    expected = {"chr1": tracks["chr1"].copy(), "chr2": np.zeros(3_000, dtype=np.float32)}
    expected["chr1"][1_000:1_500] = 0
    expected["chr2"][500:2_500] = tracks["chr2"]
    for chrom, track in expected.items():
        np.testing.assert_array_equal(store.coverage(chrom, 0, store.chroms[chrom]), track)
    runs = sum(1 + np.count_nonzero(np.diff(track)) for track in expected.values())
    assert store.n_runs == runs  # those that go on over chunks are one
    assert unmasked_bp(store.chroms, store.blacklist, "chr1") == 4_500
    assert json.loads(out.with_suffix(".qc.json").read_text()) == qc
    assert qc["chromosomes"]["chr1"]["mean_coverage"] == expected["chr1"].sum() / 4_500
    assert qc["covered_bp"] == sum(int((track > 0).sum()) for track in expected.values())
    assert (qc["fingerprint"], qc["preprocessing"]) == (store.fingerprint, store.preprocessing)
    assert store.provenance["inputs"]["bigwig"]["name"] == "clean.bw"


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({"chr1": 5_000}, "does not fit the FASTA, which lacks chr2"),
        ({"chr1": 5_001, "chr2": 3_000}, r"other lengths of chr1 \(5000 bp against 5001\)"),
        ({"1": 5_000}, "does not fit the FASTA, which lacks chr1, chr2 with .* it has 1"),
    ],
)
def test_another_genome_is_refused(prepare, path, tmp_path, sizes, why):
    with pytest.raises(ValueError, match=why):
        prepare(sizes, tmp_path / "x.h5", bigwig=path)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (-1.0, "negative or infinite values"),
        (float("inf"), "negative or infinite values"),
        (0.0, "0 everywhere"),
    ],
)
def test_tracks_that_are_no_coverage(prepare, tmp_path, value, why):
    path = tmp_path / "x.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([("chr1", 5_000)])
        file.addEntries(["chr1"], [10], ends=[20], values=[value])
    with pytest.raises(ValueError, match=why):
        prepare({"chr1": 5_000}, tmp_path / "x.h5", bigwig=path)
    assert list(tmp_path.iterdir()) == [path]


def test_missing_and_other_files(prepare, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such bigWig"):
        prepare(SIZES, tmp_path / "x.h5", bigwig=tmp_path / "none.bw")
    (tmp_path / "text.bw").write_text("text")
    with pytest.raises(ValueError, match="not a bigWig"):
        prepare(SIZES, tmp_path / "x.h5", bigwig=tmp_path / "text.bw")


def test_a_truncated_bigwig(prepare, path, tmp_path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"clean.bw"):
        prepare(SIZES, tmp_path / "x.h5", bigwig=path)
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("raise ImportError('no libcurl')", "read with pyBigWig, which cannot be loaded (no libcu"),
        ("numpy = 0", "this pyBigWig was built without numpy, so it cannot read tracks: pip"),
    ],
)
def test_without_a_whole_pybigwig_only_tracks_cannot_be_prepared(module, why, synthetic, tmp_path):
    (tmp_path / "pyBigWig.py").write_text(module)
    (tmp_path / "x.bw").write_bytes(bytes.fromhex("26fc8f88"))
    script = (
        "from denoiseq.prepare.run import prepare_stores\n"
        "from denoiseq.settings import Prepare\n"
        f"prepare_stores(Prepare(out='reads.h5', workers=1, bam={str(synthetic['bam'])!r}))\n"
        "try:\n    prepare_stores(Prepare(out='track.h5', workers=1, bigwig='x.bw'))\n"
        "except ValueError as error:\n    print(error)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert why in done.stdout, done.stderr
    assert (tmp_path / "reads.h5").exists() and not (tmp_path / "track.h5").exists()


@pytest.mark.parametrize("data", [b"chr1\t0\t9\t1\n", b"\x1f\x8b\x08\x00", b""])
def test_what_is_no_bigwig_is_told_from_its_first_bytes(data, tmp_path, capfd):
    (tmp_path / "x.bw").write_bytes(data)
    with pytest.raises(UserError, match=r"x.bw is not a bigWig file.*bedGraphToBigWig.*gunzip"):
        bigwig_sizes(tmp_path / "x.bw")
    assert capfd.readouterr().err == ""
