"""From the data settings to windows: stores, labels, folds, and the datasets of each split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError, listed
from denoiseq.genomics import synthetic
from denoiseq.genomics.bam import contig_sizes
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import Genome
from denoiseq.genomics.intervals import (
    Merged,
    merge,
    select_chromosomes,
    split_chromosomes,
    tile_chromosome,
)
from denoiseq.genomics.organelles import left_out
from denoiseq.inputs import refuse_pipe
from denoiseq.prepare.cut_sites import resolve_shift
from denoiseq.prepare.run import input_of, prepare_stores
from denoiseq.settings import Data, DataOverrides, Prepare
from denoiseq.settings.setting import check, required
from denoiseq.store.compatibility import (
    check_fasta,
    check_noisy_matches_clean,
    check_same_filters,
    check_same_input,
    warn_of_organelles,
)
from denoiseq.store.samples import Samples
from denoiseq.store.store import Sample, Store, open_store
from denoiseq.windows.dataset import WindowDataset, draw_offset
from denoiseq.windows.labels import poisson_peaks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stores:
    """What windows are made of; `noisy` is `clean` itself if the input is a thinning of it."""

    clean: Store
    noisy: Store
    genome: Genome | None

    def facts(self) -> dict[str, Any]:
        """What a checkpoint stores about the files: the first store, and all stores."""
        clean, noisy = (
            [{"name": store.path.name, "provenance": store.provenance} for store in kind.samples]
            for kind in (self.clean, self.noisy)
        )
        thinned = self.noisy is self.clean
        return {"store": clean[0], "stores": {"clean": clean, "noisy": [] if thinned else noisy}}

    def describe(self, half_window_bp: int) -> list[str]:
        """A line for the log on each store."""
        kinds = {"noisy": self.noisy} if self.noisy is not self.clean else {}
        return [
            f"{kind} {store.describe()}, {depth:.0f} cut sites per Mb"
            for kind, stores in {"clean": self.clean, **kinds}.items()
            for store, depth in zip(stores.samples, stores.depths(half_window_bp), strict=True)
        ]


@dataclass(frozen=True)
class Splits:
    """Windows to train on and to validate on."""

    train: WindowDataset
    validation: WindowDataset


def open_or_prepare(settings: Data) -> Sample:
    """Open the store, after making it (and the synthetic genome) if it does not exist."""
    path, prepare = Path(settings.store), settings.prepare
    reads = input_of(prepare)
    refuse_pipe(path, "store")
    if not path.is_file() and reads is not None:
        if prepare.groups or prepare.replicates == "apart":
            raise UserError(
                f"{path} would be several stores: make them with denoiseq prepare, then choose one"
            )
        if settings.synthetic and not Path(prepare.bam).is_file():
            log.info("generating a synthetic genome in %s", Path(prepare.bam).parent)
            synthetic.make_synthetic(Path(prepare.bam).parent)
        log.info("preparing %s from %s", path, reads)
        prepare_stores(prepare)
    store = open_store(path)
    if reads is not None:
        filters = vars(resolve_shift(prepare))
        check_same_filters(store.preprocessing, filters, f"{path} was prepared", "this config asks")
    return store


def open_stores(settings: Data) -> Stores:
    """Open everything that windows are made of; UserError if it does not go together."""
    clean = [open_or_prepare(settings), *map(open_store, settings.more_stores)]
    noisy = clean
    if settings.noisy_store is not None:
        noisy = list(map(open_store, [settings.noisy_store, *settings.more_noisy_stores]))
    for store in clean:
        warn_of_organelles(store, settings.exclude)
    for clean_store, noisy_store in zip(clean, noisy, strict=True):
        check_noisy_matches_clean(clean_store, noisy_store)
    for other in noisy[1:]:
        check_same_input(other, noisy[0])
    for store in (*clean, *noisy) if settings.tell_depth else ():
        check(
            store.unit == 1,
            f"{store.path} is no track of counts, so that its depth, which data.tell_depth=true "
            "tells the network, is not known: prepare a track of counts, or leave out "
            "data.tell_depth",
        )
    samples = _joined(clean)
    joined_noisy = samples if noisy is clean else _joined(noisy)
    return Stores(samples, joined_noisy, _genome(settings, samples))


def _joined(stores: list[Sample]) -> Store:
    return stores[0] if len(stores) == 1 else Samples(stores)


def _genome(settings: Data, store: Store) -> Genome | None:
    if not settings.sequence:
        return None
    fasta = required(settings.fasta, "data.fasta", "genome.fa (data.sequence=true reads it)")
    names = store.plain_names
    genome, sizes = Genome(fasta, names), {c: store.chroms[name] for name, c in names.items()}
    check_fasta(genome, sizes, str(store.path))
    return genome


def read_peaks(path: str, store: Store, key: str) -> Merged:
    """The merged intervals of a BED file, of which at least one must be on the store's genome."""
    merged, names = merge(read_bed(path)), store.plain_names
    peaks = {name: merged[chrom] for name, chrom in names.items() if chrom in merged}
    if not peaks:
        raise UserError(
            f"{path} ({key}) has no peaks on the chromosomes of {store.path}: "
            f"{listed(list(names.values()))}"
        )
    return peaks


def _folds(settings: Data, store: Store) -> dict[str, list[str]]:
    """The chromosomes of train, validation and test, in every sample."""
    names = store.plain_names
    genome = dict.fromkeys(names.values())
    folds = map(
        set, split_chromosomes(genome, settings.validation, settings.test, settings.exclude)
    )
    parts = zip(("train", "validation", "test"), folds, strict=True)
    return {part: [n for n, chrom in names.items() if chrom in fold] for part, fold in parts}


def _shared(settings: Data, stores: Stores, seed: int) -> dict[str, Any]:
    """What the datasets of all splits are made of."""
    store, truth = stores.clean, settings.truth
    if settings.labels == "poisson":
        peaks = poisson_peaks(store, settings)
    else:
        peaks = read_peaks(settings.labels, store, "data.labels")
    return {
        "store": store,
        "settings": settings,
        "peaks": peaks,
        "seed": seed,
        "truth": None if truth is None else read_peaks(truth, store, "data.truth"),
        "noisy": stores.noisy,
        "genome": stores.genome,
    }


def splits(settings: Data, stores: Stores, seed: int) -> Splits:
    """Windows to train on and to validate on. The test chromosomes are not read."""
    folds, shared = _folds(settings, stores.clean), _shared(settings, stores, seed)
    return Splits(
        WindowDataset(chroms=folds["train"], training=True, **shared),
        WindowDataset(chroms=folds["validation"], training=False, **shared),
    )


def count_training_windows(settings: Data, seed: int) -> int:
    """The number of windows to train on, without writing any file.

    Before the store is prepared, it is counted by the chromosomes in the header of the BAM.
    """
    if Path(settings.store).is_file():
        settings = replace(settings, sequence=False)  # to read it may take a new index
        return len(splits(settings, open_stores(settings), seed).train)
    sizes, prepare = _expected_sizes(settings), settings.prepare
    out = left_out(sizes, prepare.include, prepare.exclude)
    chroms = select_chromosomes(sizes, prepare.include, out)
    folds = split_chromosomes(chroms, settings.validation, settings.test, settings.exclude)
    cut, windows = (settings.interval_bp, settings.pad_bp), 0
    for chrom in folds[0]:
        if sizes[chrom] >= settings.window_bp:
            offset = draw_offset(settings.interval_bp, [seed, 0, chroms.index(chrom)])
            windows += len(tile_chromosome(chrom, sizes[chrom], *cut, offset))
    return windows


def _expected_sizes(settings: Data) -> Mapping[str, int]:
    """The chromosomes of the store that `settings` would prepare, and their lengths in bp."""
    bam = settings.prepare.bam
    first = bam[0] if isinstance(bam, list) else bam
    if first is None:
        raise UserError(
            f"the store {settings.store} does not exist: make it with denoiseq prepare first, then "
            "the doctor can tell how long a training on it takes"
        )
    if settings.synthetic and not Path(first).is_file():
        return synthetic.CHROMS
    return contig_sizes(first)


def held_out(settings: Data, stores: Stores, seed: int, split: str) -> WindowDataset:
    """The windows of `validation` or `test`."""
    chroms = _folds(settings, stores.clean)[split]
    if not chroms:
        raise UserError(f"data.{split} names no chromosome: there is nothing to evaluate")
    return WindowDataset(chroms=chroms, training=False, **_shared(settings, stores, seed))


def overridden(trained: Data, changes: DataOverrides) -> Data:
    """The data settings of the training with the changes that an evaluation asks for."""
    values: dict[str, Any] = {n: value for n, value in vars(changes).items() if value is not None}
    values |= {"thin_range": None, "validation_fractions": None}  # only for training
    if "store" in values or "noisy_store" in values:
        values |= {"more_stores": [], "more_noisy_stores": []}
    if "store" in values:
        values["prepare"] = Prepare()
        if trained.noisy_store is not None and "noisy_store" not in values:
            raise UserError(
                "the model was trained on separate noisy and clean samples: "
                "give data.noisy_store= with data.store="
            )
    if "noisy_store" in values:
        values.setdefault("thin_fraction", None)  # another input: the default of the settings
    return replace(trained, **values)
