"""A fragment file to cut sites of one store, or of one for each group of cells, in one pass."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError, listed
from denoiseq.genomics.bad_lines import BadLines
from denoiseq.genomics.fragment_file import Lines, check_exists, read_fragments
from denoiseq.genomics.intervals import select_chromosomes
from denoiseq.inputs import is_pipe
from denoiseq.prepare.cells import EXAMPLES, Cells
from denoiseq.prepare.contigs import check_contigs
from denoiseq.prepare.cut_sites import (
    BOTH,
    FRAGMENT_FATES,
    ChromCounts,
    CutWriter,
    EndSample,
    Fragments,
    ends_to_sample,
    in_order,
    no_sizes,
    usable,
)
from denoiseq.prepare.quality import check_some_left, cut_quality
from denoiseq.prepare.reader import StoreParts, Task, store_paths
from denoiseq.settings import Prepare
from denoiseq.store.compatibility import FILTERS

_log = logging.getLogger(__name__)

# fragments that are nearly all of one length in this range, in bp, look like reads
_READ_BP, _SHARE, _LEAST_FRAGMENTS = (20, 300), 0.9, 1_000
_OVERRUN = 3  # chromosomes beyond whose end fragments begin: they are of another assembly

# what becomes of a line: it is counted under the first of these that holds
LINE_FATES = (
    "bad_line",
    "not_in_genome",
    "excluded_chromosome",
    "other_barcode",
    *FRAGMENT_FATES,
    "kept",
)


class FragmentReader:
    """A fragment file whose lines are sorted within each chromosome; see `reader.Reader`.

    Memory grows with neither the file nor the number of cells beyond the list of barcodes itself.
    """

    example = "fragments.tsv.gz"
    unit = "B"

    def __init__(self, settings: Prepare, genome: Mapping[str, int]) -> None:
        self._cells = Cells(settings.barcodes, settings.groups)
        groups = self._cells.groups
        self.paths = [check_exists(str(settings.fragments))]
        # the file has no header: which chromosomes it has shows as it is read
        self.chroms: Collection[str] = {*genome, *(settings.exclude or ())}
        self._genome = genome
        self._lines_of = Counter[str]()  # chromosome -> lines, in the file's order
        self._bad = BadLines(self.paths[0])
        self._overrun: set[str] = set()  # chromosomes beyond whose end a fragment begins
        out = Path(str(settings.out))
        self._stores = {"": out} if groups == [""] else store_paths(out, groups)
        # another program filtered the reads
        filters = {name: getattr(settings, name) for name in FILTERS}
        unknown = {"min_mapq": None, "keep_duplicates": None}
        self.preprocessing = {"source": "fragments", **filters, **unknown}
        self._samples: dict[str, Fragments] = {}
        self.ends: Mapping[str, Fragments] | None = self._samples
        self._fates = Counter[str]()
        self._counts: list[dict[str, ChromCounts]] = [{} for _ in self._stores]
        self._sizes = [no_sizes(settings) for _ in self._stores]
        self._prepared_bp = 0

    @staticmethod
    def own_sizes(settings: Prepare) -> Mapping[str, int]:
        raise UserError(
            "fasta is required: give fasta=genome.fa or fasta=chrom.sizes, because a fragment file "
            "does not say how long its chromosomes are"
        )

    def total(self, chroms: Mapping[str, int]) -> int | None:
        return None if is_pipe(self.paths[0]) else self.paths[0].stat().st_size

    def read(self, task: Task) -> list[StoreParts]:
        """A store for each group with a cut site; `reads` are the whole file's by LINE_FATES."""
        (path,) = self.paths
        self._prepared_bp = sum(task.chroms.values())
        self._read_file(task)
        lines = {fate: self._fates[fate] for fate in LINE_FATES} | {"bad_line": self._bad.count}
        lines = {"total": sum(lines.values()), **lines}
        if lines["total"] == lines["not_in_genome"] + lines["bad_line"]:
            raise UserError(
                f"{path} is of another genome: the FASTA has none of its chromosomes "
                f"({listed(self._lines_of, 5)})."
            )
        # whether an excluded name that the FASTA lacks is misspelled shows only now
        select_chromosomes({**self._genome, **self._lines_of}, None, task.settings.exclude or ())
        contigs, lost = check_contigs(
            self.paths, self._lines_of, self._genome, task.settings, "fragments"
        )
        if self._cells:
            self._cells.check_met(path)
        remedy = "max_fragment_bp, include, exclude, the list of barcodes or the blacklist"
        cut_sites = sum(n.cut_sites for group in self._counts for n in group.values())
        check_some_left(path, {"cut_sites": cut_sites, "reads": lines}, remedy)
        empty = ChromCounts()
        stores = []
        for index, (group, store) in enumerate(self._stores.items()):
            counts = {chrom: self._counts[index].get(chrom, empty) for chrom in task.chroms}
            qc = cut_quality(counts, self._sizes[index], task, ())
            if qc["cut_sites"] == 0:
                _log.warning("no fragment of group %s is left: no store is made", group)
                continue
            qc |= {"reads": lines, "group": group or None, "barcodes": self._cells.counts(index)}
            qc["not_in_fasta"] = {"contigs": contigs, "reads": lost}
            parts = {chrom: result.part for chrom, result in counts.items()}
            stores.append(StoreParts(store, qc, parts))
        _warn_of_reads(path, np.sum(self._sizes, axis=0))
        return stores

    def _read_file(self, task: Task) -> None:
        """Write and count the cut sites of each group."""
        (path,) = self.paths
        last = ""
        pieces = read_fragments(path, self._bad, bool(self._cells), task.advance)
        if self._cells:
            pieces = self._with_form(pieces)
        for chrom, lines in groupby(pieces, key=lambda piece: piece.chrom):
            if chrom in self._lines_of:
                raise UserError(
                    f"{path}: {chrom} comes back after {last}; sort the file: sort -k1,1 -k2,2n."
                )
            last = chrom
            self._lines_of[chrom] = 0
            if chrom in task.chroms:
                self._read_chromosome(chrom, self._counted(lines), task)
            else:
                fate = "excluded_chromosome" if chrom in self._genome else "not_in_genome"
                for piece in self._counted(lines):
                    self._fates[fate] += len(piece.starts)
                    if self._cells:
                        self._look_up(piece)
        self._bad.check()

    def _counted(self, pieces: Iterable[Lines]) -> Iterator[Lines]:
        for piece in pieces:
            self._lines_of[piece.chrom] += len(piece.starts)
            yield piece

    def _read_chromosome(self, chrom: str, lines: Iterable[Lines], task: Task) -> None:
        writers: dict[int, CutWriter] = {}
        sample = EndSample(ends_to_sample(task.chroms[chrom], self._prepared_bp))
        unsorted = (
            f"{self.paths[0]}: fragments on {chrom} are not sorted by start; "
            "sort the file: sort -k1,1 -k2,2n."
        )
        stream = (self._fragments(chrom, piece, task) for piece in lines)
        for batch in in_order([stream], unsorted):
            sample.add(batch[:3])
            for group in np.unique(batch[3]).tolist():
                if group not in writers:
                    stem, sizes = task.folder / f"{group}.part", self._sizes[group]
                    writers[group] = CutWriter(chrom, task.settings, stem, task.blacklist, sizes)
                writers[group].add(batch[:, batch[3] == group])
        for group, writer in writers.items():
            self._counts[group][chrom] = writer.finish()
        self._samples[chrom] = sample.fragments

    def _fragments(self, chrom: str, lines: Lines, task: Task) -> Fragments:
        """The usable fragments of listed barcodes, with the group in a fourth row: int64 (4, F)."""
        size = task.chroms[chrom]
        if lines.ends.max() > size:
            lines = self._within(lines, size)
        rows = np.stack([lines.starts, lines.ends - lines.starts, np.full_like(lines.starts, BOTH)])
        if not self._cells:
            rows = np.concatenate([rows, np.zeros((1, rows.shape[1]), dtype=np.int64)])
            return usable(rows, size, task.settings, self._fates, "kept")
        index = self._look_up(lines)
        members = index >= 0
        self._fates["other_barcode"] += int((~members).sum())
        rows = np.concatenate(
            [rows[:, members], [self._cells.group(index[members]), index[members]]]
        )
        rows = usable(rows, size, task.settings, self._fates, "kept")
        self._cells.keep(rows[4])
        return rows[:4]

    def _within(self, lines: Lines, size: int) -> Lines:
        """The lines that end within their chromosome; the others are bad.

        UserError where so many chromosomes are too short that the FASTA is of another assembly.
        """
        beyond = lines.ends > size
        if lines.starts.max() >= size:  # no clipped or rounded end explains that
            self._overrun.add(lines.chrom)
        if len(self._overrun) >= _OVERRUN:
            raise UserError(
                f"{self.paths[0]} does not fit the FASTA: fragments begin beyond the ends of "
                f"{listed(sorted(self._overrun))}; give the FASTA that the reads were aligned to."
            )
        why = (
            f"its end is beyond {lines.chrom} ({size} bp); if the FASTA is not the one that the "
            "reads were aligned to, give that one"
        )
        self._bad.add(lines.first_line + np.flatnonzero(beyond), lambda: why)
        starts, ends = lines.starts[~beyond], lines.ends[~beyond]
        barcodes = None if lines.barcodes is None else lines.barcodes[~beyond]
        return replace(lines, starts=starts, ends=ends, barcodes=barcodes)

    def _with_form(self, pieces: Iterator[Lines]) -> Iterator[Lines]:
        """The pieces; their first barcodes tell how the file writes them."""
        first: list[Lines] = []
        while sum(len(piece.starts) for piece in first) < EXAMPLES and (
            piece := next(pieces, None)
        ):
            first.append(piece)
        known = [piece.barcodes for piece in first if piece.barcodes is not None]
        self._cells.take_form(self.paths[0], known)
        return chain(first, pieces)

    def _look_up(self, lines: Lines) -> np.ndarray:
        """The index of each line's barcode in the list, int64 (M,); -1 where it is not listed."""
        if lines.barcodes is None:
            raise UserError(
                f"{self.paths[0]}, line {lines.first_line}: no barcode in a fourth column; leave "
                "out barcodes= and groups=."
            )
        return self._cells.look_up(lines.barcodes)


def _warn_of_reads(path: Path, sizes: np.ndarray) -> None:
    """Warn where fragments by length, in bp, are nearly all of one, as sequenced reads are."""
    length, fragments = int(sizes.argmax()), int(sizes.sum())
    shortest, longest = _READ_BP
    if fragments < _LEAST_FRAGMENTS or not shortest <= length <= longest:
        return
    if (share := sizes[length] / fragments) > _SHARE:
        _log.warning(
            "%.0f%% of the %s fragments of %s are %d bp long, as reads are but hardly fragments: "
            "if its lines are reads, give the BAM as bam= instead",
            100 * share, f"{fragments:,}", path, length,
        )  # fmt: skip
