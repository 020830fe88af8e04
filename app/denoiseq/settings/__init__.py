"""The truth of every config: dataclasses with types, defaults and ranges, and `parse`, the door.

YAML under `configs/` composes the values; `parse` merges them into a schema, so an unknown key, a
wrong type or a value out of range is one sentence. Nothing else of ours is imported here, and only
`build`, `sources`, `inputs`, `doctor`, `commands` and `cli` ever see a config.
"""

from denoiseq.settings.conv import Conv
from denoiseq.settings.data import Data, DataOverrides
from denoiseq.settings.evaluate import Evaluate
from denoiseq.settings.loss import Loss
from denoiseq.settings.model import MODELS, DenoisingResNet, Linear, Model, UNet
from denoiseq.settings.optim import Optim
from denoiseq.settings.parse import keys, parse, plain, to_yaml, unknown_key
from denoiseq.settings.precision import Precision
from denoiseq.settings.predict import Predict
from denoiseq.settings.prepare import Prepare
from denoiseq.settings.train import Train
from denoiseq.settings.trainer import Trainer

__all__ = [
    "COMMANDS",
    "MODELS",
    "Conv",
    "Data",
    "DataOverrides",
    "DenoisingResNet",
    "Evaluate",
    "Linear",
    "Loss",
    "Model",
    "Optim",
    "Precision",
    "Predict",
    "Prepare",
    "Train",
    "Trainer",
    "UNet",
    "keys",
    "parse",
    "plain",
    "to_yaml",
    "unknown_key",
]

COMMANDS: dict[str, type] = {
    "prepare": Prepare,
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
}
