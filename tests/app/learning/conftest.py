"""A small real store with known peaks, and a network small enough to train in a blink."""

import numpy as np
import pytest
import torch
from denoiseq.genomics.intervals import Interval, merge
from denoiseq.genomics.store import CutStore, write_store
from denoiseq.learning.evaluation import measure, tune
from denoiseq.learning.models import DenoisingResNet

SIZES = {"chrA": 24_000, "chrB": 10_000, "chrC": 7_777, "chrShort": 700}
BLACKLIST = merge([Interval("chrA", 9_200, 9_700), Interval("chrB", 0, 100)])
PEAK_EVERY, PEAK_BP = 1_500, 300


@pytest.fixture(autouse=True)
def _one_thread(set_threads):
    set_threads(1)


@pytest.fixture(scope="session")
def peaks() -> dict[str, np.ndarray]:
    """Where the store's cuts pile up: int64 (M, 2) for each chromosome but the short one."""
    found = {}
    for chrom, size in SIZES.items():
        starts = np.arange(600, size - PEAK_BP, PEAK_EVERY, dtype=np.int64)
        found[chrom] = np.stack([starts, starts + PEAK_BP], axis=1)
    return found


@pytest.fixture(scope="session")
def store_path(tmp_path_factory, peaks):
    """Fragments of 80 bp: a thin background and 40 in each peak, one of them half blacklisted."""
    rng = np.random.default_rng(7)
    cuts = {}
    for chrom, size in SIZES.items():
        left = rng.integers(0, size - 80, size // 40)
        heaps = [rng.integers(s, e - 80, 40) for s, e in peaks[chrom]]
        left = np.concatenate([left, *heaps])
        fragment = np.arange(len(left))
        position = np.concatenate([left, left + 79])
        fragment = np.concatenate([fragment, fragment])
        order = np.argsort(position, kind="stable")
        cuts[chrom] = position[order], fragment[order]
    path = tmp_path_factory.mktemp("store") / "toy.h5"
    write_store(path, SIZES, cuts, BLACKLIST, {"shift": "+4/-4"}, {})
    return path


@pytest.fixture
def store(store_path) -> CutStore:
    return CutStore(store_path)


@pytest.fixture(scope="session")
def evaluate():
    """`evaluate(model, data, options)` tunes on `data`, or has `tuned`, and measures."""

    def run(model, data, options, tuned=None):
        tuned = tuned or tune(model, data, options)
        return measure(model, data, options, tuned).metrics, tuned

    return run


@pytest.fixture
def make_model():
    """A network of 3 + 3 layers, the same weights for the same seed."""

    def make(seed: int = 0, **more) -> DenoisingResNet:
        torch.manual_seed(seed)
        shape = {"channels": 4, "kernel_size": 5, "dilation": 2, "blocks": 1, "peak_blocks": 1}
        shape |= {"peak_kernel_size": 5, "peak_dilation": 2, "conv": "torch"}
        return DenoisingResNet(**(shape | more))

    return make
