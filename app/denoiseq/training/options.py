"""What a training and an evaluation are told: settings, and the run around them. No config."""

import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from denoiseq.atomic import atomic_path
from denoiseq.distributed import ALONE, Ranks
from denoiseq.errors import UserError
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.settings import Evaluate, Train

log = logging.getLogger(__name__)
OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "cosine", "plateau")
MONITORS = (
    *("auprc", "auroc", "best_f1", "pearson", "log1p_pearson", "spearman", "mse"),
    *("loss", "loss_bce", "loss_mse", "loss_log1p_mse", "loss_poisson"),
)
NEED_PEAKS = ("auprc", "auroc", "best_f1")


def smaller_is_better(monitor: str) -> bool:
    """Whether a metric is an error."""
    return monitor == "mse" or monitor.startswith("loss")


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    optimizer "adamw" decays weights by weight_decay. schedule "cosine" lets the rate fall to 0 at
    the last step, "plateau" by plateau_factor after plateau_epochs epochs without a new best;
    warmup_epochs lets it rise from 0 first. gradient_clip bounds the gradient's norm (0: none). A
    step takes batch_size windows, micro_batch of them at a time (0: all) to bound memory: the
    result is that of all at once. ema_decay > 0 keeps a moving average of the weights, which is
    validated, kept and predicted with. monitor names the validation metric whose best epoch is
    kept as best.pt; after patience epochs without a better one training ends (0: never).
    checkpoint_minutes is the longest time that a killed training loses (0: a step).
    """

    epochs: int = 25
    batch_size: int = 64
    micro_batch: int = 0
    optimizer: str = "adam"
    lr: float = 2e-4
    weight_decay: float = 0.01
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    plateau_epochs: int = 3
    plateau_factor: float = 0.3
    gradient_clip: float = 0.0
    ema_decay: float = 0.0
    monitor: str = "auprc"
    patience: int = 0
    checkpoint_minutes: float = 10.0
    workers: int = 0
    seed: int = 0
    progress: bool = True
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("monitor", MONITORS),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise UserError(f"{name}={value!r} is unknown: one of {', '.join(choices)}.")


@dataclass(frozen=True)
class Run:
    """What surrounds a training.

    folder : where everything is written.
    metadata : plain containers stored in every checkpoint as they are: config, versions, ...
    resume : a checkpoint to go on from.
    validation : its batch size, workers and the rule of its peaks.
    evaluation : the bootstrap of the metrics at the end.
    ranks : the processes that share it; all but the first write nothing.
    picture : draws example loci of a model as PNG, given what was tuned on validation.
    """

    folder: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    resume: Path | None = None
    validation: Train = field(default_factory=Train)
    evaluation: Evaluate = field(default_factory=Evaluate)
    ranks: Ranks = ALONE
    picture: Callable[[Any, Tuned, float], bytes | None] | None = None

    def checkpoint(self, name: str) -> Path:
        """The path of "last" or "best"."""
        return Path(self.folder) / "checkpoints" / f"{name}.pt"

    def adopt_best(self, resumed: Path) -> bool:
        """Bring the best.pt beside a resumed checkpoint into this folder; whether one is there."""
        source, target = resumed.with_name("best.pt"), self.checkpoint("best")
        if source.is_file() and source.resolve() != target.resolve():
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
        return target.is_file()


def usable_monitor(monitor: str, baselines: Tuned) -> str:
    """The monitor, or "loss" where there is no true peak on validation to rank by."""
    if monitor in NEED_PEAKS and math.isnan(baselines.thresholds["noisy"]):
        log.warning("no true peak on validation: the best epoch is chosen by loss, not %s", monitor)
        return "loss"
    return monitor
