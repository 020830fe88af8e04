"""`denoiseq prepare`: which input is read, by which reader, into which stores."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from denoiseq.atomic import check_writable
from denoiseq.errors import UserError
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.genomics.fragment_file import read_cells
from denoiseq.logs import log_to
from denoiseq.prepare.bam import prepare as prepare_bam
from denoiseq.prepare.bigwig import prepare_bigwig
from denoiseq.prepare.cut_sites import CutOptions
from denoiseq.prepare.fragments import prepare_fragments
from denoiseq.prepare.preparation import file_facts, several
from denoiseq.provenance import versions
from denoiseq.settings import Prepare
from denoiseq.settings.setting import required
from denoiseq.workers import processes

log = logging.getLogger(__name__)
INPUTS = {"bam": "reads.bam", "fragments": "fragments.tsv.gz", "bigwig": "track.bw"}


def run(settings: Prepare) -> None:
    """Reads or a track, and a FASTA, to stores and their quality counts."""
    if settings.out:
        check_writable(settings.out)
        log_to(Path(settings.out).with_suffix(".log"))
    for store, qc in prepared(settings).items():
        if "cut_sites" not in qc:
            log.info("%s: mean coverage %.4g", store, qc["mean_coverage"])
            continue
        log.info(
            "%s: %s fragments, %s cut sites, %.0f cut sites per Mb",
            store,
            f"{qc['fragments']:,}",
            f"{qc['cut_sites']:,}",
            qc["cuts_per_mb"],
        )
        dropped = {name: n for name, n in qc["reads"].items() if n and name != "total"}
        log.info("reads: %s", ", ".join(f"{name} {n:,}" for name, n in dropped.items()))


def cut_options(prepare: Prepare) -> CutOptions:
    """The filters and the shift of a preparation."""
    usual = "10x" if prepare.fragments else "+4/-4"
    return CutOptions(
        layout=prepare.layout,
        min_mapq=prepare.min_mapq,
        shift=usual if prepare.shift == "auto" else prepare.shift,
        shift_check=prepare.shift_check,
        keep_duplicates=prepare.keep_duplicates,
        max_fragment_bp=prepare.max_fragment_bp,
        include=prepare.include,
        exclude=prepare.exclude,
    )


def given_input(prepare: Prepare) -> str | list[str] | None:
    """The file or files that a preparation reads; None where the config names none."""
    return next((value for key in INPUTS if (value := getattr(prepare, key))), None)


def _input(prepare: Prepare) -> str:
    """Which of INPUTS a preparation reads."""
    given = [key for key in INPUTS if getattr(prepare, key)]
    if not given:
        examples = ", ".join(f"{key}={name}" for key, name in INPUTS.items())
        raise UserError(f"bam is required: give one of {examples}")
    if len(given) > 1:
        raise UserError(f"give one input, not {' and '.join(given)}")
    if (prepare.barcodes or prepare.groups) and given != ["fragments"]:
        raise UserError("barcodes and groups belong to a fragment file: give fragments= with them")
    return given[0]


def prepared(prepare: Prepare, sizes: dict[str, int] | None = None) -> dict[Path, dict]:
    """Make the stores that are asked for; returns each with the content of its `.qc.json`.

    `sizes` (chrom -> bp) stand in for the FASTA where they are known already.
    """
    kind = _input(prepare)
    out = Path(required(prepare.out, "out", "cuts.h5"))
    inputs = {}
    if sizes is None:
        fasta = required(prepare.fasta, "fasta", "genome.fa")
        sizes = chrom_sizes(fasta)
        inputs["fasta"] = file_facts(Path(fasta))
    blacklist = [] if prepare.blacklist is None else read_bed(prepare.blacklist)
    options, given = cut_options(prepare), getattr(prepare, kind)
    common: dict[str, Any] = {
        "progress": prepare.progress,
        "provenance": {"versions": versions(), "inputs": inputs},
    }
    if kind == "bigwig":
        return {out: prepare_bigwig(given, sizes, out, options, blacklist, **common)}
    common["fasta"] = prepare.fasta
    if kind == "fragments":
        cells = read_cells(prepare.barcodes, prepare.groups)
        return prepare_fragments(given, sizes, out, options, blacklist, cells=cells, **common)
    common["workers"] = processes(prepare.workers)
    bams = given if isinstance(given, list) else [given]
    outs = {out: bams}
    if prepare.replicates == "apart":
        stems = [Path(bam).stem for bam in bams]
        outs = dict(zip(several(out, stems).values(), ([bam] for bam in bams), strict=True))
    return {
        store: prepare_bam(some, sizes, store, options, blacklist, **common)
        for store, some in outs.items()
    }
