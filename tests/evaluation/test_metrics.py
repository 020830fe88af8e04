"""Streaming metrics against brute force in float64, within the error that the bins explain."""

import numpy as np
import pytest
from denoiseq.evaluation.metrics import BINS, TrackMetrics, bin_floor, score_bins


def ranks(values):
    """Mid-ranks, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def oracle(p, score, y, inside):
    """All metrics by their definitions, in float64, O(n log n), nothing binned."""
    p, score, y = (np.asarray(v, dtype=np.float64) for v in (p, score, y))
    a = (p * y).sum() / (p * p).sum()
    values = np.unique(score)[::-1]
    hits = np.array([(inside & (score >= v)).sum() for v in values])
    called = np.array([(score >= v).sum() for v in values])
    recall, precision = hits / inside.sum(), hits / called
    positive, negative = score[inside], score[~inside]
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    return {
        "mse": ((a * p - y) ** 2).mean(),
        "log1p_pearson": np.corrcoef(np.log1p(a * p), np.log1p(y))[0, 1],
        "pearson": np.corrcoef(p, y)[0, 1],
        "spearman": np.corrcoef(ranks(p), ranks(y))[0, 1],
        "auprc": (np.diff(recall, prepend=0) * precision).sum(),
        "auroc": wins,
        "best_f1": (2 * hits / (called + inside.sum())).max(),
    }


def make_case(kind, n=4_000, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.negative_binomial(1, 0.1, n).astype(np.float32)
    inside = y + rng.normal(scale=6, size=n) > 20
    if kind == "integers":
        p = rng.binomial(y.astype(int), 0.2).astype(np.float32)
        return p, p, y, inside
    p = np.maximum(0, 0.3 * y + rng.normal(scale=2, size=n)).astype(np.float32)
    return p, (0.4 * y - 5 + rng.normal(scale=2, size=n)).astype(np.float32), y, inside


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["integers", "logits"])
def test_all_metrics_are_the_brute_force_ones(kind, seed):
    case = make_case(kind, seed=seed)
    p, score, y, inside = case
    metrics = TrackMetrics()
    metrics.update(*case, np.ones(len(y), dtype=bool))
    got, expected = metrics.result(), oracle(*case)
    exact = dict.fromkeys(got, 1e-9)
    if kind == "logits":
        # Bins merge scores within 2^-11 of each other: at most the pairs that fall into one
        # bin can change order, and each metric is an average over such pairs or bases.
        together = np.bincount(score_bins(score)).max() / min(inside.sum(), (~inside).sum())
        exact |= dict.fromkeys(("auprc", "auroc", "best_f1"), together)
        # log1p moves by at most 2^-11 of a value, whose log1p is that much below itself.
        exact["log1p_pearson"] = 2.0**-10
    # Spearman's bins are 2^-6 and 2^-5 wide; integers below 64 are exact.
    exact["spearman"] = 2e-4 if kind == "logits" else 1e-6
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, abs=exact[name]), name
    assert exact["auprc"] < 0.01
    assert metrics.scale == pytest.approx(float((p @ y) / (p @ p)), rel=1e-5)
    assert metrics.positives.sum() + metrics.negatives.sum() == len(y)


def test_result_has_the_published_names():
    names = ["mse", "log1p_pearson", "pearson", "spearman", "auprc", "auroc", "best_f1"]
    assert list(TrackMetrics().result()) == names


def test_updates_may_be_cut_anywhere():
    case = make_case("logits")
    whole, parts = TrackMetrics(), TrackMetrics()
    mask = np.ones(len(case[0]), dtype=bool)
    whole.update(*case, mask)
    for piece in np.array_split(np.arange(len(mask)), 7):
        parts.update(*(v[piece] for v in case), mask[piece])
    assert parts.result() == pytest.approx(whole.result(), rel=1e-12)
    assert parts.best_threshold() == whole.best_threshold()


def test_masked_out_bases_do_not_count():
    p, score, y, inside = make_case("logits")
    mask = np.random.default_rng(1).random(len(y)) < 0.5
    kept, spoilt = TrackMetrics(), TrackMetrics()
    kept.update(p[mask], score[mask], y[mask], inside[mask], mask[mask])
    p, score = p.copy(), score.copy()
    p[~mask], score[~mask] = np.nan, np.inf
    spoilt.update(p, score, np.where(mask, y, 9e3), inside | ~mask, mask)
    assert spoilt.result() == kept.result()


@pytest.mark.parametrize("kind", ["integers", "logits"])
def test_best_threshold_gives_the_best_f1(kind):
    p, score, y, inside = make_case(kind)
    metrics = TrackMetrics()
    metrics.update(p, score, y, inside, np.ones(len(y), dtype=bool))
    called = score >= np.float32(metrics.best_threshold())
    f1 = 2 * (called & inside).sum() / (called.sum() + inside.sum())
    assert f1 == pytest.approx(metrics.result()["best_f1"], abs=1e-12)


def test_best_threshold_is_the_very_bin():
    score = np.arange(2_048, 4_096, dtype=np.float32)  # each in the bin next to its neighbour's
    metrics = TrackMetrics()
    metrics.update(score, score, score, score >= 3_000, np.ones(len(score), dtype=bool))
    assert metrics.best_threshold() == 3_000


@pytest.mark.parametrize("inside", [False, True])
def test_one_class_is_no_crash(inside):
    p = np.arange(10, dtype=np.float32)
    metrics = TrackMetrics()
    metrics.update(p, p, p, np.full(10, inside), np.ones(10, dtype=bool))
    got = metrics.result()
    assert np.isnan(got["auroc"])
    assert got["auprc"] == 1.0 if inside else np.isnan(got["auprc"])
    assert got["best_f1"] == 1.0 if inside else np.isnan(got["best_f1"])
    assert np.isnan(metrics.best_threshold()) != inside
    assert got["pearson"] == pytest.approx(1)


def test_nothing_and_constants_are_nan():
    assert all(np.isnan(v) for v in TrackMetrics().result().values())
    metrics, zero = TrackMetrics(), np.zeros(8, dtype=np.float32)
    y = np.arange(8, dtype=np.float32)
    metrics.update(zero, zero, y, y > 4, np.ones(8, dtype=bool))
    got = metrics.result()
    assert got["mse"] == pytest.approx((y**2).mean())
    assert got["auroc"] == 0.5
    assert all(np.isnan(got[k]) for k in ("pearson", "spearman", "log1p_pearson"))
    constant = TrackMetrics()
    constant.update(zero + 0.1, zero, y, y > 4, np.ones(8, dtype=bool))
    assert np.isnan(constant.result()["pearson"])


def test_a_broken_prediction_is_a_sentence():
    p = np.array([1, np.nan], dtype=np.float32)
    with pytest.raises(ValueError, match="not finite"):
        TrackMetrics().update(p, p, p, p > 0, np.ones(2, dtype=bool))


def test_score_bins_keep_order_and_have_floors():
    rng = np.random.default_rng(0)
    edges = [0, 2**-12, -(2**-12), 1, 2, 4_095, 4_096, 3e38, -3e38]
    values = rng.normal(size=20_000) * 10 ** rng.uniform(-6, 7, 20_000)
    values = np.concatenate([values, edges]).astype(np.float32)
    bins = score_bins(values)
    assert bins.min() >= 0
    assert bins.max() < BINS
    assert (np.diff(bins[np.argsort(values)]) >= 0).all()
    for index in [0, BINS - 1, *rng.choice(bins, 300)]:
        assert ((values >= np.float32(bin_floor(index))) == (bins >= index)).all()
    integers = np.arange(4_097, dtype=np.float32)
    assert len(np.unique(score_bins(integers))) == 4_097
