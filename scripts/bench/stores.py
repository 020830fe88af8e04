"""What the benchmarks read: the bundled yeast data, and generated stores of human size."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from denoiseq.genomics.intervals import Interval, merge
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.header import blacklist_sha256
from tqdm import tqdm

from bench.command import ROOT

DATA = ROOT / "data" / "yeast"
YEAST = {"bam": str(DATA / "yeast_atac_SRR1822137.bam"), "fasta": str(DATA / "sacCer3.fa.gz")}
MBP = (248, 242, 198, 190, 181, 170, 159, 145, 138, 133, 135, 133, 114, 107, 101, 90, 83, 80, 58,
       64, 46, 50, 156, 57)  # fmt: skip
NAMES = [*range(1, 23), "X", "Y"]
HUMAN = {f"chr{name}": mbp * 10**6 for name, mbp in zip(NAMES, MBP, strict=True)}
HUMAN_BP = 3.1e9
PEAK_BP, PEAK_EVERY = 400, 15_000
SHORTEST, LONGEST = 40, 400  # fragments
BLACKLISTED = 38  # regions of 20,000 bp a chromosome


def write_human_store(
    path: Path,
    fragments: int,
    *,
    chroms: Mapping[str, int] = HUMAN,
    in_peaks: float = 0.4,
    blacklist: bool = False,
) -> CutStore:
    """A cut-site store of so many fragments; the share `in_peaks` of them begins within peaks."""
    rng, bases = np.random.default_rng(0), sum(chroms.values())
    cuts = {
        chrom: _cuts(rng, size, round(fragments * size / bases), in_peaks)
        for chrom, size in tqdm(chroms.items(), desc="generated store", disable=None)
    }
    regions = [
        Interval(chrom, start, start + 20_000)
        for chrom, size in chroms.items()
        for start in rng.integers(size - 50_000, size=BLACKLISTED if blacklist else 0).tolist()
    ]
    masked = merge(regions)
    preprocessing = {"shift": "+4/-4", "min_mapq": 30, "keep_duplicates": False,
                     "max_fragment_bp": 2000, "blacklist_sha256": blacklist_sha256(masked),
                     "genome": dict(chroms)}  # fmt: skip
    write_store(path, chroms, cuts, masked, preprocessing, {})
    return CutStore(path)


def _cuts(rng, size, n, in_peaks):
    """Positions (2n,) ascending and the fragments they belong to, of one chromosome."""
    starts = rng.integers(0, size - PEAK_BP - LONGEST, n)
    peaks = rng.integers(0, size - 2 * PEAK_BP - LONGEST, max(1, size // PEAK_EVERY))
    inside = rng.random(n) < in_peaks
    count = int(inside.sum())
    starts[inside] = rng.choice(peaks, count) + rng.integers(0, PEAK_BP, count)
    starts.sort()
    ends = starts + rng.integers(SHORTEST, LONGEST, n)
    # position and fragment in one number: sorted in place, in half the memory of an argsort
    keys = np.concatenate([starts, ends]) << 32
    keys |= np.tile(np.arange(n, dtype=np.int64), 2)
    keys.sort()
    return (keys >> 32).astype(np.uint32), keys.astype(np.uint32)
