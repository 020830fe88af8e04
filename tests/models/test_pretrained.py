"""Weights from elsewhere: published names with and without a wrapper's prefix, and misfits."""

import pytest
import torch
from denoiseq import models, settings
from denoiseq.models.checkpoint import save_checkpoint
from denoiseq.models.pretrained import adopt, described, load_weights, start_from
from denoiseq.settings.model import DenoisingResNet, Linear, UNet

TORCH = settings.Conv("torch")


def weight(*shape):
    return torch.randn(shape)


def published_resnet(channels=15, S=51, blocks=5, peak_blocks=2):
    """The state dict of the published network, written out from its description."""
    state = {}
    for trunk, n, bias in (("res_blocks", blocks, False), ("res_blocks_class", peak_blocks, True)):
        for i in range(n):
            first = 1 if i == 0 else channels
            if i == 0:
                state[f"{trunk}.0.conv_input.conv_layer.weight"] = weight(channels, 1, 1)
            for j, C in (1, first), (2, channels), (3, channels):
                state[f"{trunk}.{i}.conv_act{j}.conv_layer.weight"] = weight(channels, C, S)
                if bias:
                    state[f"{trunk}.{i}.conv_act{j}.conv_layer.bias"] = weight(channels)
    state["regressor.conv_layer.weight"] = weight(1, channels, 1)
    state["classifier.conv_layer.weight"] = weight(1, channels, 1)
    state["classifier.conv_layer.bias"] = weight(1)
    return state


def published_linear(prefix="", field=50):
    return {
        f"{prefix}conv_layer.weight": weight(1, 1, field),
        f"{prefix}conv_layer.bias": weight(1),
    }


@pytest.fixture(params=["", "module."])
def saved(request, tmp_path):
    """Saves a state dict as published ones are, its keys with and without a wrapper's prefix."""

    def save(state):
        path = tmp_path / "published.pth.tar"
        torch.save({"state_dict": {request.param + k: v for k, v in state.items()}}, path)
        return path

    return save


def start(path, model: settings.Model):
    model.pretrained = str(path)
    network = models.build(model, TORCH, settings.Precision())
    start_from(network, model)
    return network


def test_the_published_network_is_taken_whole(saved):
    state = published_resnet()
    own = start(saved(state), DenoisingResNet()).state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("prefix", "task"),
    [("", "regression"), ("", "classification"), ("denoising_linear.", "classification")],
)
def test_one_published_convolution_is_the_only_head(saved, prefix, task):
    state = published_linear(prefix)
    network = start(saved(state), Linear(task=task, field=50))
    x = torch.rand(1, 1, 200)
    padded = torch.nn.functional.pad(x, (24, 25))
    y = torch.nn.functional.conv1d(padded, *state.values())[:, 0]
    pred = network(x)
    got = pred.coverage if task == "regression" else pred.peak_logits
    torch.testing.assert_close(got, y.relu() if task == "regression" else y)


def test_two_published_convolutions_are_the_track_and_the_peaks(saved):
    state = published_linear("denoising_linear.") | published_linear()
    own = start(saved(state), Linear(task="both", field=50)).state_dict()
    for name, head in (("denoising_linear.", "regressor"), ("", "classifier")):
        for part in ("weight", "bias"):
            ours = own[f"{head}.conv_layer.{part}"]
            assert torch.equal(ours, state[f"{name}conv_layer.{part}"])


@pytest.mark.parametrize(
    ("state", "model", "words"),
    [
        (
            published_resnet(channels=8),
            DenoisingResNet(),
            [
                "res_blocks.0.conv_input.conv_layer.weight is 8x1x1 there, 15x1x1 here",
                "model=denoising_resnet model.channels=8 model.kernel_size=51 model.blocks=5",
            ],
        ),
        (
            published_resnet(blocks=3),
            DenoisingResNet(),
            ["res_blocks.3.conv_act1.conv_layer.weight is absent there", "model.blocks=3"],
        ),
        (
            published_resnet(),
            DenoisingResNet(task="regression"),
            ["res_blocks_class.0.conv_input.conv_layer.weight", "absent here", "model.task=both"],
        ),
        (
            published_linear(),
            Linear(task="regression"),
            ["regressor.conv_layer.weight is 1x1x50 there, 1x1x8401 here", "model.field=50"],
        ),
        (
            published_linear(),
            DenoisingResNet(),
            ["conv_input", "it is of model=linear model.field=50"],
        ),
        ({"x": weight(3)}, Linear(), ["regressor.conv_layer.weight is absent there"]),
    ],
)
def test_a_misfit_names_the_first_weight_and_what_the_file_is_of(saved, state, model, words):
    with pytest.raises(ValueError, match="does not fit the model") as error:
        start(saved(state), model)
    for word in ("published.pth.tar", *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "model",
    [
        DenoisingResNet(channels=4, kernel_size=5, dilation=2, blocks=3, peak_blocks=1),
        DenoisingResNet(channels=4, kernel_size=5, dilation=2, blocks=3, task="regression"),
        UNet(channels=[2, 3, 4], kernel_sizes=[5, 3, 6]),
        Linear(field=9, task="classification"),
    ],
)
def test_what_is_described_can_be_built(model):
    network = models.build(model, TORCH, settings.Precision())
    found = {name.removeprefix("model."): v for name, v in described(network.state_dict()).items()}
    kind = settings.MODELS[found.pop("model")]
    again = models.build(kind(**found), TORCH, settings.Precision())
    adopt(again, network.state_dict(), "itself")


def test_a_checkpoint_of_ours_starts_a_training(tmp_path):
    path, model = tmp_path / "best.pt", DenoisingResNet(channels=4, kernel_size=5)
    trained = models.build(model, TORCH, settings.Precision(), seed=3)
    config = {"model": settings.plain(model)}
    save_checkpoint(path, {"state_dict": trained.state_dict(), "config": config})
    network = start(path, DenoisingResNet(channels=4, kernel_size=5))
    for a, b in zip(network.parameters(), trained.parameters(), strict=True):
        assert torch.equal(a, b)
    # What leaves no trace in the shapes is told from the checkpoint's config.
    for change in ({"dilation": 2}, {"input_transform": "sqrt"}, {"task": "regression"}):
        with pytest.raises(ValueError, match=f"trained with model.{next(iter(change))}="):
            start(path, DenoisingResNet(channels=4, kernel_size=5, **change))


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {"x": Evil()}}, "tensors and plain values alone"),
        ({"state_dict": {}}, "holds no weights"),
        ({"state_dict": {"x": 3}}, "holds no weights"),
        (torch.ones(3), "holds no weights"),
        ({"format": "denoiseq-checkpoint", "version": 99}, "version 99"),
    ],
)
def test_anything_else_is_a_sentence(tmp_path, content, words):
    path = tmp_path / "x.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=words):
        load_weights(path)


def test_a_bare_state_dict_will_do(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(published_linear(), path)
    assert set(load_weights(path)[0]) == {"conv_layer.weight", "conv_layer.bias"}


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_weights(tmp_path / "none.pt")
