"""One optimizer step: what a training repeats, and what a benchmark of training times."""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

from denoiseq.learning.evaluation import Loss, named_losses
from denoiseq.learning.models import Prediction


@dataclass(frozen=True)
class Step:
    """What came of a step.

    losses : dict
        "loss" and its parts, before the weights moved.
    finite : bool
        False where the loss or a gradient was not: then no weight has moved.
    """

    prediction: Prediction
    losses: dict[str, float]
    finite: bool


def optimizer_step(
    model: nn.Module,
    optimizer: Optimizer,
    loss: Loss,
    batch: dict[str, Tensor],
    gradient_clip: float = 0.0,
) -> Step:
    """Forward, loss, backward and the optimizer's step; gradient_clip bounds the norm (0: not)."""
    optimizer.zero_grad(set_to_none=True)
    prediction = model(batch["x"])
    total, parts = loss(prediction, batch)
    finite = math.isfinite(total.item())
    if finite:
        total.backward()
        limit = gradient_clip or math.inf
        finite = math.isfinite(nn.utils.clip_grad_norm_(model.parameters(), limit).item())
    if finite:
        optimizer.step()
    return Step(prediction, named_losses(total.detach(), parts), finite)
