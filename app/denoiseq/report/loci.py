"""Example loci for the figures: which windows to show.

Some are spread over the ranking of the peaks by signal, so that weak ones are shown as well; some
are random, so that what lies between peaks is; some the user names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiseq.atomic import write_bytes
from denoiseq.errors import UserError
from denoiseq.report.locus_figures import Locus, draw_loci

WINDOW_BP = 8_000
REGION_BP = 100, 200_000  # least and most that a figure can show
TRIES = 100  # at a random window with reads, for each that is wanted
SPREAD, CHOSEN, RANDOM = "Peaks, from strong to weak", "Chosen", "At random"

Window = tuple[str, int, int]
Panels = dict[str, list[Locus]]


@dataclass(frozen=True)
class Choice:
    """Which loci to show.

    spread : how many over the ranking of the peaks
    random : how many anywhere, seeded by `seed`
    regions : "chrom:start-end" each, 0-based and half-open
    """

    spread: int = 4
    random: int = 2
    regions: Sequence[str] = ()
    seed: int = 0


def parse_regions(regions: Sequence[str], sizes: Mapping[str, int]) -> list[Window]:
    """The windows that `regions` name; ValueError for one that is not on `sizes` (chrom -> bp)."""
    return [_parse(text, sizes) for text in regions]


def _parse(text: str, sizes: Mapping[str, int]) -> Window:
    found = re.fullmatch(r"(.+):([0-9,]+)-([0-9,]+)", text.strip())
    if found is None:
        raise UserError(f"regions: {text!r} is no region, expected one as in chr1:100000-120000")
    chrom, start, end = found[1], *(int(number.replace(",", "")) for number in found.groups()[1:])
    if chrom not in sizes:
        raise UserError(
            f"regions: {text} is on none of the chromosomes here ({', '.join(list(sizes)[:8])})"
        )
    least, most = REGION_BP
    if not (end <= sizes[chrom] and least <= end - start <= most):
        raise UserError(
            f"regions: {text} does not fit, expected {least} to {most:,} bp within the "
            f"{sizes[chrom]:,} bp of {chrom}"
        )
    return chrom, start, end


def spread_over_ranking(
    ranked: list[tuple[float, str, int]], sizes: Mapping[str, int], n: int
) -> list[Window]:
    """`n` windows around (signal, chrom, position), from the strongest 2% to the weakest 20%."""
    if not ranked or n < 1:
        return []
    ordered = sorted(ranked, key=lambda item: (-item[0], item[1], item[2]))
    picks = (np.linspace(0.02, 0.8, n) * len(ordered)).astype(int)
    windows = []
    for _, chrom, position in (ordered[i] for i in dict.fromkeys(picks.tolist())):
        windows.append(_around(chrom, position, sizes[chrom]))
    return windows


def _around(chrom: str, position: int, size: int) -> Window:
    start = max(min(position - WINDOW_BP // 2, size - WINDOW_BP), 0)
    return chrom, start, min(start + WINDOW_BP, size)


def random_windows(
    sizes: Mapping[str, int], n: int, seed: int, has_reads: Callable[[Window], bool]
) -> list[Window]:
    """Up to `n` windows, every base of the genome as likely as any, that `has_reads` accepts."""
    rng, names = np.random.default_rng(seed), list(sizes)
    share = np.array([sizes[chrom] for chrom in names], dtype=np.float64)
    windows: list[Window] = []
    for _ in range(TRIES * n):
        chrom = names[rng.choice(len(names), p=share / share.sum())]
        window = _around(chrom, int(rng.integers(sizes[chrom])), sizes[chrom])
        if len(windows) < n and window not in windows and has_reads(window):
            windows.append(window)
        if len(windows) == n:
            break
    return windows


def windows(
    ranked: list[tuple[float, str, int]],
    sizes: Mapping[str, int],
    choice: Choice,
    has_reads: Callable[[Window], bool],
) -> dict[str, list[Window]]:
    """The windows that `choice` asks for, by how they were chosen."""
    return {
        CHOSEN: parse_regions(choice.regions, sizes),
        SPREAD: spread_over_ranking(ranked, sizes, choice.spread),
        RANDOM: random_windows(sizes, choice.random, choice.seed, has_reads),
    }


def panels(chosen: Mapping[str, list[Window]], locus: Callable[[Window], Locus]) -> Panels:
    """What to draw: how the windows were chosen -> their loci."""
    return {how: [locus(window) for window in some] for how, some in chosen.items() if some}


def write_loci(path: Path, drawn: Panels, title: str) -> None:
    """One figure of the loci that are chosen or spread over the ranking, if there are any."""
    loci = [locus for how in (CHOSEN, SPREAD) for locus in drawn.get(how, ())]
    path.unlink(missing_ok=True)
    if loci:
        write_bytes(path, draw_loci(loci, title))
