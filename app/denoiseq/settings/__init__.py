"""Every setting of every command: dataclasses with types, defaults and ranges, and `parse`.

YAML under `configs/` composes the values; `parse` checks them against these classes, and the rooms
take the classes themselves. The classes of the networks are in `settings.model`.
"""

from denoiseq.settings.conv import Conv
from denoiseq.settings.data import Data, DataOverrides
from denoiseq.settings.evaluate import Evaluate
from denoiseq.settings.loss import Loss
from denoiseq.settings.model import MODELS, Model
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
    "Evaluate",
    "Loss",
    "Model",
    "Optim",
    "Precision",
    "Predict",
    "Prepare",
    "Train",
    "Trainer",
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
