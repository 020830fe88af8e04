"""Weights for a training to start from: a checkpoint of ours, or a state dict that AtacWorks
published. Where these do not fit, the message says what their names and shapes tell of the network;
dilations leave no trace in them.
"""

from itertools import count, takewhile
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from denoiseq.errors import UserError
from denoiseq.models.checkpoint import FORMAT, OURS, check_weights, checked, damaged, read_file
from denoiseq.settings import Model

# Prefix of the names of a network that was wrapped to train on several devices.
WRAPPED = "module."
# The layers of AtacWorks' linear and logistic models.
PUBLISHED_LINEAR = ("denoising_linear.conv_layer.", "conv_layer.")
Weights = dict[str, Tensor]


def load_weights(path: Path) -> tuple[Weights, dict[str, Any]]:
    """Read weights onto the CPU; no code of the file is run.

    Returns the state dict, without the prefix of a wrapped model, and the settings of the model of
    one of our checkpoints, empty for another file. FileNotFoundError or UserError if the file is
    missing or holds no weights.
    """
    payload = read_file(path, "a file of tensors and plain values alone")
    settings = {}
    if isinstance(payload, dict) and payload.get("format") == FORMAT:
        settings = checked(payload, path).get("config", {}).get("model", {})
        if not isinstance(settings, dict):
            raise damaged(path, OURS, "config.model is of another type")
    weights = payload.get("state_dict", payload) if isinstance(payload, dict) else None
    if not (isinstance(weights, dict) and weights) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise UserError(f'{path} holds no weights: expected {{"state_dict": names and tensors}}.')
    if all(name.startswith(WRAPPED) for name in weights):
        weights = {name.removeprefix(WRAPPED): value for name, value in weights.items()}
    check_weights(weights, path)
    return weights, settings


def adopt(model: nn.Module, weights: Weights, source: str) -> None:
    """Load weights by our names or AtacWorks' into `model`; UserError if they do not fit, with the
    first weight that differs and, as far as the shapes tell, the model that they belong to.
    """
    weights, expected = _with_our_names(model, weights), model.state_dict()
    for name in dict.fromkeys([*expected, *weights]):
        shape, expected_shape = _shape(weights.get(name)), _shape(expected.get(name))
        if shape != expected_shape:
            values = (f"{k}={str(v).replace(' ', '')}" for k, v in described(weights).items())
            remedy = f"; it is of {text}" if (text := " ".join(values)) else ""
            raise UserError(
                f"{source} does not fit the model: {name} is {shape} there, {expected_shape} here"
                f"{remedy}."
            )
    model.load_state_dict(weights)


def _shape(weight: Tensor | None) -> str:
    return "absent" if weight is None else "x".join(map(str, weight.shape)) or "a number"


def _with_our_names(model: nn.Module, weights: Weights) -> Weights:
    """Published linear and logistic models by the names of our heads; others as they are."""
    present = [p for p in PUBLISHED_LINEAR if any(name.startswith(p) for name in weights)]
    only = "regressor" if getattr(model, "task", "both") == "regression" else "classifier"
    heads = ["regressor", "classifier"] if len(present) == 2 else [only] * len(present)

    def renamed(name: str) -> str:
        for prefix, head in zip(present, heads, strict=True):
            if name.startswith(prefix):
                return f"{head}.conv_layer.{name.removeprefix(prefix)}"
        return name

    return {renamed(name): value for name, value in weights.items()}


def described(weights: Weights) -> dict[str, Any]:
    """The overrides that choose the model of these weights (our names), as far as shapes tell."""
    shapes = {name: tuple(value.shape) for name, value in weights.items() if value.ndim == 3}
    heads = [shapes.get(f"{head}.conv_layer.weight") for head in ("regressor", "classifier")]
    if "res_blocks.0.conv_act1.conv_layer.weight" in shapes:
        overrides = _residual(shapes)
    elif "down.0.conv_layer.weight" in shapes:
        down = _layers(shapes, "down.{}.conv_layer.weight")
        overrides = {
            "model": "unet",
            "model.channels": [K for K, _, _ in down],
            "model.kernel_sizes": [S for _, _, S in down],
        }
    elif head := heads[0] or heads[1]:
        overrides = {"model": "linear", "model.field": head[-1]}
    else:
        return {}
    only = "classification" if heads[1] else "regression"
    return overrides | {"model.task": "both" if all(heads) or not any(heads) else only}


def _residual(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    first = _layers(shapes, "res_blocks.{}.conv_act1.conv_layer.weight")
    second = _layers(shapes, "res_blocks_class.{}.conv_act1.conv_layer.weight")
    overrides = {
        "model": "denoising_resnet",
        "model.channels": first[0][0],
        "model.kernel_size": first[0][2],
        "model.blocks": len(first),
    }
    if second:
        overrides |= {"model.peak_blocks": len(second), "model.peak_kernel_size": second[0][2]}
    return overrides


def _layers(shapes: dict[str, tuple[int, ...]], name: str) -> list[tuple[int, ...]]:
    """The shapes (K, C, S) of name 0, 1, 2, ... as long as there are any."""
    names = takewhile(shapes.__contains__, map(name.format, count()))
    return [shapes[name] for name in names]


def start_from(network: nn.Module, settings: Model) -> None:
    """Load the weights that `settings.pretrained` names, if it names any."""
    if settings.pretrained is None:
        return
    path = Path(settings.pretrained)
    weights, trained = load_weights(path)
    for name, value in vars(settings).items():
        if name != "pretrained" and trained.get(name, value) != value:
            raise UserError(
                f"{path} was trained with model.{name}={trained[name]}, this config asks for "
                f"{value}: give equal settings"
            )
    adopt(network, weights, str(path))
