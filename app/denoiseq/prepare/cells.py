"""The cells whose fragments are kept: a list of barcodes or groups against those of the file."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.barcode_forms import in_form_of, reverse_complemented, side_by_side
from denoiseq.genomics.barcodes import read_cells

_log = logging.getLogger(__name__)

EXAMPLES = 10_000  # fragments whose barcodes show how a file writes them


class Cells:
    """The barcodes to keep, with their groups, and which of them a fragment file has.

    groups : their names; [""] where cells are not put into groups
    """

    def __init__(self, barcodes: str | None, groups: str | None) -> None:
        group_of, self.groups = read_cells(barcodes, groups)
        self._list, self._listed = barcodes or groups, list(group_of)
        self._group = np.fromiter(group_of.values(), np.int64, len(group_of))
        self._index: dict[bytes, int] = {}
        self._examples: list[bytes] = []
        self._met, self._kept = np.zeros((2, len(group_of)), dtype=bool)

    def __bool__(self) -> bool:
        return bool(self._listed)

    def take_form(self, path: Path, barcodes: Sequence[np.ndarray]) -> None:
        """Take the first barcodes of the file, by which it is known how it writes them."""
        first = np.concatenate([np.empty(0, "S1"), *barcodes])
        self._examples = np.unique(first[:EXAMPLES]).tolist()
        written = in_form_of(self._listed, self._examples)
        self._index = {written[barcode]: i for i, barcode in enumerate(self._listed)}
        ours = self._listed[0]
        if ours != written[ours]:
            _log.warning(
                "%s writes barcodes as %s, %s as %s: they are taken as the same cells",
                self._list, ours.decode(errors="replace"), path,
                written[ours].decode(errors="replace"),
            )  # fmt: skip

    def look_up(self, barcodes: np.ndarray) -> np.ndarray:
        """The index of each barcode in the list, int64 (M,); -1 where it is not listed."""
        get = self._index.get
        index = np.array([get(barcode, -1) for barcode in barcodes.tolist()], dtype=np.int64)
        self._met[index[index >= 0]] = True
        return index

    def group(self, index: np.ndarray) -> np.ndarray:
        """The groups of listed barcodes, by their indices: int64 (M,)."""
        return self._group[index]

    def keep(self, index: np.ndarray) -> None:
        """Note that fragments of these listed barcodes are kept."""
        self._kept[index] = True

    def counts(self, group: int) -> dict[str, int] | None:
        """How many barcodes of a group are listed, and of how many fragments are kept."""
        if not self:
            return None
        of_group = self._group == group
        return {"listed": int(of_group.sum()), "found": int((of_group & self._kept).sum())}

    def check_met(self, path: Path) -> None:
        """UserError where the file has none of the barcodes; a warning where it has few."""
        listed, met = len(self._listed), int(self._met.sum())
        if 2 * met >= listed:
            return
        theirs, ours = side_by_side(self._examples, self._listed)
        both = f"it has {theirs}, the list {ours}"
        if reverse_complemented(self._examples, self._listed):
            both += " (those of one are the reverse complement of the other's)"
        if met == 0:
            raise UserError(f"none of the {listed:,} barcodes of {self._list} is in {path}: {both}")
        _log.warning(
            "only %s of the %s barcodes of %s are in %s: check that the list is of this sample; %s",
            f"{met:,}", f"{listed:,}", self._list, path, both,
        )  # fmt: skip
