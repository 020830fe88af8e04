"""What a prediction is run on: a BAM prepared as the training's was, or a store, at a known depth.

Decides which fragments the network sees and says so; predicts nothing.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pysam

from denoiseq import build, schema
from denoiseq.compatibility import (
    holds,
    same_genome,
    same_preprocessing,
    training_blacklist,
)
from denoiseq.genomics.bam import quiet_htslib
from denoiseq.genomics.coverage import depths
from denoiseq.genomics.sequence import Genome, chrom_sizes
from denoiseq.genomics.store import CoverageStore, CutStore, Store, Thinning, open_store

log = logging.getLogger(__name__)

# Depths that differ from the training's by less than this factor are taken as they are.
TOLERATED_DEPTH_FACTOR = 2.0


def sample_name(options: schema.Predict) -> str:
    """The stem of the output files: `name=`, or that of the BAM or store."""
    if options.name is not None:
        return options.name
    if bool(options.bam) == bool(options.store):
        raise ValueError("give either bam=reads.bam or store=cuts.h5 to predict from")
    return Path(options.bam or options.store or "").stem


@contextmanager
def opened_store(
    options: schema.Predict, payload: dict[str, Any], config: schema.Train
) -> Iterator[Store]:
    """The cut sites to predict from; those of a BAM live in a folder that is removed at the end."""
    trained = payload["preprocessing"]
    if options.store is not None:
        opened = open_store(options.store)
        same_preprocessing(trained, opened)
        yield opened
        return
    if trained.get("kind") == "coverage":
        raise ValueError(
            "this model was trained on coverage tracks: prepare one with bigwig=track.bw and give "
            "store="
        )
    bam = build.required(options.bam, "bam", "reads.bam")
    sizes = bam_sizes(bam) if options.fasta is None else chrom_sizes(options.fasta)
    same_genome(trained, sizes, bam if options.fasta is None else options.fasta)
    blacklist = options.blacklist
    if blacklist is None:
        blacklist = training_blacklist(trained, config.data.prepare.blacklist)
    prefix = f".{sample_name(options)}.cuts-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=options.out) as folder:
        prepare = schema.Prepare(
            bam=bam,
            fasta=options.fasta,
            out=str(Path(folder) / "cuts.h5"),
            blacklist=None if blacklist == "none" else blacklist,
            min_mapq=trained["min_mapq"],
            shift=trained["shift"],
            keep_duplicates=trained["keep_duplicates"],
            max_fragment_bp=trained["max_fragment_bp"],
            include=[chrom for chrom in sizes if chrom in trained["genome"]],
            exclude=[],
            workers=options.workers,
            progress=options.trainer.progress,
        )
        build.prepared(prepare, sizes)
        yield CutStore(str(prepare.out))


def bam_sizes(bam: str) -> dict[str, int]:
    """Contigs of a BAM's header and their lengths in bp."""
    if not Path(bam).is_file():
        raise FileNotFoundError(f"no such BAM file: {bam}")
    try:
        with quiet_htslib(), pysam.AlignmentFile(bam, "rb") as file:
            return dict(zip(file.references, file.lengths, strict=True))
    except (OSError, ValueError) as error:
        raise ValueError(f"{bam} cannot be read as BAM: it is damaged or another format") from error


def genome(options: schema.Predict, config: schema.Train, opened: Store) -> Genome | None:
    """The bases that the model reads beside the coverage of `opened`; None where it reads none."""
    if not config.data.sequence:
        return None
    if options.fasta is None:
        raise ValueError("this model reads the sequence too: give fasta=genome.fa")
    found = Genome(options.fasta)
    holds(found, opened.chroms, str(opened.path))
    return found


def thinning(
    options: schema.Predict, payload: dict[str, Any], opened: Store, half_window_bp: int
) -> tuple[Thinning | None, dict[str, float | None]]:
    """The draw that brings `opened` to the depth asked for, and the depths in cut sites per Mb.

    A network sees coverage, so a depth that it was not trained for gives plausible, wrong tracks:
    warns where the depth used is further from the range of the training's than
    `TOLERATED_DEPTH_FACTOR`.
    """
    trained, (given,) = float(payload["trained_cuts_per_mb"]), depths(opened, half_window_bp)
    wanted = trained if options.depth == "trained" else options.depth
    fraction = 1.0 if wanted is None else min(1.0, float(wanted) / given)
    used = fraction * given
    if wanted is not None and float(wanted) > 1.05 * given:
        log.warning(
            "warning: the input has %.0f cut sites per Mb, less than the %.0f asked for: "
            "it is used whole",
            given,
            float(wanted),
        )
    if fraction < 1 and isinstance(opened, CoverageStore):
        raise ValueError(
            f"{opened.path} holds coverage, not fragments, and cannot be thinned: leave out depth="
        )
    _check_depth(used, payload)
    known = {"given": given, "used": used, "trained": trained}
    rounded = {f"{name}_cuts_per_mb": round(value, 1) for name, value in known.items()}
    draw = Thinning(fraction, options.seed) if fraction < 1 else None
    return draw, {**rounded, "thinning_fraction": round(fraction, 6)}


def _check_depth(used: float, payload: dict[str, Any]) -> None:
    """Warn of a depth that the training did not have."""
    trained = float(payload["trained_cuts_per_mb"])
    low, high = payload.get("trained_cuts_per_mb_range", (trained, trained))
    if low / TOLERATED_DEPTH_FACTOR <= used <= high * TOLERATED_DEPTH_FACTOR:
        return
    log.warning(
        "warning: the input has %.0f cut sites per Mb, the model was trained at %s: "
        "its answer is unreliable there (%s)",
        used,
        f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}",
        "depth=trained thins it to that" if used > high else "train on thinner data",
    )
