import numpy as np
import pytest
import torch
from denoiseq.models.network import DENOISED, PROBABILITY, Network
from denoiseq.prediction import tiles
from denoiseq.prediction.tiles import Denoiser, default_tile_bp
from denoiseq.settings.data import Rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# The same sums in the same order but for a place in vectors and FFT tiles: a few roundings.
ROUNDING = {"rtol": 2e-5, "atol": 2e-5}


class Track:
    """A chromosome's input, (channels, size), that notes what was asked for."""

    def __init__(self, size: int, channels: int = 1):
        rng = np.random.default_rng(size)
        self.values = rng.poisson(4, (channels, size)).astype(np.float32)
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> np.ndarray:
        assert 0 <= start < end <= self.values.shape[1]
        self.asked.append((start, end))
        return self.values[:, start:end]


def whole(model, track):
    with torch.inference_mode():
        pred = model.eval()(torch.from_numpy(track.values)[None])
    return pred.coverage[0].numpy(), torch.sigmoid(pred.peak_logits[0]).numpy()


def tiled(model, track, tile_bp):
    """Coverage and probability of all tiles, joined; None without a head for it."""
    denoiser, size = Denoiser(model, tile_bp), track.values.shape[1]
    tiles = denoiser.tiles("chr1", size)
    assert [tile.core_start for tile in tiles] == [0, *(tile.core_end for tile in tiles[:-1])]
    answers = [denoiser.answer(track(tile.start, tile.end), tile, size) for tile in tiles]
    return [
        np.concatenate([answer[name] for answer in answers]) if name in answers[0] else None
        for name in (DENOISED, PROBABILITY)
    ]


# One tile is 200 + 2 * 48 = 296 wide: sizes sit at its edge and at those of one more core.
@pytest.mark.parametrize("size", [1, 50, 199, 295, 296, 297, 400, 401, 1_999, 3_000])
@pytest.mark.parametrize("kernel_size", [5, 4])
def test_tiles_equal_the_whole_chromosome(make_model, size, kernel_size):
    model = make_model(kernel_size=kernel_size, dilation=4, input_transform="log1p")
    track = Track(size)
    for values, expected in zip(tiled(model, track, 200), whole(model, track), strict=True):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, **ROUNDING)
    assert all((end - start) <= 200 + 2 * model.context_bp() for start, end in track.asked)


@pytest.fixture(scope="module")
def unet(make_network):
    sizes = {"channels": [4, 6, 8, 8], "kernel_sizes": [5, 3, 7, 6], "up_kernel_size": 4}
    return make_network("unet", **sizes, input_transform="sqrt")


# Tiles are 200 + 2 * context wide, both rounded up to multiples of 8; at the end up to 7 longer.
@pytest.mark.parametrize("size", [1, 7, 8, 295, *range(496, 505), 1_001, 3_000])
@pytest.mark.parametrize("core_bp", [200, 203])
def test_tiles_of_a_network_that_pools_equal_the_whole_chromosome(unet, size, core_bp):
    track = Track(size)
    for values, expected in zip(tiled(unet, track, core_bp), whole(unet, track), strict=True):
        np.testing.assert_allclose(values, expected, **ROUNDING)
    assert all(start % 8 == 0 for start, _ in track.asked)


def test_a_shifted_window_of_a_network_that_pools_would_show(unet, monkeypatch):
    track = Track(2_001)
    expected = whole(unet, track)[0]
    aligned = Network.answer

    def by_one_base(self, x):
        answer = aligned(self, x[:, 1:])
        return {name: np.append(values[:1], values) for name, values in answer.items()}

    monkeypatch.setattr(Network, "answer", by_one_base)
    got = tiled(unet, track, 200)[0]  # far from the ends only the place of the pooling differs
    assert not np.allclose(got[800:1_200], expected[800:1_200], **ROUNDING)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_head_that_is_not_there_is_none(make_model, task):
    coverage, probability = tiled(make_model(task=task), Track(500), 200)
    assert (coverage is None) == (task == "classification")
    assert (probability is None) == (task == "regression")


def test_tiles_equal_the_whole_chromosome_with_its_bases(make_model):
    model = make_model(in_channels=5, dilation=4, input_transform="sqrt")
    track = Track(1_999, channels=5)
    got = tiled(model, track, 200)[0]
    np.testing.assert_allclose(got, whole(model, track)[0], **ROUNDING)
    other = Track(1_999, channels=5)
    other.values[3] += 1
    assert not np.allclose(whole(model, other)[0], got, rtol=1e-3)


def test_a_base_less_of_context_would_show(make_model, monkeypatch):
    model = make_model(dilation=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    track = Track(1_000)
    expected = whole(model, track)[0]
    full = model.context_bp()
    monkeypatch.setattr(model, "context_bp", lambda: full // 2 - 1)
    assert not np.allclose(tiled(model, track, 200)[0], expected, **ROUNDING)


NETWORKS = {
    "residual": {"dilation": 3, "conv": "dilconv"},
    "residual, both strands, even filters": {"kernel_size": 4, "both_strands": True},
    "residual, normalised": {"batch_norm": True, "activation": "prelu"},
    "residual, bases": {"in_channels": 5},
    "residual, stem": {
        "stem_kernel_size": 9,
        "bias": True,
        "peak_input": "features",
        "add_input": True,
        "both_strands": True,
    },
    "unet": None,
    "linear": None,
}


def network(name, make_model, make_network):
    """One of NETWORKS with weights that make empty stretches differ from 0 and ends from those."""
    if name == "unet":
        sizes = {"channels": [4, 6, 8], "kernel_sizes": [5, 3, 6], "up_kernel_size": 4}
        model = make_network("unet", seed=3, **sizes, input_transform="sqrt")
    elif name == "linear":
        model = make_network("linear", seed=3, field=50)
    else:
        model = make_model(input_transform="sqrt", **NETWORKS[name])
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith(("running_mean", "bias")):
                value.normal_(std=0.2)
            elif key.startswith("regressor"):
                value.abs_()
    return model.eval()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(list(NETWORKS)),
    size=st.integers(1, 9_000),
    tile_bp=st.integers(1, 3_000),
    cuts=st.lists(st.integers(0, 8_999), max_size=6),
)
def test_any_tiles_of_any_network_and_any_empty_stretches(
    make_model, make_network, name, size, tile_bp, cuts
):
    model = network(name, make_model, make_network)
    track = Track(size, channels=model.in_channels)
    track.values[0] = 0
    for cut in cuts:
        track.values[0, max(cut - 20, 0) : cut + 21] += 3
    tile_bp = max(tile_bp, size // 40)  # not thousands of tiles
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "MIN_SAVED_BP", 0)
        got = tiled(model, track, tile_bp)
    for values, expected in zip(got, whole(model, track), strict=True):
        np.testing.assert_allclose(values, expected, **ROUNDING)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "bases" not in name])
def test_what_is_empty_is_not_computed_and_has_the_model_s_own_answer(
    make_model, make_network, name
):
    model = network(name, make_model, make_network)
    track = Track(40_000)
    track.values[0] = 0
    track.values[0, 20_000:20_100] = 5
    widths = []
    handle = model.register_forward_pre_hook(lambda _, given: widths.append(given[0].shape[-1]))
    got = tiled(model, track, 7_000)
    handle.remove()
    context = model.context_bp()
    assert sum(widths) < 10 * context + 200  # two ends, the island, the answer to nothing
    for values, expected in zip(got, whole(model, track), strict=True):
        np.testing.assert_allclose(values, expected, **ROUNDING)
    nothing = Denoiser(model).nothing
    for values, constant in zip(got, nothing.values(), strict=True):
        assert (values[context : 20_000 - context] == constant).all()
        assert (values[19_900:20_200] != constant).any()
    if name == "residual":  # has biases: their answer differs where padding is seen
        assert got[1][0] != nothing[PROBABILITY]


def test_a_model_of_bases_skips_nothing(make_model):
    model = make_model(in_channels=5)
    assert Denoiser(model).nothing is None
    track = Track(30_000, channels=5)
    track.values[0] = 0
    np.testing.assert_allclose(tiled(model, track, 10_000)[1], whole(model, track)[1], **ROUNDING)


def test_a_gap_that_saves_nothing_is_computed(make_model):
    model = make_model()
    c = model.context_bp()
    track = Track(60_000)
    widths = []
    for gap in (4 * c + tiles.MIN_SAVED_BP, 4 * c + tiles.MIN_SAVED_BP + 1):
        track.values[0] = 0
        track.values[0, [30_000, 30_001 + gap]] = 1
        handle = model.register_forward_pre_hook(lambda _, given: widths.append(given[0].shape[-1]))
        tiled(model, track, 60_000)
        handle.remove()
    assert widths.count(4 * c + 1) == 2  # the islands by themselves, the second time


def test_the_default_tile_bounds_the_cost_of_context():
    assert default_tile_bp(0) == default_tile_bp(720) == tiles.MIN_TILE_BP
    assert 2 * 4_200 / default_tile_bp(4_200) == pytest.approx(0.05)
    assert default_tile_bp(10**6) == tiles.MAX_TILE_BP


def test_batch_norm_is_in_eval_mode(make_model):
    model = make_model(batch_norm=True).train()
    track = Track(600)
    runs = [tiled(model.train(), track, tile_bp)[1] for tile_bp in (100, 250)]
    np.testing.assert_allclose(*runs, rtol=2e-5)


def test_a_broken_model_is_a_sentence(make_model):
    model = make_model()
    with torch.no_grad():
        model.classifier.conv_layer.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"answer at chr1:0-300 is not finite"):
        tiled(model, Track(300), 1_000)


def test_stretches_without_input_are_skipped_by_a_model_that_is_told_the_depth(make_model):
    rows = Rows(surroundings=1, depth=True)
    model = make_model(rows=rows, input_transform="sqrt", bias=True, stem_kernel_size=5)
    torch.nn.init.normal_(model.depth.scales.weight, std=0.1)
    track = Track(40_000, channels=3)
    track.values[:2] = 0
    track.values[0, 20_000:20_050], track.values[1, 19_000:21_000] = 9, 2
    track.values[2] = -3
    denoiser = Denoiser(model, 10_000, told_depth=1 / 8)
    asked = []
    handle = model.register_forward_pre_hook(lambda _, x: asked.append(x[0].shape[-1]))
    answers = [
        denoiser.answer(track(tile.start, tile.end), tile, 40_000)
        for tile in denoiser.tiles("chr1", 40_000)
    ]
    handle.remove()
    assert sum(asked) < 5_000
    for name, expected in zip((DENOISED, PROBABILITY), whole(model, track), strict=True):
        joined = np.concatenate([answer[name] for answer in answers])
        np.testing.assert_allclose(joined, expected, **ROUNDING)
