"""Whether stores, a FASTA and a checkpoint fit together: filters, genome, blacklist."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError, listed
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import Genome
from denoiseq.genomics.intervals import merge_within
from denoiseq.genomics.organelles import is_organelle
from denoiseq.store.header import FILTERS, blacklist_sha256
from denoiseq.store.store import Store

log = logging.getLogger(__name__)


def check_same_filters(
    first: Mapping[str, Any], second: Mapping[str, Any], first_words: str, second_words: str
) -> None:
    """Refuse two ways of preparing that differ; the words begin the sentence's two parts.

    A filter that is unknown on one side does not differ: another program filtered the reads of a
    fragment file.
    """
    names = [name for name in FILTERS if _differ(name, first.get(name), second.get(name))]
    if names:
        values, others = (
            ", ".join(f"{name}={side.get(name)}" for name in names) for side in (first, second)
        )
        raise UserError(
            f"{first_words} with {values}, {second_words} for {others}: "
            "prepare the reads again with equal settings, or choose another store"
        )


def _differ(name: str, first: Any, second: Any) -> bool:
    if name == "shift" and "10x" in (first, second):  # = +4/-5: 1 bp from +4/-4 at right ends
        return not {first, second} <= {"10x", "+4/-5", "+4/-4", None}
    return None not in (first, second) and first != second


def check_noisy_matches_clean(clean: Store, noisy: Store) -> None:
    """Refuse a clean and a noisy store that are of two genomes or were prepared differently."""
    wrong = [c for c, size in clean.chroms.items() if noisy.chroms.get(c) != size]
    if wrong:
        raise UserError(
            f"{noisy.path} and {clean.path} are of different genomes: {wrong[0]} has "
            f"{clean.chroms[wrong[0]]} bp in the one with the clean track and "
            f"{noisy.chroms.get(wrong[0], 'no')} bp in the one with the noisy input; prepare both "
            "on one genome, with equal include and exclude"
        )
    if clean.thinnable and noisy.thinnable:
        check_same_input(noisy, clean)


def check_same_input(first: Store, second: Store) -> None:
    """Refuse two samples whose noisy inputs mean different things to a network."""
    kind, other_kind = _content(first.preprocessing), _content(second.preprocessing)
    if kind != other_kind:
        raise UserError(
            f"{first.path} holds {kind}, {second.path} {other_kind}: the noisy inputs of samples "
            "that are learned from together are all of one kind"
        )
    words = f"{first.path} was prepared", str(second.path)
    check_same_filters(first.preprocessing, second.preprocessing, *words)


def check_fasta(genome: Genome, sizes: Mapping[str, int], source: str) -> None:
    """Refuse a FASTA that lacks a chromosome of `sizes` (chrom -> bp) or has it in other length."""
    for chrom, size in sizes.items():
        fasta_size = genome.chroms.get(chrom)
        if fasta_size != size:
            length = "it is not there" if fasta_size is None else f"it has {fasta_size} bp there"
            raise UserError(
                f"{genome.path} is not the genome of {source}: {chrom} has {size} bp, {length}; "
                "give the FASTA that the reads were aligned to"
            )


def check_store_matches_training(trained: Mapping[str, Any], store: Store) -> None:
    """Refuse a store whose cuts mean something else than those the checkpoint was trained on."""
    kind, trained_kind = _content(store.preprocessing), _content(trained)
    if kind != trained_kind:
        raise UserError(
            f"{store.path} holds {kind}, the checkpoint was trained on {trained_kind}: "
            "give a store of that kind"
        )
    words = f"{store.path} was prepared", "the checkpoint asks"
    check_same_filters(store.preprocessing, trained, *words)
    sizes = {chrom: store.chroms[name] for name, chrom in store.plain_names.items()}
    check_same_genome(trained, sizes, str(store.path))
    warn_of_other_ends(trained, store)
    if trained["blacklist_sha256"] != store.preprocessing.get("blacklist_sha256"):
        log.warning("%s has another blacklist than the training had", store.path)


def warn_of_other_ends(trained: Mapping[str, Any], store: Store) -> None:
    """Warn where fragment ends come from elsewhere: stores made before 0.2.0 have them by TLEN."""
    ends, trained_ends = _ends(store.preprocessing), _ends(trained)
    if None not in (ends, trained_ends) and ends != trained_ends:
        log.warning(
            "the model was trained on fragment ends by %s, %s has them by %s: pairs that were "
            "clipped or are as short as their reads differ, if the aligner wrote such; prepare and "
            "train again to be sure",
            *(trained_ends, store.path, ends),
        )


def _ends(preprocessing: Mapping[str, Any]) -> str | None:
    """What told where fragments end; None of inputs that never had mates to pair."""
    others = {"kind": "coverage", "source": "fragments", "layout": "single"}
    if any(preprocessing.get(key) == value for key, value in others.items()):
        return None
    return preprocessing.get("ends", "template length")


def _content(preprocessing: Mapping[str, Any]) -> str:
    return "a coverage track" if preprocessing.get("kind") == "coverage" else "cut sites"


def check_same_genome(trained: Mapping[str, Any], sizes: Mapping[str, int], source: str) -> None:
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
            f"{listed(sizes, 5)}, the checkpoint {listed(genome, 5)}"
        )


def warn_of_organelles(store: Store, exclude: Collection[str] = ()) -> None:
    """Warn of organelles in a store that are not in `exclude`: older versions knew few by name."""
    names = set(store.plain_names.values())
    organelles = sorted(c for c in names - set(exclude) if is_organelle(c, names))
    if organelles:
        log.warning(
            "%s holds %s, an organelle, whose reads say nothing about chromatin: prepare it again "
            "without exclude=[] and include= to leave it out",
            store.path,
            listed(organelles),
        )


def training_blacklist(trained: Mapping[str, Any], path: str | None) -> str | None:
    """The blacklist of the training, None if it had none: `path`, if its content is the same."""
    checksum, genome = trained["blacklist_sha256"], trained["genome"]
    if checksum == blacklist_sha256({}):
        return None
    if path is not None and Path(path).is_file():
        blacklist = merge_within(read_bed(path), genome)
        if blacklist_sha256(blacklist) == checksum:
            return path
    raise UserError(
        f"the blacklist of the training ({path}) is not here any more: "
        "give blacklist=regions.bed, or blacklist=none to predict without one"
    )
