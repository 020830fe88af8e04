"""`with dilconv.enabled():` takes every F.conv1d that the kernels cover, and no other."""

import contextlib
import logging
import threading

import dilconv
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class Seen(TorchDispatchMode):
    """The convolutions that run below it: dilconv's and torch's."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "dilconv.forward" in str(function) or str(function) == "aten.convolution.default":
            self.names.append(str(function).split(".")[0])
        return function(*args, **(kwargs or {}))


def both(call):
    """What `call` gives with torch and under `enabled`, and whose convolutions the latter ran."""
    expected = call()
    with dilconv.enabled(), Seen() as seen:
        found = call()
    return expected, found, seen.names


X, WEIGHT, BIAS = torch.randn(2, 4, 60), torch.randn(6, 4, 5), torch.randn(6)
COVERED = {
    "plain": ((X, WEIGHT), {}),
    "positions": ((X, WEIGHT, BIAS, 1, 2, 3, 1), {}),
    "tuples": ((X, WEIGHT, BIAS, (1,), (2,), [3]), {}),
    "names": ((), {"input": X, "weight": WEIGHT, "bias": BIAS, "padding": 2, "dilation": 2}),
    "same": ((X, WEIGHT), {"padding": "same", "dilation": 2}),
    "same, even": ((X, torch.randn(6, 4, 4)), {"padding": "same"}),
    "valid": ((X, WEIGHT), {"padding": "valid"}),
    "unbatched": ((X[0], WEIGHT, BIAS), {}),
    "no items": ((X[:0], WEIGHT, BIAS), {}),
    "transposed x": ((torch.randn(2, 60, 4).transpose(1, 2), WEIGHT), {}),
    "every other column": ((torch.randn(2, 4, 120)[..., ::2], WEIGHT), {}),
    "every column the same": ((torch.randn(2, 4, 1).expand(2, 4, 60), WEIGHT), {}),
    "bfloat16": ((X.bfloat16(), WEIGHT.bfloat16(), BIAS.bfloat16()), {}),
    "parameters": ((X, nn.Parameter(WEIGHT), nn.Parameter(BIAS)), {}),
}
UNCOVERED = {
    "stride": ((X, WEIGHT), {"stride": 2}),
    "groups": ((X, torch.randn(6, 2, 5)), {"groups": 2}),
    "float64": ((X.double(), WEIGHT.double()), {}),
    "float16": ((X.half(), WEIGHT.half()), {}),
    "complex": ((X + 1j, WEIGHT + 1j), {}),
    "meta": ((X.to("meta"), WEIGHT.to("meta")), {}),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("case", COVERED)
def test_calls_that_run_on_the_kernels(case):
    arguments, options = COVERED[case]
    expected, found, names = both(lambda: F.conv1d(*arguments, **options))
    assert names == ["dilconv"]
    assert found.shape == expected.shape and found.dtype == expected.dtype
    small = 1e-2 if found.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found, expected, rtol=small, atol=small)


@pytest.mark.parametrize("case", UNCOVERED)
def test_calls_that_fall_through(case, caplog):
    from dilconv.conv import _warn_once

    _warn_once.cache_clear()
    arguments, options = UNCOVERED[case]
    with caplog.at_level(logging.WARNING):
        expected, found, names = both(lambda: F.conv1d(*arguments, **options))
    assert set(names) == {"aten"}
    assert "leaves this convolution to torch" in caplog.text
    if not found.is_meta:
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((X, torch.randn(6, 3, 5)), {}),
        ((X[..., :3], WEIGHT), {}),
        ((X, WEIGHT), {"padding": -1}),
        ((X, WEIGHT), {"padding": "sane"}),
        ((X, WEIGHT), {"padding": (1, 2)}),
        ((X, WEIGHT), {"dilation": 0}),
        ((X, WEIGHT), {"stride": (1, 1)}),
        ((X, WEIGHT, BIAS[:5]), {}),
        ((X.bfloat16(), WEIGHT), {}),
        ((X, WEIGHT[0]), {}),
        ((X, None), {}),
        ((X, WEIGHT, 3), {}),
        ((X,), {}),
        ((X, WEIGHT, None, 1, 0, 1, 1, 1), {}),
        ((X, WEIGHT), {"algorithm": "direct"}),
    ],
)
def test_what_torch_refuses_is_refused_in_its_words(arguments, options):
    errors = []
    for mode in (contextlib.nullcontext(), dilconv.enabled()):
        with mode, pytest.raises((RuntimeError, TypeError, ValueError)) as info:
            F.conv1d(*arguments, **options)
        errors.append((type(info.value), str(info.value)))
    assert errors[0] == errors[1]


class Own(nn.Conv1d):
    """A subclass, as libraries have it: a causal convolution."""

    def forward(self, x):
        return super().forward(F.pad(x, (4, 0)))


def functional(x):
    return F.conv1d(F.relu(F.conv1d(x, WEIGHT, padding=2)), torch.ones(1, 6, 3))


@pytest.mark.parametrize(
    ("model", "calls"),
    [
        (Own(4, 6, 5), 1),
        (functional, 2),
        (nn.Sequential(Own(4, 6, 5), nn.Tanh(), nn.Conv1d(6, 2, 3, padding="same")), 2),
        (nn.Conv1d(4, 6, 5, padding=2, padding_mode="circular"), 1),
        (nn.utils.parametrizations.weight_norm(Own(4, 6, 5)), 1),
        (dilconv.Conv1d(4, 6, 5), 1),
    ],
)
def test_models_of_others(model, calls):
    def gradients():
        x = X.clone().requires_grad_()
        y = model(x)
        return y, torch.autograd.grad(y.square().sum(), x)[0]

    expected, found, names = both(gradients)
    assert names == ["dilconv"] * calls
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_autocast_is_torchs():
    with torch.autocast("cpu", torch.bfloat16):
        expected, found, names = both(lambda: F.conv1d(X, WEIGHT, BIAS))
    assert names == ["dilconv"] and found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.05)


def test_it_ends_and_nests_and_is_of_one_thread():
    with dilconv.enabled():
        with dilconv.enabled(), Seen() as inner:
            F.conv1d(X, WEIGHT)
        other = Seen()

        def call():
            with other:
                F.conv1d(X, WEIGHT)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    with Seen() as after:
        F.conv1d(X, WEIGHT)
    assert [inner.names, other.names, after.names] == [["dilconv"], ["aten"], ["aten"]]


def test_beside_another_mode():
    """`torch.device` as a context is such a mode as well."""
    with torch.device("cpu"):
        _, found, names = both(lambda: F.conv1d(X, WEIGHT))
        assert names == ["dilconv"]
        direct = dilconv.conv1d(X, WEIGHT)
    with dilconv.enabled(), torch.device("cpu"):
        assert torch.equal(F.conv1d(X, WEIGHT), found)
    assert torch.equal(direct, found)


def test_a_tensor_class_with_functions_of_its_own_keeps_them():
    class Counted(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return "mine" if function is F.conv1d else NotImplemented

    with dilconv.enabled():
        assert F.conv1d(X.as_subclass(Counted), WEIGHT) == "mine"


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("inside", [False, True])
def test_compiles_in_one_graph(inside, backend):
    model = nn.Sequential(nn.Conv1d(4, 6, 5), nn.Tanh(), nn.Conv1d(6, 2, 3, stride=2))

    def within(x):
        with dilconv.enabled():
            return model(x)

    torch.compiler.reset()
    if inside:
        found = torch.compile(within, fullgraph=True, backend=backend)(X)
    else:
        with dilconv.enabled():
            found = torch.compile(model, fullgraph=True, backend=backend)(X)
    torch.testing.assert_close(found, within(X))


def test_transforms_inside():
    x, v = torch.randn(3, 4, 20), torch.randn(3, 4, 20)

    def derivatives():
        f = lambda a: F.conv1d(a, WEIGHT).tanh().sum()  # noqa: E731
        return torch.func.jvp(torch.func.vmap(torch.func.grad(f)), (x,), (v,))

    expected, found, names = both(derivatives)
    assert "dilconv" in names and "aten" not in names
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
