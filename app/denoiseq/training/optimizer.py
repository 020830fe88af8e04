"""The optimizer, its learning rate, and a moving average of the weights; the last two depend on the
position in the training alone, so a resumed training goes on exactly as it would have.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from denoiseq.settings import Optim
from denoiseq.settings.optim import smaller_is_better

# what of a group each step, or the settings of a resumed training, may change
_SET_ANEW = {"lr", "weight_decay"}


def make_optimizer(model: nn.Module, settings: Optim) -> torch.optim.Optimizer:
    """Adam, or AdamW, whose decay spares biases, norms and PReLU's slopes."""
    if settings.name == "adam":
        return torch.optim.Adam(model.parameters(), lr=settings.lr)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    spared = [p for p in model.parameters() if p.ndim <= 1]
    groups = [(decayed, settings.weight_decay), (spared, 0.0)]
    parts = [{"params": params, "weight_decay": decay} for params, decay in groups if params]
    return torch.optim.AdamW(parts, lr=settings.lr)


def check_optimizer_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """ValueError where a stored state is not of this optimizer's parameters and groups.

    torch takes any, and fails, or steps otherwise, afterwards.
    """
    groups, own = state["param_groups"], optimizer.state_dict()["param_groups"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for group, expected in zip(groups, own, strict=True):
        # another version of torch may have further names
        names = group.keys() & expected.keys() - _SET_ANEW
        if "params" not in names or any(
            (type(group[name]), group[name]) != (type(expected[name]), expected[name])
            for name in names
        ):
            raise ValueError("other groups of parameters")
    for number, values in state["state"].items():
        shapes = (parameters[number].shape, torch.Size())
        if not all(isinstance(v, Tensor) and v.shape in shapes for v in values.values()):
            raise ValueError("a state of other shape")


def learning_rate(
    settings: Optim, epochs_done: float, monitored: Sequence[float] = (), comparable_from: int = 0
) -> float:
    """The rate after a (fractional) number of epochs; `monitored` is the metric after each.

    "plateau" multiplies it by plateau_factor whenever the metric has had no new best for
    plateau_epochs epochs, counted anew after each drop, and from the value at `comparable_from` on,
    with which those before it cannot be compared.
    """
    rate = settings.lr
    if epochs_done < settings.warmup_epochs:
        rate *= (epochs_done + 1e-3) / (settings.warmup_epochs + 1e-3)
    if settings.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(epochs_done / settings.epochs, 1.0)))
    if settings.schedule == "plateau":
        rate *= settings.plateau_factor ** sum(
            _plateaus(settings, values)
            for values in (monitored[:comparable_from], monitored[comparable_from:])
        )
    return rate


def _plateaus(settings: Optim, monitored: Sequence[float]) -> int:
    sign = -1 if smaller_is_better(settings.monitor) else 1
    best, since, plateaus = -math.inf, 0, 0
    for value in monitored:
        better = sign * value > best  # never where it is nan
        best, since = (sign * value, 0) if better else (best, since + 1)
        if since == settings.plateau_epochs:
            plateaus, since = plateaus + 1, 0
    return plateaus


class Average:
    """An exponential moving average of a model's weights; buffers are those of the last step.

    Early on it follows faster, by (1 + steps) / (10 + steps), so that few epochs suffice.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def follow(self, model: nn.Module, steps: int) -> None:
        """Take in the weights of a model after `steps` optimizer steps."""
        share = 1 - min(self.decay, (1 + steps) / (10 + steps))
        averages: list[Tensor] = [*self.model.parameters()]
        torch._foreach_lerp_(averages, [*model.parameters()], share)
        for own, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(buffer)
