import numpy as np
import pytest
import torch
from denoiseq.denoise import DenoiseOptions, denoise_chromosome
from denoiseq.genomics.intervals import tile_chromosome
from denoiseq.learning.models import UNet


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
        pred = model(torch.from_numpy(track.values)[None])
    return pred.coverage[0].numpy(), torch.sigmoid(pred.peak_logits[0]).numpy()


# One tile is 200 + 2 * 48 = 296 wide: sizes sit at its edge and at those of one more core.
@pytest.mark.parametrize("size", [1, 50, 199, 295, 296, 297, 400, 401, 1_999, 3_000])
@pytest.mark.parametrize("kernel_size", [5, 4])
def test_tiles_equal_the_whole_chromosome(make_model, size, kernel_size):
    model = make_model(kernel_size=kernel_size, dilation=4, input_transform="log1p")
    track = Track(size)
    pieces = list(denoise_chromosome(model, track, "chr1", size, DenoiseOptions(200, 3)))
    starts = [start for start, _, _ in pieces]
    assert starts == np.cumsum([0] + [len(c) for _, c, _ in pieces[:-1]]).tolist()
    got = [np.concatenate([p[i] for p in pieces]) for i in (1, 2)]
    for values, expected in zip(got, whole(model, track), strict=True):
        assert values.dtype == np.float32
        # The same sums in the same order but for the tile's place in vectors: a few roundings.
        np.testing.assert_allclose(values, expected, rtol=2e-5, atol=2e-5)
    assert all((end - start) <= 200 + 2 * model.context_bp() for start, end in track.asked)


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet([4, 6, 8, 8], [5, 3, 7, 6], 4, input_transform="sqrt", conv="torch")


# Tiles are 200 + 2 * context wide, both rounded up to multiples of 8; at the end up to 7 longer.
@pytest.mark.parametrize("size", [1, 7, 8, 295, *range(496, 505), 1_001, 3_000])
@pytest.mark.parametrize("core_bp", [200, 203])
def test_tiles_of_a_network_that_pools_equal_the_whole_chromosome(unet, size, core_bp):
    track = Track(size)
    pieces = list(denoise_chromosome(unet, track, "chr1", size, DenoiseOptions(core_bp, 3)))
    got = [np.concatenate([p[i] for p in pieces]) for i in (1, 2)]
    for values, expected in zip(got, whole(unet, track), strict=True):
        np.testing.assert_allclose(values, expected, rtol=2e-5, atol=2e-5)
    assert all(start % 8 == 0 for start, _ in track.asked)


def test_a_shifted_tile_of_a_network_that_pools_would_show(unet, monkeypatch):
    track = Track(2_001)
    expected = whole(unet, track)[0]

    def by_any_base(*where, step_bp):
        assert step_bp == 8
        return tile_chromosome(*where[:3], 201)

    monkeypatch.setattr("denoiseq.denoise.tile_chromosome", by_any_base)
    pieces = denoise_chromosome(unet, track, "chr1", 2_001, DenoiseOptions(200, 3))
    got = np.concatenate([coverage for _, coverage, _ in pieces])
    assert not np.allclose(got, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_head_that_is_not_there_is_none(make_model, task):
    track = Track(500)
    pieces = list(denoise_chromosome(make_model(task=task), track, "c", 500, DenoiseOptions(200)))
    for _, coverage, probability in pieces:
        assert (coverage is None) == (task == "classification")
        assert (probability is None) == (task == "regression")


def test_tiles_equal_the_whole_chromosome_with_its_bases(make_model):
    model = make_model(in_channels=5, dilation=4, input_transform="sqrt")
    track = Track(1_999, channels=5)
    pieces = denoise_chromosome(model, track, "chr1", 1_999, DenoiseOptions(200, 3))
    got = np.concatenate([coverage for _, coverage, _ in pieces])
    np.testing.assert_allclose(got, whole(model, track)[0], rtol=2e-5, atol=2e-5)
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
    pieces = denoise_chromosome(model, track, "chr1", 1_000, DenoiseOptions(200, 3))
    got = np.concatenate([coverage for _, coverage, _ in pieces])
    assert not np.allclose(got, expected, rtol=2e-5, atol=2e-5)


def test_pieces_come_while_the_rest_is_unread(make_model):
    track = Track(100_000)
    pieces = denoise_chromosome(make_model(), track, "chr1", 100_000, DenoiseOptions(500, 2))
    next(pieces)
    assert len(track.asked) == 2


def test_batch_norm_is_in_eval_mode(make_model):
    model = make_model(batch_norm=True).train()
    track = Track(600)
    runs = [
        np.concatenate([p for _, _, p in denoise_chromosome(model, track, "c", 600, options)])
        for options in (DenoiseOptions(100, 1), DenoiseOptions(100, 4))
    ]
    np.testing.assert_allclose(*runs, rtol=2e-5)


def test_a_broken_model_is_a_sentence(make_model):
    model = make_model()
    with torch.no_grad():
        model.classifier.conv_layer.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"answer at chr7:0-300 is not finite"):
        list(denoise_chromosome(model, Track(300), "chr7", 300, DenoiseOptions()))
