"""What a prediction is run on: reads prepared as the training's was, or a store, at a known depth.

Decides which fragments the network sees and says so; predicts nothing.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from denoiseq.errors import UserError
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
)
from denoiseq.store.cut_store import CutStore
from denoiseq.store.store import Store, open_store
from denoiseq.store.thinning import Thinning

log = logging.getLogger(__name__)

# Depths that differ from the training's by less than this factor are taken as they are.
TOLERATED_DEPTH_FACTOR = 2.0
TOO_DEEP = (
    "background looks like signal to it there, so too many and too wide peaks are called; "
    "give depth=trained, which thins the input to the training's depth, or a number"
)
TOO_SHALLOW = (
    "signal looks like background to it there, so peaks are missed and flattened; merge "
    "replicates, or train on thinner data (data.thin_fraction, data.thin_range)"
)


def sample_name(options: Predict) -> str:
    """The stem of the output files: `name=`, or that of the (first) BAM, fragment file or store."""
    given = [value for value in (options.bam, options.fragments, options.store) if value]
    if len(given) != 1:
        raise UserError(
            "give either bam=reads.bam, fragments=fragments.tsv.gz or store=cuts.h5 to predict from"
        )
    if options.name is not None:
        return options.name
    first = Path(given[0][0] if isinstance(given[0], list) else given[0])
    return Path(first.stem).stem if first.suffix in (".gz", ".bgz") else first.stem


def opened_store(options: Predict, payload: dict[str, Any], config: Train, folder: Path) -> Store:
    """The cut sites to predict from; those of reads are prepared in `folder`, once."""
    trained = payload["preprocessing"]
    if options.store is not None:
        opened = open_store(options.store)
        check_store_matches_training(trained, opened)
        return opened
    if trained.get("kind") == "coverage":
        raise UserError(
            "the model was trained on a coverage track, which reads cannot stand in for: "
            "prepare the sample's track (prepare bigwig=) and give store="
        )
    cuts = folder / CUTS
    if not cuts.exists():
        sizes, source = _genome(options, trained)
        check_same_genome(trained, sizes, source)
        prepare_stores(_preparation(options, trained, config, cuts, sizes), sizes)
    return CutStore(cuts)


def _preparation(
    options: Predict,
    trained: dict[str, Any],
    config: Train,
    out: Path,
    sizes: dict[str, int],
) -> Prepare:
    """How the reads of a sample are prepared: as the training's were."""
    return Prepare(
        bam=options.bam,
        fragments=options.fragments,
        barcodes=options.barcodes,
        fasta=options.fasta,
        out=str(out),
        blacklist=blacklist(options, trained, config),
        shift_check=options.shift_check,
        max_fragment_bp=trained["max_fragment_bp"],
        include=[chrom for chrom in sizes if chrom in trained["genome"]],
        exclude=[],
        workers=options.workers,
        progress=options.trainer.progress,
        **({} if options.fragments else _filters(trained)),
    )


def blacklist(options: Predict, trained: dict[str, Any], config: Train) -> str | None:
    """The BED of regions to leave out: `blacklist=`, or the training's."""
    if options.blacklist is None:
        return training_blacklist(trained, config.data.prepare.blacklist)
    return None if options.blacklist == "none" else options.blacklist


def identity(options: Predict, payload: dict[str, Any], config: Train) -> dict[str, Any]:
    """All that a prediction's result depends on but the software, as plain values."""
    given = plain(options)
    for name in ("checkpoint", "out", "workers", "trainer", "loci", "random_loci", "regions"):
        del given[name]
    paths = {name: given[name] for name in ("bam", "fragments", "barcodes", "store", "fasta")}
    if options.store is None:
        paths["blacklist"] = blacklist(options, payload["preprocessing"], config)
    files = {
        name: [_facts(path) for path in (value if isinstance(value, list) else [value])]
        for name, value in paths.items()
        if value
    }
    checkpoint = hashlib.sha256(Path(str(options.checkpoint)).read_bytes()).hexdigest()
    return {"checkpoint": checkpoint, "settings": given, "files": files}


def _facts(path: str) -> list[Any]:
    """Where a file lies, its size and age; nothing of one that is not there, which others say."""
    if not Path(path).is_file():
        return [path]
    stat = Path(path).stat()
    return [str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns]


def _genome(options: Predict, trained: dict[str, Any]) -> tuple[dict[str, int], str]:
    """Chromosome sizes of the input, and the file that they are from.

    A fragment file has none, so they are the training's where no FASTA is given.
    """
    if options.fasta is not None:
        return chrom_sizes(options.fasta), options.fasta
    if options.fragments:
        return dict(trained["genome"]), options.fragments
    first = options.bam[0] if isinstance(options.bam, list) else options.bam
    return contig_sizes(first), first


def _filters(trained: dict[str, Any]) -> dict[str, Any]:
    """How to filter the reads of a BAM: as for the training, as far as that knew filters."""
    known = {name: trained[name] for name in ("min_mapq", "keep_duplicates", "shift")}
    if known["shift"] == "10x" and trained.get("source") == "fragments":
        known["shift"] = "+4/-5"  # what was done to the ends in a fragment file
    return {name: value for name, value in known.items() if value is not None}


def genome(options: Predict, config: Train, opened: Store) -> Genome | None:
    """The bases that the model reads beside the coverage of `opened`; None where it reads none."""
    if not config.data.sequence:
        return None
    if options.fasta is None:
        raise UserError("this model reads the sequence too: give fasta=genome.fa")
    found = Genome(options.fasta)
    check_fasta(found, opened.chroms, str(opened.path))
    return found


def thinning(
    options: Predict, payload: dict[str, Any], opened: Store, half_window_bp: int
) -> tuple[Thinning | None, dict[str, Any]]:
    """The draw that brings `opened` to the depth asked for, and the depths in cut sites per Mb.

    A network sees coverage, so a depth that it was not trained for gives plausible, wrong tracks:
    where the one used is further from the range of the training's than
    `TOLERATED_DEPTH_FACTOR`, "warning" says so, and the log too; else it is "".
    """
    trained, (given,) = float(payload["trained_cuts_per_mb"]), opened.depths(half_window_bp)
    if given == 0:
        raise UserError(f"{opened.path} is empty: nothing to predict from")
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
    if fraction < 1 and not opened.thinnable:
        raise UserError(
            f"{opened.path} holds coverage, not fragments, and cannot be thinned: leave out depth="
        )
    warning = _depth_warning(used, payload)
    if warning:
        log.warning("warning: %s", warning)
    known = {"given": given, "used": used, "trained": trained}
    rounded = {f"{name}_cuts_per_mb": round(value, 1) for name, value in known.items()}
    draw = Thinning(fraction, options.seed) if fraction < 1 else None
    return draw, {**rounded, "thinning_fraction": round(fraction, 6), "warning": warning}


def _depth_warning(used: float, payload: dict[str, Any]) -> str:
    trained = float(payload["trained_cuts_per_mb"])
    low, high = payload.get("trained_cuts_per_mb_range", (trained, trained))
    if low / TOLERATED_DEPTH_FACTOR <= used <= high * TOLERATED_DEPTH_FACTOR:
        return ""
    at = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    return (
        f"the input has {used:.0f} cut sites per Mb, the model was trained at {at}: "
        f"{TOO_DEEP if used > high else TOO_SHALLOW}"
    )
