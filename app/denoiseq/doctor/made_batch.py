"""A made-up batch to time training steps on: as large as a real one, with peaks on a floor."""

import torch
from torch import Tensor

SEED = 0
CONTEXT_PART = 12  # one part in so many of a window's columns is context, on each side


def made_batch(N: int, W: int) -> dict[str, Tensor]:
    """Windows (N, 1, W) of cut sites, a tenth of those in "coverage" (N, W): peaks on a floor."""
    generator = torch.Generator().manual_seed(SEED)
    blocks = torch.rand(N, W // 300 + 1, generator=generator) < 0.1
    peaks = blocks.float().repeat_interleave(300, dim=1)[:, :W]
    rate = 0.3 + 5 * peaks
    noisy = torch.poisson(rate, generator=generator)
    mask = torch.zeros(N, W, dtype=torch.bool)
    mask[:, W // CONTEXT_PART : W - W // CONTEXT_PART] = True
    coverage = noisy + torch.poisson(9 * rate, generator=generator)
    return {"x": noisy[:, None], "coverage": coverage, "peaks": peaks, "mask": mask}
