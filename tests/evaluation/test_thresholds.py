"""Operating points against every base, and the threshold of a wanted precision."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.thresholds import (
    Choice,
    LinearWeights,
    Tuned,
    choice_at,
    choices,
    operating_points,
    threshold_of_precision,
    threshold_of_precision_at,
)


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
def test_choices_have_no_threshold_that_no_true_peak_tuned(stored):
    """The first releases stored 0.5 then."""
    thresholds = {"noisy": float("nan"), "denoised": stored}
    (choice,) = choices({"gaussian_sigma_bp": 60.0, "thresholds": thresholds})
    assert math.isnan(choice.tuned.thresholds["denoised"]) and choice.peak_threshold is None
    thresholds = {"noisy": 3.0, "denoised": 0.5}
    (choice,) = choices({"gaussian_sigma_bp": 60.0, "thresholds": thresholds})
    assert choice.tuned.thresholds["denoised"] == choice.peak_threshold == 0.5


def test_without_a_true_peak_there_is_no_threshold():
    scores = scored([0.5, 2.0], np.zeros(2, bool), True)
    assert math.isnan(Tuned(60.0).with_denoised(scores).thresholds["denoised"])


def chosen_at(depth: float, threshold: float, points=(0.9, 0.5)) -> Choice:
    tuned = Tuned(100.0 / depth, {"noisy": depth, "denoised": threshold})
    precision = {"threshold": list(points), "precision": [0.8, 0.6]}
    return Choice(depth, tuned, temperature=depth, operating_points=precision)


def test_choices_are_interpolated_over_the_logarithm_of_the_depth():
    low, high = chosen_at(1.0, 0.2), chosen_at(100.0, 0.4)
    middle = choice_at([low, high], 10.0)
    assert middle.peak_threshold == pytest.approx(0.3)
    assert middle.tuned.thresholds["noisy"] == pytest.approx(10.0)  # grows with the depth
    assert middle.temperature == pytest.approx(50.5)
    assert middle.tuned.gaussian_sigma_bp == pytest.approx(50.5)
    assert choice_at([low, high], 1.0) == low
    filtered = [
        replace(c, tuned=Tuned(1.0, {"linear": c.cuts_per_mb}, LinearWeights((2.0, 3.0), 0.5)))
        for c in (low, high)
    ]
    tuned = choice_at(filtered, 5.0).tuned
    assert tuned.thresholds == {"linear": 1.0}
    assert tuned.linear == LinearWeights((pytest.approx(0.4), pytest.approx(0.6)), 0.5)
    third = chosen_at(3.3e4, 0.4)
    assert choice_at([low, third], third.cuts_per_mb) == third
    assert choice_at([low, third], 1e9).tuned.thresholds["noisy"] == 3.3e4
    assert choice_at([low, high], 0.01).peak_threshold == 0.2
    assert choice_at([low, high], 1e6).peak_threshold == 0.4
    assert choice_at([low], 1e6) is low


def test_thresholds_of_a_precision_are_interpolated_too():
    depths = [chosen_at(1.0, 0.2), chosen_at(100.0, 0.4, (0.7, 0.3)), chosen_at(1e4, 0.4, (9, 9))]
    assert threshold_of_precision_at(depths, 10.0, 0.8) == pytest.approx(0.8)
    assert threshold_of_precision_at(depths, 0.1, 0.8) == 0.9
    assert threshold_of_precision_at(depths, 100.0, 0.8) == pytest.approx(0.7)
    assert threshold_of_precision_at(depths, 1e6, 0.8) == 9
    with pytest.raises(ValueError, match=r"highest was 0\.8"):
        threshold_of_precision_at(depths, 10.0, 0.9)


def test_choices_travel_through_a_checkpoint():
    depths = [chosen_at(1.0, 0.2), chosen_at(100.0, 0.4)]
    payload = {"by_depth": [choice.keys() for choice in depths], "nominal": 1}
    assert choices(payload) == depths and Tuned.from_checkpoint(payload) == depths[1].tuned
    assert Tuned.from_checkpoint({}) is None
    assert choices({"by_depth": [], "thresholds": None, "peak_threshold": None}) == []
