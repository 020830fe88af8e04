"""What every preparation does before and after its reading, whatever it reads.

Chromosomes to keep, the blacklist's fit, the record of how a store was made, the check of the Tn5
shift, and the store with its `.qc.json`. Reads neither BAM nor fragment file.
"""

import logging
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pysam

from denoiseq.atomic import write_json
from denoiseq.errors import UserError
from denoiseq.genomics.fasta import bases_around
from denoiseq.genomics.intervals import Interval, Merged, merge, select_chromosomes
from denoiseq.prepare.cut_sites import LEFT, RIGHT, SHIFTS, CutOptions, Fragments, part_files
from denoiseq.prepare.shift_check import REACH_BP, check_shift, reverse_complement
from denoiseq.store.cut_store import write_store
from denoiseq.store.header import blacklist_sha256, fingerprint

_log = logging.getLogger(__name__)


def beside(out: str | Path, label: str) -> Path:
    """The name of one of several stores: cuts.h5 and "B cells" give cuts.B_cells.h5."""
    out = Path(out)
    return out.with_name(f"{out.stem}.{re.sub(r'[^A-Za-z0-9._+-]', '_', label)}{out.suffix}")


def several(out: str | Path, labels: Iterable[str]) -> dict[str, Path]:
    """`beside` for each label; ValueError where two would be one file."""
    paths: dict[str, Path] = {}
    for label in labels:
        path = beside(out, label)
        if path in paths.values():
            raise UserError(f"two inputs would both be written to {path}: rename one of them.")
        paths[label] = path
    return paths


def choose(
    source: str | Path, sizes: Mapping[str, int], present: Iterable[str], options: CutOptions
) -> dict[str, int]:
    """The chromosomes to prepare, in the FASTA's order: those of the input that are selected."""
    # a contig that the FASTA lacks is excluded so that the input fits: no misspelled name
    present = set(present)
    exclude = [c for c in options.exclude if c in sizes or c not in present]
    selected = select_chromosomes(sizes, options.include, exclude)
    chosen = {c: sizes[c] for c in selected if c in present}
    if not chosen:
        raise UserError(f"{source} has none of the selected chromosomes: {', '.join(selected)}.")
    if len(chosen) < len(selected):
        _log.info("%d selected sequences are not in %s", len(selected) - len(chosen), source)
    return chosen


def fit_blacklist(
    blacklist: list[Interval], sizes: Mapping[str, int], chosen: Mapping[str, int]
) -> Merged:
    """Clip the blacklist to the chosen chromosomes; refuse one of another genome."""
    unknown = sorted({i.chrom for i in blacklist} - set(sizes))
    if unknown and not any(i.chrom in sizes for i in blacklist):
        raise UserError(
            f"the blacklist is of another genome: it names {', '.join(unknown[:5])}, "
            f"the FASTA {', '.join(list(sizes)[:5])}."
        )
    if unknown:
        _log.warning("the blacklist names sequences that the FASTA lacks: %s", ", ".join(unknown))
    clipped = [Interval(i.chrom, i.start, min(i.end, chosen[i.chrom]))
               for i in blacklist if i.start < chosen.get(i.chrom, 0)]  # fmt: skip
    return merge(clipped)


def preprocessing(
    options: CutOptions, blacklist: Merged, chosen: Mapping[str, int], **more: object
) -> dict[str, object]:
    """What decides what a store holds: what a model was trained on must be met again.

    `more` adds to it, or wins over it, where the input is not a paired-end BAM.
    """
    return {
        "shift": options.shift,
        "min_mapq": options.min_mapq,
        "keep_duplicates": options.keep_duplicates,
        "max_fragment_bp": options.max_fragment_bp,
        "include": None if options.include is None else sorted(options.include),
        "exclude": sorted(options.exclude),
        "blacklist_sha256": blacklist_sha256(blacklist),
        "genome": dict(chosen),
        **more,
    }


def provenance(inputs: Mapping[str, list[Path]], given: Mapping[str, object]) -> dict[str, Any]:
    """What made the store; entries of `given` add to the dictionaries here and win over them."""
    facts = {key: [file_facts(path) for path in paths] for key, paths in inputs.items()}
    ours: dict[str, Any] = {
        "inputs": {key: rows[0] if len(rows) == 1 else rows for key, rows in facts.items()},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pysam": pysam.__version__,
            "h5py": h5py.__version__,
        },
    }
    for key, value in given.items():
        if isinstance(ours.get(key), dict) and isinstance(value, Mapping):
            ours[key] = {**ours[key], **value}
        else:
            ours[key] = value
    return ours


def file_facts(path: Path) -> dict[str, Any]:
    """What identifies an input file without reading it."""
    stat = path.stat()
    return {"name": path.name, "bytes": stat.st_size, "mtime": int(stat.st_mtime)}


def checked_shift(
    source: str | Path,
    ends: Mapping[str, Fragments | None],
    fasta: str | Path | None,
    options: CutOptions,
) -> dict[str, object] | None:
    """Check the shift against the bases around the ends of fragments, a sample by chromosome.

    Returns the content of `shift_check` in the qc.json; None where it is off or there is no FASTA.
    Raises ValueError where the Tn5 motif is elsewhere than `options.shift` takes it to be; where
    none is found it warns.
    """
    if not options.shift_check or fasta is None:
        return None
    left, right = [], []
    for chrom, sample in ends.items():
        if sample is None:
            continue
        starts, lengths, known = sample
        first, last = starts[(known & LEFT) > 0], (starts + lengths - 1)[(known & RIGHT) > 0]
        left.append(bases_around(fasta, chrom, first, REACH_BP))
        right.append(reverse_complement(bases_around(fasta, chrom, last, REACH_BP)))
    result = check_shift(np.concatenate(left), np.concatenate(right), options.shift, SHIFTS)
    if result["verdict"] == "wrong":
        raise UserError(_wrong_shift(source, result))
    if result["verdict"] != "right":
        _log.warning(
            "warning: the Tn5 shift of %s could not be checked (%s): shift=%s is taken as it is",
            source,
            result["verdict"],
            options.shift,
        )
    return result


def _wrong_shift(source: str | Path, result: Mapping[str, Any]) -> str:
    left, right = result["left"]["centre_bp"], result["right"]["centre_bp"]
    fitting = [name for name in result["fitting"] if name != "atacworks"]
    if fitting:
        remedy = f"set shift={fitting[0]}"
    else:
        remedy = "no shift mends that, so start from reads as they were aligned"
    state = "is shifted already" if fitting[:1] in (["none"], ["10x"]) else "is not shifted so"
    return (
        f"{source} {state}: the Tn5 motif is centred {left} bp inside the left ends and {right} bp "
        f"inside the right ends of its fragments (4 and 4 before any shift), which shift="
        f"{result['shift']} does not meet; {remedy}, or shift_check=false to go on all the same."
    )


def save(
    out: Path,
    qc: dict[str, Any],
    record: Mapping[str, object],
    parts: Mapping[str, Path],
    blacklist: Merged,
    made: Mapping[str, Any],
) -> None:
    """Write the `.qc.json`, then the store from its parts; `made` is the store's preprocessing."""
    qc |= {"preprocessing": made, "fingerprint": fingerprint(made), "provenance": record}
    write_json(out.with_suffix(".qc.json"), qc)
    cuts = {chrom: _map_part(part) for chrom, part in parts.items()}
    write_store(out, made["genome"], cuts, blacklist, made, record)


def _map_part(part: Path) -> tuple[np.ndarray, np.ndarray]:
    positions, fragments = (
        np.memmap(path, "<u4", "r") if path.stat().st_size else np.empty(0, np.uint32)
        for path in part_files(part)
    )
    return positions, fragments
