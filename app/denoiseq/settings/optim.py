"""How a training moves the weights, and which metric chooses the best epoch."""

from __future__ import annotations

from dataclasses import dataclass

from denoiseq.settings.loss import TERMS
from denoiseq.settings.setting import Allowed, at_least, check_settings, one_of, setting

# Metrics of peaks that are not defined where validation has no true peak.
PEAK_METRICS = ("auprc", "auroc", "best_f1")
# Metrics that only a denoised track has.
TRACK_METRICS = ("mse", "pearson", "log1p_pearson", "spearman")
# The logged part `loss_pearson` is the correlation itself, which the metric `pearson` covers.
MONITORS = (
    *PEAK_METRICS,
    *TRACK_METRICS,
    "loss",
    *(f"loss_{term}" for term in TERMS if term != "pearson"),
)


def smaller_is_better(monitor: str) -> bool:
    """Whether a metric is an error."""
    return monitor == "mse" or monitor.startswith("loss")


@dataclass
class Optim:
    """How the weights move."""

    name: str = setting("adam", "the optimizer", one_of("adam", "adamw"))
    lr: float = setting(2e-4, "learning rate", Allowed("more than 0", lambda value: value > 0))
    weight_decay: float = setting(
        0.01,
        "adamw only: decay of the weights; biases, norms and PReLU slopes are spared",
        at_least(0),
    )
    schedule: str = setting(
        "constant",
        "how the learning rate changes; cosine falls to 0 at the last step, plateau drops when "
        "nothing improves",
        one_of("constant", "cosine", "plateau"),
    )
    warmup_epochs: float = setting(
        0.0, "epochs over which the learning rate rises from 0", at_least(0)
    )
    plateau_epochs: int = setting(
        3, "schedule=plateau: after this many epochs without a better `monitor` ...", at_least(1)
    )
    plateau_factor: float = setting(
        0.3,
        "... the learning rate is multiplied by this",
        Allowed("between 0 and 1", lambda value: 0 < value < 1),
    )
    gradient_clip: float = setting(0.0, "limit of the gradient's norm; 0 = none", at_least(0))
    ema_decay: float = setting(
        0.0,
        "validate, save and predict with a moving average of the weights, with this decay "
        "(for example 0.999); 0 = no average",
        Allowed("0 or more and less than 1", lambda value: 0 <= value < 1),
    )
    batch_size: int = setting(8, "windows per step, over all processes", at_least(1))
    micro_batch: int = setting(
        0,
        "windows passed through the network at once, to save memory; 0 = all, as "
        "model.batch_norm=true needs",
        at_least(0),
    )
    epochs: int = setting(
        25, "number of epochs; 0 = measure and save the weights of model.pretrained", at_least(0)
    )
    patience: int = setting(
        0, "stop after this many epochs without a better `monitor`; 0 = never", at_least(0)
    )
    monitor: str = setting(
        "auprc",
        "the validation metric that chooses best.pt: auprc, loss, pearson, ...",
        Allowed(f"one of {', '.join(MONITORS)}", lambda value: value in MONITORS),
    )

    def __post_init__(self) -> None:
        check_settings(self, "optim.")
