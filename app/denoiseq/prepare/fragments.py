"""A fragment file to a cut-site store, or to one for each group of cells, in one pass.

Owns the run over the file and its counts. The text is `fragment_file`'s matter, what a store
records `preparation`'s.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from denoiseq.atomic import check_writable, room_for
from denoiseq.errors import UserError
from denoiseq.genomics.fragment_file import Cells, Lines, check_exists, read_fragments
from denoiseq.genomics.intervals import Interval, Merged
from denoiseq.prepare import preparation
from denoiseq.prepare.cut_sites import (
    BOTH,
    ChromCounts,
    CutOptions,
    CutWriter,
    EndSample,
    Fragments,
    in_order,
    usable,
)
from denoiseq.prepare.quality import check_some_left, quality

_log = logging.getLogger(__name__)

# what becomes of a line: it is counted under the first of these that holds
LINE_FATES = (
    "not_in_genome",
    "excluded_chromosome",
    "other_barcode",
    "bad_template",
    "too_short",
    "too_long",
    "kept",
)


def prepare_fragments(
    path: str | Path,
    sizes: Mapping[str, int],
    out: str | Path,
    options: CutOptions,
    blacklist: list[Interval],
    *,
    cells: Cells | None = None,
    fasta: str | Path | None = None,
    progress: bool = True,
    provenance: Mapping[str, object] | None = None,
) -> dict[Path, dict]:
    """Make cut-site stores from a fragment file whose lines are sorted within each chromosome.

    Writes each store and its `.qc.json`, as `fragments.prepare` does: `out` itself, or one for
    each group of `cells`, `out` with the group's name before its suffix. Groups without a cut site
    are left out with a warning. Memory grows with neither the file nor the number of cells beyond
    `cells` itself.

    Returns
    -------
    Store -> content of its `.qc.json`; `reads` holds the lines of the whole file by LINE_FATES.

    Raises
    ------
    FileNotFoundError, ValueError, OSError : one sentence on what does not fit and what to do.
    """
    path, out = check_exists(path), Path(out)
    groups = [""] if cells is None else cells.groups
    outs = {"": out} if groups == [""] else preparation.several(out, groups)
    for store in outs.values():
        check_writable(store)
    chosen = preparation.choose(path, sizes, sizes, options)
    merged = preparation.fit_blacklist(blacklist, sizes, chosen)
    made = preparation.preprocessing(
        options, merged, chosen, source="fragments", min_mapq=None, keep_duplicates=None
    )
    record = preparation.provenance({"fragments": [path]}, provenance or {})
    beside = tempfile.TemporaryDirectory(prefix=f".{out.name}.parts-", dir=out.parent)
    with room_for(out), beside as folder:
        run = _Run(path, sizes, chosen, options, merged, cells, Path(folder))
        with tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc="prepare",
                  disable=None if progress else True) as bar:  # fmt: skip
            barcodes = cells is not None
            run.read(read_fragments(path, barcodes, lambda at: bar.update(at - bar.n)))
        lines = {fate: run.fates[fate] for fate in LINE_FATES}
        lines = {"total": sum(lines.values()), **lines}
        if lines["total"] == lines["not_in_genome"]:
            raise UserError(
                f"{path} is of another genome: the FASTA has none of its chromosomes "
                f"({', '.join(run.seen[:5])})."
            )
        remedy = "max_fragment_bp, include, exclude, the list of barcodes or the blacklist"
        everything = sum(counts.cut_sites for group in run.counts for counts in group.values())
        check_some_left(path, {"cut_sites": everything, "reads": lines}, remedy)
        checked = preparation.checked_shift(path, run.ends, fasta, options)
        results = {}
        for index, (group, store) in enumerate(outs.items()):
            qc = quality(run.counts[index], chosen, merged, ())
            if qc["cut_sites"] == 0:
                _log.warning("warning: no fragment of group %s is left: no store is made", group)
                continue
            qc |= {"reads": lines, "group": group or None, "shift_check": checked}
            qc["barcodes"] = None if cells is None else _barcodes(cells, index, run.met)
            preparation.save(store, qc, record, run.parts[index], merged, made)
            results[store] = qc
    return results


def _barcodes(cells: Cells, index: int, met: np.ndarray) -> dict[str, int]:
    of_group = np.fromiter(cells.group_of.values(), dtype=np.int64) == index
    return {"listed": int(of_group.sum()), "found": int((of_group & met).sum())}


class _Run:
    """One pass over a file; afterwards what it gave, by group and chromosome.

    fates : LINE_FATES -> lines. seen : chromosomes in the order of the file. met : bool, for each
    listed barcode whether a fragment of it was kept. counts, parts : for each group, by chromosome.
    ends : a sample of the fragments of each chromosome.
    """

    def __init__(
        self,
        path: Path,
        sizes: Mapping[str, int],
        chosen: Mapping[str, int],
        options: CutOptions,
        blacklist: Merged,
        cells: Cells | None,
        folder: Path,
    ) -> None:
        self._path, self._sizes, self._chosen, self._options = path, sizes, chosen, options
        self._blacklist, self._folder = blacklist, folder
        groups = 1 if cells is None else len(cells.groups)
        self._group = None if cells is None else np.fromiter(cells.group_of.values(), np.int64)
        self._index = {} if cells is None else {b: i for i, b in enumerate(cells.group_of)}
        self.met = np.zeros(len(self._index), dtype=bool)
        self.fates = Counter[str]()
        self.seen: list[str] = []
        self.counts: list[dict[str, ChromCounts]] = [{} for _ in range(groups)]
        self.parts: list[dict[str, Path]] = [{} for _ in range(groups)]
        self.ends: dict[str, Fragments] = {}

    def read(self, pieces: Iterator[Lines]) -> None:
        for chrom, lines in groupby(pieces, key=lambda piece: piece.chrom):
            if chrom in self.seen:
                raise UserError(
                    f"{self._path}: {chrom} comes back after {self.seen[-1]}; "
                    "sort the file: sort -k1,1 -k2,2n."
                )
            self.seen.append(chrom)
            if chrom in self._chosen:
                self._read_chromosome(chrom, lines)
            else:
                fate = "excluded_chromosome" if chrom in self._sizes else "not_in_genome"
                self.fates[fate] += sum(len(piece.starts) for piece in lines)
        nothing = CutWriter.nothing(self._options)
        self.counts = [{c: group.get(c, nothing) for c in self._chosen} for group in self.counts]

    def _read_chromosome(self, chrom: str, lines: Iterable[Lines]) -> None:
        writers: dict[int, CutWriter] = {}
        sample = EndSample()
        unsorted = (
            f"{self._path}: fragments on {chrom} are not sorted by start; "
            "sort the file: sort -k1,1 -k2,2n."
        )
        stream = (self._fragments(chrom, piece) for piece in lines)
        for batch in in_order([stream], unsorted):
            sample.add(batch[:3])
            for group in np.unique(batch[3]).tolist():
                if group not in writers:
                    part = self._folder / f"{group}.{len(self.seen)}.part"
                    self.parts[group][chrom] = part
                    writers[group] = CutWriter(chrom, self._options, part, self._blacklist)
                writers[group].add(batch[:, batch[3] == group])
        for group, writer in writers.items():
            self.counts[group][chrom] = writer.finish()
        self.ends[chrom] = sample.fragments

    def _fragments(self, chrom: str, lines: Lines) -> Fragments:
        """The usable fragments of listed barcodes, with the group in a fourth row: int64 (4, F)."""
        size = self._chosen[chrom]
        beyond = lines.ends > size
        if beyond.any():
            raise UserError(
                f"{self._path}, line {lines.first_line + int(beyond.argmax())}: the fragment ends "
                f"beyond {chrom} ({size} bp): give the FASTA that the reads were aligned to."
            )
        rows = np.stack([lines.starts, lines.ends - lines.starts, np.full_like(lines.starts, BOTH)])
        if self._group is None:
            rows = np.concatenate([rows, np.zeros((1, rows.shape[1]), dtype=np.int64)])
            return usable(rows, size, self._options, self.fates, "kept")
        if lines.barcodes is None:
            raise UserError(
                f"{self._path}, line {lines.first_line}: no barcode in a fourth column; leave out "
                "barcodes= and groups=."
            )
        index = np.array([self._index.get(b, -1) for b in lines.barcodes.tolist()], dtype=np.int64)
        listed = index >= 0
        self.fates["other_barcode"] += int((~listed).sum())
        rows = np.concatenate([rows[:, listed], [self._group[index[listed]], index[listed]]])
        rows = usable(rows, size, self._options, self.fates, "kept")
        self.met[rows[4]] = True
        return rows[:4]
