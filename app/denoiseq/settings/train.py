"""The settings of `denoiseq train`."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from denoiseq.settings.conv import Conv
from denoiseq.settings.data import Data
from denoiseq.settings.loss import TERMS, Loss
from denoiseq.settings.model import DenoisingResNet, Model
from denoiseq.settings.optim import TRACK_METRICS, Optim
from denoiseq.settings.precision import Precision
from denoiseq.settings.setting import SEED, Allowed, check, check_settings, group, path, setting
from denoiseq.settings.trainer import Trainer

STAGES = ["train", "evaluate", "predict"]


@dataclass
class Train:
    """Train a denoiser on a store of cut sites.

    denoiseq train --data.store cuts.h5 --data.validation chr2 --data.test chr3 --name mine
    denoiseq train --experiment smoke
    """

    out: str = path("run folder; by default outputs/{name}/{date and time}", MISSING)
    name: str = setting("train", "name of the run, in paths and reports")
    seed: int = setting(0, "seed of the weights, the windows and the fragments drawn", SEED)
    resume: str | None = path("last.pt of a training to go on from")
    stages: list[str] = setting(
        ["train"],
        "what is done: train, then evaluate (the test split) or predict (on the BAM) or both",
        Allowed("train, then evaluate or predict or both", lambda value: set(value) <= set(STAGES)),
    )
    data: Data = group(Data, "stores, windows, noise, labels and folds")
    model: Model = group(DenoisingResNet, "the network")
    conv: Conv = group(Conv, "which convolution the network runs on")
    precision: Precision = group(Precision, "precision of the activations")
    loss: Loss = group(Loss, "what is minimized")
    optim: Optim = group(Optim, "how the weights move")
    trainer: Trainer = group(Trainer, "how the machine is used")

    def __post_init__(self) -> None:
        check_settings(self)
        check(self.stages[:1] == ["train"], "stages must begin with train")
        self._check_task()
        check(
            self.optim.epochs > 0 or self.model.pretrained is not None,
            "optim.epochs is 0, which saves the weights of model.pretrained: give that, or epochs",
        )

    def _check_task(self) -> None:
        task, monitor = self.model.task, self.optim.monitor
        without = {"regression": "peaks", "classification": "track"}.get(task)
        terms = [name for name, head in TERMS.items() if head != without]
        check(
            any(getattr(self.loss, name) > 0 for name in terms),
            f"no term of the loss has a weight for model.task={task}: raise one of "
            f"{', '.join(f'loss.{name}' for name in terms)}",
        )
        check(
            task != "classification" or monitor not in TRACK_METRICS,
            f"optim.monitor={monitor} needs a denoised track, which model.task=classification "
            "does not have: choose auprc, auroc, best_f1 or loss",
        )
