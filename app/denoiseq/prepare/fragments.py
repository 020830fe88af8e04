"""A fragment file to cut sites of one store, or of one for each group of cells, in one pass.

`genomics.fragment_file` reads the text.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.barcodes import Cells, read_cells
from denoiseq.genomics.fragment_file import Lines, check_exists, read_fragments
from denoiseq.prepare.cut_sites import (
    BOTH,
    ChromCounts,
    CutWriter,
    EndSample,
    Fragments,
    in_order,
    map_cuts,
    no_fragments,
    usable,
)
from denoiseq.prepare.quality import check_some_left, cut_quality
from denoiseq.prepare.reader import StoreParts, Task, store_paths
from denoiseq.settings import Prepare
from denoiseq.store.compatibility import filters_of

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


class FragmentReader:
    """A fragment file whose lines are sorted within each chromosome; see `reader.Reader`.

    Memory grows with neither the file nor the number of cells beyond the list of barcodes itself.
    """

    example: ClassVar[str] = "fragments.tsv.gz"
    unit: ClassVar[str] = "B"

    def __init__(self, settings: Prepare, genome: Mapping[str, int]) -> None:
        self._cells = read_cells(settings.barcodes, settings.groups)
        self.paths = [check_exists(str(settings.fragments))]
        # the file has no header: which chromosomes it has shows as it is read
        self.chroms: Collection[str] = genome
        out, groups = Path(str(settings.out)), [""] if self._cells is None else self._cells.groups
        self._stores = {"": out} if groups == [""] else store_paths(out, groups)
        # another program filtered the reads
        unknown = {"min_mapq": None, "keep_duplicates": None}
        self.preprocessing = {"source": "fragments", **filters_of(vars(settings)), **unknown}
        self.ends: Mapping[str, Fragments] | None = None

    def total(self, chroms: Mapping[str, int]) -> int:
        """Bytes of the file."""
        return self.paths[0].stat().st_size

    def read(self, task: Task) -> list[StoreParts]:
        """A store for each group; those without a cut site are left out with a warning.

        `reads` of the counts holds the lines of the whole file by LINE_FATES.
        """
        (path,), cells = self.paths, self._cells
        one_pass = _Pass(path, cells, len(self._stores), task)
        one_pass.read(read_fragments(path, cells is not None, task.advance))
        self.ends = one_pass.ends
        lines = {fate: one_pass.fates[fate] for fate in LINE_FATES}
        lines = {"total": sum(lines.values()), **lines}
        if lines["total"] == lines["not_in_genome"]:
            raise UserError(
                f"{path} is of another genome: the FASTA has none of its chromosomes "
                f"({', '.join(one_pass.seen[:5])})."
            )
        remedy = "max_fragment_bp, include, exclude, the list of barcodes or the blacklist"
        cut_sites = sum(n.cut_sites for group in one_pass.counts for n in group.values())
        check_some_left(path, {"cut_sites": cut_sites, "reads": lines}, remedy)
        stores = []
        for index, (group, store) in enumerate(self._stores.items()):
            counts = one_pass.counts[index]
            qc = cut_quality(counts, task, ())
            if qc["cut_sites"] == 0:
                _log.warning("warning: no fragment of group %s is left: no store is made", group)
                continue
            qc |= {"reads": lines, "group": group or None}
            qc["barcodes"] = None if cells is None else _barcodes(cells, index, one_pass.met)
            stores.append(StoreParts(store, qc, map_cuts(counts)))
        return stores


def _barcodes(cells: Cells, index: int, met: np.ndarray) -> dict[str, int]:
    of_group = np.fromiter(cells.group_of.values(), dtype=np.int64) == index
    return {"listed": int(of_group.sum()), "found": int((of_group & met).sum())}


class _Pass:
    """One pass over a file; afterwards what it gave, by group and chromosome.

    fates : LINE_FATES -> lines. seen : chromosomes in the order of the file. met : bool, for each
    listed barcode whether a fragment of it was kept. counts : for each group, by chromosome.
    ends : a sample of the fragments of each chromosome.
    """

    def __init__(self, path: Path, cells: Cells | None, groups: int, task: Task) -> None:
        self._path, self._task = path, task
        self._group = None if cells is None else np.fromiter(cells.group_of.values(), np.int64)
        self._index = {} if cells is None else {b: i for i, b in enumerate(cells.group_of)}
        self.met = np.zeros(len(self._index), dtype=bool)
        self.fates = Counter[str]()
        self.seen: list[str] = []
        self.counts: list[dict[str, ChromCounts]] = [{} for _ in range(groups)]
        self.ends: dict[str, Fragments] = {}

    def read(self, pieces: Iterator[Lines]) -> None:
        for chrom, lines in groupby(pieces, key=lambda piece: piece.chrom):
            if chrom in self.seen:
                raise UserError(
                    f"{self._path}: {chrom} comes back after {self.seen[-1]}; "
                    "sort the file: sort -k1,1 -k2,2n."
                )
            self.seen.append(chrom)
            if chrom in self._task.chroms:
                self._read_chromosome(chrom, lines)
            else:
                fate = "excluded_chromosome" if chrom in self._task.genome else "not_in_genome"
                self.fates[fate] += sum(len(piece.starts) for piece in lines)
        empty, chroms = no_fragments(self._task.settings), self._task.chroms
        self.counts = [{c: group.get(c, empty) for c in chroms} for group in self.counts]

    def _read_chromosome(self, chrom: str, lines: Iterable[Lines]) -> None:
        task, writers = self._task, dict[int, CutWriter]()
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
                    part = task.folder / f"{group}.{len(self.seen)}.part"
                    writers[group] = CutWriter(chrom, task.settings, part, task.blacklist)
                writers[group].add(batch[:, batch[3] == group])
        for group, writer in writers.items():
            self.counts[group][chrom] = writer.finish()
        self.ends[chrom] = sample.fragments

    def _fragments(self, chrom: str, lines: Lines) -> Fragments:
        """The usable fragments of listed barcodes, with the group in a fourth row: int64 (4, F)."""
        size, settings = self._task.chroms[chrom], self._task.settings
        beyond = lines.ends > size
        if beyond.any():
            raise UserError(
                f"{self._path}, line {lines.first_line + int(beyond.argmax())}: the fragment ends "
                f"beyond {chrom} ({size} bp): give the FASTA that the reads were aligned to."
            )
        rows = np.stack([lines.starts, lines.ends - lines.starts, np.full_like(lines.starts, BOTH)])
        if self._group is None:
            rows = np.concatenate([rows, np.zeros((1, rows.shape[1]), dtype=np.int64)])
            return usable(rows, size, settings, self.fates, "kept")
        if lines.barcodes is None:
            raise UserError(
                f"{self._path}, line {lines.first_line}: no barcode in a fourth column; leave out "
                "barcodes= and groups=."
            )
        index = np.array([self._index.get(b, -1) for b in lines.barcodes.tolist()], dtype=np.int64)
        listed = index >= 0
        self.fates["other_barcode"] += int((~listed).sum())
        rows = np.concatenate([rows[:, listed], [self._group[index[listed]], index[listed]]])
        rows = usable(rows, size, settings, self.fates, "kept")
        self.met[rows[4]] = True
        return rows[:4]
