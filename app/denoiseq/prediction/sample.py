"""What a prediction is run on: reads prepared as the training's were, or a store, at some depth."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from denoiseq.errors import UserError, listed
from denoiseq.genomics.bam import contig_sizes
from denoiseq.genomics.fasta import Genome, chrom_sizes
from denoiseq.prediction.resume import CUTS
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Predict, Prepare, Train, plain
from denoiseq.store.compatibility import (
    check_fasta,
    check_same_genome,
    check_store_matches_training,
    training_blacklist,
    warn_of_organelles,
    warn_of_other_ends,
)
from denoiseq.store.input_rows import InputRows
from denoiseq.store.store import Sample, open_store
from denoiseq.store.thinning import Thinning

log = logging.getLogger(__name__)

# Depths within this factor of the training's range are taken as they are.
TOLERATED_DEPTH_FACTOR = 2.0
# Depths that differ by less are the same.
SAME_DEPTH = 1.05
TOO_DEEP = (
    "background looks like signal to it there, so too many and too wide peaks are called; "
    "give depth=trained, which thins the input to the training's depth, or a number"
)
TOO_SHALLOW = (
    "signal looks like background to it there, so peaks are missed and flattened; merge "
    "replicates, or train on thinner data (data.thin_fraction, data.thin_range)"
)


@dataclass(frozen=True)
class Source:
    """What is predicted from: a store's rows, a draw of its fragments (None: all), and the depth
    that the network is told, over that of its answer (None: not told).
    """

    rows: InputRows
    thinning: Thinning | None = None
    told_depth: float | None = None

    @property
    def store(self) -> Sample:
        return cast(Sample, self.rows.store)

    def coverage(self, chrom: str, start: int, end: int) -> np.ndarray:
        """The noisy coverage of a window: float32 (end - start,)."""
        return self.rows.coverage(chrom, start, end, self.thinning)

    def read(self, chrom: str, start: int, end: int, alone: AbstractContextManager) -> np.ndarray:
        """The network's input, float32 (C, W); `alone` is held while bases are read."""
        return self.rows.read(chrom, start, end, self.thinning, self.told_depth, alone)


def name_of(settings: Predict) -> str:
    """The stem of the output files: `name=`, or that of the (first) BAM, fragment file or store."""
    inputs = [value for value in (settings.bam, settings.fragments, settings.store) if value]
    if len(inputs) != 1:
        raise UserError(
            "give either bam=reads.bam, fragments=fragments.tsv.gz or store=cuts.h5 to predict from"
        )
    if settings.name is not None:
        return settings.name
    first = Path(inputs[0][0] if isinstance(inputs[0], list) else inputs[0])
    if first.name.isdigit() and first.parent.name == "fd":  # /dev/fd/63, a pipe of the shell's
        return "fragments"
    return Path(first.stem).stem if first.suffix in (".gz", ".bgz") else first.stem


def opened_store(
    settings: Predict, payload: Mapping[str, Any], trained: Train, folder: Path
) -> Sample:
    """The store to predict from; reads are prepared in `folder`, once."""
    preprocessing = payload["preprocessing"]
    if settings.store is not None:
        store = open_store(settings.store)
        check_store_matches_training(preprocessing, store)
        warn_of_organelles(store)
        return at_its_depth(settings, trained, store)
    if preprocessing.get("kind") == "coverage":
        raise UserError(
            "the model was trained on a coverage track, which reads cannot stand in for: "
            "prepare the sample's track (prepare bigwig=) and give store="
        )
    cuts = folder / CUTS
    if not cuts.exists():
        sizes, path = _chrom_sizes(settings, preprocessing)
        check_same_genome(preprocessing, sizes, path)
        prepare_stores(_preparation(settings, preprocessing, trained, cuts, sizes), sizes)
    store = open_store(cuts)
    warn_of_other_ends(preprocessing, store)
    _warn_of_lacking(preprocessing["genome"], store, settings)
    return store


def at_its_depth(settings: Predict, trained: Train, store: Sample) -> Sample:
    """`store` scaled to the settings' depth_of_track; as it is without one.

    UserError where a model that is told its input's depth would be told that of a track which
    holds no counts, and where there are cut sites to count.
    """
    half_window_bp = trained.data.half_window_bp
    if settings.depth_of_track is not None:
        return store.at_depth(settings.depth_of_track, half_window_bp)
    if trained.data.tell_depth and store.unit != 1:
        raise UserError(_not_counts(store, half_window_bp))
    return store


def _not_counts(store: Sample, half_window_bp: int) -> str:
    """The sentence about a track without counts, with the depth that its values suggest."""
    unit, (depth,) = store.unit, store.depths(half_window_bp)
    values, likely = "are not whole numbers", ""
    if unit is not None:
        values = f"are whole multiples of {unit:.4g}"
        likely = f"{depth / unit:.0f} if {unit:.4g} is one cut site"
        if math.isclose(1 / unit, round(1 / unit), rel_tol=1e-4):
            likely = f"{depth:.0f} if they are means of counts"
        likely = f" ({likely})"
    return (
        f"{store.path} is no track of counts (its values {values}), so its mean does not tell the "
        "depth that this model has to know: give depth_of_track=, the cut sites per Mb of the "
        f"sample{likely}, or prepare a track of counts"
    )


def _warn_of_lacking(trained: Mapping[str, int], store: Sample, settings: Predict) -> None:
    """Warn of the training's chromosomes that the reads or their FASTA lack."""
    lacking = {chrom: size for chrom, size in trained.items() if chrom not in store.chroms}
    if lacking:
        log.warning(
            "%s: nothing is predicted on %d of the %d chromosomes of the training (%.3g%% of the "
            "bases), which the reads or the FASTA lack: %s",
            name_of(settings),
            len(lacking),
            len(trained),
            100 * sum(lacking.values()) / sum(trained.values()),
            listed(lacking, 5),
        )


def _preparation(
    settings: Predict,
    preprocessing: dict[str, Any],
    trained: Train,
    out: Path,
    sizes: dict[str, int],
) -> Prepare:
    """How the reads of a sample are prepared: as the training's were."""
    return Prepare(
        bam=settings.bam,
        fragments=settings.fragments,
        barcodes=settings.barcodes,
        fasta=settings.fasta,
        out=str(out),
        blacklist=_blacklist(settings, preprocessing, trained),
        shift_check=settings.shift_check,
        max_fragment_bp=preprocessing["max_fragment_bp"],
        include=[chrom for chrom in sizes if chrom in preprocessing["genome"]],
        workers=settings.workers,
        progress=settings.trainer.progress,
        **({} if settings.fragments else _filters(preprocessing)),
    )


def _blacklist(settings: Predict, preprocessing: dict[str, Any], trained: Train) -> str | None:
    """The BED of regions to leave out: `blacklist=`, or the training's."""
    if settings.blacklist is None:
        return training_blacklist(preprocessing, trained.data.prepare.blacklist)
    return None if settings.blacklist == "none" else settings.blacklist


def identity(settings: Predict, payload: Mapping[str, Any], trained: Train) -> dict[str, Any]:
    """All that a prediction's result depends on but the software, as plain values."""
    values = plain(settings)
    for name in ("checkpoint", "out", "workers", "trainer", "loci", "random_loci", "regions"):
        del values[name]
    paths = {name: values[name] for name in ("bam", "fragments", "barcodes", "store", "fasta")}
    if settings.store is None:
        paths["blacklist"] = _blacklist(settings, payload["preprocessing"], trained)
    files = {
        name: [_facts(path) for path in (value if isinstance(value, list) else [value])]
        for name, value in paths.items()
        if value
    }
    checkpoint = hashlib.sha256(Path(str(settings.checkpoint)).read_bytes()).hexdigest()
    return {"checkpoint": checkpoint, "settings": values, "files": files}


def _facts(path: str) -> list[Any]:
    """Where a file lies, its size and time; of an absent one, an error later, the path alone.

    Those of a pipe never come again: what it gives this time is not known to be the same.
    """
    if not Path(path).exists():
        return [path]
    stat = Path(path).stat()
    return [str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns]


def _chrom_sizes(settings: Predict, preprocessing: dict[str, Any]) -> tuple[dict[str, int], str]:
    """Chromosome sizes of the input, of a fragment file the training's, and their file."""
    if settings.fasta is not None:
        return chrom_sizes(settings.fasta), settings.fasta
    if settings.fragments:
        return dict(preprocessing["genome"]), settings.fragments
    first = settings.bam[0] if isinstance(settings.bam, list) else settings.bam
    return contig_sizes(first), first


def _filters(preprocessing: dict[str, Any]) -> dict[str, Any]:
    """How to filter the reads of a BAM: as for the training, as far as that knew filters."""
    known = {name: preprocessing[name] for name in ("min_mapq", "keep_duplicates", "shift")}
    if known["shift"] == "10x" and preprocessing.get("source") == "fragments":
        known["shift"] = "+4/-5"  # what was done to the ends in a fragment file
    return {name: value for name, value in known.items() if value is not None}


def check_fasta_given(settings: Predict, trained: Train) -> None:
    """Raise UserError where the model reads the sequence and there is none."""
    if trained.data.sequence and settings.fasta is None:
        raise UserError("this model reads the sequence too: give fasta=genome.fa")


def genome(settings: Predict, trained: Train, store: Sample) -> Genome | None:
    """The bases that the model reads beside the coverage of `store`; None where it reads none."""
    check_fasta_given(settings, trained)
    if settings.fasta is None or not trained.data.sequence:
        return None
    fasta = Genome(settings.fasta)
    check_fasta(fasta, store.chroms, str(store.path))
    return fasta


@dataclass(frozen=True)
class Depth:
    """The depth that a network knows, in cut sites per Mb.

    answer : what its answer is the coverage at; None where the network is not told its input's
    """

    trained: float
    low: float
    high: float
    answer: float | None

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Depth:
        """That of a checkpoint."""
        trained = float(payload["trained_cuts_per_mb"])
        low, high = payload.get("trained_cuts_per_mb_range", (trained, trained))
        return cls(trained, float(low), float(high), payload.get("answer_cuts_per_mb"))

    def target(self, wanted: Any, whole: float) -> float | None:
        """The depth to thin an input of `whole` to, by the setting `depth`; None: not to thin it.

        A network that knows a range of depths takes what lies in it as it is.
        """
        if wanted != "trained":
            return None if wanted is None else float(wanted)
        if self.answer is None:
            return self.trained
        return self.high if whole > self.high * SAME_DEPTH else None

    def warning(self, used: float) -> str:
        """What is wrong with an input of this depth; empty where nothing is."""
        factor = TOLERATED_DEPTH_FACTOR if self.answer is None else SAME_DEPTH
        if self.low / TOLERATED_DEPTH_FACTOR <= used <= self.high * factor:
            return ""
        low, high = self.low, self.high
        at = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
        return (
            f"the input has {used:.0f} cut sites per Mb, the model was trained at {at}: "
            f"{TOO_DEEP if used > high else TOO_SHALLOW}"
        )


def source(
    settings: Predict, depth: Depth, trained: Train, store: Sample
) -> tuple[Source, dict[str, Any]]:
    """What to predict from, and the facts of its depth."""
    data, bases = trained.data, genome(settings, trained, store)
    draw, facts = thinning(settings, depth, store, data.half_window_bp)
    rows = InputRows.of(store, data, bases)
    told = None if depth.answer is None else facts["used_cuts_per_mb"] / depth.answer
    return Source(rows, draw, told), facts


def thinning(
    settings: Predict, depth: Depth, store: Sample, half_window_bp: int
) -> tuple[Thinning | None, dict[str, Any]]:
    """The draw that brings `store` to the depth of the settings, and the facts of its depth.

    A network sees coverage, so a depth that it was not trained for gives plausible, wrong tracks:
    "warning" says so, and the log too; else it is "".
    """
    (whole,) = store.depths(half_window_bp)
    if whole == 0:
        raise UserError(f"{store.path} is empty: nothing to predict from")
    target = depth.target(settings.depth, whole)
    fraction = 1.0 if target is None else min(1.0, target / whole)
    used = fraction * whole
    if target is not None and target > SAME_DEPTH * whole:
        depths = f"{whole:.0f} cut sites per Mb, less than the {target:.0f} asked for"
        log.warning("the input has %s: it is used whole", depths)
    if fraction < 1 and not store.thinnable:
        raise UserError(
            f"{store.path} holds coverage, not fragments, and cannot be thinned: leave out depth="
        )
    warning = depth.warning(used)
    if warning:
        log.warning("%s", warning)
    if depth.answer is not None:
        log.info(
            "the model is told %.0f cut sites per Mb, its answer is the coverage at %.0f",
            used, depth.answer,
        )  # fmt: skip
    known = {"given": whole, "used": used, "trained": depth.trained, "answer": depth.answer}
    rounded = {f"{n}_cuts_per_mb": round(v, 1) for n, v in known.items() if v is not None}
    draw = Thinning(fraction, settings.seed) if fraction < 1 else None
    return draw, {**rounded, "thinning_fraction": round(fraction, 6), "warning": warning}
