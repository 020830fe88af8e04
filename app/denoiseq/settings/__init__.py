"""Every setting of every command: dataclasses with types, defaults and ranges, and `parse`, which
checks the values that YAML under `configs/` composes. Classes of the networks: `settings.model`.
"""

from denoiseq.settings.conv import Conv as Conv
from denoiseq.settings.data import Data as Data
from denoiseq.settings.data import DataOverrides as DataOverrides
from denoiseq.settings.evaluate import Evaluate as Evaluate
from denoiseq.settings.kinds import Kind as Kind
from denoiseq.settings.kinds import escape as escape
from denoiseq.settings.kinds import kinds as kinds
from denoiseq.settings.loss import Loss as Loss
from denoiseq.settings.model import MODELS as MODELS
from denoiseq.settings.model import Model as Model
from denoiseq.settings.optim import Optim as Optim
from denoiseq.settings.parse import check_names as check_names
from denoiseq.settings.parse import keys as keys
from denoiseq.settings.parse import parse as parse
from denoiseq.settings.parse import plain as plain
from denoiseq.settings.parse import to_yaml as to_yaml
from denoiseq.settings.parse import unknown_key as unknown_key
from denoiseq.settings.precision import Precision as Precision
from denoiseq.settings.predict import Predict as Predict
from denoiseq.settings.prepare import Prepare as Prepare
from denoiseq.settings.train import Train as Train
from denoiseq.settings.trainer import Trainer as Trainer
from denoiseq.settings.yaml_text import read_text_as_written as read_text_as_written

COMMANDS: dict[str, type] = {
    "prepare": Prepare,
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
}
