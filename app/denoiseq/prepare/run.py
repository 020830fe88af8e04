"""`denoiseq prepare`: an input and its genome to stores, each with its `.qc.json`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from denoiseq.atomic import check_writable, parts_folder, room_for, write_json
from denoiseq.errors import UserError, listed
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.genomics.intervals import (
    Interval,
    Merged,
    merge_within,
    select_chromosomes,
)
from denoiseq.genomics.organelles import is_organelle, left_out
from denoiseq.logs import collected_warnings, log_to
from denoiseq.prepare.bam import BamReader
from denoiseq.prepare.bigwig import BigWigReader
from denoiseq.prepare.contigs import warn_of_dense_contigs, warn_of_empty_chromosomes
from denoiseq.prepare.cut_sites import resolve_shift
from denoiseq.prepare.fragments import FragmentReader
from denoiseq.prepare.parts import PartColumns
from denoiseq.prepare.reader import Reader, Task, beside, store_paths
from denoiseq.prepare.shift_check import check_ends
from denoiseq.provenance import store_provenance
from denoiseq.settings import Prepare
from denoiseq.settings.setting import required
from denoiseq.store.coverage_store import write_coverage_store
from denoiseq.store.cut_store import write_store
from denoiseq.store.header import blacklist_sha256, fingerprint

log = logging.getLogger(__name__)
READERS: dict[str, type[Reader]] = {  # setting -> what reads its files
    "bam": BamReader,
    "fragments": FragmentReader,
    "bigwig": BigWigReader,
}
WRITERS = {"cuts": write_store, "coverage": write_coverage_store}


def run(settings: Prepare) -> None:
    """Reads or a track, and a FASTA, to stores and their quality counts."""
    if settings.out:
        check_writable(settings.out)
        log_to(beside(settings.out, ".log"))
    for store, qc in prepare_stores(settings).items():
        if "cut_sites" not in qc:
            log.info("%s: mean coverage %.4g", store, qc["mean_coverage"])
            continue
        numbers = f"{qc['fragments']:,} fragments, {qc['cut_sites']:,} cut sites"
        log.info("%s: %s, %.0f cut sites per Mb", store, numbers, qc["cuts_per_mb"])
        counts = [f"{fate} {n:,}" for fate, n in qc["reads"].items() if n and fate != "total"]
        log.info("reads: %s", ", ".join(counts))


def prepare_stores(
    settings: Prepare, sizes: Mapping[str, int] | None = None
) -> dict[Path, dict[str, Any]]:
    """Make the stores; returns each with the content of its `.qc.json`, which is written first.

    Memory does not grow with the input. sizes : chrom -> bp, where the caller knows them and needs
    no check of the shift without a FASTA; else they are of `fasta`, or of the input's header.
    """
    kind = _input_kind(settings)
    out = required(settings.out, "out", "cuts.h5")
    _check_no_input(Path(out), settings)
    inputs = {}
    with collected_warnings() as of_genome:
        if sizes is None and settings.fasta is not None:
            sizes, inputs["fasta"] = chrom_sizes(settings.fasta), [Path(settings.fasta)]
        blacklist = [] if settings.blacklist is None else read_bed(settings.blacklist)
        if settings.blacklist is not None and not blacklist:
            log.warning("the blacklist %s holds no interval: nothing is masked", settings.blacklist)
    settings = resolve_shift(settings)
    if sizes is not None and settings.fasta is None:  # a caller that can do without the check
        settings = replace(settings, shift_check=False)
    if kind != "bam" or settings.replicates == "merged":
        with collected_warnings(of_genome) as warnings:
            return _prepare(kind, settings, sizes, blacklist, inputs, warnings)
    bams = settings.bam if isinstance(settings.bam, list) else [settings.bam]
    paths = store_paths(out, [Path(bam).stem for bam in bams])
    stores: dict[Path, dict[str, Any]] = {}
    for bam, path in zip(bams, paths.values(), strict=True):
        replicate = replace(settings, bam=bam, out=str(path))
        with collected_warnings(of_genome) as warnings:
            stores |= _prepare(kind, replicate, sizes, blacklist, inputs, warnings)
    return stores


def input_of(settings: Prepare) -> str | list[str] | None:
    """The file or files that a preparation reads; None where no setting names one."""
    return next((value for kind in READERS if (value := getattr(settings, kind))), None)


def _input_kind(settings: Prepare) -> str:
    """Which of READERS a preparation needs."""
    kinds = [kind for kind in READERS if getattr(settings, kind)]
    if not kinds:
        examples = ", ".join(f"{kind}={reader.example}" for kind, reader in READERS.items())
        raise UserError(f"bam is required: give one of {examples}")
    if len(kinds) > 1:
        raise UserError(f"give one input, not {' and '.join(kinds)}")
    if (settings.barcodes or settings.groups) and kinds != ["fragments"]:
        raise UserError("barcodes and groups belong to a fragment file: give fragments= with them")
    return kinds[0]


def _check_no_input(out: Path, settings: Prepare) -> None:
    """Refuse to write the store over one of the files that it is made from."""
    for name in (*READERS, "fasta", "blacklist", "barcodes", "groups"):
        value = getattr(settings, name)
        for path in map(Path, value if isinstance(value, list) else [value or ""]):
            if out.is_file() and path.is_file() and out.samefile(path):
                raise UserError(f"out={out} is the input {name}={path}: give the store a new name")


def _prepare(
    kind: str,
    settings: Prepare,
    sizes: Mapping[str, int] | None,
    intervals: list[Interval],
    inputs: Mapping[str, list[Path]],
    warnings: list[str],
) -> dict[Path, dict[str, Any]]:
    """Make the stores of one input.

    sizes : chrom -> bp; None: those of the input's header
    intervals : the blacklist's. inputs : further files.
    warnings : those logged so far; it grows by itself, and goes into every store.
    """
    out = Path(str(settings.out))
    check_writable(out)
    if sizes is None:
        sizes = READERS[kind].own_sizes(settings)
    reader = READERS[kind](settings, sizes)
    source = " and ".join(map(str, reader.paths))
    chroms = _choose_chromosomes(reader, source, sizes, settings)
    blacklist = _fit_blacklist(intervals, sizes, chroms)
    preprocessing = {
        **reader.preprocessing,
        "include": None if settings.include is None else sorted(settings.include),
        "exclude": sorted(left_out(sizes, settings.include, settings.exclude)),
        "blacklist_sha256": blacklist_sha256(blacklist),
        "genome": chroms,
    }
    provenance = store_provenance({kind: reader.paths, **inputs})
    stores = {}
    with room_for(out), parts_folder(out) as folder:
        with tqdm(total=reader.total(chroms), unit=reader.unit, unit_scale=True, desc="prepare",
                  disable=None if settings.progress else True) as bar:  # fmt: skip
            task = Task(settings, chroms, blacklist, folder, bar.update)
            contents = reader.read(task)
        preprocessing |= reader.preprocessing  # reading can tell more of it
        content = reader.preprocessing.get("kind", "cuts")
        warn_of_dense_contigs(source, contents, content)
        warn_of_empty_chromosomes(source, contents, settings.include)
        more: dict[str, Any] = {}
        if reader.ends is not None:
            more["shift_check"] = check_ends(source, reader.ends, settings)
        more |= {"preprocessing": preprocessing, "fingerprint": fingerprint(preprocessing)}
        provenance["warnings"] = more["warnings"] = warnings
        more["provenance"] = provenance
        for store in contents:
            stores[store.path] = store.qc | more
            write_json(beside(store.path, ".qc.json"), stores[store.path])
            columns = PartColumns(store.parts, content)
            WRITERS[content](store.path, chroms, columns, blacklist, preprocessing, provenance)
    return stores


def _choose_chromosomes(
    reader: Reader, source: str, sizes: Mapping[str, int], settings: Prepare
) -> dict[str, int]:
    """The chromosomes to prepare, in the FASTA's order: those of the input that are selected."""
    # a contig that the input has and the FASTA lacks is no misspelled name
    misspelled = [c for c in settings.exclude or () if c not in sizes and c not in reader.chroms]
    out = left_out(sizes, settings.include, settings.exclude)
    selected = select_chromosomes(sizes, settings.include, [*out, *misspelled])
    chroms = {c: sizes[c] for c in selected if c in reader.chroms}
    if not chroms:
        raise UserError(f"{source} has none of the selected chromosomes: {listed(selected)}.")
    if len(chroms) < len(selected):
        log.info("%d selected sequences are not in %s", len(selected) - len(chroms), source)
    organelles = [c for c in chroms if is_organelle(c, sizes)]
    if organelles and settings.exclude == []:
        log.warning(
            "%s: exclude=[] keeps %s, an organelle, whose reads say nothing about chromatin; "
            "without exclude= it is left out",
            source,
            listed(organelles),
        )
    return chroms


def _fit_blacklist(
    intervals: list[Interval], sizes: Mapping[str, int], chroms: Mapping[str, int]
) -> Merged:
    """Clip the blacklist to the chosen chromosomes; refuse one of another genome."""
    unknown = sorted({i.chrom for i in intervals} - set(sizes))
    if unknown and not any(i.chrom in sizes for i in intervals):
        raise UserError(
            f"the blacklist is of another genome: it names {listed(unknown, 5)}, "
            f"the FASTA {listed(sizes, 5)}."
        )
    if unknown:
        log.warning("the blacklist names sequences that the FASTA lacks: %s", listed(unknown))
    return merge_within(intervals, chroms)
