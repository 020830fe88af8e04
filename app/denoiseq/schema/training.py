"""How a network is trained: its loss, its optimizer, the machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from denoiseq.schema.checks import check, one_of
from denoiseq.schema.data import Data
from denoiseq.schema.network import Conv, DenoisingResNet, Model, Precision

STAGES = ("train", "evaluate", "predict")
# What only a denoised track, or only a peak head, gives: terms of the loss, metrics to monitor.
TRACK_LOSSES = ("mse", "pearson", "log1p_mse", "poisson")
TRACK_METRICS = ("mse", "pearson", "log1p_pearson", "spearman")


@dataclass
class Loss:
    """Weights of mse, 1 - Pearson, cross-entropy, mse of log1p coverage, Poisson deviance.

    `bce_positive_weight` is what a base inside a peak weighs in the cross-entropy against one
    outside: a number, or "balanced".
    """

    mse: float = 0.0005
    pearson: float = 1.0
    bce: float = 1.0
    log1p_mse: float = 0.0
    poisson: float = 0.0
    bce_positive_weight: int | float | str = 1.0

    def __post_init__(self) -> None:
        for name in ("mse", "pearson", "bce", "log1p_mse", "poisson"):
            value = getattr(self, name)
            check(value >= 0, f"loss.{name} is {value}, expected 0 or more")
        weight = self.bce_positive_weight
        check(
            weight == "balanced" if isinstance(weight, str) else weight > 0,
            f"loss.bce_positive_weight is {weight!r}, expected more than 0, or balanced",
        )


@dataclass
class Optim:
    """How the weights move.

    A step takes `batch_size` windows over all processes; `micro_batch` bounds how many go through
    the network at a time (0: all), which changes memory and time, not the result. `monitor` names
    the validation metric whose best epoch is kept as best.pt; after `patience` epochs without a
    better one training ends (0: never). No `epochs` measure and keep the weights of
    `model.pretrained` as they are. Rates per step, `warmup_epochs` and the `plateau_…` in
    epochs.
    """

    name: str = "adam"
    lr: float = 2e-4
    weight_decay: float = 0.01
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    plateau_epochs: int = 3
    plateau_factor: float = 0.3
    gradient_clip: float = 0.0
    ema_decay: float = 0.0
    batch_size: int = 8
    micro_batch: int = 0
    epochs: int = 25
    patience: int = 0
    monitor: str = "auprc"

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, ("adam", "adamw"))
        one_of("optim.schedule", self.schedule, ("constant", "cosine", "plateau"))
        check(self.lr > 0, f"optim.lr is {self.lr}, expected more than 0")
        for name in (
            "weight_decay",
            "warmup_epochs",
            "gradient_clip",
            "patience",
            "micro_batch",
            "epochs",
        ):
            value = getattr(self, name)
            check(value >= 0, f"optim.{name} is {value}, expected 0 or more")
        for name in ("batch_size", "plateau_epochs"):
            value = getattr(self, name)
            check(value >= 1, f"optim.{name} is {value}, expected 1 or more")
        check(
            0 < self.plateau_factor < 1,
            f"optim.plateau_factor is {self.plateau_factor}, expected between 0 and 1",
        )
        check(
            0 <= self.ema_decay < 1,
            f"optim.ema_decay is {self.ema_decay}, expected 0 (none) or more and less than 1",
        )


@dataclass
class Trainer:
    """How the machine is used. `threads: null` leaves the choice to torch.

    `device: auto` takes a GPU a process where there is one. `checkpoint_minutes` is the longest
    time that a killed training loses (0: a step).
    """

    device: str = "auto"
    threads: int | None = None
    workers: int = 0
    checkpoint_minutes: float = 10.0
    tensorboard: bool = True
    progress: bool = True

    def __post_init__(self) -> None:
        one_of("trainer.device", self.device, ("auto", "cpu", "cuda"))
        check(
            self.threads is None or self.threads >= 1,
            f"trainer.threads is {self.threads}, expected null or 1 and more",
        )
        for name in ("workers", "checkpoint_minutes"):
            value = getattr(self, name)
            check(value >= 0, f"trainer.{name} is {value}, expected 0 or more")


@dataclass
class Train:
    """`denoiseq train`. `out` is the run folder; `stages` may go on to evaluate and predict."""

    out: str = MISSING
    name: str = "train"
    seed: int = 0
    resume: str | None = None
    stages: list[str] = field(default_factory=lambda: ["train"])
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=DenoisingResNet)
    conv: Conv = field(default_factory=Conv)
    precision: Precision = field(default_factory=Precision)
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        for stage in self.stages:
            one_of("stages", stage, STAGES)
        check(self.stages[:1] == ["train"], "stages must begin with train")
        self._check_task()
        check(
            self.optim.epochs > 0 or self.model.pretrained is not None,
            "optim.epochs is 0, which keeps given weights: give model.pretrained=, or epochs",
        )

    def _check_task(self) -> None:
        task, monitor = self.model.task, self.optim.monitor
        terms = {"both": (*TRACK_LOSSES, "bce"), "regression": TRACK_LOSSES}.get(task, ("bce",))
        check(
            any(getattr(self.loss, name) > 0 for name in terms),
            f"no term of the loss has a weight for model.task={task}: raise one of "
            f"{', '.join(f'loss.{name}' for name in terms)}",
        )
        check(
            task != "classification" or monitor not in TRACK_METRICS,
            f"optim.monitor={monitor} needs a denoised track, which model.task=classification "
            "has not: choose auprc, auroc, best_f1 or loss",
        )
