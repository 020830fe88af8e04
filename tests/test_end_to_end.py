"""The whole road on a synthetic genome, through the command line: what each step leaves behind."""

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pyBigWig
import pysam
import pytest
import torch
from denoiseq.evaluation.thresholds import choice_at, choices
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.bigwig_reader import read_bigwig
from denoiseq.genomics.intervals import mask, merge
from denoiseq.models.checkpoint import open_checkpoint, trained_network
from denoiseq.store.coverage_store import runs_of, write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.store import open_store
from denoiseq.store.thinning import Thinning

ROOT = Path(__file__).parents[1]
CHROMS = {"chr1": 200_000, "chr2": 100_000, "chr3": 100_000}
TRACKS = ("noisy", "gaussian", "denoised")


def load(path: Path):
    return json.loads(path.read_text())


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_prepare_leaves_a_store_and_counts(denoiseq, genome, tmp_path):
    out = tmp_path / "new" / "cuts.h5"
    outcome = denoiseq("prepare", f"bam={genome['bam']}", f"fasta={genome['fasta']}",
                       f"out={out}", f"blacklist={genome['blacklist']}")  # fmt: skip
    assert outcome.code == 0
    qc, store = load(out.with_suffix(".qc.json")), CutStore(out)
    assert store.chroms == CHROMS
    assert (qc["cut_sites"], qc["fragments"]) == (store.n_cuts, store.n_fragments)
    for fate in ("duplicate", "secondary", "supplementary", "unmapped", "low_mapq"):
        assert qc["reads"][fate] > 0, fate
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["cuts.h5", "cuts.log", "cuts.qc.json"]


def test_train_leaves_its_run(workplace):
    run = workplace / "run"
    for name in ("config.yaml", "checkpoints/last.pt", "checkpoints/best.pt", "train.log"):
        assert (run / name).is_file(), name
    assert list(run.glob("events.out.tfevents.*"))
    with (run / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    checkpoint = torch.load(run / "checkpoints/best.pt", weights_only=True)
    assert checkpoint["config"]["name"] == "smoke"
    assert checkpoint["fingerprint"] == CutStore(workplace / "cuts.h5").fingerprint


@pytest.mark.parametrize(
    ("path", "split"), [("metrics.json", "validation"), ("evaluate/test/metrics.json", "test")]
)
def test_metrics_have_the_fixed_keys(workplace, path, split):
    metrics = load(workplace / "run" / path)
    assert metrics["split"] == split
    for track in TRACKS:
        assert {"mse", "log1p_pearson", "pearson", "spearman", "auprc", "auroc", "best_f1"} <= set(
            metrics[track]
        )
        peaks = metrics[track]["peaks"]
        assert {"precision", "recall", "f1", "iou_bp", "without_cuts"} <= set(peaks)
        assert 0 < metrics[track]["auprc"] <= 1
        assert metrics["scale"][track] > 0
    assert {"seconds", "segments_per_second", "device", "precision", "algorithm"} <= set(metrics)


def test_evaluate_leaves_a_table_and_a_figure(workplace):
    folder = workplace / "run/evaluate/test"
    header, *rows = csv.reader((folder / "metrics.tsv").open(), delimiter="\t")
    tracks = ["noisy", "gaussian", "linear", "denoised"]
    metrics = load(folder / "metrics.json")
    external = ["macs3"] if "macs3" in metrics else []  # where it is installed
    columns = [*tracks, *external]
    bounds = [f"{column}_{side}" for column in columns for side in ("low", "high")]
    assert header == ["metric", *columns, *bounds]
    row = next(dict(zip(header, row, strict=True)) for row in rows if row[0] == "auprc")
    for track in tracks:
        scores = metrics[track]
        shown = [scores["auprc"], *scores["intervals"]["auprc"]]
        written = [row[track], row[f"{track}_low"], row[f"{track}_high"]]
        assert [float(value) for value in written] == pytest.approx(shown, rel=1e-5)
    curves = load(folder / "curves.json")
    drawn = {"pr", "roc", "reliability", "profile", "summit_distance_bp", *external}
    assert drawn == set(curves)
    assert set(curves["pr"]) == set(curves["roc"]) == set(tracks)
    assert set(metrics["chromosomes"]) == {"chr3"}
    assert metrics["truth"]["peaks"] > 0
    assert (folder / "loci.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    assert "chromosomes that the network never saw" in page and "data:image/png;base64," in page


def test_train_leaves_a_report_with_its_curves(workplace):
    page = (workplace / "run/report.html").read_text()
    assert "Training curves" in page and "http" not in page
    names = {path.name for path in (workplace / "run/figures").iterdir()}
    assert {"losses.png", "validation_scores.png", "locus_1.png"} <= names


def test_a_region_off_the_split_is_refused_at_once(denoiseq, workplace, tmp_path):
    best = workplace / "run/checkpoints/best.pt"
    outcome = denoiseq("evaluate", f"checkpoint={best}", f"out={tmp_path}", "regions=[chr1:0-500]")
    assert outcome.code == 2
    assert "chr1:0-500 is on none of the chromosomes here" in outcome.err
    assert not (tmp_path / "metrics.json").exists()


def test_evaluate_of_the_validation_split_repeats_the_training_s(denoiseq, workplace, tmp_path):
    best = workplace / "run/checkpoints/best.pt"
    outcome = denoiseq("evaluate", f"checkpoint={best}", f"out={tmp_path}", "loci=0")
    assert outcome.code == 0
    assert "AUPRC" in outcome.out
    ours, theirs = load(tmp_path / "metrics.json"), load(workplace / "run/metrics.json")
    for track in TRACKS:
        assert ours[track] == theirs[track]
    assert not (tmp_path / "loci.png").exists()


def test_another_depth_may_be_tuned_anew(denoiseq, workplace, tmp_path):
    best = f"checkpoint={workplace / 'run/checkpoints/best.pt'}"
    found = {}
    for retune in ("false", "true"):
        out = tmp_path / retune
        given = (best, "split=test", "data.thin_fraction=0.02", f"out={out}", "loci=0")
        outcome = denoiseq("evaluate", *given, f"retune={retune}", "bootstrap=0", "macs3=false")
        assert outcome.code == 0, outcome.err
        found[retune] = load(out / "metrics.json")
    trained = load(workplace / "run/metrics.json")["tuned"]
    assert found["false"]["tuned"] == trained
    assert found["true"]["tuned"]["thresholds"]["noisy"] < trained["thresholds"]["noisy"]
    for track in ("noisy", "gaussian"):
        f1 = [found[retune][track]["peaks"]["f1"] or 0 for retune in ("false", "true")]
        assert f1[0] < f1[1], track
    scale = [abs(np.log(found[retune]["scale"]["linear"])) for retune in ("true", "false")]
    assert scale[0] < 0.5 < 1 < scale[1]
    assert found["true"]["gain"]["noisy"]["auprc"]["low"] is None


def test_macs3_where_it_is_asked_for(denoiseq, fails, workplace, tmp_path, monkeypatch):
    """A program of that name that calls one peak of the chromosome it is given."""
    best = f"checkpoint={workplace / 'run/checkpoints/best.pt'}"
    given = (best, "split=test", f"out={tmp_path}", "loci=0", "bootstrap=20")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    outcome = denoiseq("evaluate", *given)
    assert outcome.code == 0
    assert "MACS3 is not installed" in outcome.err
    assert "macs3" not in load(tmp_path / "metrics.json")
    assert "pip install" in fails("evaluate", *given, "macs3=true")
    assert "macs3" in fails("evaluate", *given, "macs3=perhaps")
    program = tmp_path / "macs3"
    program.write_text(
        "#!/bin/sh\nfor a in $@; do case $a in --outdir=*) out=${a#*=};; esac; done\n"
        "printf 'chr3\\t100\\t400\\tx\\t1\\t.\\t1\\t1\\t1\\t1\\n' > $out/cuts_peaks.narrowPeak\n"
    )
    program.chmod(0o755)
    outcome = denoiseq("evaluate", *given)
    assert outcome.code == 0, outcome.err
    metrics = load(tmp_path / "metrics.json")
    assert {"precision", "recall", "f1", "peaks", "frip", "intervals"} == set(metrics["macs3"])
    assert set(metrics["gain"]) == {"noisy", "gaussian", "linear", "macs3"}
    assert load(tmp_path / "curves.json")["macs3"]["recall"] == metrics["macs3"]["recall"]
    assert "macs3" in outcome.out


def test_both_convolutions_give_the_same_metrics(denoiseq, workplace, tmp_path):
    pytest.importorskip("dilconv")
    best = workplace / "run/checkpoints/best.pt"
    for conv in ("dilconv", "torch"):
        out = tmp_path / conv
        assert denoiseq("evaluate", f"checkpoint={best}", f"conv={conv}", f"out={out}").code == 0
    one, other = (load(tmp_path / conv / "metrics.json") for conv in ("dilconv", "torch"))
    assert (one["algorithm"], other["algorithm"]) == ("dilconv", "torch")
    for name in ("mse", "pearson", "auprc"):
        assert one["denoised"][name] == pytest.approx(other["denoised"][name], rel=2e-3)


def test_bf16_trains_to_a_checkpoint_that_any_precision_takes(denoiseq, at, genome, tmp_path):
    pytest.importorskip("dilconv")
    run = tmp_path / "run"
    options = ["precision=bf16", "stages=[train]", f"out={run}", *at(tmp_path)]
    assert denoiseq("train", "+experiment=smoke", *options).code == 0
    assert load(run / "metrics.json")["precision"] == "bf16"
    best = run / "checkpoints/best.pt"
    checkpoint = torch.load(best, weights_only=True)
    assert {value.dtype for value in checkpoint["state_dict"].values()} == {torch.float32}
    found = {}
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        again = [f"checkpoint={best}", f"precision={precision}", f"out={out}"]
        assert denoiseq("evaluate", *again, "loci=0").code == 0
        found[precision] = load(out / "metrics.json")
        assert found[precision]["precision"] == precision
    for name in ("mse", "pearson", "auprc"):
        values = [metrics["denoised"][name] for metrics in found.values()]
        assert values[0] != values[1]  # rounded otherwise
        assert values[0] == pytest.approx(values[1], rel=0.02)
    out = tmp_path / "prediction"
    again = [f"checkpoint={best}", f"bam={genome['bam']}", f"out={out}", "depth=trained"]
    assert denoiseq("predict", *again, "precision=bf16").code == 0
    software = load(out / "summary.json")["software"]
    assert software["precision"] == "bf16"
    assert software["conv"] == software["algorithm"] in ("dilconv", "torch")


def test_predict_leaves_tracks_peaks_and_a_report(workplace):
    folder = workplace / "run/predict"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "reads.coverage.bw",
        "reads.peak_probability.bw",
        "reads.peaks.narrowPeak",
        "reads.cutoff_analysis.tsv",
        "summary.json",
        "report.html",
        "figures",
        "predict.log",
    }
    for chrom, size in CHROMS.items():
        assert read_bigwig(folder / "reads.coverage.bw", chrom, 0, size).max() > 0
        probability = read_bigwig(folder / "reads.peak_probability.bw", chrom, 0, size)
        assert 0 <= probability.min() <= probability.max() <= 1
    summary = load(folder / "summary.json")
    peaks = read_bed(folder / "reads.peaks.narrowPeak")
    assert summary["peaks"] == len(peaks) > 0
    assert summary["depth"]["used_cuts_per_mb"] == summary["depth"]["trained_cuts_per_mb"]
    for key in ("input", "model", "software", "settings"):
        assert summary[key]
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page and "<script" not in page


def test_tracks_are_those_of_one_run_over_the_whole_chromosome(workplace):
    folder = workplace / "run/predict"
    payload, config = open_checkpoint(str(workplace / "run/checkpoints/best.pt"))
    network = trained_network(payload, config, config.conv, config.precision, config.trainer.device)
    store, draw = CutStore(workplace / "cuts.h5"), Thinning(0.1, seed=0)
    for chrom, size in CHROMS.items():
        noisy = store.coverage(chrom, 0, size, config.data.half_window_bp, draw)
        with torch.inference_mode():
            whole = network(torch.from_numpy(noisy)[None, None])
        shown = ~mask(store.blacklist, chrom, 0, size)
        with pyBigWig.open(str(folder / "reads.coverage.bw")) as file:
            written = file.values(chrom, 0, size, numpy=True)
        assert not np.isnan(written).any()
        # one decimal in the file
        assert np.abs(written - whole.coverage[0].numpy())[shown].max() < 0.051
        written = read_bigwig(folder / "reads.peak_probability.bw", chrom, 0, size)
        probability = torch.sigmoid(whole.peak_logits)[0].numpy()
        assert np.abs(written - probability)[shown].max() < 0.00051


def test_peaks_are_where_the_probability_says(workplace):
    folder = workplace / "run/predict"
    threshold = load(folder / "summary.json")["settings"]["peak_threshold"]
    for line in (folder / "reads.peaks.narrowPeak").read_text().splitlines():
        chrom, start, end, _, score, strand, signal, p, q, summit = line.split("\t")
        start, end, summit = int(start), int(end), int(summit)
        probability = read_bigwig(folder / "reads.peak_probability.bw", chrom, start, end)
        coverage = read_bigwig(folder / "reads.coverage.bw", chrom, start, end)
        assert end - start >= 200
        assert probability[[0, -1]].min() >= threshold - 1e-3
        assert coverage[summit] == pytest.approx(float(signal), abs=0.06)
        assert int(score) == pytest.approx(1000 * probability.max(), abs=1) and strand == "."
        assert float(p) == -1 and 0 < float(q) <= 10


def test_nothing_is_called_in_the_blacklist(workplace, genome):
    folder = workplace / "run/predict"
    peaks = merge(read_bed(folder / "reads.peaks.narrowPeak"))
    for region in read_bed(genome["blacklist"]):
        where = (region.chrom, region.start, region.end)
        assert not read_bigwig(folder / "reads.peak_probability.bw", *where).any()
        assert not mask(peaks, *where).any()


def test_the_table_of_cutoffs_has_the_row_of_the_peaks(workplace):
    folder = workplace / "run/predict"
    used = np.float32(load(folder / "summary.json")["settings"]["peak_threshold"])
    with (folder / "reads.cutoff_analysis.tsv").open() as file:
        table = {row["score"]: row for row in csv.DictReader(file, delimiter="\t")}
    peaks = read_bed(folder / "reads.peaks.narrowPeak")
    row = table[f"{used:.6g}"]
    assert int(row["npeaks"]) == len(peaks)
    assert int(row["lpeaks"]) == sum(peak.end - peak.start for peak in peaks)
    assert [float(score) for score in table] == sorted(map(float, table), reverse=True)


def test_a_wanted_precision_chooses_the_threshold(denoiseq, fails, workplace, tmp_path):
    best = workplace / "run/checkpoints/best.pt"
    source = [f"checkpoint={best}", f"store={workplace / 'cuts.h5'}", f"out={tmp_path}"]
    assert denoiseq("predict", *source, "peak_precision=0.8").code == 0
    used = load(tmp_path / "summary.json")["settings"]["peak_threshold"]
    points = torch.load(best, weights_only=True)["operating_points"]
    row = points["threshold"].index(used)
    assert points["precision"][row] >= 0.8
    assert all(p < 0.8 for p in points["precision"][row + 1 :])
    text = fails("predict", *source, "peak_precision=0.8", "peak_threshold=0.5")
    assert "peak_precision" in text and "give one" in text


def test_a_bam_and_its_store_are_predicted_alike(denoiseq, workplace, genome, tmp_path):
    best = f"checkpoint={workplace / 'run/checkpoints/best.pt'}"
    sources = {"a": f"bam={genome['bam']}", "b": f"store={workplace / 'cuts.h5'}"}
    for out, source in sources.items():
        arguments = (best, source, f"out={tmp_path / out}", "name=x", "depth=trained", "seed=3")
        assert denoiseq("predict", *arguments).code == 0
    for name in ("x.coverage.bw", "x.peak_probability.bw", "x.peaks.narrowPeak"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert not [path for path in (tmp_path / "a").iterdir() if path.name.startswith(".")]


def test_a_model_of_ends_by_template_length_warns_once_and_is_used(
    denoiseq, workplace, genome, tmp_path
):
    older = torch.load(workplace / "run/checkpoints/best.pt", weights_only=True)
    assert older["preprocessing"].pop("ends") == "alignment"
    torch.save(older, tmp_path / "older.pt")
    checkpoint = f"checkpoint={tmp_path / 'older.pt'}"
    reads = (f"bam={genome['bam']}", f"fasta={genome['fasta']}", f"blacklist={genome['blacklist']}")
    for command in (
        ("predict", *reads, "loci=0", f"out={tmp_path / 'p'}"),
        ("evaluate", f"data.store={workplace / 'cuts.h5'}", f"out={tmp_path / 'e'}"),
    ):
        outcome = denoiseq(*command, checkpoint)
        assert outcome.code == 0, outcome.err
        assert outcome.err.count("was trained on fragment ends by template length") == 1
    outcome = denoiseq("predict", *reads, "loci=0", f"out={tmp_path / 'q'}",
                       f"checkpoint={workplace / 'run/checkpoints/best.pt'}")  # fmt: skip
    assert outcome.code == 0 and "fragment ends by" not in outcome.err


@pytest.fixture(scope="module")
def halves(genome, tmp_path_factory):
    """The synthetic BAM as two replicates, and its good fragments as a fragment file."""
    folder = tmp_path_factory.mktemp("halves")
    paths = [folder / f"{name}.bam" for name in "ab"]
    with pysam.AlignmentFile(str(genome["bam"])) as old:
        reads = list(old.fetch(until_eof=True))
        for i, path in enumerate(paths):
            with pysam.AlignmentFile(str(path), "wb", template=old) as new:
                for read in reads:
                    if len(read.query_name) % 2 == i:
                        new.write(read)
            pysam.index(str(path))
    lines = [
        (read.reference_name, read.reference_start, read.reference_start + read.template_length)
        for read in reads
        if read.flag & 0xF14 == 0 and read.is_proper_pair and read.mapping_quality >= 30
    ]
    text = "".join(f"{c}\t{s + 4}\t{e - 5}\tAA-1\t1\n" for c, s, e in lines)
    (folder / "atac.tsv.gz").write_bytes(gzip.compress(text.encode()))
    return {"a": paths[0], "b": paths[1], "fragments": folder / "atac.tsv.gz"}


def test_replicates_merge_to_the_whole_and_may_be_kept_apart(denoiseq, workplace, genome, halves,
                                                             tmp_path):  # fmt: skip
    given = (f"bam=[{halves['a']},{halves['b']}]", f"fasta={genome['fasta']}",
             f"blacklist={genome['blacklist']}", f"out={tmp_path / 'cuts.h5'}")  # fmt: skip
    assert denoiseq("prepare", *given).code == 0
    merged, whole = CutStore(tmp_path / "cuts.h5"), CutStore(workplace / "cuts.h5")
    assert merged.fingerprint == whole.fingerprint
    for chrom, size in CHROMS.items():
        assert np.array_equal(merged.cuts(chrom, 0, size)[0], whole.cuts(chrom, 0, size)[0])
    assert denoiseq("prepare", *given, "replicates=apart").code == 0
    apart = [CutStore(tmp_path / f"cuts.{name}.h5") for name in "ab"]
    assert sum(store.n_fragments for store in apart) == merged.n_fragments
    assert {path.name for path in tmp_path.iterdir()} == {"cuts.log"} | {
        f"cuts{part}.{suffix}" for part in ("", ".a", ".b") for suffix in ("h5", "qc.json")
    }


def test_replicates_and_fragment_files_are_predicted(denoiseq, workplace, halves, tmp_path):
    best = f"checkpoint={workplace / 'run/checkpoints/best.pt'}"
    sources = {
        "a": f"bam=[{halves['a']},{halves['b']}]",
        "atac": f"fragments={halves['fragments']}",
    }
    for name, source in sources.items():
        outcome = denoiseq("predict", best, source, f"out={tmp_path / name}", "depth=trained")
        assert outcome.code == 0, outcome.err
        assert (tmp_path / name / f"{name}.coverage.bw").is_file()
    one, other = (load(tmp_path / name / "summary.json") for name in sources)
    assert one["input"]["fragments"] == other["input"]["fragments"]
    assert len(one["input"]["files"]["bam"]) == 2
    assert other["input"]["files"]["fragments"]["name"] == "atac.tsv.gz"


def test_a_fragment_file_by_group_and_a_bigwig(denoiseq, workplace, genome, halves, tmp_path):
    (tmp_path / "groups.tsv").write_text("AA-1\tone\n")
    common = (f"fasta={genome['fasta']}", f"blacklist={genome['blacklist']}")
    given = (f"fragments={halves['fragments']}", f"groups={tmp_path / 'groups.tsv'}")
    assert denoiseq("prepare", *given, *common, f"out={tmp_path / 'cuts.h5'}").code == 0
    store = CutStore(tmp_path / "cuts.one.h5")
    assert store.preprocessing["shift"] == "10x"
    whole = CutStore(workplace / "cuts.h5")
    positions = whole.cuts("chr1", 0, 1_000)[0]
    assert np.abs(store.cuts("chr1", 0, 1_000)[0] - positions).max() <= 1
    track = workplace / "run/predict/reads.coverage.bw"
    out = tmp_path / "clean.h5"
    assert denoiseq("prepare", f"bigwig={track}", *common, f"out={out}").code == 0
    clean = open_store(out).coverage("chr2", 0, 100_000)
    np.testing.assert_array_equal(clean, read_bigwig(track, "chr2", 0, 100_000))


def test_a_normalised_track_at_its_depth_is_predicted_as_its_counts_are(
    denoiseq, fails, workplace, tmp_path
):
    store, best = CutStore(workplace / "cuts.h5"), tmp_path / "best.pt"
    payload = torch.load(workplace / "run/checkpoints/best.pt", weights_only=True)
    kept = {name: store.preprocessing[name] for name in ("genome", "blacklist_sha256")}
    payload["preprocessing"] = {"kind": "coverage"} | kept
    torch.save(payload, best)
    h = payload["config"]["data"]["half_window_bp"]
    tracks = {chrom: store.coverage(chrom, 0, size, h) for chrom, size in CHROMS.items()}
    answers = {}
    for name, factor in {"counts": 1, "cpm": 0.0213}.items():
        path = tmp_path / f"{name}.h5"
        runs = {chrom: runs_of(factor * track, 0) for chrom, track in tracks.items()}
        write_coverage_store(path, CHROMS, runs, store.blacklist, payload["preprocessing"], {})
        depth = open_store(tmp_path / "counts.h5").depths(h)[0]
        given = (f"checkpoint={best}", f"store={path}", f"out={tmp_path / name}", "loci=0")
        outcome = denoiseq("predict", *given, *([f"depth_of_track={depth}"] * (name == "cpm")))
        assert outcome.code == 0, outcome.err
        summary = load(tmp_path / name / "summary.json")
        answers[name] = (
            summary["depth"]["used_cuts_per_mb"],
            read_bigwig(tmp_path / name / f"{name}.coverage.bw", "chr2", 0, 100_000),
        )
    assert summary["settings"]["depth_of_track"] == depth
    assert answers["cpm"][0] == answers["counts"][0] == round(depth, 1)
    np.testing.assert_allclose(answers["cpm"][1], answers["counts"][1], rtol=1e-4, atol=0.11)
    given = (f"checkpoint={workplace / 'run/checkpoints/best.pt'}", f"store={store.path}")
    assert "holds cut sites" in fails("predict", *given, f"out={tmp_path}", "depth_of_track=9")


def test_a_depth_out_of_range_is_said(denoiseq, workplace, tmp_path):
    best = f"checkpoint={workplace / 'run/checkpoints/best.pt'}"
    store = f"store={workplace / 'cuts.h5'}"
    deep = denoiseq("predict", best, store, f"out={tmp_path / 'deep'}")
    assert deep.code == 0
    assert "the model was trained at" in deep.err and "depth=trained" in deep.err
    assert "too many and too wide peaks" in deep.err
    fit = denoiseq("predict", best, store, f"out={tmp_path / 'fit'}", "depth=trained")
    assert "the model was trained at" not in fit.err
    denoiseq("predict", best, store, f"out={tmp_path / 'again'}", "depth=trained", "seed=1")
    name = "cuts.coverage.bw"
    assert (tmp_path / "again" / name).read_bytes() != (tmp_path / "fit" / name).read_bytes()
    half = load(tmp_path / "fit/summary.json")["depth"]["used_cuts_per_mb"] / 2
    shallow = denoiseq("predict", best, store, f"out={tmp_path / 'x'}", f"depth={half / 4}")
    assert "peaks are missed and flattened" in shallow.err and "depth=trained" not in shallow.err
    denoiseq("predict", best, store, f"out={tmp_path / 'half'}", f"depth={half}")
    assert load(tmp_path / "half/summary.json")["depth"]["thinning_fraction"] == pytest.approx(0.05)


def test_a_model_of_the_sequence_and_of_many_depths(denoiseq, fails, at, workplace, tmp_path):
    run = tmp_path / "run"
    windows = ("data.sequence=true", "data.thin_range=[0.05,0.5]", "data.reverse_complement=true")
    options = (*at(workplace), *windows, "optim.epochs=1", f"out={run}")
    outcome = denoiseq("train", "+experiment=smoke", *options)
    assert outcome.code == 0, outcome.err
    assert load(run / "evaluate/test/metrics.json")["denoised"]["auprc"] > 0
    for name in ("reads.coverage.bw", "reads.peak_probability.bw"):
        assert read_bigwig(run / "predict" / name, "chr2", 0, 100_000).max() > 0
    best = run / "checkpoints/best.pt"
    payload = torch.load(best, weights_only=True)
    low, high = payload["trained_cuts_per_mb_range"]
    assert high == pytest.approx(10 * low) and low < payload["trained_cuts_per_mb"] < high
    given = (f"checkpoint={best}", f"store={workplace / 'cuts.h5'}", f"out={tmp_path / 'p'}")
    assert "fasta=" in fails("predict", *given)


def test_a_model_that_is_told_the_depth_serves_every_depth(denoiseq, at, workplace, tmp_path):
    run = tmp_path / "run"
    told = ("data.tell_depth=true", "data.thin_range=[0.05,1]", "data.surroundings_bp=[500,2000]")
    told += ("data.background_bp=3000", "data.validation_fractions=[0.05,0.2,0.8]")
    told += ("model.add_input=true", "optim.epochs=1", "optim.monitor=auprc")
    options = (*at(workplace), *told, f"out={run}")
    outcome = denoiseq("train", "+experiment=smoke", *options)
    assert outcome.code == 0, outcome.err
    best = run / "checkpoints/best.pt"
    payload = torch.load(best, weights_only=True)
    depth = CutStore(workplace / "cuts.h5").cuts_per_mb
    assert payload["version"] == 3 and payload["answer_cuts_per_mb"] == pytest.approx(depth)
    depths = [choice["cuts_per_mb"] for choice in payload["by_depth"]]
    assert depths == pytest.approx([0.05 * depth, 0.2 * depth, 0.8 * depth])
    standing = payload["by_depth"][payload["nominal"]]
    assert standing["thresholds"] == payload["thresholds"] and payload["nominal"] == 0
    (row,) = read_rows(run / "history.csv")
    each = [float(row[f"validation_auprc_at_{depth:.0f}"]) for depth in depths]
    assert float(row["validation_auprc"]) == pytest.approx(sum(each) / 3) and len(set(each)) == 3

    given = (f"checkpoint={best}", f"store={workplace / 'cuts.h5'}")
    for name, option, used in (("whole", (), 1.0), ("tenth", (f"depth={depth / 10}",), 0.1)):
        outcome = denoiseq("predict", *given, *option, f"out={tmp_path / name}")
        assert outcome.code == 0 and "trained at" not in outcome.err, outcome.err
        summary = load(tmp_path / name / "summary.json")
        assert summary["depth"]["answer_cuts_per_mb"] == pytest.approx(depth, rel=1e-3)
        expected = choice_at(choices(payload), used * depth)
        assert summary["settings"]["peak_threshold"] == pytest.approx(
            expected.peak_threshold, rel=1e-3
        )
    store = CutStore(workplace / "cuts.h5")
    where = "chr2", 0, CHROMS["chr2"]
    tracks = [read_bigwig(tmp_path / n / "cuts.coverage.bw", *where) for n in ("whole", "tenth")]
    clean = store.coverage(*where, 100)
    clean[mask(store.blacklist, "chr2", 0, len(clean))] = 0
    np.testing.assert_allclose(tracks[0], clean, atol=0.06)  # as deep as the answer
    assert np.corrcoef(tracks[1], clean)[0, 1] < 0.999

    outcome = denoiseq("evaluate", f"checkpoint={best}", "data.thin_fraction=0.4", "loci=0",
                       f"out={tmp_path / 'e'}")  # fmt: skip
    assert outcome.code == 0, outcome.err
    tuned = load(tmp_path / "e/metrics.json")["tuned"]
    expected = choice_at(choices(payload), 0.4 * depth).tuned
    assert tuned["thresholds"]["denoised"] == pytest.approx(expected.thresholds["denoised"])
    again = denoiseq("train", "+experiment=smoke", *options, "optim.epochs=2", f"resume={best}")
    assert again.code == 0, again.err
    assert len(read_rows(run / "history.csv")) == 2


def test_a_model_of_pairs(denoiseq, fails, at, workplace, tmp_path):
    run, clean = tmp_path / "run", workplace / "cuts.h5"
    noisy = tmp_path / "noisy.h5"
    store, tenth = CutStore(clean), Thinning(0.1, seed=7)
    cuts = {}
    for chrom, size in CHROMS.items():
        positions, fragments = store.cuts(chrom, 0, size)
        keep = tenth.keep(fragments)
        cuts[chrom] = positions[keep], np.unique(fragments[keep], return_inverse=True)[1]
    write_store(noisy, CHROMS, cuts, store.blacklist, {**store.preprocessing, "exclude": []}, {})
    given = (*at(workplace), f"data.noisy_store={noisy}", "optim.epochs=1", f"out={run}")
    outcome = denoiseq("train", "+experiment=smoke", *given)
    assert outcome.code == 0, outcome.err
    payload = torch.load(run / "checkpoints/best.pt", weights_only=True)
    assert payload["preprocessing"] == CutStore(noisy).preprocessing
    assert payload["trained_cuts_per_mb"] == pytest.approx(CutStore(noisy).cuts_per_mb)
    assert [one["name"] for one in payload["stores"]["noisy"]] == ["noisy.h5"]
    assert (run / "predict/noisy.coverage.bw").is_file()
    best = f"checkpoint={run / 'checkpoints/best.pt'}"
    text = fails("evaluate", best, f"data.store={clean}", f"out={tmp_path / 'e'}")
    assert "data.noisy_store=" in text


def test_a_store_is_not_prepared_twice(denoiseq, workplace, at):
    store = workplace / "cuts.h5"
    before = store.stat().st_mtime_ns
    more = (f"out={workplace / 'again'}", "stages=[train]", "optim.epochs=1")
    outcome = denoiseq("train", "+experiment=smoke", *at(workplace), *more)
    assert outcome.code == 0
    assert store.stat().st_mtime_ns == before
    assert not (workplace / "again/evaluate").exists()


def command(*overrides: str) -> list[str]:
    train = [sys.executable, str(ROOT / "app/train.py"), "+experiment=smoke"]
    return [*train, "stages=[train]", *overrides]


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


# By hand with resume=, or by the scheduler, which starts the same command again.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupted_training_resumes_to_the_same_weights(
    denoiseq, at, workplace, tmp_path, number, monkeypatch
):
    out, epochs = tmp_path / "run", "optim.epochs=12"
    process = subprocess.Popen(
        command(*at(workplace), f"out={out}", epochs), stderr=subprocess.PIPE, text=True
    )
    wait_for(out / "checkpoints/best.pt", process)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130, err
    assert "resume=" in err and "Traceback" not in err
    train = ("train", "+experiment=smoke", *at(workplace), "stages=[train]", epochs)
    assert denoiseq(*train, f"out={tmp_path / 'straight'}").code == 0
    if number == signal.SIGTERM:
        resume = [f"resume={out / 'checkpoints/last.pt'}"]
    else:
        resume = []
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert denoiseq(*train, f"out={out}", *resume).code == 0
    resumed, straight = (
        torch.load(folder / "checkpoints/last.pt", weights_only=True)["state_dict"]
        for folder in (out, tmp_path / "straight")
    )
    for name, weights in straight.items():
        assert torch.equal(resumed[name], weights), name
    log = (out / "train.log").read_text()
    assert log.count("epoch 1/12") <= 1
    assert ("this job was started again" in log) == (number == signal.SIGUSR1)


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 0.8])
def test_killed_at_any_point_no_file_is_half_written(at, tmp_path, delay_s):
    out = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(*at(tmp_path), f"out={out}", "optim.epochs=500"),
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    wait_for(out / "train.log" if delay_s == 0 else out / "checkpoints/last.pt", process)
    time.sleep(delay_s)
    process.kill()
    process.wait()
    for path in out.rglob("*.pt"):
        if ".tmp-" not in path.name:
            assert torch.load(path, weights_only=True)["format"] == "denoiseq-checkpoint"
    store = tmp_path / "cuts.h5"
    if store.exists():
        with h5py.File(store) as file:
            assert np.all(np.diff(file["chroms/offsets"][:]) >= 0)
        assert load(store.with_suffix(".qc.json"))["cut_sites"] > 0
    history = out / "history.csv"
    if history.exists():
        rows = list(csv.DictReader(history.open()))
        assert rows and all(None not in row.values() for row in rows)


def test_published_weights_are_measured_kept_and_predicted_with(denoiseq, at, workplace, tmp_path):
    """`optim.epochs=0` makes a whole checkpoint, thresholds and all, of a bare state dict."""
    trained = torch.load(workplace / "run/checkpoints/best.pt", weights_only=True)["state_dict"]
    published, run = tmp_path / "published.pth.tar", tmp_path / "run"
    torch.save({"state_dict": {f"module.{k}": v for k, v in trained.items()}}, published)
    options = [f"model.pretrained={published}", "optim.epochs=0", "stages=[train]", f"out={run}"]
    assert denoiseq("train", "+experiment=smoke", *at(workplace), *options).code == 0
    best = run / "checkpoints/best.pt"
    kept = torch.load(best, weights_only=True)
    assert all(torch.equal(kept["state_dict"][name], value) for name, value in trained.items())
    ours, theirs = (load(path / "metrics.json") for path in (run, workplace / "run"))
    assert ours["denoised"] == theirs["denoised"]
    published.unlink()  # the checkpoint needs it no more
    out = tmp_path / "out"
    predicted = ["predict", f"checkpoint={best}", f"store={workplace / 'cuts.h5'}", f"out={out}"]
    assert denoiseq(*predicted, "depth=trained").code == 0
    assert load(out / "summary.json")["peaks"] > 0


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_model_with_one_head_goes_the_whole_road(denoiseq, at, workplace, tmp_path, task):
    run = tmp_path / "run"
    options = [f"model.task={task}", f"out={run}", "optim.epochs=1"]
    assert denoiseq("train", "+experiment=smoke", *at(workplace), *options).code == 0
    tracks = sorted(path.name for path in (run / "predict").glob("*.bw"))
    names = {"regression": "reads.coverage.bw", "classification": "reads.peak_probability.bw"}
    assert tracks == [names[task]]
    denoised = load(run / "evaluate/test/metrics.json")["denoised"]
    assert (denoised["pearson"] is None) == (task == "classification")
    assert denoised["auprc"] > 0
    wrong = [f"checkpoint={run / 'checkpoints/best.pt'}", f"store={workplace / 'cuts.h5'}"]
    outcome = denoiseq("predict", *wrong, f"out={tmp_path / 'x'}", "peak_threshold=7")
    assert outcome.code == (0 if task == "regression" else 2)
    assert ("expected a probability" in outcome.err) == (task == "classification")


def test_the_training_report_draws_what_evaluate_draws(denoiseq, workplace, tmp_path):
    """Equal figures are equal bytes: the same tracks and peaks, at the calibrated temperature."""
    run = workplace / "run"
    best = torch.load(run / "checkpoints/best.pt", weights_only=True)
    assert best["temperature"] != 1
    options = ("split=validation", "macs3=false", "bootstrap=0", f"out={tmp_path}")
    outcome = denoiseq("evaluate", f"checkpoint={run / 'checkpoints/best.pt'}", *options)
    assert outcome.code == 0
    drawn = sorted(path.name for path in (run / "figures").glob("locus_*.png"))
    assert len(drawn) == 6
    for name in drawn:
        assert (run / "figures" / name).read_bytes() == (tmp_path / "figures" / name).read_bytes()


@pytest.mark.filterwarnings("error::UserWarning")
def test_without_a_true_peak_on_validation_no_peak_is_called(
    denoiseq, fails, at, workplace, genome, tmp_path
):
    peaks = tmp_path / "peaks.bed"
    rows = genome["peaks"].read_text().splitlines(keepends=True)
    peaks.write_text("".join(row for row in rows if not row.startswith("chr2")))
    outcome = denoiseq(
        "train", "+experiment=smoke", *at(workplace), f"data.truth={peaks}", "optim.epochs=1",
        f"out={tmp_path / 'run'}",
    )  # fmt: skip
    assert outcome.code == 0  # the training's further stage predict is left out
    assert "the predict stage is left out, because validation had no true peak" in outcome.err
    assert "best.pt has no peak threshold" in outcome.err  # of evaluate
    assert not (tmp_path / "run/predict").exists()
    metrics = load(tmp_path / "run/metrics.json")
    assert set(metrics["tuned"]["thresholds"].values()) == {None}
    best = f"checkpoint={tmp_path / 'run/checkpoints/best.pt'}"
    out = (f"store={workplace / 'cuts.h5'}", f"out={tmp_path / 'p'}")
    text = fails("predict", best, *out)
    assert text == "the checkpoint has no peak threshold: give peak_threshold=0.5, say"
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"predict.log"}
    assert denoiseq("predict", best, *out, "peak_threshold=0.5", "depth=trained").code == 0


def test_resume_refuses_other_folds(fails, at, workplace, tmp_path):
    run = shutil.copytree(workplace / "run", tmp_path / "run")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.suffix != ".log"}
    text = fails(
        "train", "+experiment=smoke", *at(workplace), "data.validation=[chr3]", "data.test=[chr2]",
        f"resume={run / 'checkpoints/last.pt'}", f"out={run}",
    )  # fmt: skip
    assert all(path.read_bytes() == content for path, content in before.items())
    assert "(data.validation [chr2] -> [chr3], data.test [chr3] -> [chr2])" in text


def test_micro_batches_are_refused_with_batch_norm(fails, at, workplace, tmp_path):
    text = fails(
        "train", "+experiment=smoke", *at(workplace), "model.batch_norm=true",
        "optim.micro_batch=2", f"out={tmp_path}",
    )  # fmt: skip
    assert text.startswith("optim.micro_batch=2 would change a training with model.batch_norm=true")
