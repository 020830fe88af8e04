"""A bigWig to a coverage store: streamed, checked against the genome, counted.

For tracks of which the reads are not at hand. The format is `tracks`' matter, the file that is made
`coverage_store`'s.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from denoiseq.atomic import check_writable, room_for, write_json
from denoiseq.errors import UserError
from denoiseq.genomics.bam import check_genome
from denoiseq.genomics.bigwig_reader import bigwig_sizes, stream_bigwig
from denoiseq.genomics.intervals import Interval, Merged, covered_bp, mask
from denoiseq.prepare import preparation
from denoiseq.prepare.cut_sites import CutOptions
from denoiseq.store.coverage_store import runs_of, write_coverage_store
from denoiseq.store.header import blacklist_sha256, fingerprint


def prepare_bigwig(
    path: str | Path,
    sizes: Mapping[str, int],
    out: str | Path,
    options: CutOptions,
    blacklist: list[Interval],
    *,
    progress: bool = True,
    provenance: Mapping[str, object] | None = None,
) -> dict:
    """Make a coverage store from a bigWig: values as they are, 0 without data or in the blacklist.

    Writes `out` and its `.qc.json`, each atomically, the store last; memory does not grow with the
    file. Of `options` only `include` and `exclude` matter.

    Returns
    -------
    The content of the `.qc.json`: `mean_coverage` outside the blacklist, `covered_bp` (bases above
    0), the same by chromosome, `preprocessing`, `fingerprint`, `provenance`.

    Raises
    ------
    FileNotFoundError, ValueError, OSError : one sentence on what does not fit and what to do;
        negative and infinite values are no coverage.
    """
    path, out = Path(path), Path(out)
    check_writable(out)
    present = bigwig_sizes(path)
    chosen = preparation.choose(path, sizes, present, options)
    read = {c: n for c, n in present.items() if options.include is None or c in options.include}
    check_genome(path, {c: n for c, n in read.items() if c not in options.exclude}, sizes)
    merged = preparation.fit_blacklist(blacklist, sizes, chosen)
    made = {
        "kind": "coverage",
        "include": None if options.include is None else sorted(options.include),
        "exclude": sorted(options.exclude),
        "blacklist_sha256": blacklist_sha256(merged),
        "genome": chosen,
    }
    record = preparation.provenance({"bigwig": [path]}, provenance or {})
    beside = tempfile.TemporaryDirectory(prefix=f".{out.name}.parts-", dir=out.parent)
    with room_for(out), beside as folder:
        parts = {c: Path(folder) / f"{i}.part" for i, c in enumerate(chosen)}
        rows = {}
        with tqdm(total=sum(chosen.values()), unit="bp", unit_scale=True, desc="prepare",
                  disable=None if progress else True) as bar:  # fmt: skip
            for chrom, size in chosen.items():
                rows[chrom] = _spill(path, chrom, size, merged, parts[chrom])
                bar.update(size)
        qc = _quality(rows, chosen, merged)
        if qc["covered_bp"] == 0:
            raise UserError(f"{path} is 0 everywhere on the chosen chromosomes.")
        qc |= {"preprocessing": made, "fingerprint": fingerprint(made), "provenance": record}
        write_json(out.with_suffix(".qc.json"), qc)
        runs = {c: _map_runs(part) for c, part in parts.items()}
        write_coverage_store(out, chosen, runs, merged, made, record)
    return qc


def _spill(
    path: Path, chrom: str, size: int, blacklist: Merged, part: Path
) -> tuple[float, int, float]:
    """Write a chromosome's runs; return its sum, the bases above 0 and the highest value."""
    total, covered, highest, held = 0.0, 0, 0.0, None
    names = part.with_suffix(".starts"), part.with_suffix(".values")
    with names[0].open("wb") as starts_file, names[1].open("wb") as values_file:
        for start, track in stream_bigwig(path, chrom, size):
            track[mask(blacklist, chrom, start, start + len(track))] = 0
            starts, values = runs_of(track, start)
            if not (values.min() >= 0 and np.isfinite(values.max())):
                raise UserError(
                    f"{path} has negative or infinite values ({chrom}, from {start} on): give a "
                    "track of coverage, not of ratios or logarithms."
                )
            lengths = np.diff(np.append(starts, start + len(track)).astype(np.int64))
            total += float(lengths @ values.astype(np.float64))
            covered += int(lengths[values > 0].sum())
            highest = max(highest, float(values.max()))
            first = int(values[0] == held)  # goes on with the run before
            held = values[-1]
            starts_file.write(starts[first:].astype("<u4").tobytes())
            values_file.write(values[first:].astype("<f4").tobytes())
    return total, covered, highest


def _map_runs(part: Path) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.memmap(part.with_suffix(".starts"), "<u4", "r"),
        np.memmap(part.with_suffix(".values"), "<f4", "r"),
    )


def _quality(
    rows: Mapping[str, tuple[float, int, float]], sizes: Mapping[str, int], blacklist: Merged
) -> dict[str, Any]:
    by_chrom: dict[str, dict[str, Any]] = {}
    for chrom, (total, covered, highest) in rows.items():
        bases = sizes[chrom] - covered_bp(blacklist, chrom, sizes[chrom])
        by_chrom[chrom] = {
            "size": sizes[chrom],
            "unmasked_bp": bases,
            "mean_coverage": total / bases if bases else 0.0,
            "covered_bp": covered,
            "highest": highest,
        }
    bases = sum(row["unmasked_bp"] for row in by_chrom.values())
    return {
        "mean_coverage": sum(total for total, _, _ in rows.values()) / bases if bases else 0.0,
        "covered_bp": sum(row["covered_bp"] for row in by_chrom.values()),
        "chromosomes": by_chrom,
    }
