"""Contigs of an input that need a word: those that the FASTA lacks, and those that look like an
organelle in the data.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError, listed
from denoiseq.genomics.organelles import left_out
from denoiseq.prepare.parts import PartColumns
from denoiseq.prepare.reader import StoreParts
from denoiseq.settings import Prepare

_log = logging.getLogger(__name__)

MOST_LACKING = 0.2  # share of the reads on contigs that the FASTA lacks, above which it is another
# An organelle is covered so densely throughout, a chromosome with rDNA or a tall peak only there.
LEAST_SHARE, LEAST_DENSITY, LEAST_FRAGMENTS = 0.03, 3, 100
LONGEST_BP = 3_000_000  # plant mitochondria; longer contigs are chromosomes
_BINS, _CONTIGS_SHOWN = 20, 5
LEAST_EMPTY = 0.05  # share of the bases; a Y chromosome, or scaffolds, may lack fragments


def check_contigs(
    paths: Sequence[Path],
    amounts: Mapping[str, float],
    genome: Mapping[str, int],
    settings: Prepare,
    unit: str = "reads",
) -> tuple[int, float]:
    """How many contigs of an input the FASTA lacks, and the reads there; they are left out.

    UserError where more than MOST_LACKING of the reads lie there, a warning where some do. Reads
    that `include` or `exclude` leave out, those of organelles among them, do not count.

    amounts : contig -> reads there, or what `unit` calls them
    genome : chrom -> bp of the FASTA
    """
    most_first = sorted(amounts, key=lambda contig: -amounts[contig])
    lacking = {contig: amounts[contig] for contig in most_first if contig not in genome}
    if lacking and settings.include is None:
        source, out = " and ".join(map(str, paths)), set(left_out(amounts, None, settings.exclude))
        wanted = {contig: amount for contig, amount in amounts.items() if contig not in out}
        names = [contig for contig in lacking if contig in wanted]
        lost, total = sum(wanted[contig] for contig in names), sum(wanted.values())
        if lost > MOST_LACKING * total:
            raise UserError(
                f"{source} does not fit the FASTA, which lacks {listed(names, 5)} with "
                f"{lost:,.0f} of {total:,.0f} {unit}; it has {listed(genome, 5)}. Give the FASTA "
                "that the reads were aligned to, or name the chromosomes to use: "
                "include=[chr1,chr2]."
            )
        remedy = "; to use them, give the FASTA that the reads were aligned to" if lost else ""
        level = logging.WARNING if lost else logging.INFO
        text = _lacking_text(lacking, sum(amounts.values()), unit)
        _log.log(level, "%s: the FASTA lacks %s%s", source, text, remedy)
    return len(lacking), sum(lacking.values())


def _lacking_text(lacking: Mapping[str, float], total: float, unit: str) -> str:
    contigs = f"{len(lacking):,} contigs" if len(lacking) > 1 else "1 contig"
    filled = [contig for contig, amount in lacking.items() if amount]
    if not filled:
        return f"{contigs} without {unit}: {listed(lacking, 5)}"
    where = "it" if len(lacking) == 1 else f"{len(filled):,} of them"
    lost = f"{sum(lacking.values()):,.0f} {unit} ({_percent(sum(lacking.values()) / total)})"
    return f"{contigs}, and the {lost} on {where} are left out: {listed(filled, 5)}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def warn_of_dense_contigs(source: str, stores: Sequence[StoreParts], content: str) -> None:
    """Warn of contigs whose share of the fragments is far above their share of the bases.

    content : of the part files, "cuts" or "coverage"
    """
    amounts, bases = Counter[str](), dict[str, int]()
    for store in stores:
        for chrom, row in store.qc["chromosomes"].items():
            bases[chrom] = row["unmasked_bp"]
            amounts[chrom] += (
                row["fragments"] if content == "cuts" else row["mean_coverage"] * bases[chrom]
            )
    total, total_bp = sum(amounts.values()), sum(bases.values())
    dense_above = LEAST_DENSITY * _usual_density(amounts, bases)
    texts = {}
    for chrom, amount in amounts.items():
        if amount < max(LEAST_FRAGMENTS, LEAST_SHARE * total) or bases[chrom] > LONGEST_BP:
            continue
        evenness = _evenness(chrom, stores, content)
        if amount / bases[chrom] * evenness > dense_above:
            part = "fragments" if content == "cuts" else "signal"
            share, share_bp = amount / total, bases[chrom] / total_bp
            texts[chrom] = (
                f"{chrom} has {_percent(share)} of the {part} on {_percent(share_bp)} of the bases"
            )
    shown = sorted(texts, key=lambda chrom: -amounts[chrom] / bases[chrom])[:_CONTIGS_SHOWN]
    if texts:
        _log.warning(
            "%s: %s, as an organelle, a plasmid or a spike-in would; to leave %s out, give "
            "exclude=[%s]",
            source,
            "; ".join(texts[chrom] for chrom in shown)
            + (f"; and {len(texts) - len(shown)} more contigs" if len(texts) > len(shown) else ""),
            "them" if len(shown) > 1 else "it",
            ",".join(shown),
        )


def warn_of_empty_chromosomes(
    source: str, stores: Sequence[StoreParts], include: Sequence[str] | None
) -> None:
    """Warn where chromosomes that `include` names have no fragment, unless they are short."""
    rows = [store.qc["chromosomes"] for store in stores]
    included = set(include or ())
    sizes = {chrom: row["size"] for chrom, row in rows[0].items() if chrom in included}
    empty = [chrom for chrom in sizes if not any(row[chrom].get("fragments", 1) for row in rows)]
    share = sum(sizes[chrom] for chrom in empty) / max(sum(sizes.values()), 1)
    if share > LEAST_EMPTY:
        _log.warning(
            "%s has no fragment on %s (%s of the bases asked for): what is made of its store "
            "takes that for closed chromatin; leave out what the file does not cover",
            source,
            listed(empty, 5),
            _percent(share),
        )


def _usual_density(amounts: Mapping[str, float], bases: Mapping[str, int]) -> float:
    """The density of the contig at half of the bases, in the order of the contigs' densities."""
    filled = [c for c in amounts if amounts[c] > 0]
    order = sorted(filled, key=lambda c: amounts[c] / bases[c])
    reached = np.cumsum([bases[c] for c in order])
    middle = order[int(np.searchsorted(reached, reached[-1] / 2))]
    return amounts[middle] / bases[middle]


def _evenness(chrom: str, stores: Sequence[StoreParts], content: str) -> float:
    """The median of a contig's equal bins over their mean: near 1 if it is covered throughout."""
    bins = np.zeros(_BINS)
    for store in stores:
        columns = PartColumns({chrom: store.parts[chrom]}, content)
        if chrom in columns:
            edges = np.linspace(0, store.qc["chromosomes"][chrom]["size"], _BINS + 1)
            bins += np.diff(_summed_up_to(edges, columns[chrom], content))
    return float(np.median(bins) / bins.mean()) if bins.any() else 0.0


def _summed_up_to(
    edges: np.ndarray, columns: tuple[np.ndarray, np.ndarray], content: str
) -> np.ndarray:
    """Cut sites, or the integral of a track's runs, before each of `edges`."""
    positions, values = columns
    if content == "cuts":
        return np.searchsorted(positions, edges)
    starts = np.append(positions, edges[-1])
    return np.interp(edges, starts, np.append(0, np.cumsum(np.diff(starts) * values)))
