"""The truth of every config: dataclasses with types, defaults and ranges, and `parse`, the door.

YAML under `configs/` composes the values; `parse` merges them into a schema, so an unknown key, a
wrong type or a value out of range is one sentence. Nothing else of ours is imported here, and only
`build`, `sources`, `inputs`, `doctor`, `commands` and `cli` ever see a config.
"""

from denoiseq.schema.data import Data, DataOverrides, Prepare
from denoiseq.schema.door import keys, parse, plain, to_yaml, unknown_key
from denoiseq.schema.inference import Evaluate, Predict
from denoiseq.schema.network import (
    MODELS,
    Conv,
    DenoisingResNet,
    Linear,
    Model,
    Precision,
    UNet,
)
from denoiseq.schema.training import Loss, Optim, Train, Trainer

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
