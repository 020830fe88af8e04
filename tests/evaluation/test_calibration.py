"""Temperature and reliability from counts, against the same computed on every base in float64."""

import json

import numpy as np
import pytest
from denoiseq.evaluation.calibration import MOST, at_temperature, calibrate, reliability
from denoiseq.evaluation.metrics import BINS, HALF, TrackMetrics, bin_middles, score_bins


def scored(logits, truth, logit_scores=True):
    scores = TrackMetrics(logits=logit_scores)
    logits, everything = np.asarray(logits, np.float32), np.ones(len(logits), bool)
    scores.update(None, logits, np.zeros(len(logits), np.float32), np.asarray(truth), everything)
    return scores


@pytest.fixture
def sample():
    """Logits three times as sure as their bases are true: the temperature is about 3."""
    rng = np.random.default_rng(0)
    fair = rng.normal(-1.5, 2, 200_000)
    truth = rng.random(len(fair)) < 1 / (1 + np.exp(-fair))
    return (3 * fair).astype(np.float32), truth


def test_middles_lie_in_their_bins():
    rng = np.random.default_rng(1)
    bins = np.unique([0, 1, HALF - 1, HALF, HALF + 1, BINS - 1, *rng.integers(0, BINS, 5_000)])
    middles = bin_middles(bins)
    np.testing.assert_array_equal(score_bins(middles.astype(np.float32)), bins)
    assert (np.diff(middles) > 0).all()


def test_temperature_has_the_least_cross_entropy(sample):
    logits, truth = sample
    found = calibrate(scored(logits, truth))
    assert found.temperature == pytest.approx(3, rel=0.02)

    def exact(temperature):
        z = logits.astype(np.float64) / temperature
        return np.where(truth, np.logaddexp(0, -z), np.logaddexp(0, z)).mean()

    assert found.before.cross_entropy == pytest.approx(exact(1), rel=1e-4)
    assert found.after.cross_entropy == pytest.approx(exact(found.temperature), rel=1e-4)
    grid = found.temperature * np.array([0.97, 0.99, 1.01, 1.03])
    assert exact(found.temperature) < min(map(exact, grid))
    assert found.after.ece < 0.004 < 0.05 < found.before.ece
    json.dumps(found.__dict__, default=vars, allow_nan=False)


def test_reliability_against_every_base(sample):
    logits, truth = sample
    curve = reliability(scored(logits, truth), 2.0)
    probability = 1 / (1 + np.exp(-logits.astype(np.float64) / 2))
    group = np.minimum((20 * probability).astype(int), 19)
    ece = 0.0
    assert len(curve.bases) == len(curve.observed) == len(curve.probability) == 20
    for k in range(20):
        inside = group == k
        # what lies within half a bin of a group's edge may be counted beside it
        assert curve.bases[k] == pytest.approx(inside.sum(), rel=0.02)
        assert curve.observed[k] == pytest.approx(truth[inside].mean(), abs=0.01)
        assert curve.probability[k] == pytest.approx(probability[inside].mean(), abs=0.002)
        ece += abs(probability[inside].sum() - truth[inside].sum()) / len(truth)
    assert curve.ece == pytest.approx(ece, abs=1e-4)
    assert sum(curve.bases) == len(truth)


def test_groups_without_bases_are_left_out():
    curve = reliability(scored([-9.0, -9.0, 9.0], [False, True, True]))
    assert curve.bases == [2, 1]
    assert curve.observed == [0.5, 1.0]


def test_unused_where_it_does_not_help_both():
    # Fair logits of few kinds: every other temperature has a larger cross-entropy.
    logits = np.repeat([-np.log(3), np.log(3)], 400).astype(np.float32)
    truth = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    found = calibrate(scored(logits, truth))
    assert found.temperature == pytest.approx(1, abs=1e-3)
    # A bias, which no temperature mends: flattening lowers the cross-entropy and raises the ECE.
    logits = np.repeat([-1.0, 2.0], 500).astype(np.float32)
    truth = np.concatenate([np.arange(500) < 300, np.arange(500) < 440])
    found = calibrate(scored(logits, truth))
    assert found.temperature == 1
    assert found.after == found.before
    assert reliability(scored(logits, truth), 1.736).cross_entropy < found.before.cross_entropy


def test_logits_beyond_reason_give_a_bounded_temperature():
    right = scored(np.repeat([-3.0, 3.0], 50), np.arange(100) >= 50)  # parts them wholly
    assert 0.02 <= calibrate(right).temperature < 0.03
    wrong = scored(np.repeat([-3.0, 3.0], 50), np.arange(100) < 50)
    assert 1 < calibrate(wrong).temperature <= MOST * 1.01


@pytest.mark.parametrize(
    ("logits", "truth", "logit_scores"),
    [
        ([1.0, 2.0], [False, True], False),
        ([1.0], [True], True),
        ([1.0], [False], True),
        ([], [], True),
    ],
)
def test_nothing_to_learn_from(logits, truth, logit_scores):
    assert calibrate(scored(logits, np.array(truth, bool), logit_scores)) is None


def test_a_temperature_ends_with_its_block(make_network):
    model = make_network("linear", field=1)
    with pytest.raises(RuntimeError), at_temperature(model, 2.5):
        assert model.temperature == 2.5
        raise RuntimeError
    assert model.temperature == 1.0
