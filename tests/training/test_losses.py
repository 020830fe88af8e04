from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier

import numpy as np
import pytest
import torch
from denoiseq.models.network import Prediction
from denoiseq.settings import Loss
from denoiseq.settings.loss import TERMS
from denoiseq.training.losses import TRACK_ERRORS, atacworks_loss


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    y = rng.poisson(3.0, (3, 50)).astype(np.float32)
    p = np.abs(y + rng.normal(size=y.shape)).astype(np.float32)
    logits = rng.normal(size=y.shape).astype(np.float32) * 3
    peaks = (y > 4).astype(np.float32)
    mask = rng.random(y.shape) < 0.7
    batch = {"coverage": y, "peaks": peaks, "mask": mask}
    batch = {name: torch.from_numpy(value) for name, value in batch.items()}
    return Prediction(torch.from_numpy(p), torch.from_numpy(logits)), batch


def test_value_is_the_formula_in_float64(case):
    pred, batch = case
    m = batch["mask"].numpy()
    p, z = (t.numpy().astype(np.float64)[m] for t in pred)
    y, t = (batch[k].numpy().astype(np.float64)[m] for k in ("coverage", "peaks"))
    mse, pearson = ((p - y) ** 2).mean(), np.corrcoef(p, y)[0, 1]
    bce = -(t * -np.log1p(np.exp(-z)) + (1 - t) * -np.log1p(np.exp(z))).mean()
    total, parts = atacworks_loss(pred, batch, Loss(0.3, 2.0, 0.5))
    assert total.item() == pytest.approx(0.3 * mse + 2 * (1 - pearson) + 0.5 * bce, rel=1e-5)
    expected = {"mse": mse, "pearson": pearson, "bce": bce}
    assert {k: v.item() for k, v in parts.items()} == pytest.approx(expected, rel=1e-5)


def test_published_weights():
    assert Loss() == Loss(0.0005, 1.0, 1.0, log1p_mse=0.0, poisson=0.0)


def test_every_term_of_the_settings_is_computed():
    assert set(TERMS) == {*TRACK_ERRORS, "pearson", "bce"}


def test_log1p_mse_is_added_with_its_weight(case):
    pred, batch = case
    m = batch["mask"].numpy()
    p, y = (t.numpy().astype(np.float64)[m] for t in (pred.coverage, batch["coverage"]))
    expected = ((np.log1p(p) - np.log1p(y)) ** 2).mean()
    without, _ = atacworks_loss(pred, batch, Loss())
    total, parts = atacworks_loss(pred, batch, Loss(log1p_mse=0.7))
    assert parts["log1p_mse"].item() == pytest.approx(expected, rel=1e-5)
    assert (total - without).item() == pytest.approx(0.7 * expected, rel=1e-4)


def test_poisson_deviance_is_the_formula_and_0_at_the_truth(case):
    pred, batch = case
    m = batch["mask"].numpy()
    p, y = (t.numpy().astype(np.float64)[m] for t in (pred.coverage, batch["coverage"]))
    rate, count = p + 0.1, y + 0.1
    expected = (rate - count - count * np.log(rate / count)).mean()
    without, _ = atacworks_loss(pred, batch, Loss())
    total, parts = atacworks_loss(pred, batch, Loss(poisson=0.7))
    assert parts["poisson"].item() == pytest.approx(expected, rel=1e-5)
    assert (total - without).item() == pytest.approx(0.7 * expected, rel=1e-4)
    right = Prediction(batch["coverage"].clone().requires_grad_(), pred.peak_logits)
    total, parts = atacworks_loss(right, batch, Loss(0.0, 0.0, 0.0, poisson=1.0))
    total.backward()
    assert abs(parts["poisson"].item()) < 1e-6
    assert right.coverage.grad.abs().max() < 1e-6


@pytest.mark.parametrize("weights", [Loss(), Loss(log1p_mse=1.0, poisson=1.0)])
def test_masked_out_bases_have_no_say(case, weights):
    pred, batch = case
    out = ~batch["mask"]
    pred = Prediction(*(t.clone().requires_grad_() for t in pred))
    before, _ = atacworks_loss(pred, batch, weights)
    before.backward()
    assert all((t.grad[out] == 0).all() and (t.grad[~out] != 0).any() for t in pred)
    with torch.no_grad():
        wild = Prediction(*(torch.where(out, 1e4 * torch.ones_like(t), t) for t in pred))
        batch = batch | {"coverage": torch.where(out, 7e3, batch["coverage"])}
        after, _ = atacworks_loss(wild, batch, weights)
    assert after.item() == before.item()


@pytest.mark.parametrize("constant", ["prediction", "truth", "mask"])
def test_degenerate_batches_stay_finite(case, constant):
    pred, batch = case
    pred = Prediction(*(t.clone() for t in pred))
    if constant == "prediction":
        pred.coverage.fill_(2.0)
    if constant == "truth":
        batch["coverage"] = torch.zeros_like(batch["coverage"])
    if constant == "mask":
        batch["mask"] = torch.zeros_like(batch["mask"])
    pred = Prediction(*(t.requires_grad_() for t in pred))
    total, _ = atacworks_loss(pred, batch, Loss())
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(t.grad).all() for t in pred)


def test_half_precision_input_is_summed_in_float32():
    p = torch.linspace(0, 1, 4096).repeat(8, 1).half()
    y = (p.float() * 3 + 1000).half()
    batch = {"coverage": y, "peaks": torch.zeros_like(y), "mask": torch.ones_like(p).bool()}
    r = atacworks_loss(Prediction(p, None), batch, Loss())[1]["pearson"]
    exact = np.corrcoef(p.double().flatten(), y.double().flatten())[0, 1]
    assert r.dtype == torch.float32
    assert r.item() == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("positive_weight", [3.0, "balanced"])
def test_positive_weight_is_a_weighted_mean(case, positive_weight):
    pred, batch = case
    m, inside = batch["mask"].numpy(), batch["peaks"].numpy()[batch["mask"].numpy()] == 1
    z = pred.peak_logits.numpy().astype(np.float64)[m]
    each = np.where(inside, np.log1p(np.exp(-z)), np.log1p(np.exp(z)))
    weight = (~inside).sum() / inside.sum() if positive_weight == "balanced" else positive_weight
    expected = np.average(each, weights=np.where(inside, weight, 1))
    weights = Loss(bce_positive_weight=positive_weight)
    _, parts = atacworks_loss(pred, batch, weights)
    assert parts["bce"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("peaks", [0.0, 1.0])
def test_balanced_takes_batches_of_one_class(case, peaks):
    pred, batch = case
    batch = batch | {"peaks": torch.full_like(batch["peaks"], peaks)}
    _, plain = atacworks_loss(pred, batch, Loss())
    _, parts = atacworks_loss(pred, batch, Loss(bce_positive_weight="balanced"))
    assert parts["bce"].item() == pytest.approx(plain["bce"].item(), rel=1e-5)


@pytest.mark.parametrize("absent", ["coverage", "peak_logits"])
def test_an_absent_head_has_no_terms(case, absent):
    pred, batch = case
    weights = Loss(0.3, 2.0, 0.5, log1p_mse=0.2, poisson=0.1)
    _, both = atacworks_loss(pred, batch, weights)
    total, parts = atacworks_loss(pred._replace(**{absent: None}), batch, weights)
    peak_terms = {"bce"}
    assert set(parts) == (peak_terms if absent == "coverage" else set(both) - peak_terms)
    assert all(parts[name] == both[name] for name in parts)
    terms = parts | ({"pearson": 1 - parts["pearson"]} if "pearson" in parts else {})
    expected = sum(getattr(weights, name) * value.item() for name, value in terms.items())
    assert total.item() == pytest.approx(expected, rel=1e-6)


def in_processes(parts, weights):
    """The loss of each part of a batch, every part in a thread that shares its sums."""
    shared, barrier = [None] * len(parts), Barrier(len(parts))

    def one(rank, part):
        def total(sums):
            shared[rank] = sums
            barrier.wait(10)
            added = sum(shared)
            barrier.wait(10)
            return added

        return atacworks_loss(*part, weights, total)

    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(one, range(len(parts)), parts))


@pytest.mark.parametrize("rows", [(0, 2, 3), (0, 3, 3), (0, 0, 3)])
@pytest.mark.parametrize("task", ["both", "regression", "classification"])
def test_parts_of_a_batch_share_one_loss_and_its_gradients(case, rows, task):
    pred, batch = case
    if task != "both":
        absent = {"regression": "peak_logits", "classification": "coverage"}[task]
        pred = pred._replace(**{absent: None})
    weights = Loss(0.3, 2.0, 0.5, 0.2, 0.1, bce_positive_weight="balanced")

    def leaves(a, b):
        return Prediction(*(None if t is None else t[a:b].clone().requires_grad_() for t in pred))

    whole = leaves(*rows[::2])
    expected, terms = atacworks_loss(whole, batch, weights)
    expected.backward()
    cuts = list(pairwise(rows))
    halves = [leaves(a, b) for a, b in cuts]
    cut = [{name: value[a:b] for name, value in batch.items()} for a, b in cuts]
    found = in_processes(list(zip(halves, cut, strict=True)), weights)
    found[0][0].backward()
    for loss, parts in found:
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert {k: v.item() for k, v in parts.items()} == pytest.approx(
            {k: v.item() for k, v in terms.items()}, rel=1e-6
        )
    for head, gradient in zip(zip(*halves, strict=True), whole, strict=True):
        if gradient is not None:
            joined = torch.cat([half.grad for half in head])
            torch.testing.assert_close(joined, gradient.grad, rtol=1e-5, atol=1e-8)


def test_a_batch_without_rows_is_0_and_finite(case):
    pred, batch = case
    empty = Prediction(*(t[:0].clone().requires_grad_() for t in pred))
    total, _ = atacworks_loss(empty, {k: v[:0] for k, v in batch.items()}, Loss())
    total.backward()
    assert torch.isfinite(total) and empty.coverage.grad.shape == (0, 50)
