"""What a prediction takes of its input: chromosomes, and what tells a pipe from another."""

import os

import pytest
from denoiseq.prediction import sample
from denoiseq.prediction.sample import _facts, name_of
from denoiseq.settings import Predict, Train
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
