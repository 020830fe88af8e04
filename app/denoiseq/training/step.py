"""One optimizer step, which a training repeats and a benchmark of training times."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from denoiseq.distributed import ALONE, Ranks
from denoiseq.evaluation.measure import Loss, named_losses
from denoiseq.models.network import Prediction


@dataclass(frozen=True)
class Step:
    """The outcome of a step; `losses` are "loss" and its parts, before the weights moved. If the
    loss or a gradient was not `finite`, no weight has moved.
    """

    prediction: Prediction
    losses: dict[str, float]
    finite: bool


def optimizer_step(
    model: nn.Module,
    optimizer: Optimizer,
    loss: Loss,
    batch: dict[str, Tensor],
    *,
    gradient_clip: float = 0.0,
    micro_batch: int = 0,
    ranks: Ranks = ALONE,
) -> Step:
    """Forward, loss, backward and the optimizer's step.

    loss : of the whole batch on all ranks, as `Ranks.total` makes it
    batch : this rank's share of the batch
    gradient_clip : limit of the gradient's norm; 0: none
    micro_batch : windows that go through the network at a time, to bound memory; 0: all. The loss
        still sees the batch as a whole, at the cost of a second forward pass; BatchNorm
        would not, and would follow its statistics twice.
    """
    optimizer.zero_grad(set_to_none=True)
    parts = [0, *range(micro_batch, len(batch["x"]), micro_batch)] if micro_batch else [0]
    inputs = torch.tensor_split(batch["x"], parts[1:])
    with torch.set_grad_enabled(len(inputs) == 1):
        predictions = [model(x) for x in inputs]
    prediction = _joined(predictions) if len(inputs) > 1 else predictions[0]
    total, named = loss(prediction, batch)
    finite = math.isfinite(total.item())
    if finite:
        total.backward()
        if len(inputs) > 1:
            _backward_by_parts(model, inputs, prediction)
        ranks.mean_gradients(model)
        limit = gradient_clip or math.inf
        finite = math.isfinite(nn.utils.clip_grad_norm_(model.parameters(), limit).item())
    if finite:
        optimizer.step()
    return Step(prediction, named_losses(total.detach(), named), finite)


def first_not_finite(batch: dict[str, Tensor], prediction: Prediction) -> int | None:
    """The first window of a batch whose input, truth or prediction is not finite."""
    tracks = (batch["x"].flatten(1), batch["coverage"], *prediction)
    finite = [t.isfinite().all(1) for t in tracks if t is not None]  # each (N,)
    broken = ~torch.stack(finite).all(0)
    return int(broken.int().argmax()) if broken.any() else None


def _joined(predictions: list[Prediction]) -> Prediction:
    """The predictions of all parts as one, whose tensors collect gradients."""
    by_head = zip(*predictions, strict=True)
    return Prediction(*(None if h[0] is None else torch.cat(h).requires_grad_() for h in by_head))


def _backward_by_parts(
    model: nn.Module, inputs: tuple[Tensor, ...], prediction: Prediction
) -> None:
    """Add up the weights' gradients from those that the loss left at the joined prediction."""
    leaves = {i: head for i, head in enumerate(prediction) if head is not None}
    gradients = {i: head.grad for i, head in leaves.items() if head.grad is not None}
    sizes = [len(x) for x in inputs]
    splits = (gradient.split(sizes) for gradient in gradients.values())
    for x, *parts in zip(inputs, *splits, strict=True):
        answer = model(x)
        torch.autograd.backward([answer[i] for i in gradients], parts)
