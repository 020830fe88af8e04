"""Operating points against every base, and the threshold of a wanted precision."""

import math

import numpy as np
import pytest
import torch
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.thresholds import Tuned, operating_points, threshold_of_precision


def scored(score, truth, logits):
    scores = TrackMetrics(logits=logits)
    track = np.zeros(len(score), np.float32)
    scores.update(None, np.asarray(score, np.float32), track, truth, np.ones(len(score), bool))
    return scores


@pytest.mark.parametrize("logits", [True, False])
def test_points_are_those_of_calling_at_their_thresholds(logits):
    rng = np.random.default_rng(3)
    truth = rng.random(50_000) < 0.1
    score = (rng.normal(0, 2, truth.size) + 3 * truth - 2 * logits).astype(np.float32)
    score = score if logits else np.maximum(score, 0)
    scores = scored(score, truth, logits)
    points = operating_points(scores, 1.7)
    assert 150 < len(points["recall"]) <= 202
    assert (np.diff(points["recall"]) > 0).all() and (np.diff(points["threshold"]) < 0).all()
    assert points["recall"][-1] == 1.0
    assert max(points["f1"]) == scores.result()["best_f1"]
    assert points["f1"].index(max(points["f1"])) == points["threshold"].index(
        Tuned(60.0).with_denoised(scores, 1.7).thresholds["denoised"]
    )
    # The model's own arithmetic: float32 logits over the temperature, then the sigmoid.
    seen = torch.sigmoid(torch.from_numpy(score) / 1.7).numpy() if logits else score
    rows = np.stack([points[n] for n in ("threshold", "precision", "recall", "f1")], axis=1)
    for threshold, precision, recall, f1 in rows[::20]:
        called = seen >= np.float32(threshold)
        hits = (called & truth).sum()
        assert precision == pytest.approx(hits / called.sum(), rel=1e-3)
        assert recall == pytest.approx(hits / truth.sum(), rel=1e-3)
        assert f1 == pytest.approx(2 * hits / (called.sum() + truth.sum()), rel=1e-3)


def test_a_wanted_precision_takes_the_most_recall():
    points = {
        "threshold": [0.9, 0.8, 0.6, 0.3],
        "precision": [0.7, 0.95, 0.9, 0.5],
        "recall": [0.1, 0.2, 0.5, 0.9],
        "f1": [0.0, 0.0, 0.0, 0.0],
    }
    assert threshold_of_precision(points, 0.9) == 0.6
    assert threshold_of_precision(points, 0.91) == 0.8
    assert threshold_of_precision(points, 0.2) == 0.3
    sentence = r"peak_precision=0.96 was not reached .* highest was 0.95: .* peak_threshold="
    with pytest.raises(ValueError, match=sentence):
        threshold_of_precision(points, 0.96)


def test_without_a_true_peak_there_is_no_point():
    points = operating_points(scored([0.5, 2.0], np.zeros(2, bool), True))
    assert points == {"threshold": [], "precision": [], "recall": [], "f1": []}
    with pytest.raises(ValueError, match="highest was 0: "):
        threshold_of_precision(points, 0.5)


@pytest.mark.parametrize("stored", [0.5, float("nan")])
def test_from_checkpoint_has_no_threshold_that_no_true_peak_tuned(stored):
    """The first releases stored 0.5 then."""
    thresholds = {"noisy": float("nan"), "denoised": stored}
    tuned = Tuned.from_checkpoint({"gaussian_sigma_bp": 60.0, "thresholds": thresholds})
    assert math.isnan(tuned.thresholds["denoised"])
    tuned = Tuned.from_checkpoint(
        {"gaussian_sigma_bp": 60.0, "thresholds": {"noisy": 3.0, "denoised": 0.5}}
    )
    assert tuned.thresholds["denoised"] == 0.5


def test_without_a_true_peak_there_is_no_threshold():
    scores = scored([0.5, 2.0], np.zeros(2, bool), True)
    assert math.isnan(Tuned(60.0).with_denoised(scores).thresholds["denoised"])
