"""conv1d against the float64 oracle with a derived bound: values, then all gradients."""

from functools import cache

import dilconv
import pytest
import torch
import torch.nn.functional as F
from dilconv import _native
from dilconv.reference import (
    conv1d_reference,
    float32_bound,
    spectral_bound,
    winograd_bound,
    winograd_growth,
)
from dilconv.verification import pair_norm
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

# N, C, K, W, S, d, (left, right): on the boundaries of tiles (8..64 columns, 6 filters), blocks
# (192, 576, 960 columns) and of the problem itself (Q = 1, C = K = 1, d beyond a block).
SHAPES = [
    (1, 1, 1, 1, 1, 1, (0, 0)),
    (2, 15, 15, 1000, 51, 8, (200, 200)),
    (1, 1, 15, 577, 51, 8, (200, 200)),
    (3, 15, 1, 191, 51, 8, (200, 200)),
    (2, 15, 15, 193, 1, 1, (0, 0)),
    (1, 16, 17, 401, 51, 8, (0, 0)),  # Q = 1
    (2, 17, 64, 65, 3, 7, (0, 5)),
    (1, 64, 16, 100, 2, 16, (40, 0)),
    (2, 16, 5, 33, 5, 1000, (2000, 2000)),
    (1, 3, 7, 1000, 250, 1, (124, 125)),
    (2, 2, 3, 15, 3, 2, (9, 9)),  # padding beyond the filter's reach
    (1, 1, 2, 961, 3, 2, (0, 0)),
    (4, 7, 4, 63, 4, 1, (1, 2)),
    (1, 2, 2, 40, 1001, 1, (500, 500)),  # filter longer than the input
]


# Every number of taps that minimal filtering takes: phases in one run and in many, more of them
# than a unit takes, ends that hold no output, channels and filters beside whole vectors.
SHORT = [
    (2, 64, 17, 700, 2, 1, (1, 0)),
    (1, 9, 40, 900, 3, 70, (70, 140)),
    (1, 20, 33, 300, 4, 40, (60, 60)),
    (2, 3, 5, 130, 5, 33, (66, 66)),
    (1, 16, 16, 2114, 3, 256, (256, 256)),
]
CASES = [
    (shape, algorithm)
    for algorithm in ("direct", "spectral", "winograd")
    for shape in [*SHAPES, *SHORT]
    if algorithm != "winograd" or 2 <= shape[4] <= 5
]


def make(shape, nonnegative=False, seed=0):
    N, C, K, W, S, d, padding = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        t = torch.randn(*size, generator=generator)
        return t.abs() if nonnegative else t

    Q = W + sum(padding) - (S - 1) * d
    x, w, b = normal(N, C, W), normal(K, C, S), normal(K)
    return x, w, b, normal(N, K, Q), normal(N, K, Q)


def additions(shape, lanes, threads):
    """Longest chain of float32 additions in forward, backward-data, backward-weight."""
    N, C, K, _, S, _, _ = shape
    Q = make(shape)[3].shape[2]
    blocks = N * (-(-Q // 192))
    return C * S + 2, K * S + 1, min(Q, 960) // lanes + 4 + blocks + threads


def assert_within(actual, oracle, bound, what):
    excess = ((actual.double() - oracle).abs() - bound).max().item()
    assert excess <= 0, f"{what} exceeds its bound by {excess}"


def isa_lanes(name):
    """Floats in a vector of the ISA's kernels."""
    return _native._library().dilconv_isa_lanes(_native.built_isas().index(name))


def fft_length(shape, pass_name):
    N, C, K, W, S, d, (left, _) = shape
    Q = make(shape)[3].shape[2]
    number = _native.ALGORITHMS.index("spectral")
    problem = _native.Problem(N, C, K, W, S, d, left, Q, C * W, W, 0, 1, number)
    return _native.plan(_native.active_isa(), problem, pass_name).fft_length


def winograd_bounds(shape, inputs, sizes, m_dw):
    x, w, _, _, g = inputs
    _, C, K, _, S, d, _ = shape
    w_norms = (w.double().norm(dim=dims).max() for dims in ((1, 2), (0, 2)))
    tiles, growth = (pair_norm(t, d, 3) for t in (x, g)), winograd_growth(S)
    y, dx = (
        winograd_bound(tile, w_norm, growth, summed)
        for tile, w_norm, summed in zip(tiles, w_norms, (C, K), strict=True)
    )
    x_norm, g_norm = (t.double().norm(dim=(0, 2)).max() for t in (x, g))
    last = float32_bound(sizes[0], 2)  # bias and residual
    return last + y, dx, winograd_bound(x_norm, g_norm, winograd_growth(S, gradient=True), m_dw)


def bounds(shape, algorithm, inputs, sizes, lanes, threads):
    """Bounds of y, dx, dw, db; sizes: the same results of the absolute values."""
    m_y, m_dx, m_dw = additions(shape, lanes, threads)
    y_size, _, _, db_size = sizes
    db = float32_bound(db_size, m_dw)
    if algorithm == "direct":
        chains = zip(sizes[:3], (m_y, m_dx, m_dw), strict=True)
        return *(float32_bound(size, m) for size, m in chains), db
    if algorithm == "winograd":
        return *winograd_bounds(shape, inputs, sizes, m_dw * lanes), db
    x, w, _, _, g = inputs
    _, C, K, _, _, d, _ = shape
    forward, both = fft_length(shape, "forward"), fft_length(shape, "backward")
    # Two filters (or gradients) ride through one transform, so the larger norm counts for all.
    w, last = w.double(), float32_bound(y_size, 2)  # bias and residual are added last
    w_norms = w.norm(dim=(1, 2)).max(), w.norm(dim=(0, 2)).max()
    y = last + spectral_bound(pair_norm(x, d, forward), w_norms[0], forward, C)
    dx = spectral_bound(pair_norm(g, d, both), w_norms[1], both, K)
    x_norm, g_norm = (t.double().norm(dim=(0, 2)).max() for t in (x, g))
    dw = spectral_bound(x_norm, g_norm, both, m_dw * lanes)
    return y, dx, dw, db


@cache
def oracle_of(shape, nonnegative):
    """Inputs, float64 results (y, dx, dw, db) and those of the absolute values; no activation."""
    inputs = make(shape, nonnegative)
    options = {"padding": shape[6], "dilation": shape[5]}
    results, sizes = (
        (conv1d_reference(x, w, b, residual=r, **options), *reference_gradients(x, w, g, options))
        for x, w, b, r, g in (inputs, [t.abs() for t in inputs])
    )
    return inputs, results, sizes


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize(("shape", "algorithm"), CASES, ids=str)
def test_values_and_gradients(isa, shape, nonnegative, algorithm, threads, set_threads):
    inputs, results, sizes = oracle_of(shape, nonnegative)
    *leaves, g = (t.clone().requires_grad_(i < 4) for i, t in enumerate(inputs))
    x, w, b, residual = leaves
    set_threads(threads)
    options = {"padding": shape[6], "dilation": shape[5], "algorithm": algorithm}
    y = dilconv.conv1d(x, w, b, residual=residual, **options)
    dx, dw, db, dr = torch.autograd.grad(y, leaves, g)
    limits = bounds(shape, algorithm, inputs, sizes, isa_lanes(isa), threads)
    found = (y.detach(), dx, dw, db)
    for name, *numbers in zip(("y", "dx", "dw", "db"), found, results, limits, strict=True):
        assert_within(*numbers, name)
    assert torch.equal(dr, g)


@pytest.mark.parametrize(
    ("shape", "algorithm"), [c for c in CASES if c[0] in (*SHAPES[1:4], *SHORT[2:4])], ids=str
)
def test_fused_relu(isa, shape, algorithm):
    """ReLU of what comes out without it, and gradients of the masked g, bit for bit."""
    x, w, b, residual, g = make(shape)
    options = {"padding": shape[6], "dilation": shape[5], "algorithm": algorithm}
    leaves = [t.requires_grad_() for t in (x, w, b, residual)]
    plain = dilconv.conv1d(x, w, b, residual=residual, **options)
    y = dilconv.conv1d(x, w, b, residual=residual, activation="relu", **options)
    assert torch.equal(y, F.relu(plain))
    masked = g * (plain > 0)
    for ours, expected in zip(
        torch.autograd.grad(y, leaves, g), torch.autograd.grad(plain, leaves, masked), strict=True
    ):
        assert torch.equal(ours, expected)


def reference_gradients(x, w, g, options):
    x, w = x.double().requires_grad_(), w.double().requires_grad_()
    y = conv1d_reference(x, w, **options)
    return *torch.autograd.grad(y, (x, w), g), g.sum((0, 2))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    N=st.integers(0, 3),
    C=st.integers(1, 20),
    K=st.integers(1, 20),
    S=st.integers(1, 30),
    d=st.integers(1, 40),
    left=st.integers(0, 60),
    right=st.integers(0, 60),
    Q=st.integers(1, 700),
    seed=st.integers(0, 2**31),
    algorithm=st.sampled_from(["direct", "spectral", "winograd", "auto"]),
)
def test_any_size(N, C, K, S, d, left, right, Q, seed, algorithm):
    W = max(Q + (S - 1) * d - left - right, 1)
    assume(W + left + right - (S - 1) * d >= 1)
    shape = (N, C, K, W, S, d, (left, right))
    x, w, b, _, g = make(shape, seed=seed)
    x.requires_grad_(), w.requires_grad_()
    options = {"padding": (left, right), "dilation": d}
    y = dilconv.conv1d(x, w, b, **options, algorithm=algorithm)
    dx, dw = torch.autograd.grad(y, (x, w), g)
    x, w = x.detach(), w.detach()
    exact, sizes = (
        (conv1d_reference(x, w, b, **options), *reference_gradients(x, w, g, options))
        for x, w, b, g in ((x, w, b, g), (x.abs(), w.abs(), b.abs(), g.abs()))
    )
    if N == 0:
        assert y.shape == exact[0].shape and dx.numel() == 0 and not dw.any()
        return
    lanes, threads = isa_lanes(_native.active_isa()), torch.get_num_threads()
    tried = [name for name in ("direct", "spectral", "winograd") if algorithm in (name, "auto")]
    if not 2 <= S <= 5 and "winograd" in tried:
        tried[-1] = "direct"
    inputs = (x, w, b, None, g)
    found = [bounds(shape, name, inputs, sizes, lanes, threads) for name in tried]
    for i, actual in enumerate((y.detach(), dx, dw)):
        limit = torch.stack([each[i].expand(actual.shape) for each in found]).amax(0)
        assert_within(actual, exact[i], limit, ("y", "dx", "dw")[i])


@pytest.mark.parametrize("algorithm", ["direct", "spectral"])
def test_error_at_most_twice_that_of_torch(isa, algorithm):
    shape = (1, 15, 15, 6000, 51, 8, (200, 200))
    x, w, b, _, g = make(shape, nonnegative=True)
    options = {"padding": (200, 200), "dilation": 8}
    oracle = conv1d_reference(x, w, b, **options)
    exact = reference_gradients(x, w, g.double(), options)
    errors = []
    for conv in (
        lambda x, w: dilconv.conv1d(x, w, b, algorithm=algorithm, **options),
        lambda x, w: F.conv1d(F.pad(x, (200, 200)), w, b, dilation=8),
    ):
        xr, wr = x.clone().requires_grad_(), w.clone().requires_grad_()
        y = conv(xr, wr)
        grads = torch.autograd.grad(y, (xr, wr), g)
        pairs = zip((y, *grads), (oracle, *exact[:2]), strict=True)
        errors.append([((a - o).abs() / o.abs()).max().item() for a, o in pairs])
    for ours, theirs in zip(*errors, strict=True):
        assert ours <= 2 * theirs


@pytest.mark.parametrize(("algorithm", "S"), [("direct", 51), ("spectral", 51), ("winograd", 3)])
def test_same_bits_whatever_the_number_of_threads(isa, algorithm, S, set_threads):
    x, w, b, _, _ = make((3, 15, 15, 2000, S, 8, (200, 200)))
    options = {"padding": "same", "dilation": 8, "algorithm": algorithm}
    results = []
    for threads in (1, 2, 3):
        set_threads(threads)
        results.append(dilconv.conv1d(x, w, b, **options))
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize(("algorithm", "S"), [("direct", 51), ("spectral", 51), ("winograd", 3)])
def test_same_bits_when_repeated(isa, algorithm, S):
    x, w, b, _, g = make((2, 15, 15, 3000, S, 8, (4 * (S - 1), 4 * (S - 1))))
    x.requires_grad_(), w.requires_grad_(), b.requires_grad_()

    def run():
        options = {"padding": "same", "dilation": 8, "algorithm": algorithm}
        y = dilconv.conv1d(x, w, b, activation="relu", **options)
        return y, *torch.autograd.grad(y, (x, w, b), g)

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("slice_x", ["width", "channel", "batch", "transposed", "expanded"])
def test_non_contiguous_input(isa, slice_x):
    base = torch.randn(4, 6, 90)
    x = {
        "width": base[:, :, 10:71:2],
        "channel": base[:, ::2, 3:],
        "batch": base[::3],
        "transposed": torch.randn(2, 50, 4).transpose(1, 2),
        "expanded": torch.randn(1, 1, 40).expand(3, 5, 40),
    }[slice_x]
    w = torch.randn(7, x.shape[1], 3)[:, :, [2, 1, 0]].transpose(0, 1).contiguous().transpose(0, 1)
    residual = torch.randn(x.shape[2], 7, x.shape[0]).permute(2, 1, 0)
    options = {"padding": "same", "dilation": 2, "residual": residual}
    y = dilconv.conv1d(x, w, **options)
    contiguous = {**options, "residual": residual.contiguous()}
    assert torch.equal(y, dilconv.conv1d(x.contiguous(), w.contiguous(), **contiguous))
    assert y.is_contiguous()


def test_expanded_gradient(isa):
    x = torch.randn(2, 3, 50, requires_grad=True)
    w = torch.randn(4, 3, 5, requires_grad=True)
    ours = torch.autograd.grad(dilconv.conv1d(x, w).sum(), (x, w))
    theirs = torch.autograd.grad(F.conv1d(x, w).sum(), (x, w))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_nan_passes_the_relu(isa):
    x = torch.randn(1, 2, 64)
    x[0, 0, 20] = float("nan")
    y = dilconv.conv1d(
        x, torch.randn(3, 2, 3), padding="same", activation="relu", algorithm="direct"
    )
    assert y[..., 19:22].isnan().all() and y.isnan().sum() == 9


@pytest.mark.parametrize("algorithm", ["direct", "spectral"])
def test_samples_do_not_leak_into_each_other(isa, algorithm):
    x = torch.randn(2, 3, 300)
    x[0] = float("inf")
    options = {"padding": "same", "algorithm": algorithm}
    alone = dilconv.conv1d(x[1:], torch.ones(2, 3, 9), **options)
    assert torch.equal(dilconv.conv1d(x, torch.ones(2, 3, 9), **options)[1:], alone)


@pytest.mark.parametrize("d", [1, 3, 8])
def test_spectral_tiles_of_zeros_give_exact_zeros(isa, d):
    x = torch.zeros(1, 2, 20_000)
    x[..., :40] = 1000 * torch.randn(1, 2, 40)
    w = torch.randn(3, 2, 51)
    y = dilconv.conv1d(x, w, padding="same", dilation=d, algorithm="spectral")
    assert y.count_nonzero() > 0 and not y[..., 15_000:].any()


def test_unbatched_equals_batch_of_one():
    x, w, r = torch.randn(3, 40), torch.randn(5, 3, 4), torch.randn(5, 40)
    y = dilconv.conv1d(x, w, padding="same", residual=r)
    assert torch.equal(y, dilconv.conv1d(x[None], w, padding="same", residual=r[None])[0])


def test_double_backward_is_exact():
    x = torch.randn(2, 3, 20, requires_grad=True)
    w = torch.randn(4, 3, 3, requires_grad=True)
    b = torch.randn(4, requires_grad=True)
    r = torch.randn(2, 4, 20, requires_grad=True)

    def second_order(conv):
        y = conv(x, w, b, r)
        grads = torch.autograd.grad((y**3).sum(), (x, w, b, r), create_graph=True)
        return torch.autograd.grad(sum((t**2).sum() for t in grads), (x, w, b, r))

    ours = second_order(
        lambda x, w, b, r: dilconv.conv1d(
            x, w, b, padding=(2, 2), dilation=2, activation="relu", residual=r
        )
    )
    theirs = second_order(
        lambda x, w, b, r: F.relu(F.conv1d(F.pad(x, (2, 2)), w, b, dilation=2) + r)
    )
    for a, e in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, e, rtol=2e-4, atol=2e-4 * e.abs().max().item())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": torch.zeros(1, 3, 4)}, "shorter than the dilated filter"),
        ({"x": torch.zeros(1, 2, 50)}, "2 channels but w expects 3"),
        ({"x": torch.zeros(50)}, r"x \(N, C, W\)"),
        ({"b": torch.zeros(3)}, "bias must have shape"),
        ({"residual": torch.zeros(1, 4, 7)}, "residual must have the output's shape"),
        ({"dilation": 0}, "dilation must be at least 1"),
        ({"padding": (-1, 0)}, "padding must not be negative"),
        ({"padding": "full"}, "padding must be an int"),
        ({"activation": "gelu"}, "activation must be None or 'relu'"),
        ({"algorithm": "magic"}, "algorithm must be one of"),
    ],
)
def test_bad_arguments_are_named(change, says):
    arguments = {"x": torch.zeros(1, 3, 50), "w": torch.zeros(4, 3, 5), "b": None, **change}
    x, w, b = (arguments.pop(name) for name in ("x", "w", "b"))
    with pytest.raises(ValueError, match=says):
        dilconv.conv1d(x, w, b, **arguments)
