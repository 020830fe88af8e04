"""The checkpoint that the repository carries: small, free of any machine's paths, good to use."""

import json
from pathlib import Path

import numpy as np
import pyBigWig
import pysam
import pytest
from denoiseq import settings
from denoiseq.models.checkpoint import load_checkpoint, open_checkpoint
from denoiseq.store.cut_store import CutStore
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).parents[1]
YEAST = ROOT / "data" / "yeast"
RELEASED = YEAST / "denoiser.pt"


def strings(value):
    """Every string in plain containers."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_it_is_small_and_names_no_place_of_its_making():
    assert RELEASED.stat().st_size < 1_000_000
    payload = load_checkpoint(RELEASED)
    assert payload["training_state"] is None
    del payload["state_dict"]
    assert not [text for text in strings(payload) if text.startswith(("/", "~"))]


def test_it_is_the_experiment_as_it_stands():
    """Settings of the experiment that the checkpoint was not made with ask for a new checkpoint."""
    _, trained = open_checkpoint(str(RELEASED))
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "configs")):
        values = compose(config_name="train", overrides=["+experiment=yeast"])
    asked = settings.parse(settings.Train, values)
    for group in ("model", "loss", "optim", "data"):
        assert vars(getattr(trained, group)) == vars(getattr(asked, group)), group


def predicted(denoiseq, out, *options):
    """The outcome of a prediction of the bundled reads, and its summary."""
    outcome = denoiseq(
        *("predict", f"checkpoint={RELEASED}", f"bam={YEAST / 'yeast_atac_SRR1822137.bam'}"),
        *(f"fasta={YEAST / 'sacCer3.fa.gz'}", f"out={out}", "loci=1", *options),
    )
    assert outcome.code == 0, outcome.err
    return outcome, json.loads((out / "summary.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("cuts_per_mb", "peaks"), [(1_000, (500, 2_500)), (5_000, (1_000, 2_500))])
def test_it_predicts_the_bundled_sample(denoiseq, tmp_path, monkeypatch, cuts_per_mb, peaks):
    monkeypatch.chdir(ROOT)  # its blacklist lies where the training's command said
    _, summary = predicted(denoiseq, tmp_path, f"depth={cuts_per_mb}")
    low, high = peaks
    assert low < summary["peaks"] < high  # MACS3 calls 1,902 on all of the fragments
    assert summary["depth"]["used_cuts_per_mb"] == pytest.approx(cuts_per_mb, rel=0.02)


@pytest.mark.slow
def test_the_bundled_sample_as_it_is_is_its_own_answer_without_a_warning(
    denoiseq, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    outcome, summary = predicted(denoiseq, tmp_path)
    assert "warning" not in outcome.err and not summary["warnings"]
    assert 1_200 < summary["peaks"] < 2_200
    source = (f"bam={YEAST / 'yeast_atac_SRR1822137.bam'}", f"fasta={YEAST / 'sacCer3.fa.gz'}")
    filters = (f"blacklist={YEAST / 'sacCer3.blacklist.bed'}", "min_mapq=0")
    assert denoiseq("prepare", *source, *filters, f"out={tmp_path / 'cuts.h5'}").code == 0
    store = CutStore(tmp_path / "cuts.h5")
    with pyBigWig.open(str(tmp_path / "yeast_atac_SRR1822137.coverage.bw")) as track:
        answer = np.nan_to_num(track.values("chrIV", 0, track.chroms("chrIV"), numpy=True))
    given = store.coverage("chrIV", 0, len(answer), 75)
    assert np.corrcoef(np.log1p(answer), np.log1p(given))[0, 1] > 0.99
    assert answer.sum() == pytest.approx(given.sum(), rel=0.02)


def shifted(source: Path, target: Path, chrom: str) -> None:
    """Copy the reads of a chromosome as a program leaves them that has moved their ends to the
    cut sites: forward reads 4 bp to the right, reverse ones 5 to the left.
    """
    with (
        pysam.AlignmentFile(str(source)) as reads,
        pysam.AlignmentFile(str(target), "wb", template=reads) as out,
    ):
        for read in sorted(moved(reads.fetch(chrom)), key=lambda read: read.reference_start):
            out.write(read)
    pysam.index(str(target))


def moved(reads):
    for read in reads:
        if read.is_proper_pair and min(read.reference_start, read.next_reference_start) > 5:
            back, forth = -5, 4
            read.reference_start += back if read.is_reverse else forth
            read.next_reference_start += back if read.mate_is_reverse else forth
            read.template_length -= 9 if read.template_length > 0 else -9
            yield read


def test_reads_that_were_shifted_already_are_refused(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shifted(YEAST / "yeast_atac_SRR1822137.bam", tmp_path / "x.bam", "chrIV")
    sentence = fails(
        *("predict", f"checkpoint={RELEASED}", f"bam={tmp_path / 'x.bam'}"),
        *(f"fasta={YEAST / 'sacCer3.fa.gz'}", f"out={tmp_path / 'out'}"),
    )
    assert "shift" in sentence
