"""Whether reads, stores and checkpoints belong together: equal filters, one genome, one blacklist.

Works on the plain `preprocessing` dictionaries that stores and checkpoints carry.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import Genome
from denoiseq.genomics.intervals import merge
from denoiseq.store.cut_store import CutStore, Store
from denoiseq.store.header import blacklist_sha256
from denoiseq.store.samples import Samples, plain_names

log = logging.getLogger(__name__)

# What decides which cuts a BAM gives; a model must meet what it was trained on.
FILTERS = ("shift", "min_mapq", "keep_duplicates", "max_fragment_bp")


def same_filters(one: Mapping[str, Any], other: Mapping[str, Any], left: str, right: str) -> None:
    """Refuse two ways of preparing that differ; `left` and `right` begin the sentence's parts.

    What one of them does not know is no difference: the filters of a fragment file were another
    program's.
    """
    differing = [name for name in FILTERS if _differ(name, one.get(name), other.get(name))]
    if differing:
        raise UserError(
            f"{left} with {_values(one, differing)}, {right} for {_values(other, differing)}: "
            "prepare the reads again with equal settings, or choose another store"
        )


def _differ(name: str, one: Any, other: Any) -> bool:
    if name == "shift" and "10x" in (one, other):  # = +4/-5: one base from +4/-4 at right ends
        return not {one, other} <= {"10x", "+4/-5", "+4/-4", None}
    return None not in (one, other) and one != other


def _values(preprocessing: Mapping[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name}={preprocessing.get(name)}" for name in names)


def go_together(clean: Store, noisy: Store) -> None:
    """Refuse a clean and a noisy store that are of two genomes or were prepared differently."""
    wrong = [c for c, size in clean.chroms.items() if noisy.chroms.get(c) != size]
    if wrong:
        raise UserError(
            f"{noisy.path} and {clean.path} are of different genomes: {wrong[0]} has "
            f"{clean.chroms[wrong[0]]} bp in the one with the clean track and "
            f"{noisy.chroms.get(wrong[0], 'no')} bp in the one with the noisy input; prepare both "
            "on one genome, with equal include and exclude"
        )
    if isinstance(clean, CutStore) and isinstance(noisy, CutStore):
        names = f"{noisy.path} was prepared", str(clean.path)
        same_filters(noisy.preprocessing, clean.preprocessing, *names)


def same_input(one: Store, other: Store) -> None:
    """Refuse two samples whose noisy inputs mean different things to a network."""
    kinds = [_content(store.preprocessing) for store in (one, other)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"{one.path} holds {kinds[0]}, {other.path} {kinds[1]}: the noisy inputs of samples "
            "that are learned from together are all of one kind"
        )
    same_filters(
        one.preprocessing, other.preprocessing, f"{one.path} was prepared", str(other.path)
    )


def holds(genome: Genome, sizes: Mapping[str, int], source: str) -> None:
    """Refuse a FASTA that lacks a chromosome of `sizes` (chrom -> bp) or has it in other length."""
    for chrom, size in sizes.items():
        found = genome.chroms.get(chrom)
        if found != size:
            length = "it is not there" if found is None else f"it has {found} bp there"
            raise UserError(
                f"{genome.path} is not the genome of {source}: {chrom} has {size} bp, {length}; "
                "give the FASTA that the reads were aligned to"
            )


def same_preprocessing(trained: Mapping[str, Any], opened: Store | Samples) -> None:
    """Refuse a store whose cuts mean something else than those the checkpoint was trained on."""
    given = opened.preprocessing
    kind, wanted = (_content(preprocessing) for preprocessing in (given, trained))
    if kind != wanted:
        raise UserError(
            f"{opened.path} holds {kind}, the checkpoint was trained on {wanted}: "
            "give a store of that kind"
        )
    same_filters(given, trained, f"{opened.path} was prepared", "the checkpoint asks")
    names = plain_names(opened)
    same_genome(trained, {c: opened.chroms[n] for n, c in names.items()}, str(opened.path))
    if trained["blacklist_sha256"] != given["blacklist_sha256"]:
        log.warning("warning: %s has another blacklist than the training had", opened.path)


def _content(preprocessing: Mapping[str, Any]) -> str:
    return "a coverage track" if preprocessing.get("kind") == "coverage" else "cut sites"


def same_genome(trained: Mapping[str, Any], sizes: Mapping[str, int], source: str) -> None:
    """Refuse a genome that shares no sequence with the training's, or has one of other length."""
    genome = trained["genome"]
    shared = [chrom for chrom in sizes if chrom in genome]
    wrong = [chrom for chrom in shared if sizes[chrom] != genome[chrom]]
    if wrong:
        raise UserError(
            f"{source} is of another genome than the checkpoint's: {wrong[0]} has "
            f"{sizes[wrong[0]]} bp, not {genome[wrong[0]]}; use a model trained on this genome"
        )
    if not shared:
        raise UserError(
            f"{source} is of another genome than the checkpoint's: it has "
            f"{', '.join(list(sizes)[:5])}, the checkpoint {', '.join(list(genome)[:5])}"
        )


def training_blacklist(trained: Mapping[str, Any], path: str | None) -> str | None:
    """The blacklist that a checkpoint was trained with: `path`, if it still says the same.

    None where the training had none. Raises ValueError where it is gone or has changed.
    """
    wanted, genome = trained["blacklist_sha256"], trained["genome"]
    if wanted == blacklist_sha256({}):
        return None
    if path is not None and Path(path).is_file():
        rows = [row for row in read_bed(path) if row.start < genome.get(row.chrom, 0)]
        clipped = [replace(row, end=min(row.end, genome[row.chrom])) for row in rows]
        if blacklist_sha256(merge(clipped)) == wanted:
            return path
    raise UserError(
        f"the blacklist of the training ({path}) is not here any more: "
        "give blacklist=regions.bed, or blacklist=none to predict without one"
    )
