"""convert and revert on models made by others; the plan in words."""

import copy
import logging
import pickle

import dilconv
import pytest
import torch
from torch import nn


class TwoHeads(nn.Module):
    """Eligible, shared, strided, grouped and parametrized convolutions side by side."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(4, 6, 9, padding="same", dilation=2)
        self.shared = self.first
        self.strided = nn.Conv1d(6, 6, 3, stride=2)
        self.grouped = nn.Conv1d(6, 6, 3, groups=2)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 2, 3))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(2, 1, 1))

    def forward(self, x):
        return self.last(self.normed(self.grouped(self.strided(self.first(x)))))


def test_convert_and_revert_keep_everything_but_the_class(caplog):
    model = TwoHeads()
    seen = []
    model.first.register_forward_hook(lambda *_: seen.append("hook"))
    x = torch.randn(2, 4, 80)
    before, state = model(x), copy.deepcopy(model.state_dict())
    parameters = [id(p) for p in model.parameters()]
    with caplog.at_level(logging.WARNING):
        assert dilconv.convert(model) is model
    assert type(model.first) is type(model.last[1]) is dilconv.Conv1d
    assert model.shared is model.first
    assert type(model.strided) is type(model.grouped) is nn.Conv1d
    for name in ("strided", "grouped", "normed"):
        assert f"{name} stays with torch" in caplog.text
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    assert seen == ["hook", "hook"] and parameters == [id(p) for p in model.parameters()]

    dilconv.revert(model)
    assert type(model.first) is nn.Conv1d and not hasattr(model.first, "algorithm")
    assert torch.equal(model(x), before)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_converted_models_are_copied_and_pickled(clone):
    model = dilconv.convert(nn.Sequential(nn.Conv1d(3, 4, 5, padding=2), nn.ReLU()))
    x = torch.randn(1, 3, 30)
    other = clone(model)
    assert type(other[0]) is dilconv.Conv1d and torch.equal(other(x), model(x))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes_without_gradients(mode):
    layer = dilconv.Conv1d(3, 4, 5)
    x = torch.randn(1, 3, 30)
    with mode():
        assert torch.equal(layer(x), layer(x.clone()).detach())


def test_checkpointing_gives_the_same_gradients():
    layer = dilconv.Conv1d(3, 3, 5, padding="same", activation="relu")
    x = torch.randn(2, 3, 50, requires_grad=True)
    plain = torch.autograd.grad(layer(layer(x)).sum(), (x, layer.weight))
    y = torch.utils.checkpoint.checkpoint(lambda x: layer(layer(x)), x, use_reentrant=False)
    for a, b in zip(plain, torch.autograd.grad(y.sum(), (x, layer.weight)), strict=True):
        assert torch.equal(a, b)


def test_revert_refuses_a_fused_activation():
    model = nn.Sequential(dilconv.Conv1d(1, 1, 1), dilconv.Conv1d(1, 1, 1, activation="relu"))
    with pytest.raises(ValueError, match="1 applies relu inside"):
        dilconv.revert(model)
    assert type(model[0]) is dilconv.Conv1d


def test_plan_says_what_and_why():
    long = dilconv.plan(1, 15, 15, 60_000, 51, 8)
    assert long.algorithm == "spectral" and "times as fast as direct" in str(long)
    short = dilconv.plan(1, 64, 64, 60_000, 1)
    assert short.algorithm == "direct" and "blocks of" in str(short)
    forced = dilconv.plan(1, 15, 15, 60_000, 51, 8, algorithm="direct", pass_name="backward")
    assert forced.algorithm == "direct" and forced.workspace_bytes > 0
    with pytest.raises(ValueError, match="leave -3 outputs"):
        dilconv.plan(1, 1, 1, 6, 10, padding=(0, 0))
    with pytest.raises(ValueError, match="pass_name must be one of"):
        dilconv.plan(1, 1, 1, 6, 1, pass_name="sideways")
