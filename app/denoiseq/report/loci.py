"""Example loci: which windows are shown, and how they appear on a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from denoiseq.atomic import write_bytes
from denoiseq.errors import UserError, listed
from denoiseq.report.locus_figures import Locus, draw_loci, draw_locus
from denoiseq.report.page import Picture, Section
from denoiseq.settings import Evaluate, Predict

WINDOW_BP = 8_000
REGION_BP = 100, 200_000  # least and most that a figure can show
# as browsers show them: with commas, blanks, any dash or two dots, or in the columns of a BED
REGION = re.compile(
    r"(?P<chrom>\S+?)"
    r"(\s*:\s*(?P<start>[0-9][0-9,]{0,29})\s*([-\u2010-\u2015\u2212]|\.\.)\s*"
    r"|\s+(?P<first>[0-9][0-9,]{0,29})\s+)"
    r"(?P<end>[0-9][0-9,]{0,29})"
)
TRIES = 100  # to find a random window with reads, for each that is asked for
SPREAD, CHOSEN, RANDOM = "Peaks, from strong to weak", "Chosen", "At random"
SECTION_TEXT = (
    "Coverages of one locus share their scale; an input has its own. Random loci lie anywhere: "
    "between peaks the tracks should be quiet."
)

Window = tuple[str, int, int]
Panels = Mapping[str, Sequence[Locus]]
"""How loci were chosen -> the loci."""


def parse_regions(regions: Sequence[str], sizes: Mapping[str, int]) -> list[Window]:
    """The windows that `regions` name, each as REGION, such as "chr1:1,000-2,000".

    They are taken as 0-based and half-open; browsers count from 1, one base to the right.

    UserError for one that is not on `sizes` (chromosome -> bp).
    """
    windows, (least, most) = [], REGION_BP
    for text in regions:
        region = REGION.fullmatch(text.strip())
        if region is None:
            raise UserError(
                f"regions: {text[:80]!r} is no region, expected one as in chr1:100000-120000"
            )
        chrom, numbers = region["chrom"], (region["start"] or region["first"], region["end"])
        start, end = (int(number.replace(",", "")) for number in numbers)
        if chrom not in sizes:
            raise UserError(f"regions: {text} is on none of the chromosomes here ({listed(sizes)})")
        if not (end <= sizes[chrom] and least <= end - start <= most):
            raise UserError(
                f"regions: {text} does not fit, expected {least} to {most:,} bp within the "
                f"{sizes[chrom]:,} bp of {chrom}"
            )
        windows.append((chrom, start, end))
    return windows


def _around(chrom: str, position: int, sizes: Mapping[str, int]) -> Window:
    start = max(min(position - WINDOW_BP // 2, sizes[chrom] - WINDOW_BP), 0)
    return chrom, start, min(start + WINDOW_BP, sizes[chrom])


def random_windows(
    sizes: Mapping[str, int], n: int, seed: int, has_reads: Callable[[Window], bool]
) -> list[Window]:
    """Up to `n` windows, every base of the genome as likely as any, that `has_reads` accepts."""
    rng, names = np.random.default_rng(seed), list(sizes)
    share = np.array([sizes[chrom] for chrom in names], dtype=np.float64)
    windows: list[Window] = []
    for _ in range(TRIES * n):
        chrom = names[rng.choice(len(names), p=share / share.sum())]
        window = _around(chrom, int(rng.integers(sizes[chrom])), sizes)
        if window not in windows and has_reads(window):
            windows.append(window)
        if len(windows) == n:
            break
    return windows


def example_loci(
    ranked: list[tuple[float, str, int]],  # (signal, chrom, position) of every peak
    sizes: Mapping[str, int],
    settings: Evaluate | Predict,
    seed: int,
    has_reads: Callable[[Window], bool],
    locus: Callable[[Window], Locus],
) -> Panels:
    """The loci that the settings ask for, by how they were chosen; `locus` makes that of a window.

    Some are spread over the peaks ranked by signal, from the strongest 2% to the weakest 20%; some
    are random windows that `has_reads` accepts; some the user names.
    """
    ordered = sorted(ranked, key=lambda peak: (-peak[0], *peak[1:]))
    picks = set((np.linspace(0.02, 0.8, settings.loci) * len(ordered)).astype(int).tolist())
    windows = {
        CHOSEN: parse_regions(settings.regions, sizes),
        SPREAD: [_around(chrom, x, sizes) for i, (_, chrom, x) in enumerate(ordered) if i in picks],
        RANDOM: random_windows(sizes, settings.random_loci, seed, has_reads),
    }
    return {how: [locus(window) for window in chosen] for how, chosen in windows.items() if chosen}


def loci_section(panels: Panels) -> Section:
    """The section of a page."""
    loci = [(how, locus) for how, loci in panels.items() for locus in loci]
    pictures = [
        Picture(f"locus_{i}", locus.name, draw_locus(locus), how)
        for i, (how, locus) in enumerate(loci, start=1)
    ]
    return Section("Loci", SECTION_TEXT, pictures=pictures)


def write_loci(path: Path, panels: Panels, title: str) -> None:
    """One figure of the loci that are chosen or spread over the ranking, if there are any."""
    loci = [locus for how in (CHOSEN, SPREAD) for locus in panels.get(how, ())]
    path.unlink(missing_ok=True)
    if loci:
        write_bytes(path, draw_loci(loci, title))
