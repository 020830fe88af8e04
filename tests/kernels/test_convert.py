"""convert and revert on models made by others; the plan in words."""

import copy
import logging
import pickle

import dilconv
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune


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
    assert isinstance(model.normed, dilconv.Conv1d)
    assert [r.args[0] for r in caplog.records] == ["strided", "grouped"]
    assert "strided stays with torch: stride 2" in caplog.text
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    assert seen == ["hook", "hook"] and parameters == [id(p) for p in model.parameters()]

    dilconv.revert(model)
    assert not any(isinstance(module, dilconv.Conv1d) for module in model.modules())
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


class Doubled(nn.Module):
    """A parametrization of the bias."""

    def forward(self, b):
        return 2 * b


PARAMETRIZED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "bias": lambda layer: parametrize.register_parametrization(layer, "bias", Doubled()) or layer,
    "two": lambda layer: PARAMETRIZED["bias"](parametrizations.weight_norm(layer)),
}
HOOKED = {  # torch's older way: a hook computes the weight
    "weight_norm": nn.utils.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "pruned": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
}
CHANGES = [*PARAMETRIZED.values(), *HOOKED.values()]
NAMES = [*PARAMETRIZED, *(f"old {name}" for name in HOOKED)]


def answer(model):
    """Output and gradients for a fixed input; spectral_norm iterates in training alone."""
    y = model.eval()(torch.randn(2, 4, 60, generator=torch.Generator().manual_seed(0)))
    return y, *torch.autograd.grad(y.square().sum(), list(model.parameters()))


def network_of_one(change):
    torch.manual_seed(0)
    return nn.Sequential(change(nn.Conv1d(4, 6, 5, padding=8, dilation=4)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
@pytest.mark.parametrize("first", ["changed", "converted"])
def test_parametrized_layers_are_converted_and_reverted(change, first):
    expected = answer(network_of_one(change))
    if first == "changed":
        model = dilconv.convert(network_of_one(change))
    else:
        model = network_of_one(lambda layer: change(dilconv.convert(layer)))
    assert isinstance(model[0], dilconv.Conv1d)
    found = answer(model)
    assert dilconv.revert(model) is model
    assert not isinstance(model[0], dilconv.Conv1d) and not hasattr(model[0], "algorithm")
    for ours, theirs, after in zip(found, expected, answer(model), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert torch.equal(after, theirs)


@pytest.mark.parametrize("swaps", [[dilconv.convert], [dilconv.convert, dilconv.revert]])
def test_copies_of_a_parametrized_layer_are_swapped_alone(swaps):
    """They share the class that parametrizing made."""
    plain = network_of_one(parametrizations.weight_norm)
    other = copy.deepcopy(plain)
    for swap in swaps:
        swap(other)
    assert not isinstance(plain[0], dilconv.Conv1d)
    expected = answer(plain)
    for a, b in zip(answer(other), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    third = dilconv.revert(copy.deepcopy(dilconv.convert(other)))
    assert isinstance(other[0], dilconv.Conv1d) and not isinstance(third[0], dilconv.Conv1d)
    assert torch.equal(answer(third)[0], expected[0])


def test_parametrizations_can_be_removed_after_either_swap():
    for swaps in ([dilconv.convert], [dilconv.convert, dilconv.revert]):
        layer = parametrizations.weight_norm(nn.Conv1d(4, 6, 5))
        for swap in swaps:
            swap(layer)
        weight = layer.weight
        parametrize.remove_parametrizations(layer, "weight")
        assert type(layer) is (dilconv.Conv1d if len(swaps) == 1 else nn.Conv1d)
        assert torch.equal(layer.weight, weight)


def test_converting_reads_no_parametrized_weight():
    """spectral_norm would iterate."""
    layer = parametrizations.spectral_norm(nn.Conv1d(4, 6, 5)).train()
    state = copy.deepcopy(layer.state_dict())
    dilconv.revert(dilconv.convert(layer))
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())


def test_what_stays_and_why(caplog):
    class Own(nn.Conv1d):
        pass

    layers = {
        "own": Own(2, 2, 3),
        "normed": parametrizations.weight_norm(Own(2, 2, 3)),
        "lazy": nn.LazyConv1d(2, 3),
        "wide": nn.Conv1d(2, 2, 3, dtype=torch.float64),
        "narrow": nn.Conv1d(2, 2, 3, dtype=torch.float16),
        "nowhere": nn.Conv1d(2, 2, 3, device="meta"),
        "circular": nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"),
    }
    classes = {name: type(layer) for name, layer in layers.items()}
    model = dilconv.convert(nn.ModuleDict(layers))
    assert {name: type(layer) for name, layer in model.items()} == classes
    assert [record.args[0] for record in caplog.records] == list(layers)
    for words in ("it is a Own", "LazyConv1d: call the model once", "torch.float64", "on meta"):
        assert words in caplog.text
    model["lazy"](torch.randn(1, 2, 9))
    assert type(dilconv.convert(model)["lazy"]) is dilconv.Conv1d


def test_bfloat16_weights_are_converted():
    plain = nn.Conv1d(4, 6, 25, dtype=torch.bfloat16)
    layer = dilconv.convert(copy.deepcopy(plain))
    assert type(layer) is dilconv.Conv1d
    x = torch.randn(2, 4, 60, dtype=torch.bfloat16)
    y, expected = layer(x), plain.double()(x.double())
    assert y.dtype == torch.bfloat16
    assert ((y - expected).abs() <= 2**-8 * expected.abs() + 1e-5).all()


def test_revert_refuses_a_subclass_and_changes_nothing():
    class Own(dilconv.Conv1d):
        pass

    model = nn.Sequential(dilconv.Conv1d(1, 1, 1), parametrizations.weight_norm(Own(1, 1, 1)))
    with pytest.raises(ValueError, match="1 is a Own, which revert cannot"):
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
