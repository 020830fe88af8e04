"""Size, names, field and numbers of the networks; dilconv against torch."""

import math

import pytest
import torch
from denoiseq.models.linear import Linear
from denoiseq.settings import MODELS, Precision
from denoiseq.settings.data import Rows
from denoiseq.settings.model import DenoisingResNet, UNet

EPS = 2.0**-24  # half the spacing of float32 at 1: the rounding of one addition


def published_names() -> set[str]:
    """The state dict of the published network, written out from its description."""
    names = {"regressor.conv_layer.weight"}
    names |= {f"classifier.conv_layer.{part}" for part in ("weight", "bias")}
    for trunk, blocks, parts in (
        ("res_blocks", 5, ("weight",)),
        ("res_blocks_class", 2, ("weight", "bias")),
    ):
        names.add(f"{trunk}.0.conv_input.conv_layer.weight")
        names |= {
            f"{trunk}.{i}.conv_act{j}.conv_layer.{part}"
            for i in range(blocks)
            for j in (1, 2, 3)
            for part in parts
        }
    return names


TASKS = ("both", "regression", "classification")
# Small ones of each architecture; levels of the U-Net with odd, even and long filters.
SMALL = {
    "denoising_resnet": {"channels": 3, "kernel_size": 5, "blocks": 1}
    | {"peak_blocks": 1, "peak_kernel_size": 4},
    "unet": {"channels": [3, 4, 5], "kernel_sizes": [5, 3, 6], "up_kernel_size": 4},
    "linear": {"field": 21},
}


@pytest.fixture(params=MODELS)
def make_any(request, make_network):
    """Makes a small network of each architecture, the same weights for the same seed."""

    def make(seed: int = 0, **more):
        return make_network(request.param, seed=seed, **SMALL[request.param], **more)

    return make


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("denoising_resnet", (219_706, 161_445, 161_446)),
        ("unet", (8_777_809, 8_777_792, 8_777_793)),
        ("linear", (16_804, 8_402, 8_402)),
    ],
)
def test_parameters_are_those_of_the_docstring(make_network, name, parameters):
    for task, expected in zip(TASKS, parameters, strict=True):
        model = make_network(name, task=task)
        assert sum(p.numel() for p in model.parameters()) == expected
        assert f"{expected:,}" in type(model).__doc__


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("length", [1, 15, 16, 17, 250])
def test_a_task_has_its_heads_on_any_width(make_any, task, length):
    model = make_any(task=task)
    pred = model(torch.rand(2, 1, length) * 5)
    assert (pred.coverage is None) == (task == "classification")
    assert (pred.peak_logits is None) == (task == "regression")
    for track in filter(lambda t: t is not None, pred):
        assert track.shape == (2, length) and track.dtype == torch.float32
        track.sum().backward(retain_graph=True)
    if pred.coverage is not None:
        assert (pred.coverage >= 0).all() and pred.coverage.max() > 0
    assert all(p.grad is not None for p in model.parameters())  # nothing is made and not used


def test_a_batch_without_windows_passes(make_any):
    model = make_any()
    pred = model(torch.zeros(0, 1, 40))
    (pred.coverage.sum() + pred.peak_logits.sum()).backward()
    assert pred.coverage.shape == (0, 40)
    assert all((p.grad == 0).all() for p in model.parameters())


@pytest.mark.parametrize("task", TASKS)
def test_the_field_of_every_network_is_what_gradients_reach(make_any, task):
    model = make_any(task=task)
    with torch.no_grad():
        for parameter in model.parameters():  # all positive: no ReLU can hide a path
            parameter.abs_().add_(0.01)
    fields, contexts, middle = [], [], 400
    for base in range(middle, middle + model.tile_step_bp):
        # The pooling takes one base of a pair on a rising track, the other on a falling one.
        reached = torch.zeros(2 * middle, dtype=torch.bool)
        for slope in (1.0, -1.0):
            x = torch.linspace(2 - slope, 2 + slope, 2 * middle)[None, None].requires_grad_()
            answer = model(x)
            (answer.peak_logits if task != "regression" else answer.coverage)[0, base].backward()
            reached |= x.grad[0, 0] != 0
        at = reached.nonzero()[:, 0]
        fields.append(int(at[-1] - at[0] + 1))
        contexts.append(max(base - int(at[0]), int(at[-1]) - base))
    assert max(fields) == model.receptive_field_bp()
    assert max(contexts) == model.context_bp()


@pytest.mark.parametrize("transform", ["log1p", "sqrt"])
def test_only_the_coverage_is_transformed(make_any, transform):
    x = torch.rand(2, 5, 64) * 20
    plain, other = make_any(in_channels=5), make_any(in_channels=5, input_transform=transform)
    inner = x.clone()
    inner[:, 0] = x[:, 0].log1p() if transform == "log1p" else (x[:, 0] + 0.375).sqrt()
    track = plain(inner).coverage
    expected = track.expm1() if transform == "log1p" else track.square()
    torch.testing.assert_close(other(x).coverage, expected)
    torch.testing.assert_close(other(x).peak_logits, plain(inner).peak_logits)
    shuffled = x[:, [0, 2, 1, 3, 4]]  # bases are read, each for itself
    for now, before in zip(other(shuffled)[:1], other(x)[:1], strict=True):
        assert torch.equal(now, before) == isinstance(other, Linear)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "spectral"])
def test_dilconv_and_torch_agree_in_every_network(make_any, algorithm):
    pytest.importorskip("dilconv")
    theirs, ours = make_any(), make_any(conv="dilconv", algorithm=algorithm)
    x = torch.rand(2, 1, 333) * 20
    found = []
    for model in (theirs, ours):
        pred = model(x)
        (pred.coverage.square().mean() + pred.peak_logits.square().mean()).backward()
        found.append([*pred, *(p.grad for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.detach().abs().max()))


def test_unfused_networks_show_hooks_every_relu(make_any):
    """Each in a module that a pass calls once, on torch and on dilconv, with the same bits."""
    dilconv = pytest.importorskip("dilconv")
    theirs, ours = make_any(), make_any(conv="dilconv")
    x = torch.rand(2, 1, 333) * 20
    before = ours(x)
    state = list(ours.state_dict())
    calls = []
    for model in (theirs, dilconv.unfuse(ours)):
        modules = [m for m in model.modules() if isinstance(m, torch.nn.ReLU | torch.nn.MaxPool1d)]
        counts = dict.fromkeys(modules, 0)
        for module in modules:
            module.register_forward_hook(
                lambda m, *_, counts=counts: counts.update({m: counts[m] + 1})
            )
        after = model(x)
        calls.append(list(counts.values()))
    assert set(calls[0]) == {1} and sorted(calls[0]) == sorted(calls[1])
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert list(ours.state_dict()) == state


def test_bf16_of_every_network_is_near_fp32(make_any):
    x = torch.rand(2, 1, 200) * 5
    full, half = make_any(), make_any(precision="bf16")
    assert list(full.state_dict()) == list(half.state_dict())
    for a, b in zip(full(x), half(x), strict=True):
        assert b.dtype == torch.float32
        assert (a - b).norm() < 0.05 * a.norm()


def test_batch_norm_and_prelu_are_the_unets_too(make_network):
    model = make_network("unet", **SMALL["unet"], batch_norm=True, activation="prelu")
    names = set(model.state_dict())
    assert {"down.0.norm_layer.weight", "up.1.act_layer.weight"} <= names
    assert model(torch.rand(2, 1, 37)).coverage.shape == (2, 37)


def test_the_unet_wants_a_filter_a_level():
    with pytest.raises(ValueError, match="equally long, 2 to 16"):
        UNet(channels=[4, 8], kernel_sizes=[5])


@pytest.mark.parametrize("field", [5, 6])
def test_a_linear_model_starts_as_its_input(make_network, field):
    model = make_network("linear", field=field, task="regression", rows=Rows(surroundings=1))
    x = torch.rand(1, 2, 50)
    assert torch.equal(model(x).coverage, x[:, 0])


def test_published_size_names_and_field(make_network):
    model = make_network("denoising_resnet")
    assert sum(p.numel() for p in model.parameters()) == 219_706
    assert set(model.state_dict()) == published_names()
    assert model.receptive_field_bp() == 8_401
    assert model.context_bp() == 4_200


@pytest.mark.parametrize(
    ("kernel_size", "dilation", "stem"), [(5, 3, 0), (4, 3, 0), (5, 3, 7), (5, 3, 4)]
)
def test_field_is_what_gradients_reach(make_model, kernel_size, dilation, stem):
    model = make_model(kernel_size=kernel_size, dilation=dilation, stem_kernel_size=stem)
    with torch.no_grad():
        for parameter in model.parameters():  # all positive: no ReLU can hide a path
            parameter.abs_().add_(0.01)
    x = torch.ones(1, 1, 301, requires_grad=True)
    model(x).peak_logits[0, 150].backward()
    reached = x.grad[0, 0].nonzero()[:, 0]
    assert reached[-1] - reached[0] + 1 == model.receptive_field_bp()
    assert max(150 - reached[0], reached[-1] - 150) == model.context_bp()


def test_heads_are_float32_under_autocast(make_model):
    model, x = make_model(), torch.rand(2, 1, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pred = model(x)
    assert pred.coverage.dtype == pred.peak_logits.dtype == torch.float32
    assert pred.coverage.shape == pred.peak_logits.shape == (2, 64)
    assert (pred.coverage >= 0).all()


@pytest.mark.parametrize("conv", ["torch", "dilconv"])
@pytest.mark.parametrize("more", [{}, {"batch_norm": True}, {"activation": "prelu"}])
def test_bf16_is_fp32_with_rounded_activations(make_model, conv, more):
    if conv == "dilconv":
        pytest.importorskip("dilconv")
    x = torch.rand(2, 1, 501)
    full, half = make_model(conv=conv, **more), make_model(conv=conv, precision="bf16", **more)
    assert list(half.state_dict()) == list(full.state_dict())
    with torch.no_grad():  # the batch's statistics of a network in training, too
        for theirs, ours in zip(full(x), half(x), strict=True):
            assert ours.dtype == torch.float32
            assert not torch.equal(ours, theirs)
            assert (ours - theirs).norm() < 0.05 * theirs.norm()
    sum(t.square().mean() for t in half(x)).backward()
    for parameter in half.parameters():
        assert parameter.grad.dtype == torch.float32


def test_activations_in_bf16_are_half_as_large(make_model):
    pytest.importorskip("dilconv")
    sizes = {}
    for precision in ("fp32", "bf16"):
        model, saved = make_model(conv="dilconv", precision=precision), {}

        def pack(t, saved=saved):
            saved[t.data_ptr()] = t.nbytes
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            prediction = model(torch.rand(1, 1, 20_000))  # holds on to what was saved
        sizes[precision] = sum(saved.values())
        del prediction
    # Both heads read float32, and leave it.
    assert 0.5 < sizes["bf16"] / sizes["fp32"] < 0.8


def test_unknown_precision_is_a_sentence():
    with pytest.raises(ValueError, match=r"precision.name is 'fp16', expected one of fp32, bf16"):
        Precision("fp16")


@pytest.mark.parametrize("seed", range(5))
def test_regression_is_alive_at_birth(make_model, seed):
    pred = make_model(seed)(torch.rand(1, 1, 500) * 5)
    assert (pred.coverage > 0).float().mean() > 0.5


def test_log1p_is_undone_on_the_track_only(make_model):
    plain, logged = make_model(), make_model(input_transform="log1p")
    x = torch.rand(1, 1, 80) * 50
    inner = plain(torch.log1p(x))
    pred = logged(x)
    torch.testing.assert_close(pred.coverage, torch.expm1(inner.coverage))
    torch.testing.assert_close(pred.peak_logits, inner.peak_logits)


def test_sqrt_is_undone_on_the_track_only(make_model):
    plain, rooted = make_model(), make_model(input_transform="sqrt")
    x = torch.rand(1, 1, 80) * 50
    inner = plain((x + 0.375).sqrt())
    pred = rooted(x)
    torch.testing.assert_close(pred.coverage, inner.coverage.square())
    torch.testing.assert_close(pred.peak_logits, inner.peak_logits)


def test_unknown_transform_is_a_sentence():
    with pytest.raises(ValueError, match="input_transform is 'cube', expected one of none, log1p"):
        DenoisingResNet(input_transform="cube")


class Rounded:
    """A float64 run of the network that carries the variance of float32 rounding along.

    A sum of m terms errs with a standard deviation of at most sqrt(m) * EPS * sum|terms| (a walk
    of m roundings, each at most EPS of a partial sum); errors of the input go through squared
    weights, as they are many and independent; ReLU does not enlarge them.
    """

    def conv(self, layer, h, residual=None, activation=True):
        value, var = h
        conv = layer.conv_layer
        weight = conv.weight.detach().double()
        bias = None if conv.bias is None else conv.bias.detach().double()
        left, right = layer.padding

        def run(x, w, b=None):
            x = torch.nn.functional.pad(x, (left, right))
            dilation = (left + right) // max(w.shape[2] - 1, 1) or 1
            return torch.nn.functional.conv1d(x, w, b, dilation=dilation)

        size = run(value.abs(), weight.abs(), None if bias is None else bias.abs())
        value, var = run(value, weight, bias), run(var, weight.square())
        if residual is not None:
            value, var, size = value + residual[0], var + residual[1], size + residual[0].abs()
        var = var + (weight.shape[1] * weight.shape[2] + 2) * (EPS * size).square()
        return (value.relu() if activation else value), var

    def trunk(self, blocks, h):
        for block in blocks:
            skip = h if block.conv_input is None else self.conv(block.conv_input, h)
            inner = self.conv(block.conv_act2, self.conv(block.conv_act1, h))
            h = self.conv(block.conv_act3, inner, skip)
        return h

    def __call__(self, model, x):
        h = self.trunk(model.res_blocks, (x.double(), torch.zeros_like(x, dtype=torch.float64)))
        track = self.conv(model.regressor, h)
        h = self.trunk(model.res_blocks_class, track)
        logits = self.conv(model.classifier, h, activation=False)
        return [(value[:, 0], 6 * var[:, 0].sqrt()) for value, var in (track, logits)]


@pytest.mark.parametrize("conv", ["torch", "dilconv"])
@pytest.mark.parametrize("length", [1, 399, 1_700])
def test_both_convolutions_stay_within_the_derived_bound(make_network, conv, length):
    if conv == "dilconv":
        pytest.importorskip("dilconv")
    weights = make_network("denoising_resnet").state_dict()
    model = make_network("denoising_resnet", conv=conv)
    model.load_state_dict(weights)
    x = torch.rand(2, 1, length).mul(20).round()  # coverage: non-negative
    with torch.no_grad():
        pred = model(x)
        bounds = Rounded()(model, x)
    for got, (value, bound) in zip(pred, bounds, strict=True):
        assert (bound < 1e-3 * value.abs().max()).all(), "a bound this wide would prove nothing"
        assert ((got.double() - value).abs() <= bound).all()


def test_dilconv_gradients_are_torchs(make_network):
    pytest.importorskip("dilconv")
    shape = {"channels": 6, "kernel_size": 9, "dilation": 4, "blocks": 2}
    ours, theirs, exact = (
        make_network("denoising_resnet", **shape, conv=conv)
        for conv in ("dilconv", "torch", "torch")
    )
    ours.load_state_dict(theirs.state_dict())
    exact = exact.double()
    exact.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 1, 1_000).mul(20).round()
    for model in (ours, theirs, exact):
        pred = model(x.to(next(model.parameters()).dtype))
        (pred.coverage.square().mean() + pred.peak_logits.square().mean()).backward()
    for a, b, true in zip(ours.parameters(), theirs.parameters(), exact.parameters(), strict=True):
        scale = true.grad.norm()
        error_a, error_b = (a.grad - true.grad).norm(), (b.grad - true.grad).norm()
        # As exact as torch: within 4 times its error, or 32 roundings of the gradient's size.
        assert error_a <= max(4 * error_b, 32 * EPS * scale)


@pytest.mark.parametrize("in_channels", [1, 5])
def test_both_strands_gives_a_strand_and_its_complement_one_answer(make_model, in_channels):
    model = make_model(in_channels=in_channels, both_strands=True).eval()
    x = torch.rand(2, in_channels, 301)
    turned = torch.cat([x[:, :1], x[:, [4, 3, 2, 1]]], 1) if in_channels == 5 else x
    for here, there in zip(model(x), model(turned.flip(-1)), strict=True):
        torch.testing.assert_close(here, there.flip(-1))
    one_strand = make_model(in_channels=in_channels).eval()
    assert not torch.allclose(model(x).peak_logits, one_strand(x).peak_logits)
    model.train()  # training reads the strand that it is given
    torch.testing.assert_close(model(x).peak_logits, one_strand(x).peak_logits)


def test_a_unet_refuses_both_strands():
    with pytest.raises(ValueError, match="both strands"):
        UNet(both_strands=True)


def test_temperature_divides_the_logits_alone(make_model):
    model = make_model()
    x = torch.rand(1, 1, 200)
    before = model(x)
    model.temperature = 2.0
    after = model(x)
    torch.testing.assert_close(after.peak_logits, before.peak_logits / 2)
    assert torch.equal(after.coverage, before.coverage)


def test_add_input_leaves_the_unseen_fragments_to_the_network(make_model):
    x = torch.rand(1, 5, 200)
    settings = {"in_channels": 5, "input_transform": "sqrt", "stem_kernel_size": 7, "bias": True}
    alone, added = make_model(**settings), make_model(**settings, add_input=True)
    torch.testing.assert_close(added(x).coverage, alone(x).coverage + x[:, 0])
    torch.testing.assert_close(added(x).peak_logits, alone(x).peak_logits)


def test_peaks_read_features_that_the_track_does_not_show(make_model):
    """With a track head of nothing the peaks still answer to the input."""
    x = torch.rand(2, 1, 200)
    for peak_input, moves in (("track", False), ("features", True)):
        model = make_model(peak_input=peak_input, bias=True)
        torch.nn.init.zeros_(model.regressor.conv_layer.weight)
        one, other = model(x).peak_logits
        assert torch.equal(one, other) != moves


TOLD = Rows(surroundings=2, depth=True)


def told(ratio: float, L: int = 300) -> torch.Tensor:
    """An input with two rows of surroundings and a depth."""
    x = torch.rand(1, 4, L, generator=torch.Generator().manual_seed(0)) * 20
    x[:, -1] = math.log2(ratio)
    return x


def test_as_deep_as_the_answer_the_input_is_the_answer(make_model):
    model = make_model(rows=TOLD, add_input=True, input_transform="sqrt", bias=True)
    for ratio, factor in ((1.0, 1.0), (4.0, 0.25)):
        x = told(ratio)
        torch.testing.assert_close(model(x).coverage, factor * x[:, 0])
    x = told(0.1)
    learned = model(x).coverage - x[:, 0]
    assert (learned >= 0).all() and (learned > 0).any()


def test_the_answer_leans_to_the_input_by_the_square_of_its_depth(make_model):
    settings = {"rows": TOLD, "input_transform": "sqrt", "bias": True}
    alone, added = make_model(**settings).eval(), make_model(**settings, add_input=True)
    for ratio in (0.1, 0.5):
        x = told(ratio)
        given, track = x[:, 0], alone(x).coverage
        expected = given + (1 - ratio) * track  # the clean track of a training holds the input
        torch.testing.assert_close(added.train()(x).coverage, expected)
        expected = ratio**2 * (given / ratio) + (1 - ratio**2) * track
        torch.testing.assert_close(added.eval()(x).coverage, expected)
    for ratio, factor in ((1.0, 1.0), (4.0, 0.25)):
        x = told(ratio)
        torch.testing.assert_close(added(x).coverage, factor * x[:, 0])


def test_the_depth_modulates_every_layer_once_it_is_learned(make_model):
    model = make_model(rows=TOLD, input_transform="sqrt", bias=True, stem_kernel_size=5)
    shallow, deep = (model(told(ratio)).peak_logits for ratio in (0.01, 1.0))
    torch.testing.assert_close(shallow, deep)  # a new network takes no notice of it
    torch.nn.init.normal_(model.depth.scales.weight, generator=torch.Generator().manual_seed(1))
    shallow, deep = (model(told(ratio)).peak_logits for ratio in (0.01, 1.0))
    assert (shallow - deep).abs().mean() > 0.01
    model(told(0.1)).peak_logits.square().mean().backward()
    gradient = model.depth.scales.weight.grad.view(model.depth.layers, -1)
    assert (gradient.abs().sum(1) > 0).all()


def test_surroundings_reach_the_peaks_alone(make_model):
    model = make_model(rows=TOLD, input_transform="sqrt", bias=True)
    x, other = told(0.1), told(0.1)
    other[:, 1:3] += 5
    torch.testing.assert_close(model(x).coverage, model(other).coverage)
    assert (model(x).peak_logits - model(other).peak_logits).abs().max() > 1e-4


def test_the_background_reaches_the_track(make_model):
    rows = Rows(bases=True, background=True, surroundings=1)
    model = make_model(rows=rows, input_transform="sqrt", bias=True)
    x = torch.rand(1, 7, 200)
    other = x.clone()
    other[:, 5] += 2
    assert (model(x).coverage - model(other).coverage).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["denoising_resnet", "unet", "linear"])
@pytest.mark.parametrize("task", ["both", "regression", "classification"])
def test_every_network_reads_every_row(make_network, name, task):
    rows = Rows(bases=True, background=True, surroundings=2, depth=True)
    sizes = {"channels": [4, 4], "kernel_sizes": [3, 3]} if name == "unet" else {}
    model = make_network(name, rows=rows, task=task, input_transform="log1p", **sizes)
    prediction = model(torch.rand(2, rows.total, 160))
    assert prediction.score.shape == (2, 160)
