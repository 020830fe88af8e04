"""What a store may be, which code outside of this package need not know, and how to open one."""

from pathlib import Path

from denoiseq.store.coverage_store import CoverageStore
from denoiseq.store.cut_store import CutStore
from denoiseq.store.header import kind_of
from denoiseq.store.samples import Samples

Sample = CutStore | CoverageStore
Store = Sample | Samples


def open_store(path: str | Path) -> Sample:
    """The store at `path`, of whichever kind it is."""
    return CoverageStore(path) if kind_of(path) == "coverage" else CutStore(path)
