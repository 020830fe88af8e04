"""DeepLIFT by hooks is right where ReLUs are modules, which `unfuse` makes of any model's."""

import copy

import dilconv
import pytest
import torch
from torch import nn


def network(activation):
    """x (N, 4, 200) -> (N, 1); two layers, the second one with a residual branch."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            layer = {"padding": "same", "activation": activation}
            self.first = dilconv.Conv1d(4, 8, 21, **layer)
            self.second = dilconv.Conv1d(8, 8, 3, dilation=4, **layer)
            self.head = nn.Linear(8, 1)

        def forward(self, x):
            h = self.first(x)
            return self.head(self.second(h, h).mean(2))

    torch.manual_seed(0)
    return Network()


class Plain(nn.Module):
    """The same network of torch's layers, with the weights of `fused`."""

    def __init__(self, fused):
        super().__init__()
        self.first = nn.Conv1d(4, 8, 21, padding="same")
        self.second = nn.Conv1d(8, 8, 3, padding="same", dilation=4)
        self.head, self.relus = nn.Linear(8, 1), nn.ModuleList([nn.ReLU(), nn.ReLU()])
        self.load_state_dict(fused.state_dict())

    def forward(self, x):
        h = self.relus[0](self.first(x))
        return self.head(self.relus[1](self.second(h) + h).mean(2))


def sequences():
    """One-hot x (3, 4, 200) and shuffled references of the same shape."""
    bases = torch.randint(0, 4, (2, 3, 200), generator=torch.Generator().manual_seed(1))
    return nn.functional.one_hot(bases, 4).transpose(2, 3).float()


def deep_lift(model, x, reference):
    """The rescale rule (Shrikumar et al., 2017): a ReLU's slope is its secant to the reference."""

    def remember(module, inputs, output):
        module.seen = inputs[0].detach().clone(), output.detach()

    def rescale(module, grad_input, grad_output):
        before, after = (torch.sub(*t.chunk(2)) for t in module.seen)
        secant = torch.cat([after / before] * 2)
        flat = torch.cat([before.abs() < 1e-6] * 2)
        return (torch.where(flat, grad_input[0], grad_output[0] * secant),)

    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    hooks = [relu.register_forward_hook(remember) for relu in relus]
    hooks += [relu.register_full_backward_hook(rescale) for relu in relus]
    both = torch.cat([x, reference]).requires_grad_()
    (gradient,) = torch.autograd.grad(model(both).sum(), both)
    for hook in hooks:
        hook.remove()
    return gradient.chunk(2)[0] * (x - reference)


def completeness(model, x, reference):
    """How far the attributions are from summing to what the output changes by, as a share of it."""
    with torch.no_grad():
        change = (model(x) - model(reference))[:, 0]
    return float((deep_lift(model, x, reference).sum((1, 2)) - change).norm() / change.norm())


def test_unfused_models_are_attributed_as_torchs_are():
    fused, (x, reference) = network("relu"), sequences()
    plain = Plain(fused)
    expected = deep_lift(plain.double(), x.double(), reference.double())
    assert completeness(fused, x, reference) > 0.1  # as if its ReLUs were not there
    unfused = dilconv.unfuse(copy.deepcopy(fused))
    assert completeness(unfused, x, reference) < 1e-4
    found = deep_lift(unfused, x, reference)
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_deep_lift_shap_of_tangermeme():
    tangermeme = pytest.importorskip("tangermeme.deep_lift_shap")
    fused, (x, reference) = network("relu"), sequences()
    options = {"references": reference[:, None], "device": "cpu"}
    expected = tangermeme.deep_lift_shap(Plain(fused), x, **options)
    found = tangermeme.deep_lift_shap(dilconv.unfuse(fused), x, **options)
    assert (found - expected).norm() < 1e-5 * expected.norm() and expected.norm() > 0


def test_unfuse_keeps_bits_gradients_and_the_state():
    fused = network("relu")
    unfused, x = dilconv.unfuse(copy.deepcopy(fused)), sequences()[0]
    assert list(unfused.state_dict()) == list(fused.state_dict())
    assert sum(isinstance(module, nn.ReLU) for module in unfused.modules()) == 2
    outputs = [model(x) for model in (fused, unfused)]
    assert torch.equal(*outputs)
    gradients = [
        torch.autograd.grad(y.sum(), list(model.parameters()))
        for y, model in zip(outputs, (fused, unfused), strict=True)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert dilconv.fuse(unfused) is unfused
    assert unfused.first.activation == unfused.second.activation == "relu"
    assert not any(isinstance(module, nn.ReLU) for module in unfused.modules())
    assert torch.equal(unfused(x), outputs[0])


def test_fuse_leaves_what_it_cannot_fuse():
    """A hook on the ReLU, another activation, a ReLU with a subclass's own forward."""

    class Leaky(nn.ReLU):
        def forward(self, x):
            return torch.where(x > 0, x, x / 10)

    hooked = dilconv.Conv1d(1, 1, 3, activation=nn.ReLU())
    seen = []
    hooked.activation.register_forward_hook(lambda *_: seen.append("hook"))
    model = nn.Sequential(
        hooked, *(dilconv.Conv1d(1, 1, 3, activation=a) for a in (nn.GELU(), Leaky()))
    )
    x = torch.randn(1, 1, 20)
    before = model(x)
    assert torch.equal(dilconv.fuse(model)(x), before)
    assert seen == ["hook"] * 2


def test_activation_module_is_called_once_behind_the_residual():
    layer = dilconv.Conv1d(2, 3, 3, padding=1, activation=nn.PReLU(init=0.1))
    x, residual = torch.randn(2, 2, 9), torch.randn(2, 3, 9)
    expected = nn.functional.conv1d(x, layer.weight, layer.bias, padding=1) + residual
    expected = nn.functional.prelu(expected, layer.activation.weight)
    torch.testing.assert_close(layer(x, residual), expected, rtol=1e-5, atol=1e-6)
    assert set(layer.state_dict()) == {"weight", "bias", "activation.weight"}
    with pytest.raises(ValueError, match="applies PReLU inside"):
        dilconv.revert(layer)
    with pytest.raises(ValueError, match="activation must be"):
        dilconv.Conv1d(2, 3, 3, activation="gelu")


def test_direct_sums_change_within_the_receptive_field_alone():
    """A mutation leaves every other output its bits."""
    layer = dilconv.convert(nn.Conv1d(4, 64, 21, padding=10))
    layer.algorithm = "direct"
    one = sequences()[0][:1].repeat(1, 1, 10)
    mutated = one.clone()
    mutated[0, :, 1000] = mutated[0, :, 1000].roll(1)
    before, after = layer(torch.cat([one, mutated]))
    changed = (before != after).any(0).nonzero().flatten()
    assert changed.min() >= 990 and changed.max() <= 1010
