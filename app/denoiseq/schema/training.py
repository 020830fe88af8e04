"""How a network is trained: its loss, its optimizer, the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from denoiseq.schema.checks import check
from denoiseq.schema.data import Data
from denoiseq.schema.network import Conv, DenoisingResNet, Model, Precision
from denoiseq.schema.option import (
    PATH,
    Allowed,
    above,
    at_least,
    check_options,
    group,
    one_of,
    option,
)

STAGES = ["train", "evaluate", "predict"]
# What only a denoised track, or only a peak head, gives: terms of the loss, metrics to monitor.
TRACK_LOSSES = ("mse", "pearson", "log1p_mse", "poisson")
TRACK_METRICS = ("mse", "pearson", "log1p_pearson", "spearman")


def _weighs(value: Any) -> bool:
    return value == "balanced" if isinstance(value, str) else value > 0


@dataclass
class Loss:
    """Weights of the terms; 0 leaves one out."""

    mse: float = option(0.0005, "weight of the mean squared error", at_least(0))
    pearson: float = option(1.0, "weight of 1 - Pearson's correlation over the batch", at_least(0))
    bce: float = option(1.0, "weight of the peaks' binary cross-entropy", at_least(0))
    log1p_mse: float = option(
        0.0, "weight of the mean squared error of log1p(coverage); not AtacWorks'", at_least(0)
    )
    poisson: float = option(0.0, "weight of half the Poisson deviance; not AtacWorks'", at_least(0))
    bce_positive_weight: int | float | str = option(
        1.0,
        "a base in a peak weighs as much as so many outside; balanced = both classes equal",
        Allowed("more than 0, or balanced", _weighs),
        kind="number, or balanced",
    )

    def __post_init__(self) -> None:
        check_options(self, "loss.")


@dataclass
class Optim:
    """How the weights move."""

    name: str = option("adam", "the optimizer", one_of("adam", "adamw"))
    lr: float = option(2e-4, "step size", above(0))
    weight_decay: float = option(
        0.01, "of adamw, on weights; not on biases, norms or slopes", at_least(0)
    )
    schedule: str = option(
        "constant",
        "of the step size; cosine falls to 0 at the last step, plateau when nothing improves",
        one_of("constant", "cosine", "plateau"),
    )
    warmup_epochs: float = option(0.0, "epochs in which the step size rises from 0", at_least(0))
    plateau_epochs: int = option(
        3, "schedule=plateau: epochs without a better `monitor` ...", at_least(1)
    )
    plateau_factor: float = option(
        0.3,
        "... after which the step size is multiplied by this",
        Allowed("between 0 and 1", lambda value: 0 < value < 1),
    )
    gradient_clip: float = option(0.0, "bound of the gradient's norm; 0 = none", at_least(0))
    ema_decay: float = option(
        0.0,
        "0.999, say: validate, keep and predict with a moving average of the weights; 0 = none",
        Allowed("0 or more and less than 1", lambda value: 0 <= value < 1),
    )
    batch_size: int = option(8, "windows a step, over all processes", at_least(1))
    micro_batch: int = option(
        0, "windows through the network at a time, to save memory; 0 = all", at_least(0)
    )
    epochs: int = option(
        25, "0 = measure and keep the weights of model.pretrained as they are", at_least(0)
    )
    patience: int = option(
        0, "training ends after so many epochs without a better `monitor`; 0 = never", at_least(0)
    )
    monitor: str = option(
        "auprc", "the validation metric that chooses best.pt: auprc, loss, pearson, ..."
    )

    def __post_init__(self) -> None:
        check_options(self, "optim.")


@dataclass
class Trainer:
    """How the machine is used."""

    device: str = option("auto", "auto = a GPU where there is one", one_of("auto", "cpu", "cuda"))
    threads: int | None = option(None, "of the arithmetic; null = what torch takes", at_least(1))
    workers: int = option(0, "processes that load windows; 0 = in the main process", at_least(0))
    checkpoint_minutes: float = option(
        10.0, "the longest time that a killed training loses; 0 = a step", at_least(0)
    )
    tensorboard: bool = option(True, "write events for TensorBoard")
    progress: bool = option(True, "a bar on a terminal; elsewhere a line an epoch")

    def __post_init__(self) -> None:
        check_options(self, "trainer.")


@dataclass
class Train:
    """A denoiser, trained on a store of cut sites.

    denoiseq train data.store=cuts.h5 'data.validation=[chr2]' 'data.test=[chr3]' name=mine
    denoiseq train +experiment=smoke
    """

    out: str = option(
        MISSING, "the run folder; by default outputs/{name}/{date and time}", kind=PATH
    )
    name: str = option("train", "of the run, in paths and reports")
    seed: int = option(0, "of weights, windows and the fragments drawn")
    resume: str | None = option(None, "a last.pt: go on from there", kind=PATH)
    stages: list[str] = option(
        ["train"],
        "[train,evaluate,predict] goes on to the test split and to the BAM",
        Allowed("train, then evaluate or predict or both", lambda value: set(value) <= set(STAGES)),
    )
    data: Data = group(Data, "stores, windows, noise, labels, folds")
    model: Model = group(DenoisingResNet, "the network")
    conv: Conv = group(Conv, "which convolution computes it")
    precision: Precision = group(Precision, "of the activations")
    loss: Loss = group(Loss, "what is minimized")
    optim: Optim = group(Optim, "how the weights move")
    trainer: Trainer = group(Trainer, "how the machine is used")

    def __post_init__(self) -> None:
        check_options(self)
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
