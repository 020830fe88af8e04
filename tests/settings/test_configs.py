"""Every config composes and passes its schema, and wrong ones are refused with one sentence."""

from pathlib import Path

import pytest
from denoiseq import cli, models, settings
from denoiseq.settings import help
from denoiseq.settings.data import Rows
from denoiseq.settings.model import DenoisingResNet, Linear
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

CONFIGS = Path(__file__).parents[2] / "configs"
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
GROUPS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONFIGS.glob("*/*.yaml")
    if path.parent.name != "experiment"
)
DATA = {"store": "x.h5", "validation": ["a"], "test": ["b"]}
FOLDS = ("data.store=x.h5", "data.validation=[a]", "data.test=[b]")


def parsed(command: str, *overrides: str):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        values = compose(config_name=command, overrides=list(overrides))
    return settings.parse(settings.COMMANDS[command], values)


def test_the_checkout_is_used():
    assert cli.config_dir() == CONFIGS


def test_the_installed_copy_is_used_outside_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "denoiseq" / "cli.py"))
    assert cli.config_dir() == tmp_path / "denoiseq" / "configs"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_parses(experiment):
    config = parsed("train", f"+experiment={experiment}")
    assert isinstance(config, settings.Train)
    assert config.name == experiment
    assert config.out.startswith(f"outputs/{experiment}/")
    assert config.data.prepare.out == config.data.store


@pytest.mark.parametrize("choice", GROUPS)
def test_every_group_choice_parses(choice):
    assert isinstance(parsed("train", choice, *FOLDS), settings.Train)


@pytest.mark.parametrize("command", sorted(settings.COMMANDS))
def test_yaml_and_schema_have_the_same_keys_and_defaults(command):
    overrides = FOLDS if command == "train" else ()
    config = parsed(command, *overrides)
    assert isinstance(config, settings.COMMANDS[command])
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        values = compose(config_name=command, overrides=list(overrides))

    def leaves(node, prefix=""):
        if not isinstance(node, dict):
            return {prefix.rstrip(".")}
        return set().union(*(leaves(value, f"{prefix}{key}.") for key, value in node.items()))

    assert leaves(OmegaConf.to_container(values)) == leaves(settings.plain(config))


def test_group_defaults_agree_with_the_dataclasses():
    config = parsed("train", *FOLDS)
    for group in ("model", "conv", "precision", "loss", "optim", "trainer"):
        assert getattr(config, group) == type(getattr(config, group))(), group


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_padding_holds_the_receptive_field(experiment):
    pytest.importorskip("torch")
    config = parsed("train", f"+experiment={experiment}", "conv=torch")
    assert (
        config.data.pad_bp >= models.build(config.model, config.conv, config.precision).context_bp()
    )


@pytest.mark.parametrize("algorithm", ["auto", "direct", "spectral"])
def test_the_algorithm_reaches_every_layer(algorithm):
    dilconv = pytest.importorskip("dilconv")
    config = parsed("train", f"conv.algorithm={algorithm}", *FOLDS)
    network = models.build(config.model, config.conv, config.precision)
    layers = [m for m in network.modules() if isinstance(m, dilconv.Conv1d)]
    assert len(layers) == 25 and {layer.algorithm for layer in layers} == {algorithm}


def test_the_yeast_experiment_is_what_the_data_readme_says():
    data = parsed("train", "+experiment=yeast").data
    assert (data.thin_fraction, data.half_window_bp, data.prepare.min_mapq) == (0.1, 75, 0)
    assert (data.validation, data.test) == (["chrII"], ["chrIV", "chrXV"])


@pytest.mark.parametrize(
    ("schema_type", "values", "words"),
    [
        (settings.Train, {"optim": {"lrr": 1}}, ["unknown", "optim.lrr", "optim.lr"]),
        (settings.Train, {"optim": {"lr": "fast"}}, ["optim.lr", "fast"]),
        (settings.Train, {"out": "x", "data": DATA, "optim": {"lr": -1}}, ["optim.lr", "-1"]),
        (settings.Train, {"out": "x", "data": {"validation": "chr2"}}, ["data.validation", "list"]),
        (settings.Train, {"out": "x", "data": DATA, "stages": ["predict"]}, ["stages"]),
        (settings.Train, {"out": "x"}, ["data.store", "required"]),
        (settings.Evaluate, {"conv": {"algorithm": "fft"}}, ["conv.algorithm", "fft", "spectral"]),
        (
            settings.Evaluate,
            {"conv": {"backend": "torch", "algorithm": "direct"}},
            ["conv.algorithm", "direct", "dilconv"],
        ),
        (settings.Train, {"model": {"name": "resnet"}}, ["model.name", "resnet", "unet"]),
        (
            settings.Train,
            {"model": {"name": "linear", "blocks": 3}},
            ["model.blocks", "another model", "model=NAME"],
        ),
        (settings.Train, {"model": {"name": "linear", "feild": 3}}, ["model.field"]),
        (settings.Train, {"out": "x", "data": DATA, "model": {"task": "peaks"}}, ["model.task"]),
        (
            settings.Train,
            {"out": "x", "data": DATA, "model": {"name": "unet", "channels": [4, 8]}},
            ["model.channels", "kernel_sizes"],
        ),
        (
            settings.Train,
            {"out": "x", "data": DATA, "model": {"task": "classification"}, "loss": {"bce": 0}},
            ["no term of the loss", "loss.bce"],
        ),
        (
            settings.Train,
            {"out": "x", "data": DATA, "model": {"task": "classification"}}
            | {"optim": {"monitor": "spearman"}},
            ["optim.monitor", "track", "auprc"],
        ),
        (
            settings.Train,
            {"out": "x", "data": DATA, "optim": {"epochs": 0}},
            ["optim.epochs", "model.pretrained"],
        ),
        (
            settings.Train,
            {"out": "x", "data": DATA, "loss": {"bce_positive_weight": "heavy"}},
            ["bce_positive_weight", "balanced"],
        ),
        (settings.Prepare, {"shift": "+5"}, ["shift", "+5", "+4/-4"]),
        (settings.Prepare, {"min_mapq": None}, ["min_mapq"]),
        (settings.Evaluate, {"split": "train"}, ["split", "validation, test"]),
        (settings.Predict, {"depth": "deep"}, ["depth", "deep", "trained"]),
        (settings.Predict, {"depth": -3}, ["depth", "-3"]),
        (settings.Predict, {"depth": True}, ["depth"]),
    ],
)
def test_wrong_values_are_one_sentence(schema_type, values, words):
    with pytest.raises(ValueError) as error:
        settings.parse(schema_type, values)
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


RANGED = (
    settings.Prepare,
    settings.Conv,
    settings.Loss,
    settings.Optim,
    settings.Trainer,
    Linear,
)


@pytest.mark.parametrize("kind", [*RANGED, settings.Evaluate, settings.Predict])
def test_what_an_option_does_not_allow_is_refused_in_the_words_of_its_reference(kind):
    checked = 0
    for entry in help.entries(kind):
        choices, words = entry.allowed.choices, entry.allowed.words
        if choices or (words and entry.kind in ("number", "whole number")):
            with pytest.raises(ValueError) as error:
                settings.parse(kind, {entry.name: "nonsense" if choices else -1})
            assert f"{entry.name} is " in str(error.value) and words in str(error.value)
            checked += 1
    assert checked


@pytest.mark.parametrize("weight", [3, 0.5, "balanced"])
def test_positive_weight_takes_a_number_or_balanced(weight):
    assert (
        settings.parse(settings.Loss, {"bce_positive_weight": weight}).bce_positive_weight == weight
    )


@pytest.mark.parametrize(
    ("choice", "kind", "task"),
    [
        ("denoising_resnet_small", "DenoisingResNet", "both"),
        ("unet", "UNet", "both"),
        ("linear", "Linear", "regression"),
        ("logistic", "Linear", "classification"),
    ],
)
def test_a_model_has_its_own_settings_and_is_built(choice, kind, task):
    config = parsed("train", f"model={choice}", *FOLDS)
    assert type(config.model).__name__ == kind and config.model.task == task
    again = settings.parse(settings.Train, settings.plain(config))
    assert again == config
    network = models.build(config.model, config.conv, config.precision, rows=Rows(bases=True))
    assert type(network).__name__ == kind
    assert (network.task, network.in_channels, network.conv) == (task, 5, "dilconv")


def test_a_config_from_before_there_were_tasks_still_parses():
    sizes = {"channels": 15, "kernel_size": 51, "dilation": 8, "input_transform": "sqrt"}
    values = {"out": "x", "data": DATA, "model": {"name": "denoising_resnet", **sizes}}
    assert settings.parse(settings.Train, values).model == DenoisingResNet(input_transform="sqrt")


@pytest.mark.parametrize("depth", [12, 12.5, "trained", None])
def test_depth_takes_a_number_or_trained(depth):
    assert settings.parse(settings.Predict, {"depth": depth}).depth == depth


def test_plain_is_plain_and_parses_back():
    config = parsed("train", "+experiment=smoke")
    values = settings.plain(config)
    assert type(values["data"]["validation"]) is list
    assert settings.parse(settings.Train, values) == config
