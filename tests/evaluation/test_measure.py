"""Streamed evaluation against the same numbers computed on whole chromosomes in memory."""

import json
import math

import numpy as np
import pytest
import torch
from denoiseq.evaluation.baselines import gaussian_smooth, tune_baselines
from denoiseq.evaluation.measure import measure, tune, validate
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.peak_metrics import agreement, total_counts, true_peaks
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.genomics.intervals import mask, unmasked_bp
from denoiseq.genomics.peaks import runs_above
from denoiseq.models.network import Prediction
from denoiseq.report.metrics import BY_KEY
from denoiseq.settings import Data, Evaluate, Loss, Optim, Train, Trainer
from denoiseq.store.thinning import Thinning
from denoiseq.training.losses import atacworks_loss
from denoiseq.windows.dataset import WindowDataset

CHROMS = ["chrA", "chrShort", "chrB"]
TRAINED = Train(
    optim=Optim(batch_size=3),
    data=Data(label_min_length_bp=100, label_max_gap_bp=20),
    trainer=Trainer(progress=False),
)
SIGMAS_BP = (5, 20, 60)


@pytest.fixture(autouse=True)
def _few_bandwidths(monkeypatch):
    monkeypatch.setattr("denoiseq.evaluation.baselines.SIGMAS_BP", SIGMAS_BP)


def windows(store, peaks, interval_bp=1_000, pad_bp=300, **more):
    options = Data(interval_bp=interval_bp, pad_bp=pad_bp, half_window_bp=75, thin_fraction=0.3)
    return WindowDataset(store, CHROMS, options, peaks, training=False, **more)


@pytest.fixture
def data(store, peaks):
    return windows(store, peaks)


def whole_chromosome(store, chrom, model, sigma):
    """Every track of a chromosome at once: (track, score) by name, truth, counted bases."""
    size = store.chroms[chrom]
    noisy = store.coverage(chrom, 0, size, 75, Thinning(0.3, 0))
    with torch.no_grad():
        pred = model(torch.from_numpy(noisy)[None, None])
    smooth = gaussian_smooth(noisy, sigma)
    tracks = {
        "noisy": (noisy, noisy),
        "gaussian": (smooth, smooth),
        "denoised": (pred.coverage[0].numpy(), pred.peak_logits[0].numpy()),
    }
    clean = store.coverage(chrom, 0, size, 75)
    return tracks, clean, ~mask(store.blacklist, chrom, 0, size)


def sigmoid(logits):
    return torch.sigmoid(torch.from_numpy(logits)).numpy()


def runs(score, counted, threshold, data):
    score = np.where(counted, score, -np.inf)
    return runs_above(score, threshold, data.label_min_length_bp, data.label_max_gap_bp)


def flat(value, prefix=""):
    """Nested dictionaries as one."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key in value for k, v in flat(value[key], f"{prefix}.{key}").items()}


def test_streamed_equals_whole_chromosomes(evaluate, store, peaks, data, make_model):
    model = make_model()
    metrics, tuned = evaluate(model, data, TRAINED)
    scores = {name: TrackMetrics() for name in ("noisy", "gaussian", "denoised")}
    called = {name: {} for name in scores}
    truth = {}
    for chrom in CHROMS:
        tracks, clean, counted = whole_chromosome(store, chrom, model, tuned.gaussian_sigma_bp)
        inside = mask(peaks, chrom, 0, len(clean))
        truth[chrom] = runs_above(np.where(counted, inside, 0), 0.5, 1, 0)
        for name, (track, score) in tracks.items():
            scores[name].update(track, score, clean, inside, counted)
            signal = sigmoid(score) if name == "denoised" else score
            called[name][chrom] = runs(signal, counted, tuned.thresholds[name], TRAINED.data)
    for name, score in scores.items():
        got = {key: metrics[name][key] for key in score.result()}
        agreed = agreement(total_counts(called[name], truth))
        peaks_got = {key: metrics[name]["peaks"][key] for key in agreed}
        assert peaks_got == pytest.approx({k: float(v) for k, v in agreed.items()}, abs=1e-12)
        assert sum(map(len, called[name].values())) > 3
        assert got == pytest.approx(score.result(), rel=1e-4)
        assert metrics["scale"][name] == pytest.approx(score.scale, rel=1e-5)
    exact = {name: score.best_threshold() for name, score in scores.items()}
    exact["denoised"] = 1 / (1 + np.exp(-exact["denoised"]))
    assert tuned.thresholds == pytest.approx(exact, rel=1e-3)


def test_keys_are_the_published_ones_and_json(evaluate, data, make_model):
    metrics, tuned = evaluate(make_model(), data, TRAINED)
    names = {"mse", "log1p_pearson", "pearson", "spearman", "auprc", "auroc", "best_f1", "peaks"}
    for name in ("noisy", "gaussian", "denoised"):
        assert set(metrics[name]) == names | {"inside", "outside", "frip", "intervals"}
        peaks = {"precision", "recall", "f1", "iou_bp", "summit_distance_bp"}
        peaks |= {"without_cuts", "without_cuts_precision"}
        assert set(metrics[name]["peaks"]) == peaks
    assert set(metrics["scale"]) == {"noisy", "gaussian", "denoised"}
    rest = {"seconds", "segments_per_second", "device", "precision", "algorithm", "tuned", "scale"}
    rest |= {"truth", "gain", "chromosomes", "calibration", "conv"}
    assert set(metrics) == {"noisy", "gaussian", "denoised"} | rest
    assert metrics["conv"] == metrics["algorithm"] == "torch"
    json.dumps(metrics, allow_nan=False)
    assert set(tuned.thresholds) == {"noisy", "gaussian", "denoised"}
    # each number of a track has its entry in the report, besides those of an external caller
    scores = {key: value for key, value in metrics["noisy"].items() if key != "intervals"}
    measured = {key[1:] for key in flat(scores)}
    measured -= {f"peaks.summit_distance_bp.{name}" for name in ("q1", "q3", "peaks")}
    asked = {"peaks.reproducibility", "peaks.reproducibility_iou_bp"}
    assert measured == set(BY_KEY) - {"precision", "recall", "f1"} - asked


@pytest.mark.parametrize("other", [{"interval_bp": 777}, {"interval_bp": 30_000}, {"pad_bp": 450}])
def test_how_the_genome_is_cut_does_not_matter(evaluate, store, peaks, data, make_model, other):
    model = make_model()
    metrics, tuned = evaluate(model, data, TRAINED)
    again, _ = evaluate(model, windows(store, peaks, **other), TRAINED, tuned)
    for part in ("noisy", "gaussian", "denoised", "truth", "calibration", "chromosomes"):
        found, expected = flat(again[part]), flat(metrics[part])
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            undefined = value in (None, [None, None])
            same = value if undefined else pytest.approx(value, rel=1e-4)
            assert found[key] == same, (part, key)


def test_intervals_gains_and_curves(data, peaks, make_model):
    model, h = make_model(), {"chrA": np.array([[600, 900], [5_000, 5_050]]), "chrC": peaks["chrC"]}
    settings = Evaluate(bootstrap=40, block_bp=1_000)
    tuned = tune(model, data, TRAINED)
    found = measure(model, data, settings, TRAINED, tuned, {"macs3": h})
    metrics, curves = found.metrics, found.curves
    for track in ("noisy", "gaussian", "denoised", "macs3"):
        for name, (low, high) in metrics[track]["intervals"].items():
            assert found.replicates[track][name].shape == (40,)
            assert low is None or low <= high
    for baseline in ("noisy", "gaussian", "macs3"):
        for name, gain in metrics["gain"][baseline].items():
            pair = [flat(metrics[track])["." + name] for track in ("denoised", baseline)]
            assert gain["value"] == pytest.approx(pair[0] - pair[1])
            paired = found.replicates["denoised"][name] - found.replicates[baseline][name]
            low, high = np.nanquantile(paired, [0.025, 0.975])
            assert (gain["low"], gain["high"]) == pytest.approx((low, high))
    assert {"peaks.f1", "peaks.iou_bp"} <= set(metrics["gain"]["macs3"])
    truth = sum(len(peaks[chrom]) for chrom in ("chrA", "chrB"))
    assert metrics["truth"]["peaks"] == truth  # chrC is not evaluated, and adds no call of MACS3
    assert metrics["macs3"]["peaks"] == {
        "precision": 0.5,
        "recall": pytest.approx(1 / truth),
        "f1": pytest.approx(2 * 0.5 / truth / (0.5 + 1 / truth)),
        "iou_bp": pytest.approx(300 / (metrics["truth"]["bp"] + 50)),
        "without_cuts": 0.5,
        "without_cuts_precision": 0,
    }
    assert curves["macs3"] == {name: metrics["macs3"][name] for name in ("recall", "precision")}
    json.dumps([metrics, curves], allow_nan=False)


def test_replicates_depend_on_blocks_alone(store, peaks, data, make_model):
    settings = Evaluate(bootstrap=30, block_bp=1_000)
    tuned = tune(make_model(), data, TRAINED)
    one, other = (measure(make_model(seed), data, settings, TRAINED, tuned) for seed in (0, 1))
    for name, values in one.replicates["noisy"].items():
        np.testing.assert_array_equal(values, other.replicates["noisy"][name])
    cut = windows(store, peaks, interval_bp=777)
    third = measure(make_model(), cut, settings, TRAINED, tuned)
    for name, values in one.replicates["denoised"].items():  # however the genome is cut
        np.testing.assert_allclose(third.replicates["denoised"][name], values, rtol=1e-3)
    settings = Evaluate(bootstrap=0, block_bp=1_000)
    free = measure(make_model(), data, settings, TRAINED, tuned).metrics
    assert free["noisy"]["intervals"] == {}
    gain = free["gain"]["noisy"]["auprc"]
    assert (gain["low"], gain["high"]) == (None, None) and gain["value"] is not None


def test_any_callable_is_measured(data):
    def twice(x):
        return Prediction(2 * x[:, 0], None)

    tuned = Tuned(20.0, {"noisy": 4.0, "gaussian": 4.0, "denoised": 8.0})
    twice.task = "regression"
    metrics = measure(twice, data, Evaluate(), TRAINED, tuned).metrics
    assert metrics["scale"]["denoised"] == pytest.approx(metrics["scale"]["noisy"] / 2)
    for name in ("auprc", "mse", "pearson", "frip"):
        assert metrics["denoised"][name] == pytest.approx(metrics["noisy"][name], rel=1e-6)
    assert metrics["denoised"]["peaks"] == metrics["noisy"]["peaks"]
    assert "calibration" not in metrics


def test_parts_add_up_and_frip_counts_cuts(evaluate, store, data, make_model):
    metrics = evaluate(make_model(), data, TRAINED)[0]
    noisy, truth = metrics["noisy"], metrics["truth"]
    size = sum(unmasked_bp(store.chroms, store.blacklist, chrom) for chrom in CHROMS)
    parts = truth["bp"] * noisy["inside"]["mse"] + (size - truth["bp"]) * noisy["outside"]["mse"]
    assert parts / size == pytest.approx(noisy["mse"])
    cuts = {chrom: store.cuts(chrom, 0, store.chroms[chrom])[0] for chrom in CHROMS}
    true = {c: mask(data.truth, c, 0, 10**5) & ~mask(store.blacklist, c, 0, 10**5) for c in cuts}
    inside = sum(true[chrom][at].sum() for chrom, at in cuts.items())
    assert truth["frip"] == pytest.approx(inside / sum(map(len, cuts.values())))


def test_the_linear_filter_is_measured_where_it_was_fitted(store, peaks, data, make_model):
    options = Data(interval_bp=1_000, pad_bp=300, half_window_bp=75, thin_fraction=0.3)
    train = WindowDataset(store, ["chrC"], options, peaks, training=True)
    tuned = tune(make_model(), data, TRAINED, train)
    assert set(tuned.thresholds) == {"noisy", "gaussian", "linear", "denoised"}
    metrics = measure(make_model(), data, Evaluate(), TRAINED, tuned).metrics
    assert list(metrics)[:4] == ["noisy", "gaussian", "linear", "denoised"]
    assert metrics["linear"]["mse"] < metrics["noisy"]["mse"]
    assert metrics["scale"]["linear"] == pytest.approx(1, abs=0.2)
    assert "linear" not in metrics["tuned"]


def test_curves_are_those_of_brute_force(store, peaks, data, make_model):
    model = make_model()
    tuned = tune(model, data, TRAINED)
    found = measure(model, data, Evaluate(), TRAINED, tuned)
    curves, scale = found.curves, found.metrics["scale"]
    tracks = {chrom: whole_chromosome(store, chrom, model, 20) for chrom in CHROMS}
    score, inside = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (t["noisy"][0][counted], mask(peaks, chrom, 0, len(counted))[counted])
                for chrom, (t, _, counted) in tracks.items()
            ),
            strict=True,
        )
    )
    pairs = {
        (float(f"{(score >= s)[inside].mean():.6g}"), float(f"{inside[score >= s].mean():.6g}"))
        for s in np.unique(score)
    }
    pr = curves["pr"]["noisy"]
    assert set(zip(pr["recall"], pr["precision"], strict=True)) <= pairs
    assert pr["recall"][-1] == 1 and len(pr["recall"]) > 5
    roc = curves["roc"]["denoised"]
    tpr, fpr = np.array(roc["tpr"]), np.array(roc["fpr"])
    area = (np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum()
    assert area == pytest.approx(found.metrics["denoised"]["auroc"], abs=0.01)
    assert sum(curves["reliability"]["bases"]) == len(score)
    for curve in (*curves["pr"].values(), *curves["roc"].values(), curves["profile"]):
        assert all(len(values) <= 200 for values in curve.values())
    profile, middle = curves["profile"], curves["profile"]["offset_bp"].index(0)
    at = [(c, p.summit) for c, some in true_peaks(data).items() for p in some]
    for name, which in (("noisy", 0), ("denoised", 0)):
        values = [tracks[c][0][name][which][s] for c, s in at if tracks[c][2][s]]
        assert profile[name][middle] == pytest.approx(scale[name] * np.mean(values), rel=1e-4)
    assert max(profile["clean"]) == profile["clean"][middle]
    assert (
        sum(curves["summit_distance_bp"]["counts"])
        == (found.metrics["denoised"]["peaks"]["summit_distance_bp"]["peaks"])
    )


def test_validation_tunes_and_test_obeys(evaluate, data, make_model):
    given = Tuned(20.0, {"noisy": 1e6, "gaussian": 0.0, "denoised": 0.5})
    metrics, tuned = evaluate(make_model(), data, TRAINED, given)
    assert tuned == given
    assert metrics["tuned"] == {"gaussian_sigma_bp": 20.0, "thresholds": given.thresholds}
    assert metrics["noisy"]["peaks"]["recall"] == 0
    assert metrics["gaussian"]["peaks"]["recall"] == 1


def test_sigma_is_the_grids_best_in_auprc(evaluate, data, make_model):
    tuned = tune_baselines(data, TRAINED)
    by_sigma = {}
    for sigma in SIGMAS_BP:
        given = Tuned(float(sigma), {"noisy": 1.0, "gaussian": 1.0, "denoised": 0.5})
        by_sigma[sigma] = evaluate(make_model(), data, TRAINED, given)[0]["gaussian"]["auprc"]
    assert len(set(by_sigma.values())) == 3
    assert tuned.gaussian_sigma_bp == max(by_sigma, key=by_sigma.get)


def test_bandwidths_that_reach_beyond_the_context_are_left_out(store, peaks, caplog):
    narrow = windows(store, peaks, pad_bp=100)
    assert 4 * tune_baselines(narrow, TRAINED).gaussian_sigma_bp <= 100
    assert "bandwidths above 20 bp left out" in caplog.text
    with pytest.raises(ValueError, match="No Gaussian bandwidth"):
        tune_baselines(windows(store, peaks, pad_bp=10), TRAINED)


def test_a_short_context_is_said(evaluate, store, peaks, make_model, caplog):
    evaluate(make_model(dilation=50), windows(store, peaks), TRAINED)
    assert "windows carry 300 bp of context, the model sees" in caplog.text


def test_no_true_peak_is_no_crash(evaluate, store, peaks, make_model):
    data = windows(store, peaks, truth={})
    metrics, tuned = evaluate(make_model(), data, TRAINED)
    assert metrics["denoised"]["auprc"] is None
    assert metrics["denoised"]["peaks"]["recall"] is None
    assert metrics["denoised"]["pearson"] is not None
    assert math.isnan(tuned.thresholds["denoised"])
    assert metrics["tuned"]["thresholds"]["denoised"] is None
    json.dumps(metrics, allow_nan=False)


def test_truth_and_not_labels_are_scored(store, peaks, data, make_model):
    other = windows(store, peaks, truth={"chrA": np.array([[0, 400]])})
    model = make_model()
    by_label, by_truth = (validate(model, d, None, TRAINED)[0] for d in (data, other))
    assert by_label["auprc"] != by_truth["auprc"]
    assert by_label["mse"] == pytest.approx(by_truth["mse"], rel=1e-12)


def test_validate_averages_the_loss_and_leaves_the_model_as_it_was(data, make_model):
    model = make_model(batch_norm=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def loss(pred, batch):
        assert not model.training
        return atacworks_loss(pred, batch, Loss(1.0, 0.0, 0.0))

    row, scores = validate(model, data, loss, TRAINED)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    n, _, _, pp, yy, py = scores.sums.sum(0)
    assert row["loss"] == pytest.approx((pp - 2 * py + yy) / n, rel=1e-4)
    assert row["loss_mse"] == pytest.approx(row["loss"], rel=1e-6)
