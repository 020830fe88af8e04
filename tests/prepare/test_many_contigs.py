"""Assemblies of many short contigs: few open files, few names in messages, the same cuts."""

import resource

import numpy as np
import pytest
from denoiseq.errors import UserError, listed
from denoiseq.prepare.cut_sites import ENDS_SAMPLED, ends_to_sample
from denoiseq.prepare.parts import Part, PartColumns, append, rows_in
from denoiseq.store.store import open_store

CONTIGS = {f"scaffold_{i}": 3_000 for i in range(300)}


@pytest.fixture
def few_open_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def fragments(tmp_path):
    path = tmp_path / "fragments.tsv"
    path.write_text("".join(f"{c}\t{s}\t{s + 120}\tA-1\t1\n" for c in CONTIGS for s in (200, 600)))
    return path


def test_prepare_fragments_of_more_contigs_than_open_files(
    prepare, fragments, tmp_path, few_open_files
):
    qc = prepare(CONTIGS, tmp_path / "x.h5", fragments=fragments, shift="none")
    assert (qc["fragments"], qc["cut_sites"]) == (600, 1_200)
    store = open_store(tmp_path / "x.h5")
    for number, chrom in enumerate(CONTIGS):
        positions, ids = store.cuts(chrom, 0, 3_000)
        assert positions.tolist() == [200, 319, 600, 719]
        assert ids.tolist() == [2 * number, 2 * number, 2 * number + 1, 2 * number + 1]


def test_prepare_bigwig_of_more_contigs_than_open_files(
    prepare, track_writer, tmp_path, few_open_files
):
    pieces = [(chrom, 200, np.full(120, i % 9 + 1)) for i, chrom in enumerate(CONTIGS)]
    track = track_writer(tmp_path / "x.bw", CONTIGS, pieces)
    prepare(CONTIGS, tmp_path / "x.h5", bigwig=track)
    store = open_store(tmp_path / "x.h5")
    for i, chrom in enumerate(CONTIGS):
        track = store.coverage(chrom, 199, 321)
        assert track.tolist() == [0, *[i % 9 + 1] * 120, 0]


def test_a_message_names_five_of_many(prepare, fragments, tmp_path):
    other = {f"chr{i}": 3_000 for i in range(1_000)}
    with pytest.raises(UserError, match="of another genome") as refused:
        prepare(other, tmp_path / "x.h5", fragments=fragments)
    assert str(refused.value).count("scaffold_") == 5
    store_path = tmp_path / "y.h5"
    prepare(CONTIGS, store_path, fragments=fragments)
    with pytest.raises(UserError, match="no chromosome chr1: ") as refused:
        open_store(store_path).cuts("chr1", 0, 10)
    assert str(refused.value).count("scaffold_") == 5


def test_listed_counts_what_it_leaves_out():
    assert listed(["a", "b"]) == "a, b"
    shown = listed([f"chr{i}" for i in range(1_005)])
    assert shown == "chr0, chr1, chr2, chr3, chr4 and 1,000 more"


def test_ends_to_sample_of_a_genome_are_bounded():
    assert ends_to_sample(230_000, 12_000_000) == ENDS_SAMPLED  # the shortest of yeast
    assert sum(ends_to_sample(1_000, 10**8) for _ in range(100_000)) <= 300_000


def test_parts_of_a_stem_are_told_apart(tmp_path):
    parts = {}
    for chrom, n in {"a": 3, "b": 0, "c": 2}.items():
        first = rows_in(tmp_path / "0")
        append(tmp_path / "0", np.arange(n, dtype="<u4"), np.arange(n, dtype="<u4") + 10)
        parts[chrom] = Part(tmp_path / "0", first, rows_in(tmp_path / "0"))
    columns = PartColumns({**parts, "d": None}, "cuts")
    assert {chrom: columns[chrom][1].tolist() for chrom in columns} == {
        "a": [10, 11, 12],
        "b": [],
        "c": [10, 11],
    }
