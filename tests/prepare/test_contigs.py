"""Contigs that the FASTA lacks, and organelles, by name and by their reads, of every input."""

import logging

import numpy as np
import pysam
import pytest
from denoiseq.store.cut_store import CutStore

NUCLEAR = {"1": 60_000, "2": 40_000}
COUNTS = {"1": 360, "2": 240}
MAIN = {"chr1": 100_000, "chr2": 50_000, "chrM": 16_569}
FULL = {"chr1": 500, "chr2": 250, "chrM": 400}


def spread(counts, sizes):
    """(chrom, starts) of reads that are spread evenly, at random."""
    rng = np.random.default_rng(0)
    return [(c, np.sort(rng.integers(0, sizes[c] - 150, n))) for c, n in counts.items()]


@pytest.fixture
def input_of(tmp_path, bam_writer, read_type, track_writer):
    """`input_of(kind, sizes, starts)`: the setting of a file with a fragment at every start."""

    def bam(sizes, starts):
        reads = [read_type(int(s), 0, 0, chrom=c) for c, at in starts for s in at]  # single-end
        return bam_writer(tmp_path / "x.bam", reads, sizes)

    def fragments(sizes, starts):
        path = tmp_path / "x.tsv"
        lines = [f"{c}\t{s}\t{s + 119 + s % 3}\tA-1\t1\n" for c, at in starts for s in at]
        path.write_text("".join(lines))
        return path

    def bigwig(sizes, starts):
        tracks = {c: np.zeros(sizes[c], np.float32) for c, _ in starts}
        for chrom, at in starts:
            np.add.at(tracks[chrom], at[:, None] + np.arange(120), 1)
        pieces = [(chrom, 0, track) for chrom, track in tracks.items() if len(track)]
        return track_writer(tmp_path / "x.bw", sizes, pieces)

    makers = {"bam": bam, "fragments": fragments, "bigwig": bigwig}
    return lambda kind, sizes, starts: {kind: makers[kind](sizes, starts)}


@pytest.fixture
def messages(caplog, monkeypatch):
    """`messages(level)`: the texts logged at a level."""
    monkeypatch.setattr(logging.getLogger("denoiseq"), "propagate", True)
    caplog.set_level(logging.INFO, logger="denoiseq")
    return lambda level="WARNING": [r.getMessage() for r in caplog.records if r.levelname == level]


KINDS = ["bam", "fragments", "bigwig"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("organelle", ["Mt", "ChrC", "mitochondrion_genome", "NC_012920.1"])
def test_prepare_leaves_organelles_out(prepare, input_of, messages, tmp_path, kind, organelle):
    sizes = {**NUCLEAR, organelle: 16_500}
    source = input_of(kind, sizes, spread({**COUNTS, organelle: 400}, sizes))
    qc = prepare(sizes, tmp_path / "x.h5", **source)
    assert list(qc["chromosomes"]) == ["1", "2"]
    assert qc["preprocessing"]["exclude"] == [organelle]
    assert qc.get("fragments", 600) == 600
    assert not messages()


OLD_DEFAULT = ["chrM", "chrMT", "MT", "M", "Mito", "chrMito"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exclude", [["chrEBV"], ["chr2"], OLD_DEFAULT])
def test_exclude_adds_to_the_organelles(prepare, input_of, tmp_path, kind, exclude):
    sizes = {**MAIN, "chrEBV": 171_823}
    source = input_of(kind, sizes, spread({**FULL, "chrEBV": 30}, sizes))
    qc = prepare(sizes, tmp_path / "x.h5", exclude=exclude, **source)
    out = {"chrM", *exclude} & set(sizes)
    assert qc["preprocessing"]["exclude"] == sorted(out)
    assert set(qc["chromosomes"]) == set(sizes) - out


def test_exclude_of_nothing_keeps_everything_with_a_warning(prepare, input_of, messages, tmp_path):
    source = input_of("bam", MAIN, spread(FULL, MAIN))
    qc = prepare(MAIN, tmp_path / "x.h5", exclude=[], **source)
    assert (qc["fragments"], qc["preprocessing"]["exclude"]) == (1_150, [])
    assert any("exclude=[] keeps chrM, an organelle" in text for text in messages())


@pytest.mark.parametrize("exclude", [None, ["chr2"]])
def test_include_keeps_an_organelle_that_it_names(prepare, input_of, tmp_path, exclude):
    source = input_of("bam", MAIN, spread(FULL, MAIN))
    chosen = {"include": ["chrM", "chr1"], "exclude": exclude}
    qc = prepare(MAIN, tmp_path / "x.h5", **chosen, **source)
    assert qc["chromosomes"]["chrM"]["fragments"] == 400


@pytest.mark.parametrize("kind", KINDS)
def test_a_dense_contig_is_named_with_the_setting_that_leaves_it_out(
    prepare, input_of, messages, tmp_path, kind
):
    sizes = {**NUCLEAR, "NODE_7": 16_500, "NODE_8": 16_500}
    counts = {**COUNTS, "NODE_7": 400, "NODE_8": 400}
    source = input_of(kind, sizes, spread(counts, sizes))
    prepare(sizes, tmp_path / "x.h5", **source)
    (text,) = messages()
    part = "signal" if kind == "bigwig" else "fragments"
    for name in ("NODE_7", "NODE_8"):
        assert f"{name} has 28.6% of the {part} on 12.4% of the bases" in text
    assert "exclude=[NODE_7,NODE_8]" in text
    qc = prepare(sizes, tmp_path / "y.h5", exclude=["NODE_7", "NODE_8"], **source)
    assert list(qc["chromosomes"]) == ["1", "2"] and len(messages()) == 1


def test_a_dense_contig_of_groups_is_named_once(prepare_all, input_of, messages, tmp_path):
    sizes = {**NUCLEAR, "NODE_7": 16_500}
    starts = spread({**COUNTS, "NODE_7": 400}, sizes)
    source = input_of("fragments", sizes, starts)
    lines = source["fragments"].read_text().splitlines(keepends=True)
    halves = [line.replace("A-1", "AC"[i % 2] + "-1") for i, line in enumerate(lines)]
    source["fragments"].write_text("".join(halves))
    (tmp_path / "g").write_text("A-1\ta\nC-1\tc\n")
    stores = prepare_all(sizes, tmp_path / "x.h5", groups=tmp_path / "g", **source)
    assert len(stores) == 2
    (text,) = messages()
    assert "NODE_7 has 40% of the fragments on 14.2% of the bases" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_chromosome_with_a_tall_heap_is_no_organelle(prepare, input_of, messages, tmp_path, kind):
    """As chromosome XII of yeast with its rDNA: much on a short stretch, the rest as elsewhere."""
    sizes = {"chrIV": 100_000, "chrXII": 50_000}
    starts = dict(spread({"chrIV": 600, "chrXII": 300}, sizes))
    heap = np.random.default_rng(1).integers(20_000, 24_000, 1_500)
    starts["chrXII"] = np.sort(np.append(starts["chrXII"], heap))
    prepare(sizes, tmp_path / "x.h5", **input_of(kind, sizes, list(starts.items())))
    assert not messages()


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ({"chr1": 9_000, "chr2": 1_000}, {"chr1": 3, "chr2": 50}),  # too few to tell
        ({"chr1": 9_000}, {"chr1": 900}),
        ({"chr1": 9_000, "chr2": 20_000}, {"chr1": 900}),  # reads of one chromosome alone
        ({"chr1": 9_000_000, "chr2": 4_000_000}, {"chr1": 200, "chr2": 900}),  # too long
        ({"chr1": 90_000, "chr2": 600}, {"chr1": 9_000, "chr2": 250}),  # a share of 2.7%
    ],
)
def test_contigs_that_are_only_uneven_are_not_named(
    prepare, input_of, messages, tmp_path, sizes, counts
):
    prepare(sizes, tmp_path / "x.h5", **input_of("bam", sizes, spread(counts, sizes)))
    assert not messages()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exclude", [None, ["chrEBV"]])
def test_contigs_that_the_fasta_lacks_are_skipped_and_counted(
    prepare, input_of, messages, tmp_path, kind, exclude
):
    sizes = {**MAIN, "chrEBV": 171_823, "decoy": 2_000}
    source = input_of(kind, sizes, spread({**FULL, "chrEBV": 30}, sizes))
    qc = prepare(MAIN, tmp_path / "x.h5", exclude=exclude, **source)
    assert list(qc["chromosomes"]) == ["chr1", "chr2"]
    assert qc["preprocessing"]["exclude"] == ["chrM"]
    texts = messages("INFO" if exclude else "WARNING")
    (text,) = [text for text in texts if "the FASTA lacks" in text]
    if kind == "bigwig":
        assert qc["not_in_fasta"] == {"contigs": 2, "signal": pytest.approx(30 * 120)}
        return
    n = 2 if kind == "bam" else 1  # a fragment file names only what it has
    assert qc["not_in_fasta"] == {"contigs": n, "reads": 30}
    assert f"30 {'reads' if kind == 'bam' else 'fragments'} (2.54%)" in text and "chrEBV" in text
    assert qc["fragments"] == 750 and not (exclude and messages())


def test_thousands_of_decoys_are_one_warning(prepare, input_of, messages, tmp_path):
    decoys = {f"chrUn_KN707{i:03d}v1_decoy": 2_000 + i for i in range(2_900)}
    sizes = {**MAIN, "chrEBV": 171_823, **decoys}
    first, *_, last = decoys
    counts = {**FULL, "chrEBV": 60, first: 10, last: 10}
    qc = prepare(MAIN, tmp_path / "x.h5", **input_of("bam", sizes, spread(counts, sizes)))
    assert qc["not_in_fasta"] == {"contigs": 2_901, "reads": 80}
    assert qc["reads"]["excluded_chromosome"] == 480
    (text,) = messages()
    assert "lacks 2,901 contigs, and the 80 reads (6.5%) on 3 of them are left out" in text
    assert f"chrEBV, {first}, {last}" in text


def test_contigs_without_reads_are_no_warning(prepare, input_of, messages, tmp_path):
    sizes = {**MAIN, "chrEBV": 171_823}
    qc = prepare(MAIN, tmp_path / "x.h5", **input_of("bam", sizes, spread(FULL, sizes)))
    assert qc["not_in_fasta"] == {"contigs": 1, "reads": 0} and not messages()
    assert any("lacks 1 contig without reads: chrEBV" in text for text in messages("INFO"))


def test_an_organelle_that_the_fasta_lacks_is_no_warning(prepare, input_of, messages, tmp_path):
    sizes = {"chr1": 100_000, "chr2": 50_000}
    qc = prepare(sizes, tmp_path / "x.h5", **input_of("bam", MAIN, spread(FULL, MAIN)))
    assert qc["not_in_fasta"] == {"contigs": 1, "reads": 400} and not messages()


def test_a_cram_is_counted_as_its_bam(prepare, input_of, messages, tmp_path):
    sizes = {**MAIN, "chrEBV": 171_823}
    source = input_of("bam", sizes, spread({**FULL, "chrEBV": 30}, sizes))
    cram = tmp_path / "x.cram"
    with (
        pysam.AlignmentFile(str(source["bam"])) as old,
        pysam.AlignmentFile(str(cram), "wc", template=old, format_options=["no_ref=1"]) as new,
    ):
        for read in old:
            new.write(read)
    pysam.index(str(cram))
    qc = prepare(MAIN, tmp_path / "x.h5", bam=cram)
    assert qc["not_in_fasta"] == {"contigs": 1, "reads": 30} and len(messages()) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("genome", "lacks"),
    [
        ({"1": 100_000, "2": 50_000, "chrM": 16_569}, "chr1"),  # an organelle is not enough
        ({"chr1": 100_000, "chrM": 16_569}, "chr2"),
    ],
)
def test_a_fasta_that_lacks_many_reads_is_refused(prepare, input_of, tmp_path, kind, genome, lacks):
    source = input_of(kind, MAIN, spread(FULL, MAIN))
    with pytest.raises(ValueError, match=f"does not fit the FASTA, which lacks {lacks}.*include="):
        prepare(genome, tmp_path / "x.h5", **source)
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_include_says_which_chromosomes_are_enough(prepare, input_of, messages, tmp_path, kind):
    source = input_of(kind, MAIN, spread(FULL, MAIN))
    qc = prepare({"chr2": 50_000}, tmp_path / "x.h5", include=["chr2"], **source)
    assert list(qc["chromosomes"]) == ["chr2"] and not messages()
    with pytest.raises(ValueError, match="chr1 is not in the genome"):
        prepare({"chr2": 50_000}, tmp_path / "y.h5", include=["chr1", "chr2"], **source)


@pytest.mark.parametrize("kind", ["bam", "fragments"])
@pytest.mark.parametrize("include", [["chr1", "chr2"], ["chr1"], None])
def test_an_included_chromosome_without_fragments_is_a_warning(
    prepare, input_of, messages, tmp_path, kind, include
):
    source = input_of(kind, MAIN, spread({"chr1": 500}, MAIN))
    prepare(MAIN, tmp_path / "x.h5", shift_check=False, include=include, **source)
    warned = "has no fragment on chr2 (33.3% of the bases asked for)" in str(messages())
    assert warned == (include == ["chr1", "chr2"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_misspelled_name_to_exclude_is_refused(prepare, input_of, tmp_path, kind):
    sizes = {**MAIN, "chrEBV": 171_823}
    source = input_of(kind, sizes, spread({**FULL, "chrEBV": 30}, sizes))
    with pytest.raises(ValueError, match="chrEBW is not in the genome"):
        prepare(MAIN, tmp_path / "x.h5", exclude=["chrEBV", "chrEBW"], **source)


def test_an_organelle_of_another_length_is_not_read(prepare, input_of, tmp_path):
    source = input_of("bam", MAIN, spread(FULL, MAIN))
    qc = prepare({**MAIN, "chrM": 16_571}, tmp_path / "x.h5", **source)
    assert CutStore(tmp_path / "x.h5").n_fragments == qc["fragments"] == 750
    with pytest.raises(ValueError, match="other lengths of chrM"):
        prepare({**MAIN, "chrM": 16_571}, tmp_path / "y.h5", exclude=[], **source)
