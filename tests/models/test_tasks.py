"""Every network on every task: trained for two steps, measured, predicted with, drawn."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from denoiseq.distributed import ALONE
from denoiseq.evaluation import loci
from denoiseq.evaluation.measure import validate
from denoiseq.evaluation.thresholds import Tuned, choices
from denoiseq.genomics.bigwig_reader import read_bigwig
from denoiseq.genomics.intervals import mask
from denoiseq.genomics.peaks import runs_above
from denoiseq.models.checkpoint import load_checkpoint
from denoiseq.prediction import loci as prediction_loci
from denoiseq.prediction import resume
from denoiseq.prediction.genome import output_file, predict_genome
from denoiseq.prediction.sample import Source
from denoiseq.report.loci import CHOSEN, RANDOM, SPREAD
from denoiseq.report.locus_figures import draw_loci
from denoiseq.report.metric_text import metrics_table
from denoiseq.settings import MODELS, Data, Evaluate, Loss, Optim, Predict, Train, Trainer
from denoiseq.settings.model import DenoisingResNet
from denoiseq.store.input_rows import InputRows
from denoiseq.training.loop import Training
from denoiseq.training.state import checkpoint_path
from denoiseq.windows.dataset import WindowDataset
from denoiseq.windows.splits import Splits

TASKS = ("both", "regression", "classification")
TRACK_METRICS = ("mse", "log1p_pearson", "pearson", "spearman")
PEAK_METRICS = ("auprc", "auroc", "best_f1")
WINDOWS = Data(interval_bp=4_000, pad_bp=200, half_window_bp=75, thin_fraction=0.3)
TRAINED = Train(
    optim=Optim(batch_size=4),
    data=Data(label_min_length_bp=50),
    trainer=Trainer(progress=False),
)
QUICK = {"epochs": 1, "batch_size": 5, "lr": 1e-3, "tensorboard": False, "progress": False}
LOSS = Loss(log1p_mse=0.1, bce_positive_weight="balanced")
SMALL = {
    "denoising_resnet": {"channels": 3, "kernel_size": 5, "blocks": 1, "peak_blocks": 1},
    "unet": {"channels": [3, 4, 5], "kernel_sizes": [5, 3, 6]},
    "linear": {"field": 21},
}


@pytest.fixture(autouse=True)
def _one_bandwidth(monkeypatch):
    monkeypatch.setattr("denoiseq.evaluation.baselines.SIGMAS_BP", (20,))


@pytest.fixture(params=MODELS)
def small(request, make_network):
    """Makes a small network for a task."""

    def make(task):
        return make_network(request.param, **SMALL[request.param], task=task)

    return make


def held_out(store, peaks):
    return WindowDataset(store, ["chrB"], WINDOWS, peaks, training=False)


def prediction(out, threshold, **more):
    rule = {"peak_threshold": threshold, "peak_min_length_bp": 50, "peak_max_gap_bp": 30}
    files = {"out": str(out), "name": "x"}
    return Predict(**files, **rule, tile_bp=1_000, trainer=Trainer(progress=False), **more)


def predicted(model, store, settings):
    folder = Path(settings.out) / "unfinished"
    with resume.claimed(folder, {}):
        return predict_genome(model, Source(InputRows(store, 75)), settings, folder, ALONE)


@pytest.mark.parametrize("task", TASKS)
def test_two_steps_of_training_then_a_prediction(
    small, train_settings, task, store, peaks, tmp_path
):
    model = small(task)
    before = [p.detach().clone() for p in model.parameters()]
    data = WindowDataset(store, ["chrA", "chrC"], WINDOWS, peaks, training=True)
    windows = Splits(data, held_out(store, peaks))
    settings = train_settings(tmp_path, loss=LOSS, **QUICK)
    training = Training(model, windows, settings, metadata={"config": {}})
    metrics, history = training.train(), training.state.done.history
    assert history[0]["step"] == 2
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    terms = {name for name in history[0] if name.startswith("train_loss_")}
    assert ("train_loss_bce" in terms) == (task != "regression")
    assert ("train_loss_pearson" in terms) == (task != "classification")

    best = load_checkpoint(checkpoint_path(tmp_path, "best"))
    tuned, model.temperature = choices(best)[0].tuned, best["temperature"]
    assert (best["calibration"] is None) == (task == "regression")
    example = {"loci": 2, "random_loci": 1, "regions": ["chrB:1000-3000"]}
    settings = prediction(tmp_path / "predicted", tuned.thresholds["denoised"], **example)
    found = predicted(model, store, settings)
    written = {path.name for path in (tmp_path / "predicted").iterdir()}
    expected = {"x.peaks.narrowPeak", "x.cutoff_analysis.tsv"}
    expected |= {"x.coverage.bw"} if task != "classification" else set()
    expected |= {"x.peak_probability.bw"} if task != "regression" else set()
    assert written == expected
    shown = prediction_loci.of_prediction(Source(InputRows(store, 75)), settings, found)
    assert len(shown[CHOSEN]) == len(shown[RANDOM]) == 1
    held = held_out(store, peaks)
    shown = loci.of_evaluation(model, held, metrics, Evaluate(**example), TRAINED)
    assert [len(loci) for loci in shown.values()] == [1, 2, 1]
    metrics_table(metrics)


@pytest.mark.parametrize("task", TASKS)
def test_metrics_of_an_absent_head_are_null(evaluate, small, task, store, peaks):
    metrics, _ = evaluate(small(task), held_out(store, peaks), TRAINED)
    denoised = metrics["denoised"]
    for name in TRACK_METRICS:
        assert (denoised[name] is None) == (task == "classification"), name
    assert (metrics["scale"]["denoised"] is None) == (task == "classification")
    for name in PEAK_METRICS:
        assert 0 < denoised[name] <= 1
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize("task", TASKS)
def test_figures_show_the_heads_that_there_are(
    evaluate, make_network, task, store, peaks, tmp_path
):
    model = make_network("linear", field=1, task=task)
    data = held_out(store, peaks)
    metrics, _ = evaluate(model, data, TRAINED)
    heads = {"both": ["denoised", "peak probability"], "regression": ["denoised"]}
    heads = heads.get(task, ["peak probability"])
    one = {"loci": 1, "random_loci": 0}
    (locus,) = loci.of_evaluation(model, data, metrics, Evaluate(**one), TRAINED)[SPREAD]
    assert list(locus.tracks) == ["noisy", "gaussian", *heads, "clean"]
    assert draw_loci([locus]).startswith(b"\x89PNG")
    with torch.no_grad():
        for parameter in model.parameters():  # everything is a peak
            parameter.fill_(1.0)
    settings = prediction(tmp_path, 0.5, **one)
    found = predicted(model, store, settings)
    (locus,) = prediction_loci.of_prediction(Source(InputRows(store, 75)), settings, found)[SPREAD]
    assert list(locus.tracks) == ["input", *heads]
    assert draw_loci([locus]).startswith(b"\x89PNG")


def test_without_a_peak_head_the_track_is_the_score(evaluate, make_network, store, peaks):
    """A filter of one tap, weight 1, is the noisy track itself: equal scores, threshold, peaks."""
    model = make_network("linear", field=1, task="regression")
    metrics, tuned = evaluate(model, held_out(store, peaks), TRAINED)
    assert metrics["denoised"] == metrics["noisy"]
    assert tuned.thresholds["denoised"] == tuned.thresholds["noisy"] > 1


def test_without_a_peak_head_peaks_come_from_the_coverage(make_network, store, peaks, tmp_path):
    model = make_network("linear", field=1, task="regression")
    settings = prediction(tmp_path, 6.0)
    found = predicted(model, store, settings).peaks
    expected = []
    for chrom, size in store.chroms.items():
        track = read_bigwig(
            output_file(settings, "denoised"), chrom, 0, size
        )  # of whole numbers: exact
        assert not track[mask(store.blacklist, chrom, 0, size)].any()
        expected += [(chrom, *row) for row in runs_above(track, 6.0, 50, 30).tolist()]
    assert [(p.chrom, p.start, p.end) for p in found] == expected and expected
    scores = [p.score for p in found]
    assert max(scores) == 1000 and len(set(scores)) > 1
    assert np.argmax(scores) == np.argmax([p.signal for p in found])


def test_without_a_true_peak_a_coverage_has_no_threshold(evaluate, make_network, store, peaks):
    model = make_network("linear", field=1, task="regression")
    data = WindowDataset(store, ["chrB"], WINDOWS, peaks, training=False, truth={})
    metrics, tuned = evaluate(model, data, TRAINED)
    assert np.isnan(tuned.thresholds["denoised"])
    json.dumps(metrics, allow_nan=False)


def test_no_epochs_measure_and_keep_the_given_weights(
    small, train_settings, store, peaks, tmp_path
):
    model = small("both")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = WindowDataset(store, ["chrA", "chrC"], WINDOWS, peaks, training=True)
    held, given = held_out(store, peaks), DenoisingResNet(pretrained="given.pt")
    quick = QUICK | {"epochs": 0, "tensorboard": True}
    settings = train_settings(tmp_path, loss=LOSS, model=given, **quick)
    training = Training(model, Splits(data, held), settings, metadata={"config": {}})
    metrics = training.train()
    best = load_checkpoint(checkpoint_path(tmp_path, "best"))
    assert best["state_dict"].keys() == before.keys()
    assert all(torch.equal(best["state_dict"][name], value) for name, value in before.items())
    _, scores = validate(model, held, None, TRAINED)
    expected = Tuned(best["gaussian_sigma_bp"], best["thresholds"])
    expected = expected.with_denoised(scores, best["temperature"])
    assert best["thresholds"] == expected.thresholds == asdict(expected)["thresholds"]
    assert metrics["denoised"]["auprc"] == pytest.approx(scores.result()["auprc"], rel=1e-3)
