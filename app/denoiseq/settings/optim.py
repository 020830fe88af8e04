"""How a training moves the weights."""

from __future__ import annotations

from dataclasses import dataclass

from denoiseq.settings.setting import (
    Allowed,
    above,
    at_least,
    check_settings,
    one_of,
    setting,
)


@dataclass
class Optim:
    """How the weights move."""

    name: str = setting("adam", "the optimizer", one_of("adam", "adamw"))
    lr: float = setting(2e-4, "step size", above(0))
    weight_decay: float = setting(
        0.01, "of adamw, on weights; not on biases, norms or slopes", at_least(0)
    )
    schedule: str = setting(
        "constant",
        "of the step size; cosine falls to 0 at the last step, plateau when nothing improves",
        one_of("constant", "cosine", "plateau"),
    )
    warmup_epochs: float = setting(0.0, "epochs in which the step size rises from 0", at_least(0))
    plateau_epochs: int = setting(
        3, "schedule=plateau: epochs without a better `monitor` ...", at_least(1)
    )
    plateau_factor: float = setting(
        0.3,
        "... after which the step size is multiplied by this",
        Allowed("between 0 and 1", lambda value: 0 < value < 1),
    )
    gradient_clip: float = setting(0.0, "bound of the gradient's norm; 0 = none", at_least(0))
    ema_decay: float = setting(
        0.0,
        "0.999, say: validate, keep and predict with a moving average of the weights; 0 = none",
        Allowed("0 or more and less than 1", lambda value: 0 <= value < 1),
    )
    batch_size: int = setting(8, "windows a step, over all processes", at_least(1))
    micro_batch: int = setting(
        0, "windows through the network at a time, to save memory; 0 = all", at_least(0)
    )
    epochs: int = setting(
        25, "0 = measure and keep the weights of model.pretrained as they are", at_least(0)
    )
    patience: int = setting(
        0, "training ends after so many epochs without a better `monitor`; 0 = never", at_least(0)
    )
    monitor: str = setting(
        "auprc", "the validation metric that chooses best.pt: auprc, loss, pearson, ..."
    )

    def __post_init__(self) -> None:
        check_settings(self, "optim.")
