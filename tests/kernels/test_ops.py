"""The operators as torch sees them: opcheck, compile, the layer as a drop-in."""

import logging
import os
import subprocess
import sys

import dilconv
import pytest
import torch
import torch.nn.functional as F
from dilconv import _native, ops
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_opcheck_forward(relu, fused):
    x, w = torch.randn(2, 3, 40, requires_grad=True), torch.randn(5, 3, 4, requires_grad=True)
    b = torch.randn(5, requires_grad=True) if fused else None
    residual = torch.randn(2, 5, 43, requires_grad=True) if fused else None
    torch.library.opcheck(torch.ops.dilconv.forward, (x, w, b, residual, 3, 6, 2, relu, "direct"))


@pytest.mark.parametrize(
    "needs", [[True] * 4, [False, True, False, False], [True, False, True, False]]
)
@pytest.mark.parametrize("relu", [False, True])
def test_opcheck_backward(needs, relu):
    g, x = torch.randn(2, 5, 43, requires_grad=True), torch.randn(2, 3, 40, requires_grad=True)
    w, y = torch.randn(5, 3, 4, requires_grad=True), torch.randn(2, 5, 43) if relu else None
    torch.library.opcheck(torch.ops.dilconv.backward, (g, x, w, y, 3, 6, 2, needs, "direct"))


def test_compiles_without_graph_breaks():
    layer = dilconv.Conv1d(3, 5, 4, padding="same", dilation=2, activation="relu")
    x = torch.randn(2, 3, 60, requires_grad=True)
    residual = torch.randn(2, 5, 60)
    eager = layer(x, residual)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x, residual)
    assert torch.equal(eager, compiled)
    for a, b in zip(
        torch.autograd.grad(eager.square().sum(), (x, layer.weight)),
        torch.autograd.grad(compiled.square().sum(), (x, layer.weight)),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("relu", [False, True])
def test_calls_past_the_dispatcher_give_what_the_operator_gives(relu):
    x, w, b, r = leaves = [
        torch.randn(*shape, requires_grad=True)
        for shape in ((2, 3, 40), (5, 3, 4), (5,), (2, 5, 40))
    ]

    def results(forward):
        y = forward(x, w, b, r, 3, 3, 2, relu, "direct")
        first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        return y, *first, *torch.autograd.grad(sum(t.square().sum() for t in first), leaves)

    for ours, theirs in zip(results(ops.forward), results(torch.ops.dilconv.forward), strict=True):
        assert torch.equal(ours, theirs)


def test_modes_see_the_operators():
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    w = torch.randn(4, 3, 3, requires_grad=True)
    with Watch():
        dilconv.conv1d(torch.randn(1, 3, 20), w).sum().backward()
    assert "dilconv.forward.default" in seen and "dilconv.backward.default" in seen


def test_profiler_sees_the_operators():
    with torch.profiler.profile() as profile:
        dilconv.conv1d(torch.randn(1, 3, 20), torch.randn(4, 3, 3))
    assert "dilconv::forward" in {event.key for event in profile.key_averages()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_layer_computes():
    layer = dilconv.Conv1d(3, 4, 3, padding="same")
    traced = torch.jit.trace(layer, torch.randn(2, 3, 20))
    x = torch.randn(2, 3, 20)
    assert torch.equal(traced(x), layer(x))


def test_vmap_equals_the_batch():
    x, w = torch.randn(5, 3, 20), torch.randn(4, 3, 3)
    assert torch.equal(torch.vmap(lambda x: dilconv.conv1d(x, w))(x), dilconv.conv1d(x, w))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_lazily_negated_tensors(which):
    """Such as the imaginary part of a conjugate: the minus sign is still to be applied."""
    tensors = [torch.randn(2, 3, 20), torch.randn(4, 3, 3), torch.randn(4)]
    lazy = torch._neg_view(tensors[which])
    assert lazy.is_neg()
    x, w, b = (*tensors[:which], lazy, *tensors[which + 1 :])
    assert torch.equal(
        dilconv.conv1d(x, w, b), dilconv.conv1d(*(t.resolve_neg() for t in (x, w, b)))
    )


def test_subclass_is_kept():
    class Track(torch.Tensor):
        pass

    y = dilconv.conv1d(torch.randn(1, 3, 20), torch.randn(4, 3, 3).as_subclass(Track))
    assert type(y) is Track


def test_layer_is_a_drop_in():
    ours = dilconv.Conv1d(3, 5, 7, padding=6, dilation=2)
    theirs = nn.Conv1d(3, 5, 7, padding=6, dilation=2)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, 50)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stride": 2}, "stride 2"),
        ({"groups": 3}, "groups 3"),
        ({"padding_mode": "circular", "padding": 1}, "circular"),
        ({"dtype": torch.float64}, "float64"),
    ],
)
def test_unsupported_layers_run_in_torch_and_say_so(options, reason, caplog):
    from dilconv.conv import _warn_once

    _warn_once.cache_clear()
    layer = dilconv.Conv1d(3, 6, 3, activation="relu", **options)
    theirs = nn.Conv1d(3, 6, 3, **options)
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 50, dtype=layer.weight.dtype)
    with caplog.at_level(logging.WARNING):
        y = layer(x)
        layer(x)
    torch.testing.assert_close(y, F.relu(theirs(x)))
    assert len(caplog.records) == 1 and reason in caplog.text


def test_autocast_gives_what_torch_gives():
    layer = dilconv.Conv1d(3, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 3, 20)).dtype == torch.bfloat16


def test_unknown_isa_is_refused(monkeypatch):
    monkeypatch.setenv("DILCONV_ISA", "avx1024")
    with pytest.raises(ValueError, match="avx1024 cannot run here"):
        dilconv.conv1d(torch.zeros(1, 1, 4), torch.zeros(1, 1, 1))


def test_default_isa_is_one_that_runs_here(monkeypatch):
    monkeypatch.delenv("DILCONV_ISA", raising=False)
    chosen = dilconv.active_isa()
    assert chosen in dilconv.available_isas()
    assert chosen != "generic" or dilconv.available_isas() == ("generic",)


def test_one_openmp_runtime():
    code = (
        "import dilconv, torch; dilconv.conv1d(torch.zeros(1,1,9), torch.zeros(1,1,1));"
        "names = {line.split('/')[-1] for line in open('/proc/self/maps')};"
        "print(*(name for name in names if 'omp' in name))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert out.returncode == 0, out.stderr
    assert out.stdout.count("omp") == 1, out.stdout


def plan_of(algorithm, pass_name, N):
    number = _native.ALGORITHMS.index(algorithm)
    p = _native.Problem(N, 15, 15, 60000, 51, 8, 200, 60000, 900000, 60000, 0, 2, number)
    return _native.plan(_native.active_isa(), p, pass_name)


@pytest.mark.parametrize("algorithm", ["direct", "spectral"])
@pytest.mark.parametrize("pass_name", _native.PASSES)
def test_workspace_does_not_grow_with_the_batch(algorithm, pass_name):
    some, many = (plan_of(algorithm, pass_name, N) for N in (16, 1024))
    assert _native.ALGORITHMS[some.algorithm] == _native.ALGORITHMS[many.algorithm] == algorithm
    assert 0 < many.workspace_bytes == some.workspace_bytes < 8 << 20


def test_freed_memory_is_kept():
    """A freed tensor's pages are used again; by default 35,000 faults a round come back."""
    code = (
        "import resource, torch\n"
        "from dilconv.memory import keep_freed_memory\n"
        "assert keep_freed_memory()\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def cost():\n"
        "    before = faults(); [torch.ones(1_800_000) for _ in range(20)]\n"
        "    return faults() - before\n"
        "print(min([cost() for _ in range(6)][3:]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 1000
