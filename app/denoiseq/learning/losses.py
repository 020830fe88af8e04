"""Training losses: pure functions of a prediction and a batch, masked, in float32.

A base outside the mask (padding, blacklist) has no influence on value or gradient.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from denoiseq.learning.models import Prediction

# Added to each variance (coverage squared): keeps Pearson's gradient finite on a constant track.
VARIANCE_EPS = 1e-6
# Added to both coverages of the Poisson deviance: bounds its gradient where none is predicted.
POISSON_OFFSET = 0.1


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of `atacworks_loss`; the defaults are the published ones.

    Two terms are ours: log1p_mse, the error of log1p(coverage), which background counts in as
    much as spikes; poisson, half the Poisson deviance, which weighs errors as counts deserve.
    """

    mse: float = 0.0005
    pearson: float = 1.0
    bce: float = 1.0
    log1p_mse: float = 0.0
    poisson: float = 0.0


def masked_pearson(p: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Pearson correlation over all masked-in elements together, 0 where either is constant.

    Parameters
    ----------
    p, y : float (N, L)
    mask : bool (N, L)

    Returns
    -------
    float32 scalar
    """
    m = mask.float()
    n = m.sum().clamp(min=1)
    dp = (p.float() - (p.float() * m).sum() / n) * m
    dy = (y.float() - (y.float() * m).sum() / n) * m
    variances = ((dp * dp).sum() / n + VARIANCE_EPS) * ((dy * dy).sum() / n + VARIANCE_EPS)
    return (dp * dy).sum() / n / variances.sqrt()


def atacworks_loss(
    pred: Prediction, batch: dict[str, Tensor], weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """weights.mse * MSE + weights.pearson * (1 - Pearson over the batch) + weights.bce * BCE.

    Added where they have a weight: weights.log1p_mse * mean squared error of log1p(coverage), and
    weights.poisson * half the mean Poisson deviance, 0 where prediction and truth agree.

    Parameters
    ----------
    pred : Prediction of (N, L)
    batch : dict with "coverage" and "peaks" float (N, L), "mask" bool (N, L)
    weights : LossWeights

    Returns
    -------
    total : float32 scalar with gradient
    parts : dict of detached scalars "mse", "pearson" (the correlation itself), "bce" and, where
        they have a weight, "log1p_mse" and "poisson"
    """
    m = batch["mask"].float()
    n = m.sum().clamp(min=1)
    p, logits = pred.coverage.float(), pred.peak_logits.float()
    y = batch["coverage"].float()
    mse = ((p - y).square() * m).sum() / n
    pearson = masked_pearson(p, y, batch["mask"])
    bce = F.binary_cross_entropy_with_logits(logits, batch["peaks"], weight=m, reduction="sum") / n
    total = weights.mse * mse + weights.pearson * (1 - pearson) + weights.bce * bce
    parts = {"mse": mse.detach(), "pearson": pearson.detach(), "bce": bce.detach()}
    if weights.log1p_mse:
        log1p_mse = ((p.log1p() - y.log1p()).square() * m).sum() / n
        total = total + weights.log1p_mse * log1p_mse
        parts["log1p_mse"] = log1p_mse.detach()
    if weights.poisson:
        rate, count = p + POISSON_OFFSET, y + POISSON_OFFSET
        poisson = ((rate - count + count * (count / rate).log()) * m).sum() / n
        total = total + weights.poisson * poisson
        parts["poisson"] = poisson.detach()
    return total, parts
