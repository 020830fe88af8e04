"""What one extreme number does: to its own pair of spectral tiles, and to nothing else.

Lanes of the FFT are tiles or phases and never mix: whatever lies beyond a pair must come out with
the same bits as without the extreme number.
"""

from functools import cache

import dilconv
import pytest
import torch
import torch.nn.functional as F
from dilconv.contenders import CONTENDERS, Layer, Tensors
from dilconv.verification import Oracle

# Sums of 50 products and more, but for "one filter" and "one channel" in one direction.
ORDINARY = [
    Layer("AtacWorks", N=1, C=15, K=15, S=51, d=8, W=6000),
    Layer("one channel", N=1, C=1, K=15, S=51, d=8, W=6000),
    Layer("one filter", N=1, C=15, K=1, S=51, d=8, W=6000),
    Layer("dense", N=2, C=15, K=15, S=51, d=1, W=3000),
    Layer("sevenths", N=2, C=8, K=16, S=25, d=7, W=3000),
    Layer("short filter", N=1, C=32, K=32, S=5, d=2, W=4000),
]
# Of two items the first is left as it is; AT of the second gets the extreme number.
HIT = [
    Layer("AtacWorks", N=2, C=5, K=7, S=51, d=8, W=12_000),
    Layer("dense", N=2, C=3, K=4, S=51, d=1, W=4000),
    Layer("sevenths", N=2, C=3, K=4, S=25, d=7, W=9000),
    Layer("parts", N=2, C=2, K=2, S=700, d=1, W=9000),
]
AT = (1, 1, 3001)
CALLS = {"y": "forward", "dx": "backward_data", "dx beside dw": "backward"}
MOST = 2  # times the error of direct


def by_name(layer):
    return layer.name


@pytest.fixture(autouse=True)
def _one_thread(set_threads):
    set_threads(1)


@cache
def ordinary(layer):
    return Oracle.of(Tensors.of(layer))


@pytest.mark.parametrize("layer", ORDINARY, ids=by_name)
def test_spectral_errs_as_direct_does_on_ordinary_numbers(isa, layer):
    oracle = ordinary(layer)

    def errors(algorithm):
        found = CONTENDERS[algorithm](oracle.tensors).results("forward_backward")
        return {n: (v.double() - oracle.exact[n]).abs().max().item() for n, v in found.items()}

    ours, direct = errors("spectral"), errors("direct")
    for name, error in ours.items():
        assert error <= MOST * direct[name], name


def with_extreme(layer, value):
    """The layer's tensors as they are, and with `value` in x and in g."""
    plain, hit = Tensors.of(layer), Tensors.of(layer)
    for t in (hit.x, hit.g):
        t[AT] = value
    return plain, hit


def results(algorithm, tensors):
    """y and dx of every call that computes them."""
    made = CONTENDERS[algorithm](tensors)
    return {
        "y": made.results("forward")["y"],
        "dx": made.results("backward_data")["dx"],
        "dx beside dw": made.results("forward_backward")["dx"],
    }


def spectral_plan(layer, call):
    sizes = (layer.N, layer.C, layer.K, layer.W, layer.S, layer.d)
    options = {"pass_name": call, "algorithm": "spectral", "threads": 1}
    how = dilconv.plan(*sizes, padding=layer.padding, **options)
    assert how.algorithm == "spectral"
    return how


def first_tap(layer, call):
    """Columns from an output to the first input that it reads, to the left."""
    return layer.padding[0] if call == "forward" else layer.padding[1]


def summed(layer, call):
    """Columns of the second item into which a number at AT is summed; bool (W,)."""
    steps = AT[2] + first_tap(layer, call) - torch.arange(layer.W)
    return (steps % layer.d == 0) & (steps >= 0) & (steps < layer.S * layer.d)


SHORT = [
    Layer("S=3", N=2, C=20, K=9, S=3, d=8, W=4000),
    Layer("S=2", N=2, C=16, K=16, S=2, d=1, W=4000),
    Layer("S=5", N=2, C=3, K=4, S=5, d=200, W=4000),
]


@pytest.mark.parametrize("value", [1e4, float("inf"), float("nan")], ids=str)
@pytest.mark.parametrize("layer", SHORT, ids=by_name)
def test_an_extreme_number_stays_in_its_tiles(isa, layer, value):
    """A tile of winograd reads 6 columns of one phase."""
    plain, hit = (results("winograd", t) for t in with_extreme(layer, value))
    for name, call in CALLS.items():
        steps = AT[2] + first_tap(layer, call) - torch.arange(layer.W)
        beyond = (steps % layer.d != 0) | (steps.abs() >= 6 * layer.d)
        assert 0 < beyond.sum() < layer.W
        assert torch.equal(plain[name][0], hit[name][0]), name
        assert torch.equal(plain[name][1][:, beyond], hit[name][1][:, beyond]), name
        if value != 1e4:
            assert not hit[name][1][:, summed(layer, call)].isfinite().any(), name


@pytest.mark.parametrize("layer", SHORT, ids=by_name)
def test_winograd_errs_at_most_ten_times_as_direct_does(isa, layer):
    oracle = Oracle.of(Tensors.of(layer))
    for name, exact in oracle.exact.items():
        ours, direct = (
            CONTENDERS[algorithm](oracle.tensors).results("forward_backward")[name]
            for algorithm in ("winograd", "direct")
        )
        error = (ours.double() - exact).norm()
        assert error <= 10 * (direct.double() - exact).norm(), name


def beyond_the_pair(layer, call):
    """Columns of the second item that share no pair of tiles with AT; bool (W,).

    A pair has 2*hop outputs of one phase and reads S - 1 columns of it more.
    """
    steps = AT[2] + first_tap(layer, call) - torch.arange(layer.W)
    reach = (2 * spectral_plan(layer, call).hop + layer.S) * layer.d
    return (steps % layer.d != 0) | (steps.abs() >= reach)


@pytest.mark.parametrize("value", [1e4, float("inf"), float("nan")], ids=str)
@pytest.mark.parametrize("layer", HIT, ids=by_name)
def test_an_extreme_number_stays_in_its_pair_of_tiles(isa, layer, value):
    plain, hit = (results("spectral", t) for t in with_extreme(layer, value))
    for name, call in CALLS.items():
        beyond = beyond_the_pair(layer, call)
        assert 0 < beyond.sum() < layer.W
        assert torch.equal(plain[name][0], hit[name][0]), name
        assert torch.equal(plain[name][1][:, beyond], hit[name][1][:, beyond]), name


@pytest.mark.parametrize("algorithm", ["direct", "spectral"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")], ids=str)
@pytest.mark.parametrize("layer", HIT, ids=by_name)
def test_inf_and_nan_reach_what_they_are_summed_into(isa, layer, value, algorithm):
    """All of it, and with direct nothing else."""
    plain, hit = (results(algorithm, t) for t in with_extreme(layer, value))
    for name, call in CALLS.items():
        reached = summed(layer, call)
        assert not hit[name][1][:, reached].isfinite().any(), name
        if algorithm == "direct":
            assert torch.equal(plain[name][1][:, ~reached], hit[name][1][:, ~reached]), name


@cache
def spiked(layer):
    return Oracle.of(with_extreme(layer, 1e4)[1])


@pytest.mark.parametrize("layer", HIT, ids=by_name)
def test_a_spike_is_within_the_bound_of_its_pair(isa, layer):
    """10,000 in a quiet window: the bound of ordinary numbers, from the norm of the pair."""
    oracle = spiked(layer)
    oracle.check("spectral", CONTENDERS["spectral"](oracle.tensors))


@pytest.mark.parametrize("d", [1, 3, 8])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_tiles_of_zeros_leave_the_epilogue_alone(isa, d, activation):
    """Exactly act(bias + residual), and exact zeros in the gradient of x.

    From the first tile on that reads none of the columns up to 40: the second of its pair.
    """
    layer = Layer("", N=2, C=3, K=4, S=51, d=d, W=20_000)
    x = torch.zeros(2, 3, layer.W)
    x[..., :40] = 1000 * torch.randn(2, 3, 40)
    x.requires_grad_()
    w, b, residual = torch.randn(4, 3, 51), torch.randn(4), torch.randn(2, 4, layer.W)
    options = {"padding": "same", "dilation": d, "algorithm": "spectral"}
    y = dilconv.conv1d(x, w, b, residual=residual, activation=activation, **options)
    expected = b[:, None] + residual
    expected = F.relu(expected) if activation else expected
    second = spectral_plan(layer, "forward").hop * d
    assert second - layer.padding[0] >= 40
    far = slice(second, None)
    assert torch.equal(y[..., far], expected[..., far])
    g = torch.zeros_like(y)
    g[..., :40] = 1000 * torch.randn(2, 4, 40)
    (dx,) = torch.autograd.grad(y, x, g)
    far = slice(spectral_plan(layer, "backward_data").hop * d, None)
    assert dx.count_nonzero() > 0 and not dx[..., far].any()


ALGORITHMS = ["direct", "spectral", "winograd"]
# Filters beyond one vector and beyond two: some ride through one transform.
BROKEN = [(3, 40, 5, 8, 1000), (2, 5, 3, 1, 300), (20, 17, 4, 3, 700)]  # C, K, S, d, W
OF_X, OF_W, OF_G = (1, 1, 150), (1, 0, 2), (0, 3, 77)


def all_results(tensors, d, algorithm, activation=None):
    """y, dx, dw, db and, as torch computes them, the same."""
    x, w, b, g = tensors

    def grads(conv):
        leaves = [t.clone().requires_grad_() for t in (x, w, b)]
        y = conv(*leaves)
        return y.detach(), *torch.autograd.grad(y, leaves, g)

    pad = ((w.shape[2] - 1) * d // 2, (w.shape[2] - 1) * d - (w.shape[2] - 1) * d // 2)
    options = {"padding": pad, "dilation": d, "activation": activation, "algorithm": algorithm}

    def in_torch(x, w, b):
        y = F.conv1d(F.pad(x, pad), w, b, dilation=d)
        return F.relu(y) if activation else y

    return grads(lambda x, w, b: dilconv.conv1d(x, w, b, **options)), grads(in_torch)


@pytest.mark.parametrize("zeros", ["nothing", "x", "g"])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")], ids=str)
@pytest.mark.parametrize("where", ["x", "w", "b", "g"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_inf_and_nan_show_wherever_torch_shows_them(algorithm, where, value, activation, zeros):
    for C, K, S, d, W in BROKEN:
        x, w, b, g = (
            torch.randn(2, C, W),
            torch.randn(K, C, S),
            torch.randn(K),
            torch.randn(2, K, W),
        )
        {"x": x, "g": g}.get(zeros, torch.empty(0)).zero_()
        tensor, at = {"x": (x, OF_X), "w": (w, OF_W), "b": (b, 2), "g": (g, OF_G)}[where]
        tensor[at] = value
        for name, ours, torchs in zip(
            ("y", "dx", "dw", "db"),
            *all_results((x, w, b, g), d, algorithm, activation),
            strict=True,
        ):
            assert not (ours.isfinite() & ~torchs.isfinite()).any(), (name, C, K)


@pytest.mark.parametrize("value", [float("inf"), float("nan")], ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_broken_filter_or_channel_breaks_no_other(isa, algorithm, value):
    """In y the one filter, in dw the one filter of g or channel of x: the rest rounds as before."""

    def check(found, whole, dim, broken):
        others = [i for i in range(whole.shape[dim]) if i != broken]
        kept, expected = (t.index_select(dim, torch.tensor(others)) for t in (found, whole))
        torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-4 * whole.abs().max().item())
        assert not found.select(dim, broken).isfinite().all()

    for C, K, S, d, W in BROKEN:
        tensors = torch.randn(2, C, W), torch.randn(K, C, S), torch.randn(K), torch.randn(2, K, W)
        y, _, dw, _ = all_results(tensors, d, algorithm)[0]
        for which, at, result, dim, broken in (
            (1, OF_W, 0, 1, OF_W[0]),
            (0, OF_X, 2, 1, OF_X[1]),
            (3, OF_G, 2, 0, OF_G[1]),
        ):
            hit = [t.clone() for t in tensors]
            hit[which][at] = value
            check(all_results(hit, d, algorithm)[0][result], (y, None, dw)[result], dim, broken)
