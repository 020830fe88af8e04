"""The benchmark times only what is right: oracle, bounds and the contenders' layouts."""

import time
from dataclasses import replace

import pytest
import torch
from dilconv import bench, verification
from dilconv.contenders import CONTENDERS, Layer, Tensors
from dilconv.reference import conv1d_reference
from dilconv.verification import Oracle

# Odd and even total padding, d = 1, d beyond W, C or K = 1, more than one batch item.
LAYERS = [
    Layer("long", N=2, C=3, K=5, S=51, d=8, W=700),
    Layer("even", N=1, C=4, K=2, S=2, d=1, W=333),
    Layer("wide steps", N=3, C=1, K=6, S=3, d=512, W=200),
    Layer("point", N=1, C=6, K=1, S=1, d=4, W=101),
    Layer("parts", N=1, C=1, K=1, S=5000, d=1, W=3000),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_contender_is_within_its_bound(layer):
    oracle = Oracle.of(Tensors.of(layer))
    for name, make in CONTENDERS.items():
        oracle.check(name, make(oracle.tensors))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_the_oracle_is_the_gradient_of_the_reference(layer):
    t = Tensors.of(replace(layer, S=min(layer.S, 60)))
    x, w = t.x.double().requires_grad_(), t.w.double().requires_grad_()
    y = conv1d_reference(x, w, padding=t.layer.padding, dilation=layer.d)
    dx, dw = torch.autograd.grad(y, (x, w), t.g.double())
    for name, expected in (("y", y), ("dx", dx), ("dw", dw)):
        torch.testing.assert_close(Oracle.of(t).exact[name], expected)


@pytest.mark.parametrize("name", ["torch-phases", "direct", "spectral", "auto"])
@pytest.mark.parametrize(("result", "pass_name"), [("y", "forward"), ("dw", "forward_backward")])
def test_a_wrong_result_is_refused(name, result, pass_name):
    oracle = Oracle.of(Tensors.of(LAYERS[0]))
    oracle.exact[result][0, 1, 7] += 0.02  # of about 12 and 37
    with pytest.raises(RuntimeError, match=f"{name} computes a wrong {result} in {pass_name}"):
        contender = CONTENDERS[name](oracle.tensors)
        only = {pass_name: contender.passes[pass_name]}
        oracle.check(name, replace(contender, passes=only))


def test_a_nan_is_refused():
    oracle = Oracle.of(Tensors.of(LAYERS[0]))
    contender = CONTENDERS["direct"](oracle.tensors)
    nan = torch.full((2, 5, 700), float("nan"))
    with pytest.raises(RuntimeError, match="wrong y"):
        oracle.check("direct", replace(contender, passes={"forward": lambda: (nan,)}))


def test_a_huge_layer_is_checked_on_fewer_columns(monkeypatch):
    monkeypatch.setattr(verification, "ORACLE_FLOPS", 1e6)
    narrow = verification.narrowed(LAYERS[0], 1e6)
    assert narrow == replace(LAYERS[0], W=narrow.W) and 0.9e6 < narrow.flops("forward") <= 1e6
    rows = bench.bench_layer(LAYERS[0], ["torch-padded", "auto"], threads=1, rounds=2)
    assert {row["W"] for row in rows} == {700} and len(rows) == 8


@pytest.mark.parametrize(("patience", "widths"), [(1e9, [14, 700]), (0.0, [14])])
def test_what_is_slow_on_few_columns_is_not_checked_on_more(monkeypatch, patience, widths):
    checked = []

    def check(oracle, name, contender):
        checked.append(oracle.tensors.layer.W)
        return {"forward": 1.0}

    monkeypatch.setattr(verification, "PROBE_FLOPS", LAYERS[0].flops("forward") / 50)
    monkeypatch.setattr(verification, "PATIENCE", patience)
    monkeypatch.setattr(Oracle, "check", check)
    found = verification.check_contenders(LAYERS[0], ["direct"])
    assert checked == widths
    assert found == {"direct": {"forward": 700 / widths[-1]}}


def test_a_turn_is_a_cold_and_a_warm_run():
    times, pauses = bench.Times(), iter([0.03, 0.01, 0.3])
    for _ in range(2):
        times.take_turn(lambda: time.sleep(next(pauses)))
    assert times.cold[0] > 0.03 > times.warm[0]
    assert times.cold[1] == times.warm[1] > 0.3


def test_what_a_contender_cannot_do_is_left_out():
    rows = bench.bench_layer(LAYERS[1], ["torch-padded", "torch"], threads=1, rounds=2)
    assert {row["contender"] for row in rows} == {"torch-padded"}  # padding (0, 1)


def test_slow_contenders_are_left_out_in_words(monkeypatch, caplog):
    monkeypatch.setattr(bench, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(bench, "SLOW_RATIO", 1.0)
    rows = bench.bench_layer(LAYERS[0], ["torch-padded", "torch-phases"], threads=1, rounds=2)
    assert len(rows) == 4 and caplog.text.count("is left out of") == 4


@pytest.mark.parametrize("rounds", [2, 3, 15, 101])
def test_slow_runs_take_fewer_rounds(rounds):
    assert bench.stride(1e-4, rounds, seconds=0.5) == 1
    for one_run in (0.02, 1.0, 60.0):
        turns = len(range(0, rounds, bench.stride(one_run, rounds, seconds=0.5)))
        assert 2 <= turns <= max(3, 0.5 / one_run)
