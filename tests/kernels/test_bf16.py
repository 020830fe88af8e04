"""bfloat16 tensors: against the float64 oracle on every ISA, autocast, dtypes of gradients."""

from functools import cache

import dilconv
import pytest
import torch
import torch.nn.functional as F
from dilconv import _native
from dilconv.contenders import CONTENDERS, Layer, Tensors
from dilconv.reference import conv1d_reference, float32_bound
from dilconv.verification import Oracle
from torch import nn

BF16 = torch.bfloat16
ROUNDING = torch.finfo(BF16).eps / 2  # relative, of one rounding to nearest

# Odd and even C, taps that pair up and that do not, several blocks of rows, filters beyond a tile.
LAYERS = [
    Layer("AtacWorks", N=2, C=15, K=15, S=51, d=8, W=1300),
    Layer("one channel", N=1, C=1, K=15, S=51, d=8, W=577),
    Layer("one filter", N=2, C=15, K=1, S=9, d=2, W=400),
    Layer("point", N=2, C=17, K=33, S=1, d=1, W=193),
    Layer("many channels", N=1, C=70, K=18, S=3, d=4, W=321),
    Layer("few channels", N=1, C=5, K=4, S=101, d=1, W=999),
    Layer("wide steps", N=2, C=16, K=5, S=5, d=1000, W=331),
    Layer("taps in parts", N=1, C=2, K=2, S=700, d=1, W=1500),
]


@cache
def oracle_of(layer):
    return Oracle.of(Tensors.of(layer, BF16))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["direct", "spectral", "winograd", "auto"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_pass_is_within_its_bound(bf16_isa, layer, name, threads, set_threads):
    set_threads(threads)
    oracle = oracle_of(layer)
    oracle.check(name, CONTENDERS[name](oracle.tensors))


@pytest.mark.parametrize("algorithm", ["direct", "spectral"])
def test_sums_are_rounded_once_behind_bias_residual_and_relu(bf16_isa, algorithm):
    x, w, b = torch.randn(2, 40, 500).to(BF16), torch.randn(7, 40, 9).to(BF16), torch.randn(7)
    residual = torch.randn(2, 7, 500).to(BF16)
    options = {"dilation": 3, "activation": "relu"}
    y = dilconv.conv1d(x, w, b, residual=residual, padding="same", algorithm=algorithm, **options)
    options["padding"] = (12, 12)
    exact = conv1d_reference(x, w, b, residual=residual, **options)
    parts = (t.abs() for t in (x, w, b))
    size = conv1d_reference(*parts, residual=residual.abs(), **options)
    bound = ROUNDING * exact + float32_bound(size, 40 * 9 + 2) * 4  # spectral's is wider
    assert y.dtype == BF16
    assert ((y.double() - exact).abs() <= bound).all()


@pytest.mark.parametrize("algorithm", ["direct", "spectral"])
def test_relu_masks_the_gradients(bf16_isa, algorithm):
    x = torch.randn(2, 5, 300).to(BF16).requires_grad_()
    w, b = torch.randn(6, 5, 11, requires_grad=True), torch.randn(6, requires_grad=True)
    residual = torch.randn(2, 6, 300).to(BF16).requires_grad_()
    options = {"padding": "same", "dilation": 4, "algorithm": algorithm}
    g = torch.randn(2, 6, 300).to(BF16)
    fused = dilconv.conv1d(x, w, b, residual=residual, activation="relu", **options)
    plain = dilconv.conv1d(x, w, b, residual=residual, **options)
    leaves = (x, w, b, residual)
    ours = torch.autograd.grad(fused, leaves, g)
    theirs = torch.autograd.grad(plain, leaves, g.masked_fill(fused.detach() <= 0, 0))
    for a, e in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-5 if a.dtype == torch.float32 else 0, atol=1e-4)
    assert [t.dtype for t in ours] == [BF16, torch.float32, torch.float32, BF16]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_direct_spreads_no_further_than_the_sum(bf16_isa, value):
    # 15 channels and 7 taps leave halves of pairs and of tiles empty: no 0 * Inf may be made there.
    x, w = torch.randn(1, 15, 200).to(BF16), torch.randn(3, 15, 7)
    x[0, 14, 100] = value
    y = dilconv.conv1d(x, w, padding="same", dilation=2, algorithm="direct")
    hit = torch.zeros(200, dtype=torch.bool)
    hit[94:107:2] = True
    assert not y[0, :, hit].isfinite().any()
    assert y[0, :, ~hit].isfinite().all()


def test_weights_of_either_dtype_give_the_same(bf16_isa):
    x, w, b = torch.randn(1, 3, 90).to(BF16), torch.randn(4, 3, 5), torch.randn(4).to(BF16)
    wide = dilconv.conv1d(x, w, b.float())
    half = w.to(BF16).requires_grad_()
    narrow = dilconv.conv1d(x, half, b)
    assert torch.equal(wide, narrow)
    (dw,) = torch.autograd.grad(narrow.float().square().sum(), half)
    assert dw.dtype == BF16


def test_strided_input(bf16_isa):
    base = torch.randn(2, 6, 301).to(BF16)
    for x in (base[:, ::2, 1:], base[..., ::3], base.transpose(1, 2)[:, :40]):
        w = torch.randn(4, x.shape[1], 5)
        assert torch.equal(dilconv.conv1d(x, w), dilconv.conv1d(x.contiguous(), w))


@pytest.mark.parametrize("algorithm", ["direct", "spectral"])
def test_same_bits_whatever_the_number_of_threads(bf16_isa, algorithm, set_threads):
    x, w = torch.randn(3, 15, 2000).to(BF16), torch.randn(15, 15, 51)
    results = []
    for threads in (1, 2, 3):
        set_threads(threads)
        results.append(dilconv.conv1d(x, w, padding="same", dilation=8, algorithm=algorithm))
    assert all(torch.equal(results[0], other) for other in results[1:])


# ------------------------------------------------------------------------------------- autocast


def test_autocast_casts_activations_alone():
    layer = dilconv.Conv1d(3, 5, 9, padding="same", activation="relu")
    x = torch.randn(2, 3, 80, requires_grad=True)
    residual = torch.randn(2, 5, 80, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x, residual)
    expected = layer(x.detach().to(BF16), residual.detach().to(BF16))
    assert y.dtype == BF16 and torch.equal(y, expected)
    y.float().square().sum().backward()
    for t in (x, residual, layer.weight, layer.bias):
        assert t.grad.dtype == torch.float32 and t.grad.isfinite().all()


def test_autocast_reaches_the_operator_itself():
    x, w = torch.randn(1, 3, 40), torch.randn(2, 3, 4)
    arguments = (x, w, None, None, 0, 0, 1, False, "direct")
    with torch.autocast("cpu", torch.bfloat16):
        y = torch.ops.dilconv.forward(*arguments)
    assert y.dtype == BF16
    assert torch.equal(y, dilconv.conv1d(x.to(BF16), w, algorithm="direct"))


def test_nothing_of_autocast_stays_behind():
    layer = dilconv.Conv1d(15, 15, 51, padding="same", dilation=8)
    x = torch.randn(1, 15, 500)
    before = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        for width in (499, 500, 1):  # odd ones too
            assert layer(x[..., :width]).dtype == BF16
    assert torch.equal(layer(x), before)


def test_autocast_compiles_without_graph_breaks():
    layer = dilconv.Conv1d(3, 5, 4, padding="same", dilation=2, activation="relu")
    x = torch.randn(2, 3, 60)
    with torch.autocast("cpu", torch.bfloat16):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
        assert compiled.dtype == BF16 and torch.equal(compiled, layer(x))


def test_converted_models_train_under_autocast():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 8, 9, padding=4), nn.ReLU(), nn.Conv1d(8, 2, 5, padding=2))
    x, target = torch.randn(4, 3, 100), torch.randn(4, 2, 100)

    def losses(model):
        optimizer, found = torch.optim.SGD(model.parameters(), lr=0.1), []
        for _ in range(5):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                y = model(x)
            loss = F.mse_loss(y.float(), target)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return torch.tensor(found)

    state = {name: value.clone() for name, value in model.state_dict().items()}
    stock = losses(model)
    model.load_state_dict(state)
    ours = losses(dilconv.convert(model))
    torch.testing.assert_close(ours, stock, rtol=0.01, atol=0)
    assert ours[-1] < ours[0]


def test_autocast_to_float16_is_left_to_torch():
    layer, x = dilconv.Conv1d(3, 5, 4), torch.randn(1, 3, 20)
    with torch.autocast("cpu", torch.float16):
        assert layer(x).dtype == torch.float16


# ------------------------------------------------------------------------------- the operators


@pytest.mark.parametrize("relu", [False, True])
def test_opcheck(relu):
    x = torch.randn(2, 3, 40).to(BF16).requires_grad_()
    w, b = torch.randn(5, 3, 4, requires_grad=True), torch.randn(5, requires_grad=True)
    residual = torch.randn(2, 5, 43).to(BF16).requires_grad_()
    arguments = (x, w, b, residual, 3, 6, 2, relu, "direct")
    # Not test_aot_dispatch_dynamic: it compares bfloat16 gradients to float32's tolerance.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.dilconv.forward, arguments, test_utils=checks)
    g, y = torch.randn(2, 5, 43).to(BF16), torch.randn(2, 5, 43).to(BF16) if relu else None
    arguments = (g, x.detach(), w.detach(), y, 3, 6, 2, [True] * 4, "direct")
    torch.library.opcheck(torch.ops.dilconv.backward, arguments, test_utils=checks)


def test_double_backward():
    x = torch.randn(1, 3, 60, dtype=BF16, requires_grad=True)
    w = torch.randn(2, 3, 5, requires_grad=True)
    y = dilconv.conv1d(x, w)
    (dw,) = torch.autograd.grad(y.float().square().sum(), w, create_graph=True)
    dx, ddw = torch.autograd.grad(dw.square().sum(), (x, w))
    exact_x, exact_w = (t.detach().to(BF16).double().requires_grad_() for t in (x, w))
    (dw,) = torch.autograd.grad(
        F.conv1d(exact_x, exact_w).square().sum(), exact_w, create_graph=True
    )
    expected = torch.autograd.grad(dw.square().sum(), (exact_x, exact_w))
    for found, exact in zip((dx, ddw), expected, strict=True):
        assert (found.double() - exact).norm() < 0.02 * exact.norm()


# -------------------------------------------------------------------------------------- plans


def test_plan_knows_the_dtype():
    sizes = (1, 15, 15, 60_000, 51, 8)
    for dtype in _native.DTYPES:
        assert dilconv.plan(*sizes, dtype=dtype).isa == dilconv.active_isa(dtype)
    with pytest.raises(ValueError, match=r"dtype must be torch.float32 or torch.bfloat16"):
        dilconv.plan(*sizes, dtype=torch.float16)


def test_only_bfloat16_takes_the_isas_that_are_made_for_it():
    assert dilconv.active_isa() not in ("avx512bf16", "amx")
    if "avx512bf16" in dilconv.available_isas():
        assert dilconv.active_isa(BF16) in ("avx512bf16", "amx")
