"""Training at the paper's scale on one socket, estimated from the segments a second measured here.

An estimate on paper, not a measurement: its assumptions are constants here and are printed with it.
"""

from dataclasses import dataclass

SEGMENTS = 53_641  # hg19 autosomes in 50,000 bp, without chr10 (test) and chr20 (validation)
CORES = 28
# Cores of one socket share its memory and its clock: the share of a single core's speed they keep.
EFFICIENCY = {"pessimistic": 0.5, "likely": 0.75, "optimistic": 1.0}
V100_MINUTES, V100S = 2.7, 8
SOCKET_WATTS, V100_WATTS = 205, 300  # thermal design power: Xeon Platinum 8280, V100 SXM2
GPU_WATT_HOURS = V100S * V100_WATTS * V100_MINUTES / 60


@dataclass(frozen=True)
class Estimate:
    """Minutes an epoch of one socket."""

    name: str
    minutes: float

    @property
    def watt_hours(self):
        return SOCKET_WATTS * self.minutes / 60

    @property
    def sockets_for_v100s(self):
        """How many such sockets would take as long as the GPUs."""
        return self.minutes / V100_MINUTES


def estimates(segments_per_second, threads):
    """One of each efficiency, from a rate that so many threads reached together."""
    a_core = segments_per_second / threads
    return [
        Estimate(name, SEGMENTS / (a_core * CORES * share) / 60)
        for name, share in EFFICIENCY.items()
    ]


def shares():
    """The efficiencies in words."""
    return ", ".join(f"{name} {share:.0%}" for name, share in EFFICIENCY.items())
