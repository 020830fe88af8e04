"""How windows are cut, thinned and turned round, and the draws that decide it.

A draw depends on (seed, epoch, chromosome, window start) alone: equal for workers, ranks and
resumed runs. Reads no store.
"""

from dataclasses import dataclass

import numpy as np

from denoiseq.errors import UserError

TARGETS = ("all", "complement")


@dataclass(frozen=True)
class WindowOptions:
    """How windows are cut and thinned; lengths in bp.

    target "all" takes every fragment as truth; "complement" those that the thinning left out, so
    that noisy and clean share none. thin_range (low, high) gives each training window a fraction of
    its own instead of thin_fraction, log-uniform; reverse_complement turns half of them round.
    """

    interval_bp: int = 50_000
    pad_bp: int = 5_000
    half_window_bp: int = 100
    thin_fraction: float = 0.1
    target: str = "all"
    seed: int = 0
    thin_range: tuple[float, float] | None = None
    reverse_complement: bool = False

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise UserError(f"target={self.target!r} is unknown: choose all or complement.")
        low, high = self.thin_fractions
        if not 0 < low <= high <= 1 or not 0 < self.thin_fraction <= 1:
            raise UserError(
                f"thin_fraction is {self.thin_fraction}, thin_range {self.thin_range}: expected "
                "fractions above 0 and up to 1, the lower one first."
            )
        if self.target == "complement" and max(high, self.thin_fraction) == 1:
            raise UserError("target=complement leaves no truth at thin_fraction=1: thin more.")

    @property
    def length_bp(self) -> int:
        """Bases of a window, context included."""
        return self.interval_bp + 2 * self.pad_bp

    @property
    def thin_fractions(self) -> tuple[float, float]:
        """The least and the largest fraction that training windows are thinned to."""
        return self.thin_range or (self.thin_fraction, self.thin_fraction)

    def draw(self, epoch: int, chrom_number: int, start: int) -> tuple[float, bool]:
        """The fraction of the fragments that a training window keeps; whether it is turned round.

        One does not depend on whether the other is asked for.
        """
        low, high = self.thin_fractions
        if low == high and not self.reverse_complement:
            return low, False
        where, side = np.random.default_rng([self.seed, epoch, chrom_number, start, 1]).random(2)
        fraction = min(low * (high / low) ** where, high)  # log-uniform
        return float(fraction), bool(self.reverse_complement and side < 0.5)


def reversed_complement(x: np.ndarray) -> np.ndarray:
    """The input (C, L) as the other strand has it: positions reversed, A for T and C for G.

    Row 0 is the coverage; rows 1 to 4, where there are any, are A, C, G and T.
    """
    return np.concatenate([x[:1], x[:0:-1]])[:, ::-1]
