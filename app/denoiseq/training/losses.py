"""Training losses: pure functions of a prediction and a batch, masked, in float32.

A base outside the mask (padding, blacklist) has no influence on value or gradient. Everything is
made of sums over bases, and all sums go through one hook, so that several processes may add theirs
up and share one loss.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiseq.models.network import Prediction

# Added to each variance (coverage squared): keeps Pearson's gradient finite on a constant track.
VARIANCE_EPS = 1e-6
# Added to both coverages of the Poisson deviance: bounds its gradient where none is predicted.
POISSON_OFFSET = 0.1

# float32 (k,) sums over the bases of this process -> the same over those of all processes.
Total = Callable[[Tensor], Tensor]
Sums = dict[str, Tensor]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of `atacworks_loss`; the defaults are the published ones.

    Two terms are ours: log1p_mse, the error of log1p(coverage), which background counts in as
    much as spikes; poisson, half the Poisson deviance, which weighs errors as counts deserve.
    bce_positive_weight is what a base inside a peak weighs in the cross-entropy, a weighted mean,
    against one outside: a number, or "balanced", which gives both classes of a batch equal say.
    """

    mse: float = 0.0005
    pearson: float = 1.0
    bce: float = 1.0
    log1p_mse: float = 0.0
    poisson: float = 0.0
    bce_positive_weight: float | str = 1.0


def atacworks_loss(
    pred: Prediction,
    batch: dict[str, Tensor],
    weights: LossWeights,
    total: Total = lambda sums: sums,
) -> tuple[Tensor, dict[str, Tensor]]:
    """weights.mse * MSE + weights.pearson * (1 - Pearson over the batch) + weights.bce * BCE.

    Added where they have a weight: weights.log1p_mse * mean squared error of log1p(coverage), and
    weights.poisson * half the mean Poisson deviance, 0 where prediction and truth agree. The terms
    of a head that the prediction lacks are left out.

    Parameters
    ----------
    pred : Prediction of (N, L); N may be 0
    batch : dict with "coverage" and "peaks" float (N, L), "mask" bool (N, L)
    weights : LossWeights
    total : callable, optional
        Adds the sums of this batch, float32 (k,), to those of the batches of other processes,
        differentiably; called twice, with equal k everywhere. The loss is that of them all.

    Returns
    -------
    loss : float32 scalar with gradient
    parts : dict of detached scalars "mse", "pearson" (the correlation itself), "bce" and, where
        they have a weight, "log1p_mse" and "poisson"
    """
    m, y, t = (batch[name].float() for name in ("mask", "coverage", "peaks"))
    p = None if pred.coverage is None else pred.coverage.float()
    local = {"bases": m.sum(), "peaks": (t * m).sum(), "y": (y * m).sum()}
    if p is not None:
        local["p"] = (p * m).sum()
    first = _over_all(local, total)
    n, local = first["bases"].clamp(min=1), {}
    if p is not None:
        local |= _centred_sums(p - first["p"] / n, y - first["y"] / n, m)
        local |= _error_sums(p, y, m, weights)
    if pred.peak_logits is not None:
        inside = _positive_weight(first, weights)
        local["bce"] = F.binary_cross_entropy_with_logits(
            pred.peak_logits.float(), t, weight=m, pos_weight=inside, reduction="sum"
        )
    second = _over_all(local, total)
    means = [name for name in ("mse", "log1p_mse", "poisson") if name in second]
    parts: Sums = {name: second[name] / n for name in means}
    if p is not None:
        parts["pearson"] = _correlation(second, n)
    if pred.peak_logits is not None:
        weight = n if inside is None else n - first["peaks"] + inside * first["peaks"]
        parts["bce"] = second["bce"] / weight
    terms = {**parts, "pearson": 1 - parts["pearson"]} if "pearson" in parts else parts
    loss = sum((getattr(weights, name) * term for name, term in terms.items()), m.new_zeros(()))
    return loss, {name: part.detach() for name, part in parts.items()}


def _over_all(local: Sums, total: Total) -> Sums:
    """Named scalar sums of this process -> those of all processes, in one call."""
    return dict(zip(local, total(torch.stack(list(local.values()))).unbind(), strict=True))


def _centred_sums(dp: Tensor, dy: Tensor, m: Tensor) -> Sums:
    """Sums of squares and products of deviations from the means, (N, L) each."""
    dp, dy = dp * m, dy * m
    return {"pp": (dp * dp).sum(), "yy": (dy * dy).sum(), "py": (dp * dy).sum()}


def _error_sums(p: Tensor, y: Tensor, m: Tensor, weights: LossWeights) -> Sums:
    """Summed errors of coverage p against y, (N, L) each; of our own only those with a weight."""
    sums = {"mse": ((p - y).square() * m).sum()}
    if weights.log1p_mse:
        sums["log1p_mse"] = ((p.log1p() - y.log1p()).square() * m).sum()
    if weights.poisson:
        rate, count = p + POISSON_OFFSET, y + POISSON_OFFSET
        sums["poisson"] = ((rate - count + count * (count / rate).log()) * m).sum()
    return sums


def _positive_weight(first: Sums, weights: LossWeights) -> Tensor | None:
    """What a base inside a peak weighs, a scalar; None: as much as any."""
    given = weights.bce_positive_weight
    if given == "balanced":
        bases, peaks = first["bases"].detach(), first["peaks"].detach()
        return (bases - peaks).clamp(min=1) / peaks.clamp(min=1)
    return None if given == 1 else first["bases"].new_tensor(given)


def _correlation(sums: Sums, n: Tensor) -> Tensor:
    """Pearson from sums of deviations over n bases."""
    variances = (sums["pp"] / n + VARIANCE_EPS) * (sums["yy"] / n + VARIANCE_EPS)
    return sums["py"] / n / variances.sqrt()
