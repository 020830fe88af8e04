"""What a prediction takes of its input: chromosomes, and what tells a pipe from another."""

import os

import numpy as np
import pytest
from denoiseq.errors import UserError
from denoiseq.prediction import sample
from denoiseq.prediction.sample import _facts, name_of
from denoiseq.settings import Predict, Train
from denoiseq.store.coverage_store import CoverageStore, runs_of, write_coverage_store
from denoiseq.store.header import blacklist_sha256

SIZES = {"chr1": 10_000, "chr2": 8_000, "Mt": 5_000, "decoy": 900}
FILTERS = {"shift": "+4/-4", "min_mapq": 30, "keep_duplicates": False, "max_fragment_bp": 2000}
COUNTS = {"chr1": 20, "chr2": 10, "Mt": 60, "decoy": 30}


@pytest.fixture
def opened(tmp_path):
    def run(chroms, **source):
        genome = {chrom: SIZES[chrom] for chrom in chroms}
        trained = {**FILTERS, "genome": genome, "blacklist_sha256": blacklist_sha256({})}
        settings = Predict(workers=1, **{kind: str(path) for kind, path in source.items()})
        return sample.opened_store(settings, {"preprocessing": trained}, Train(), tmp_path)

    return run


@pytest.mark.parametrize("chroms", [["chr1", "chr2"], ["chr1", "chr2", "Mt"], ["chr2"]])
def test_opened_store_has_the_chromosomes_of_the_training(
    opened, bam_of, read_type, tmp_path, chroms
):
    reads = [read_type(50 * i, 0, 0, chrom=c) for c, n in COUNTS.items() for i in range(n // 3)]
    store = opened(chroms, bam=bam_of(reads, sizes=SIZES))
    assert list(store.chroms) == chroms
    assert store.n_fragments == sum(COUNTS[chrom] // 3 for chrom in chroms)


@pytest.mark.parametrize("lacks", ["reads", "FASTA", None])
def test_opened_store_warns_of_chromosomes_that_are_lacking(
    opened, bam_of, read_type, tmp_path, caplog, lacks
):
    few = {"chr2": SIZES["chr2"], "decoy": SIZES["decoy"]}
    reads = [read_type(50 * i, 0, 0, chrom="chr2") for i in range(9)]
    bam = bam_of(reads, sizes=few if lacks == "reads" else SIZES)
    fasta, sizes = tmp_path / "x.fa", few if lacks == "FASTA" else SIZES
    fasta.write_text("".join(f">{chrom}\n{'A' * size}\n" for chrom, size in sizes.items()))
    store = opened(["chr1", "chr2"], bam=bam, fasta=fasta)
    assert store.n_fragments == 9
    text = "nothing is predicted on 1 of the 2 chromosomes of the training (55.6% of the bases)"
    assert (text in caplog.text) == (lacks is not None)


def test_opened_store_of_fragments_on_further_contigs(opened, tmp_path):
    """Without a FASTA only the training's chromosomes are known: the others are no other genome."""
    path = tmp_path / "x.tsv"
    rows = [
        f"{c}\t{50 * i}\t{50 * i + 80}\tA\t1\n" for c, n in COUNTS.items() for i in range(n // 5)
    ]
    path.write_text("".join(rows))
    store = opened(["chr1"], fragments=path)
    assert (list(store.chroms), store.n_fragments) == (["chr1"], 4)


def test_name_of_a_pipe_of_the_shell_is_that_of_the_setting():
    assert name_of(Predict(fragments="/dev/fd/63")) == "fragments"
    assert name_of(Predict(fragments="cells/63")) == "63"
    assert name_of(Predict(fragments="x.tsv.gz")) == "x"


def test_facts_of_two_pipes_differ(tmp_path):
    facts = []
    for _ in range(2):
        read, write = os.pipe()
        facts.append(_facts(f"/dev/fd/{read}"))
        os.close(read)
        os.close(write)
    assert facts[0] != facts[1]
    assert _facts(str(tmp_path / "none")) == [str(tmp_path / "none")]


RNG = np.random.default_rng(0)
COUNTED = RNG.poisson(0.5, 10_000)
TRACKS = {
    "counts": COUNTED,
    "doubled": 2 * COUNTED,
    "CPM": 0.0213 * COUNTED,
    "bins": COUNTED.reshape(-1, 10).mean(axis=1).repeat(10),
    "ratios": RNG.lognormal(0, 1, 10_000),
}


@pytest.fixture
def track_of(tmp_path):
    """The store of one of TRACKS."""

    def make(name):
        path, made = tmp_path / f"{name}.h5", {"kind": "coverage", "genome": {"chr1": 10_000}}
        runs = {"chr1": runs_of(TRACKS[name], 0)}
        made["blacklist_sha256"] = blacklist_sha256({})
        write_coverage_store(path, made["genome"], runs, {}, made, {})
        return CoverageStore(path)

    return make


def model(tell_depth):
    trained = Train()
    trained.data.half_window_bp, trained.data.tell_depth = 75, tell_depth
    return trained


@pytest.mark.parametrize("name", TRACKS)
def test_a_track_is_used_as_it_is_by_a_model_that_is_not_told_its_depth(track_of, name):
    store = track_of(name)
    assert sample.at_its_depth(Predict(store="x.h5"), Train(), store) is store
    assert sample.at_its_depth(Predict(store="x.h5"), model(False), store) is store


def test_counts_tell_their_depth(track_of):
    store = track_of("counts")
    assert sample.at_its_depth(Predict(store="x.h5"), model(True), store) is store


@pytest.mark.parametrize(
    ("name", "values", "likely"),
    [
        ("doubled", "are whole multiples of 2", " ({counted:.0f} if 2 is one cut site)"),
        ("CPM", "are whole multiples of 0.0213", " ({counted:.0f} if 0.0213 is one cut site)"),
        ("bins", "are whole multiples of 0.1", " ({counted:.0f} if they are means of counts)"),
        ("ratios", "are not whole numbers", ""),
    ],
)
def test_a_track_without_counts_is_refused_where_its_depth_is_told(track_of, name, values, likely):
    store, (counted,) = track_of(name), track_of("counts").depths(75)
    with pytest.raises(UserError) as refused:
        sample.at_its_depth(Predict(store="x.h5"), model(True), store)
    text = str(refused.value)
    assert text.startswith(f"{store.path} is no track of counts (its values {values}), so its mean")
    likely = likely.format(counted=counted)
    assert f"give depth_of_track=, the cut sites per Mb of the sample{likely}, or prepare" in text


@pytest.mark.parametrize("tell_depth", [False, True])
@pytest.mark.parametrize("name", TRACKS)
def test_depth_of_track_scales_any_track(opened, track_of, name, tell_depth):
    store, (counted,) = track_of(name), track_of("counts").depths(75)
    settings = Predict(store=str(store.path), depth_of_track=counted)
    payload = {"preprocessing": store.preprocessing, "trained_cuts_per_mb": counted}
    scaled = sample.opened_store(settings, payload, model(tell_depth), store.path.parent)
    if name != "ratios":
        shown = scaled.coverage("chr1", 0, 10_000)
        np.testing.assert_allclose(shown, TRACKS["bins" if name == "bins" else "counts"], 1e-5)
    draw, depth = sample.thinning(settings, sample.Depth.of(payload), scaled, 75)
    assert draw is None and depth["warning"] == ""
    assert depth["given_cuts_per_mb"] == depth["used_cuts_per_mb"] == round(counted, 1)


@pytest.mark.parametrize("reads", [{"bam": "x.bam"}, {"fragments": "x.tsv"}, {}])
def test_depth_of_track_is_refused_with_reads(reads):
    with pytest.raises(UserError, match=r"depth_of_track is for a coverage track, .*store="):
        Predict(depth_of_track=5.0, **reads)
    for depth in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match=r"depth_of_track is .*, expected more than 0"):
            Predict(depth_of_track=depth, store="x.h5")
