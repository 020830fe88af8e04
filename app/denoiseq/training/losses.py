"""The training loss, masked, in float32: a base outside the mask (padding, blacklist) has no
influence on value or gradient. Everything is made of sums over bases, and all sums go through one
hook, so that several ranks can add theirs up and share one loss. A new error of the track is a
function here, listed in `TRACK_ERRORS` and named like its weight in settings/loss.py.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiseq.models.network import Prediction
from denoiseq.settings import Loss

# Added to each variance (coverage squared): keeps Pearson's gradient finite on a constant track.
VARIANCE_EPS = 1e-6
# Added to both coverages of the Poisson deviance: bounds its gradient where none is predicted.
POISSON_OFFSET = 0.1

# float32 (k,) sums over the bases of this rank -> the same over those of all ranks.
Total = Callable[[Tensor], Tensor]
Sums = dict[str, Tensor]


def mse(p: Tensor, y: Tensor) -> Tensor:
    """Squared error."""
    return (p - y).square()


def log1p_mse(p: Tensor, y: Tensor) -> Tensor:
    """Squared error of log1p(coverage), to which background contributes as much as spikes."""
    return (p.log1p() - y.log1p()).square()


def poisson(p: Tensor, y: Tensor) -> Tensor:
    """Half the Poisson deviance, which weighs errors as counts deserve; 0 where p is y."""
    rate, count = p + POISSON_OFFSET, y + POISSON_OFFSET
    return rate - count + count * (count / rate).log()


# Term -> its error at each base: predicted and true coverage (N, L) -> (N, L).
TRACK_ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    error.__name__: error for error in (mse, log1p_mse, poisson)
}
# AtacWorks' terms are computed and logged even without a weight; others only with one.
ALWAYS_LOGGED = ("mse", "pearson", "bce")


def atacworks_loss(
    pred: Prediction,
    batch: dict[str, Tensor],
    weights: Loss,
    total: Total = lambda sums: sums,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of weights.mse * MSE + weights.pearson * (1 - Pearson) + weights.bce * BCE + ...

    Terms of a head that the prediction lacks are left out. A term is the mean of its error over
    the unmasked bases of the batch; Pearson's correlation is over those bases, too; the
    cross-entropy is a weighted mean, in which a base inside a peak weighs
    weights.bce_positive_weight and one outside 1 ("balanced": the classes of a batch count
    equally).

    pred : of (N, L); N may be 0
    batch : with "coverage" and "peaks" float (N, L), "mask" bool (N, L)
    total : adds the sums of this batch, float32 (k,), to those of the batches of other ranks,
        differentiably; called twice, with equal k everywhere; the loss is that of them all

    Returns the loss, a float32 scalar with gradient, and its parts, detached scalars: "mse",
    "pearson" (the correlation itself), "bce" and, if they have a weight, "log1p_mse", "poisson".
    """
    m, y, t = (batch[name].float() for name in ("mask", "coverage", "peaks"))
    p = None if pred.coverage is None else pred.coverage.float()
    local = {"bases": m.sum(), "peaks": (t * m).sum(), "y": (y * m).sum()}
    if p is not None:
        local["p"] = (p * m).sum()
    first = _over_all(local, total)
    n, local = first["bases"].clamp(min=1), {}
    if p is not None:
        dp, dy = (p - first["p"] / n) * m, (y - first["y"] / n) * m
        local |= {"pp": (dp * dp).sum(), "yy": (dy * dy).sum(), "py": (dp * dy).sum()}
        for name, error in TRACK_ERRORS.items():
            if name in ALWAYS_LOGGED or getattr(weights, name):
                local[name] = (error(p, y) * m).sum()
    if pred.peak_logits is not None:
        inside = _positive_weight(first, weights)
        local["bce"] = F.binary_cross_entropy_with_logits(
            pred.peak_logits.float(), t, weight=m, pos_weight=inside, reduction="sum"
        )
    second = _over_all(local, total)
    parts: Sums = {name: second[name] / n for name in TRACK_ERRORS if name in second}
    if p is not None:
        variances = (second["pp"] / n + VARIANCE_EPS) * (second["yy"] / n + VARIANCE_EPS)
        parts["pearson"] = second["py"] / n / variances.sqrt()
    if pred.peak_logits is not None:
        weight = n if inside is None else n - first["peaks"] + inside * first["peaks"]
        parts["bce"] = second["bce"] / weight
    terms = {**parts, "pearson": 1 - parts["pearson"]} if "pearson" in parts else parts
    loss = sum((getattr(weights, name) * term for name, term in terms.items()), m.new_zeros(()))
    return loss, {name: part.detach() for name, part in parts.items()}


def _over_all(local: Sums, total: Total) -> Sums:
    """Named scalar sums of this rank -> those of all ranks, in one call."""
    return dict(zip(local, total(torch.stack(list(local.values()))).unbind(), strict=True))


def _positive_weight(first: Sums, weights: Loss) -> Tensor | None:
    """Weight of a base inside a peak, a scalar; None: 1."""
    weight = weights.bce_positive_weight
    if weight == "balanced":
        bases, peaks = first["bases"].detach(), first["peaks"].detach()
        return (bases - peaks).clamp(min=1) / peaks.clamp(min=1)
    return None if weight == 1 else first["bases"].new_tensor(weight)
