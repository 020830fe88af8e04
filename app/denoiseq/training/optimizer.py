"""What moves the weights: the optimizer, its rate, and a running average of the weights.

The rate and the average depend on the position in the training alone, never on hidden counters, so
a resumed training goes on exactly as it would have.
"""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from denoiseq.training.options import TrainOptions, smaller_is_better


def make_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """Adam, or AdamW, whose decay spares biases, norms and PReLU's slopes."""
    if options.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=options.lr)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    spared = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=options.lr)


def learning_rate(
    options: TrainOptions, epochs_done: float, monitored: list[float] | None = None
) -> float:
    """The rate after a (fractional) number of epochs; `monitored`: the metric of those validated.

    "plateau" multiplies it by plateau_factor whenever the metric has had no new best for
    plateau_epochs epochs, counted anew after each drop.
    """
    rate = options.lr
    if epochs_done < options.warmup_epochs:
        rate *= (epochs_done + 1e-3) / (options.warmup_epochs + 1e-3)
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(epochs_done / options.epochs, 1.0)))
    if options.schedule == "plateau":
        rate *= options.plateau_factor ** _plateaus(options, monitored or [])
    return rate


def _plateaus(options: TrainOptions, monitored: list[float]) -> int:
    sign = -1 if smaller_is_better(options.monitor) else 1
    best, since, found = -math.inf, 0, 0
    for value in monitored:
        better = sign * value > best  # never where it is nan
        best, since = (sign * value, 0) if better else (best, since + 1)
        if since == options.plateau_epochs:
            found, since = found + 1, 0
    return found


class Average:
    """An exponential moving average of a model's weights; buffers are those of the last step.

    Early on it follows faster, by (1 + steps) / (10 + steps), so that few epochs suffice.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def follow(self, model: nn.Module, steps: int) -> None:
        """Take in the weights that a model has after so many steps."""
        share = 1 - min(self.decay, (1 + steps) / (10 + steps))
        own: list[Tensor] = [*self.model.parameters()]
        torch._foreach_lerp_(own, [*model.parameters()], share)
        for kept, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
