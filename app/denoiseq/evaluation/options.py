"""How to evaluate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluateOptions:
    """How to evaluate; lengths in bp.

    sigma_grid_bp are the bandwidths that the Gaussian baseline chooses from; called and true
    peaks are runs of at least min_length_bp, gaps up to max_gap_bp closed. Intervals come of so
    many bootstrap_draws (0: none) of blocks of block_bp.
    """

    batch_size: int = 4
    workers: int = 0
    sigma_grid_bp: tuple[float, ...] = (20, 40, 60, 80, 100, 120, 160, 200)
    min_length_bp: int = 200
    max_gap_bp: int = 30
    bootstrap_draws: int = 500
    block_bp: int = 50_000
    progress: bool = True
