"""What a training is told: its settings, and the run that surrounds it. Flat, no config."""

import logging
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from denoiseq.atomic import atomic_path
from denoiseq.learning.evaluation import EvaluateOptions, Tuned

log = logging.getLogger(__name__)
SCHEDULES = ("constant", "cosine")
MONITORS = ("auprc", "auroc", "best_f1", "pearson", "log1p_pearson", "spearman", "loss", "mse")
NEED_PEAKS = ("auprc", "auroc", "best_f1")
SMALLER_IS_BETTER = ("loss", "mse")


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    schedule "cosine" lets the rate fall to 0 at the last step; warmup_epochs lets it rise from 0
    first. gradient_clip bounds the gradient's norm (0: unbounded). monitor names the validation
    metric whose best epoch is kept as best.pt.
    """

    epochs: int = 25
    batch_size: int = 64
    lr: float = 2e-4
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    gradient_clip: float = 0.0
    monitor: str = "auprc"
    workers: int = 0
    seed: int = 0
    progress: bool = True
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r} is unknown: {' or '.join(SCHEDULES)}.")
        if self.monitor not in MONITORS:
            raise ValueError(f"monitor={self.monitor!r} is unknown: one of {', '.join(MONITORS)}.")


@dataclass(frozen=True)
class Run:
    """What surrounds a training.

    folder : where everything is written.
    metadata : plain containers stored in every checkpoint as they are: config, versions, ...
    resume : a checkpoint to go on from.
    evaluation : how validation is run.
    """

    folder: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    resume: Path | None = None
    evaluation: EvaluateOptions = field(default_factory=EvaluateOptions)

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


def learning_rate(options: TrainOptions, epochs_done: float) -> float:
    """The rate after a (fractional) number of epochs: a function of position alone."""
    rate = options.lr
    if epochs_done < options.warmup_epochs:
        rate *= (epochs_done + 1e-3) / (options.warmup_epochs + 1e-3)
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(epochs_done / options.epochs, 1.0)))
    return rate


def usable_monitor(monitor: str, baselines: Tuned) -> str:
    """The monitor, or "loss" where there is no true peak on validation to rank by."""
    if monitor in NEED_PEAKS and math.isnan(baselines.thresholds["noisy"]):
        log.warning("no true peak on validation: the best epoch is chosen by loss, not %s", monitor)
        return "loss"
    return monitor
