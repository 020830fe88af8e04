"""The stateless thinning of fragments: which of them a seeded draw keeps."""

from dataclasses import dataclass

import numpy as np

from denoiseq.errors import UserError


@dataclass(frozen=True)
class Thinning:
    """A seeded random subset of fragments that depends on nothing but this and a fragment's id.

    Equal over workers, windows, ranks and resumed runs; both cuts of a fragment go together. For
    one (seed, epoch) a smaller fraction keeps a subset of what a larger one keeps; another epoch
    is another independent draw. `complement` keeps what the draw did not take. Draws that differ in
    `part` alone have no fragment in common; there are as many as the fraction fits into 1.
    """

    fraction: float
    seed: int
    epoch: int = 0
    complement: bool = False
    part: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise UserError(f"a thinning fraction lies in 0 to 1, got {self.fraction}.")
        if self.seed < 0 or self.epoch < 0:
            raise UserError(f"seed and epoch must be >= 0, got {self.seed} and {self.epoch}.")
        if self.part < 0 or (self.part + 1) * self.fraction > 1:
            raise UserError(
                f"there is no part {self.part} of {self.fraction} of the fragments: parts are "
                "counted from 0, and fit into 1 together."
            )

    def keep(self, fragment_ids: np.ndarray) -> np.ndarray:
        """Mark the fragments to keep: bool, the shape of `fragment_ids`."""
        threshold = int(self.fraction * 2.0**64)
        ids = np.asarray(fragment_ids).astype(np.uint64)
        if threshold >= 2**64:
            return np.full(ids.shape, not self.complement)
        seed, epoch = np.array([[self.seed % 2**64], [self.epoch % 2**64]], dtype=np.uint64)
        key = _mix(_mix(seed) ^ epoch)
        ranks = _mix(_mix(ids) ^ key) - np.uint64(self.part * threshold)  # wraps on purpose
        return (ranks < np.uint64(threshold)) ^ self.complement


def _mix(x: np.ndarray) -> np.ndarray:
    """One step of SplitMix64 (Steele, Lea, Flood 2014): uint64, any shape; wraps on purpose."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
