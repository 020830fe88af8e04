"""Training at the paper's scale on one socket, estimated from the segments a second measured here.

An estimate on paper, not a measurement: its assumptions are constants here and are printed with it.
"""

from typing import NamedTuple

SEGMENTS = 53_641  # hg19 autosomes in 50,000 bp, without chr10 (test) and chr20 (validation)
CORES = 28
# Cores of one socket share its memory and its clock: the share of a single core's speed they keep.
EFFICIENCY = {"pessimistic": 0.5, "likely": 0.75, "optimistic": 1.0}
V100_MINUTES, V100S = 2.7, 8
SOCKET_WATTS, V100_WATTS = 205, 300  # thermal design power: Xeon Platinum 8280, V100 SXM2
GPU_WATT_HOURS = V100S * V100_WATTS * V100_MINUTES / 60


class Estimate(NamedTuple):
    """An epoch on one socket, and how many such sockets would take as long as the GPUs."""

    name: str
    minutes: float
    watt_hours: float
    sockets_for_v100s: float


def estimates(segments_per_second, threads):
    """One of each efficiency, from a rate that so many threads reached together."""
    rates = {name: segments_per_second / threads * CORES * s for name, s in EFFICIENCY.items()}
    minutes = {name: SEGMENTS / rate / 60 for name, rate in rates.items()}
    return [Estimate(n, m, SOCKET_WATTS * m / 60, m / V100_MINUTES) for n, m in minutes.items()]


def shares():
    return ", ".join(f"{name} {share:.0%}" for name, share in EFFICIENCY.items())
