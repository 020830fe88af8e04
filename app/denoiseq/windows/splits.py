"""From the data settings to windows: stores, labels, folds, and the datasets of each split."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError
from denoiseq.genomics import synthetic
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import Genome
from denoiseq.genomics.intervals import Merged, merge, split_chromosomes
from denoiseq.prepare.cut_sites import resolve_shift
from denoiseq.prepare.run import input_of, prepare_stores
from denoiseq.settings import Data, DataOverrides, Prepare
from denoiseq.settings.setting import required
from denoiseq.store.compatibility import (
    check_fasta,
    check_noisy_matches_clean,
    check_same_filters,
    check_same_input,
)
from denoiseq.store.samples import Samples
from denoiseq.store.store import Store, open_store
from denoiseq.windows.dataset import WindowDataset
from denoiseq.windows.labels import poisson_peaks
from denoiseq.windows.options import WindowOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stores:
    """What windows are made of. `noisy` is `clean` itself where the input is a thinning of it."""

    clean: Store
    noisy: Store
    genome: Genome | None

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of the files: the first store, and all of them."""
        clean = [_file_facts(opened) for opened in self.clean.samples]
        noisy = [_file_facts(opened) for opened in self.noisy.samples]
        thinned = self.noisy is self.clean
        return {"store": clean[0], "stores": {"clean": clean, "noisy": [] if thinned else noisy}}

    def describe(self, half_window_bp: int) -> list[str]:
        """A line for the log on each store."""
        kinds = {"noisy": self.noisy} if self.noisy is not self.clean else {}
        lines = []
        for kind, whole in {"clean": self.clean, **kinds}.items():
            for sample, depth in zip(whole.samples, whole.depths(half_window_bp), strict=True):
                lines.append(f"{kind} {sample.describe()}, {depth:.0f} cut sites per Mb")
        return lines


def _file_facts(opened: Store) -> dict[str, Any]:
    return {"name": opened.path.name, "provenance": opened.provenance}


@dataclass(frozen=True)
class Splits:
    """Windows to train on and to validate on."""

    train: WindowDataset
    validation: WindowDataset


def open_or_prepare(data: Data) -> Store:
    """Open the store of `data`, making it first (and the synthetic genome) where it is absent."""
    path, prepare = Path(data.store), data.prepare
    given = input_of(prepare)
    if not path.is_file() and given is not None:
        if prepare.groups or prepare.replicates == "apart":
            raise UserError(
                f"{path} would be several stores: make them with denoiseq prepare, then choose one"
            )
        if data.synthetic and not Path(prepare.bam).is_file():
            log.info("generating a synthetic genome in %s", Path(prepare.bam).parent)
            synthetic.make_synthetic(Path(prepare.bam).parent)
        log.info("preparing %s from %s", path, given)
        prepare_stores(prepare)
    opened = open_store(path)
    if given is not None:
        filters = vars(resolve_shift(prepare))
        words = f"{path} was prepared", "this config asks"
        check_same_filters(opened.preprocessing, filters, *words)
    return opened


def open_stores(data: Data) -> Stores:
    """Open all that windows are made of; ValueError where it does not go together."""
    clean = [open_or_prepare(data), *map(open_store, data.more_stores)]
    noisy = clean
    if data.noisy_store is not None:
        noisy = [open_store(path) for path in (data.noisy_store, *data.more_noisy_stores)]
    for sample, its_noisy in zip(clean, noisy, strict=True):
        check_noisy_matches_clean(sample, its_noisy)
    for other in noisy[1:]:
        check_same_input(other, noisy[0])
    whole = _together(clean)
    return Stores(whole, whole if noisy is clean else _together(noisy), _genome(data, whole))


def _together(stores: list[Store]) -> Store:
    return stores[0] if len(stores) == 1 else Samples(stores)


def _genome(data: Data, whole: Store) -> Genome | None:
    if not data.sequence:
        return None
    fasta = required(data.fasta, "data.fasta", "genome.fa (data.sequence=true reads it)")
    names = whole.plain_names
    found = Genome(fasta, names)
    check_fasta(
        found, {chrom: whole.chroms[name] for name, chrom in names.items()}, str(whole.path)
    )
    return found


def bed(path: str, opened: Store, what: str) -> Merged:
    """The merged intervals of a BED file, of which at least one must be on the store's genome."""
    merged, names = merge(read_bed(path)), opened.plain_names
    found = {name: merged[chrom] for name, chrom in names.items() if chrom in merged}
    if not found:
        raise UserError(
            f"{path} ({what}) has no peaks on the chromosomes of {opened.path}: "
            f"{', '.join(list(names.values())[:5])}"
        )
    return found


def labels(data: Data, opened: Store) -> Merged:
    """The peaks to learn: Poisson calls of the clean track, or a file."""
    if data.labels != "poisson":
        return bed(data.labels, opened, "data.labels")
    return poisson_peaks(
        opened,
        data.half_window_bp,
        data.label_neglog10_p,
        data.label_min_length_bp,
        data.label_max_gap_bp,
    )


def _folds(data: Data, opened: Store) -> dict[str, list[str]]:
    """The chromosomes of train, validation and test, each fold's of every sample."""
    names = opened.plain_names
    genome = dict.fromkeys(names.values())
    folds = split_chromosomes(genome, data.validation, data.test, data.exclude)
    parts = zip(("train", "validation", "test"), folds, strict=True)
    return {part: [n for n, chrom in names.items() if chrom in fold] for part, fold in parts}


def _datasets(data: Data, given: Stores, seed: int) -> tuple[dict[str, list[str]], dict[str, Any]]:
    options = WindowOptions(
        interval_bp=data.interval_bp,
        pad_bp=data.pad_bp,
        half_window_bp=data.half_window_bp,
        thin_fraction=data.thin_fraction or 1.0,
        target=data.target,
        seed=seed,
        thin_range=None if data.thin_range is None else (data.thin_range[0], data.thin_range[1]),
        reverse_complement=data.reverse_complement,
    )
    common = {
        "store": given.clean,
        "options": options,
        "peaks": labels(data, given.clean),
        "truth": None if data.truth is None else bed(data.truth, given.clean, "data.truth"),
        "noisy": given.noisy,
        "genome": given.genome,
    }
    return _folds(data, given.clean), common


def splits(data: Data, given: Stores, seed: int) -> Splits:
    """Windows to train on and to validate on. The test chromosomes are not read."""
    folds, common = _datasets(data, given, seed)
    return Splits(
        WindowDataset(chroms=folds["train"], training=True, **common),
        WindowDataset(chroms=folds["validation"], training=False, **common),
    )


def held_out(data: Data, given: Stores, seed: int, split: str) -> WindowDataset:
    """The windows of `validation` or `test`."""
    folds, common = _datasets(data, given, seed)
    if not folds[split]:
        raise UserError(f"data.{split} names no chromosome: there is nothing to evaluate")
    return WindowDataset(chroms=folds[split], training=False, **common)


def overridden(data: Data, changes: DataOverrides) -> Data:
    """The data of the training with the changes that an evaluation asks for."""
    given: dict[str, Any] = {n: value for n, value in vars(changes).items() if value is not None}
    given["thin_range"] = None  # of training windows alone
    if "store" in given or "noisy_store" in given:
        given |= {"more_stores": [], "more_noisy_stores": []}
    if "store" in given:
        given["prepare"] = Prepare()
        if data.noisy_store is not None and "noisy_store" not in given:
            raise UserError(
                "the model was trained on noisy and clean samples of their own: "
                "give data.noisy_store= with data.store="
            )
    if "noisy_store" in given:
        given.setdefault("thin_fraction", None)  # of another input: as the schema has it
    return replace(data, **given)
