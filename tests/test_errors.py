"""Everything a user can get wrong ends as one sentence, exit code 2 and no traceback.

`fails` (conftest) asserts that; here is what the sentence must name.
"""

import shutil

import numpy as np
import pysam
import pytest
import torch
from denoiseq.store.coverage_store import write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store


@pytest.fixture
def prepare(fails, genome, tmp_path):
    """`prepare(bam=…)` fails with the synthetic genome's files and the given ones instead."""

    def run(**changes) -> str:
        given = {"bam": genome["bam"], "fasta": genome["fasta"], "out": tmp_path / "cuts.h5"}
        text = fails("prepare", *(f"{k}={v}" for k, v in {**given, **changes}.items()))
        assert not (tmp_path / "cuts.h5").exists()
        return text

    return run


@pytest.fixture
def best(workplace):
    return workplace / "run/checkpoints/best.pt"


@pytest.fixture
def unwritable(tmp_path):
    """A path under a file: no folder can be made there, not even by root."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "folder"


def rewritten(source, target, change_header=None, change_read=None):
    """Copy a BAM with its header (a dict) and reads changed; without an index."""
    with pysam.AlignmentFile(source) as old:
        header = old.header.to_dict()
        if change_header:
            change_header(header)
        with pysam.AlignmentFile(target, "wb", header=header) as new:
            for read in old.fetch(until_eof=True):
                if change_read:
                    change_read(read)
                new.write(read)
    return target


@pytest.mark.parametrize("key", ["bam", "fasta", "blacklist"])
def test_a_missing_file_is_named(prepare, tmp_path, key):
    assert "absent.x" in prepare(**{key: tmp_path / "absent.x"})


@pytest.mark.parametrize("key", ["bam", "out"])
def test_a_missing_key_is_named(prepare, key):
    assert prepare(**{key: "null"}).startswith(f"{key} is required")


def test_bam_without_index(prepare, genome, tmp_path):
    bam = tmp_path / "bare.bam"
    shutil.copy(genome["bam"], bam)
    text = prepare(bam=bam)
    assert "bare.bam" in text and "index" in text


def test_truncated_bam(prepare, genome, tmp_path):
    bam = tmp_path / "short.bam"
    data = genome["bam"].read_bytes()
    bam.write_bytes(data[: len(data) // 2])
    shutil.copy(f"{genome['bam']}.bai", f"{bam}.bai")
    assert "truncated" in prepare(bam=bam)


def test_unsorted_bam(prepare, genome, tmp_path):
    def by_name(header):
        header["HD"]["SO"] = "queryname"

    bam = rewritten(genome["bam"], tmp_path / "names.bam", by_name)
    text = prepare(bam=bam)
    assert "sorted" in text and "samtools sort" in text


def test_single_end_bam(prepare, genome, tmp_path):
    def unpair(read):
        read.flag &= 0x4 | 0x10
        read.next_reference_id, read.next_reference_start, read.template_length = -1, -1, 0

    bam = rewritten(genome["bam"], tmp_path / "single.bam", change_read=unpair)
    pysam.index(str(bam))
    text = prepare(bam=bam, layout="paired")
    assert "single-end" in text and "layout=single" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fragments": "x.tsv.gz"}, ["one input", "bam and fragments"]),
        ({"barcodes": "x.txt"}, ["barcodes", "fragments="]),
        ({"bam": "[]"}, ["bam is []", "[a.bam,b.bam]"]),
        ({"bam": "null", "fragments": "absent.tsv.gz"}, ["no such fragment file: absent.tsv.gz"]),
        ({"bam": "null", "bigwig": "absent.bw"}, ["no such bigWig file: absent.bw"]),
        ({"replicates": "both"}, ["replicates", "merged, apart"]),
        ({"layout": "mates"}, ["layout", "auto, paired, single"]),
    ],
)
def test_inputs_that_do_not_go_together(prepare, changes, words):
    text = prepare(**changes)
    for word in words:
        assert word in text


def test_the_same_bam_twice_and_equal_names(prepare, genome, tmp_path):
    (tmp_path / "a").mkdir()
    for suffix in ("", ".bai"):
        shutil.copy(f"{genome['bam']}{suffix}", tmp_path / "a" / f"reads.bam{suffix}")
    assert "given twice" in prepare(bam=f"[{genome['bam']},{genome['bam']}]")
    both = f"[{genome['bam']},{tmp_path / 'a' / 'reads.bam'}]"
    assert "cuts.reads.h5" in prepare(bam=both, replicates="apart")


def test_training_on_several_stores_or_on_a_track(train, genome, tmp_path):
    where = f"data.store={tmp_path / 'new.h5'}"
    assert "several stores" in train(where, "data.prepare.replicates=apart")
    sizes = {"chr1": 200_000, "chr2": 100_000, "chr3": 100_000}
    runs = {c: (np.array([0, 5_000, 5_500]), np.array([0.0, 50.0, 0.0])) for c in sizes}
    write_coverage_store(tmp_path / "new.h5", sizes, runs, {}, {"genome": sizes}, {})
    assert "new.h5 holds coverage, not fragments, and cannot be thinned" in train(where)


def test_a_bam_that_is_not_one(prepare, tmp_path):
    bam = tmp_path / "text.bam"
    bam.write_text("reads\n")
    assert "text.bam" in prepare(bam=bam)


@pytest.mark.parametrize(
    ("fasta", "words"),
    [
        (">1\nACGT\n>2\nACGT\n", ["chr1"]),
        (">chr1\nACGT\n>chr2\nACGT\n>chr3\nACGT\n", ["chr1", "4"]),
    ],
)
def test_a_fasta_of_another_genome_names_the_contigs(prepare, tmp_path, fasta, words):
    path = tmp_path / "other.fa"
    path.write_text(fasta)
    text = prepare(fasta=path)
    for word in ("FASTA", *words):
        assert word in text


def test_a_chromosome_that_is_not_there(prepare):
    assert "chr9" in prepare(include="[chr9]")


def test_missing_store(fails, tmp_path):
    folds = ("data.validation=[chr2]", "data.test=[chr3]", f"out={tmp_path / 'run'}")
    assert "absent.h5" in fails("train", f"data.store={tmp_path / 'absent.h5'}", *folds)


def test_a_store_that_is_not_one(fails, genome, tmp_path):
    folds = ("data.validation=[chr2]", "data.test=[chr3]", f"out={tmp_path / 'run'}")
    assert "genome.fa" in fails("train", f"data.store={genome['fasta']}", *folds)


@pytest.fixture
def train(fails, at, workplace, tmp_path):
    def run(*overrides) -> str:
        where = f"out={tmp_path / 'run'}"
        return fails("train", "+experiment=smoke", *at(workplace), where, *overrides)

    return run


@pytest.mark.parametrize("kind", ["poisson", "file"])
def test_no_peaks_in_the_labels(train, tmp_path, kind):
    bed = tmp_path / "peaks.bed"
    bed.write_text("chr2\t100\t400\n")
    labels = "data.label_neglog10_p=100000" if kind == "poisson" else f"data.labels={bed}"
    text = train(labels)
    assert "no peaks" in text


def test_labels_of_another_genome(train, tmp_path):
    bed = tmp_path / "peaks.bed"
    bed.write_text("1\t100\t400\n")
    assert "no peaks" in train(f"data.labels={bed}")


def test_a_malformed_bed_names_its_line(train, tmp_path):
    bed = tmp_path / "peaks.bed"
    bed.write_text("chr1\t100\t400\nchr1\tten\t20\n")
    assert "line 2" in train(f"data.truth={bed}")


@pytest.mark.parametrize("key", ["data.labels", "data.truth"])
def test_a_missing_bed(train, tmp_path, key):
    assert "absent.bed" in train(f"{key}={tmp_path / 'absent.bed'}")


def test_a_fold_that_the_genome_lacks(train):
    assert "chr8" in train("data.validation=[chr8]")


def test_a_chromosome_in_two_folds(train):
    assert "chr3" in train("data.validation=[chr3]")


def test_a_store_that_was_prepared_otherwise(train):
    text = train("data.prepare.min_mapq=7")
    assert "min_mapq=30" in text and "min_mapq=7" in text


def test_resume_from_another_model(train, workplace):
    text = train(f"resume={workplace / 'run/checkpoints/last.pt'}", "model.channels=5")
    assert "last.pt" in text


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize("kind", ["text", "other", "cut", "absent"])
def test_a_checkpoint_that_is_not_one(fails, best, genome, tmp_path, command, kind):
    path = tmp_path / "model.pt"
    if kind == "text":
        path.write_text("weights")
    elif kind == "other":
        torch.save({"state_dict": {"a": torch.zeros(2)}}, path)
    elif kind == "cut":
        path.write_bytes(best.read_bytes()[:-2000])
    more = [f"bam={genome['bam']}", f"out={tmp_path / 'p'}"] if command == "predict" else []
    assert "model.pt" in fails(command, f"checkpoint={path}", *more)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_no_checkpoint_given(fails, command):
    assert fails(command).startswith("checkpoint is required")


def test_unwritable_store(prepare, unwritable):
    assert str(unwritable) in prepare(out=unwritable / "cuts.h5")


def test_a_folder_where_a_store_should_be(prepare, tmp_path):
    for folder in ("/", str(tmp_path)):
        assert (
            prepare(out=folder)
            == f"cannot write {folder}: it is a folder; choose another output path."
        )


@pytest.mark.parametrize("seed", [-1, 10**23])
def test_a_seed_that_no_generator_takes(train, seed):
    assert f"seed is {seed}, expected 0 or more, and below 2^63" in train(f"seed={seed}")


def test_unwritable_run(train, unwritable):
    assert str(unwritable) in train(f"out={unwritable}")


def test_unwritable_evaluation(fails, best, unwritable):
    assert str(unwritable) in fails("evaluate", f"checkpoint={best}", f"out={unwritable}")


def test_unwritable_prediction(fails, best, genome, unwritable):
    given = (f"checkpoint={best}", f"bam={genome['bam']}", f"out={unwritable}")
    assert str(unwritable) in fails("predict", *given)


@pytest.fixture
def predict(fails, best, tmp_path):
    def run(*overrides) -> str:
        text = fails("predict", f"checkpoint={best}", f"out={tmp_path / 'p'}", *overrides)
        left = {path.name for path in (tmp_path / "p").glob("*")}
        assert left <= {"predict.log"}
        return text

    return run


def test_predict_from_nothing_or_from_two(predict, genome, workplace):
    text = predict()
    assert "bam=" in text and "fragments=" in text
    assert "either" in predict(f"bam={genome['bam']}", f"store={workplace / 'cuts.h5'}")


def test_predict_from_a_missing_bam(predict, tmp_path):
    assert "absent.bam" in predict(f"bam={tmp_path / 'absent.bam'}")


def test_predict_from_a_bam_without_index(predict, genome, tmp_path):
    bam = tmp_path / "bare.bam"
    shutil.copy(genome["bam"], bam)
    assert "index" in predict(f"bam={bam}")


def test_predict_on_another_genome(predict, genome, tmp_path):
    def longer(header):
        header["SQ"][0]["LN"] += 1

    def renamed(header):
        for contig in header["SQ"]:
            contig["SN"] += "x"

    for change, word in ((longer, "200001"), (renamed, "chr1x")):
        bam = rewritten(genome["bam"], tmp_path / "other.bam", change)
        pysam.index(str(bam))
        text = predict(f"bam={bam}")
        assert "another genome" in text and word in text


def test_predict_from_a_store_that_was_prepared_otherwise(denoiseq, predict, genome, tmp_path):
    out = tmp_path / "all.h5"
    given = (f"bam={genome['bam']}", f"fasta={genome['fasta']}", f"out={out}", "workers=1")
    assert denoiseq("prepare", *given, "min_mapq=0").code == 0
    assert "min_mapq=0" in predict(f"store={out}")


def test_predict_where_the_blacklist_is_gone(predict, best, genome, tmp_path):
    payload = torch.load(best, weights_only=True)
    payload["config"]["data"]["prepare"]["blacklist"] = str(tmp_path / "gone.bed")
    moved = tmp_path / "moved.pt"
    torch.save(payload, moved)
    text = predict(f"checkpoint={moved}", f"bam={genome['bam']}")
    assert "gone.bed" in text and "blacklist=" in text


def test_predict_from_an_empty_store(predict, workplace, tmp_path):
    full = CutStore(workplace / "cuts.h5")
    write_store(tmp_path / "no.h5", full.chroms, {}, full.blacklist, full.preprocessing, {})
    assert "no.h5 is empty" in predict(f"store={tmp_path / 'no.h5'}")


def test_predict_with_weights_of_another_model(predict, best, workplace, tmp_path):
    payload = torch.load(best, weights_only=True)
    payload["config"]["model"]["channels"] += 1
    torch.save(payload, tmp_path / "other.pt")
    text = predict(f"checkpoint={tmp_path / 'other.pt'}", f"store={workplace / 'cuts.h5'}")
    assert "do not fit" in text


def test_the_traceback_is_in_the_log(predict, tmp_path):
    text = predict(f"bam={tmp_path / 'absent.bam'}")
    log = (tmp_path / "p/predict.log").read_text()
    assert "Traceback" in log and text in log


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("… can't allocate memory: …"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
    ],
)
def test_want_of_memory(train, monkeypatch, error):
    def greedy(*_):
        raise error

    monkeypatch.setattr("denoiseq.training.run.run", greedy)
    assert "out of memory: lower optim.micro_batch" in train()


BUGS = [RuntimeError("shapes differ"), ValueError("two\n lines"), KeyError("x"), AssertionError()]


@pytest.fixture
def broken_prepare(denoiseq, monkeypatch, tmp_path):
    """`broken_prepare(error, where)`: `prepare` when the function `where` raises `error`."""

    def run(error, where):
        def broken(*_, **__):
            raise error

        monkeypatch.setattr(where, broken)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        outcome = denoiseq("prepare", "bam=x.bam", "fasta=y.fa", f"out={tmp_path / 'z.h5'}")
        assert outcome.code == 1
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: ") and "this is a bug in denoiseq" in line
        return line

    return run


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_bug_is_one_sentence_and_a_traceback_in_the_log(broken_prepare, tmp_path, error):
    line = broken_prepare(error, "denoiseq.prepare.run.prepare_stores")
    assert line.endswith(str(tmp_path / "z.log"))
    log = (tmp_path / "z.log").read_text()
    assert "Traceback" in log and type(error).__name__ in log and "in broken" in log


def test_a_bug_before_there_is_a_log_has_one_in_the_temporary_folder(broken_prepare, tmp_path):
    line = broken_prepare(RuntimeError("shapes differ"), "denoiseq.prepare.run.run")
    (path,) = tmp_path.glob("denoiseq-*.log")
    assert line.endswith(str(path)) and "Traceback" in path.read_text()


def test_a_bug_is_raised_where_one_debugs(denoiseq, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("denoiseq.prepare.run.run", broken)
    monkeypatch.setenv("DENOISEQ_DEBUG", "1")
    with pytest.raises(RuntimeError, match="shapes differ"):
        denoiseq("prepare", "bam=x.bam", "fasta=y.fa", "out=z.h5")


def test_a_failed_preparation_has_its_traceback_in_the_log(prepare, tmp_path):
    text = prepare(bam=tmp_path / "absent.bam")
    log = (tmp_path / "cuts.log").read_text()
    assert "Traceback" in log and text in log


def test_an_instruction_set_that_is_not_here(train, monkeypatch):
    pytest.importorskip("dilconv")
    monkeypatch.setenv("DILCONV_ISA", "avx1024")
    assert "DILCONV_ISA=avx1024 cannot run here" in train()


def test_a_bare_ctrl_c_is_said_too(denoiseq, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("denoiseq.prepare.run.run", interrupted)
    outcome = denoiseq("prepare", "bam=x.bam", "fasta=y.fa", "out=z.h5")
    assert (outcome.code, outcome.err.splitlines()[-1]) == (130, "stopped: interrupted")
