"""Peaks of external callers on what a model reads: the user's own `macs3`, run as a program."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from denoiseq.errors import UserError
from denoiseq.evaluation.peak_metrics import NONE
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.intervals import merge, unmasked_bp
from denoiseq.store.store import Store
from denoiseq.store.thinning import Thinning
from denoiseq.windows.dataset import WindowDataset

log = logging.getLogger(__name__)
CHUNK_BP = 10_000_000


def called(data: WindowDataset, macs3: bool | str) -> dict[str, dict[str, np.ndarray]]:
    """Peaks by external caller and chromosome, on the thinned input of `data`, sample by sample.

    macs3 : True, False, or "auto", which leaves it out where it cannot be run, and logs why.
    """
    if macs3 is False:
        return {}
    if macs3 == "auto" and (reason := _cannot(data)):
        log.info("MACS3 is not compared with: %s", reason)
        return {}
    log.info("calling peaks with MACS3 on the same input")
    peaks: dict[str, np.ndarray] = {}
    for store in data.noisy.samples:
        names = {c: data.noisy.home(c)[1] for c in data.chroms if data.noisy.home(c)[0] is store}
        width = 2 * data.settings.half_window_bp
        of_store = call_peaks(store, list(names.values()), data.draw(), ext_bp=width)
        peaks |= {name: of_store[plain] for name, plain in names.items()}
    return {"macs3": peaks}


def _cannot(data: WindowDataset) -> str | None:
    """Why MACS3 cannot be run on the input; None if it can."""
    if not all(store.thinnable for store in data.noisy.samples):
        return "the input is coverage, not cut sites"
    try:
        find_macs3()
    except UserError as error:
        return str(error)
    return None


def find_macs3() -> str:
    """The program `macs3`: on PATH, or beside the Python that runs; else a UserError."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("macs3") or shutil.which("macs3", path=beside)
    if program is None:
        raise UserError(
            "MACS3 is not installed: `pip install '.[macs3]'` in the repository brings it, or put "
            "the program macs3 on PATH"
        )
    return program


def call_peaks(
    store: Store,
    chroms: Collection[str],
    thinning: Thinning | None,
    *,
    qvalue: float = 0.05,
    ext_bp: int = 150,
    keep_dup: str = "all",
) -> dict[str, np.ndarray]:
    """Peaks of MACS3 `callpeak` on the cut sites of a store, each widened to `ext_bp` around it.

    Gives int64 (M, 2), ascending and merged, for each of `chroms`, whose cut sites MACS3 gets and
    makes its background of. What overlaps the blacklist is kept as MACS3 called it: cut sites there
    were dropped when the store was made. UserError: MACS3 is absent, or the store holds coverage;
    OSError: it failed.

    thinning : the draw of fragments, as for a model's input; None: all of them.
    """
    if not store.thinnable:
        raise UserError(
            f"{store.path} holds coverage, and MACS3 needs cut sites: give a store of reads"
        )
    program = find_macs3()
    # MACS3 takes its background's mean over this many bases.
    genome_bp = sum(unmasked_bp(store.chroms, store.blacklist, chrom) for chrom in chroms)
    with tempfile.TemporaryDirectory(prefix="denoiseq-macs3-") as folder:
        sites = Path(folder) / "cuts.bed"
        if not _write_cuts(sites, store, chroms, thinning):
            return dict.fromkeys(chroms, NONE)
        arguments = {"treatment": sites, "format": "BED", "gsize": genome_bp, "qvalue": qvalue}
        arguments |= {"shift": -(ext_bp // 2), "extsize": ext_bp, "keep-dup": keep_dup}
        arguments |= {"outdir": folder, "name": "cuts"}
        _run([program, "callpeak", "--nomodel", *(f"--{k}={v}" for k, v in arguments.items())])
        peaks = Path(folder) / "cuts_peaks.narrowPeak"
        if not peaks.is_file():
            raise OSError(f"{program} callpeak left no narrowPeak: is it MACS3?")
        called = merge(read_bed(peaks))
    return {chrom: called.get(chrom, NONE) for chrom in chroms}


def _write_cuts(
    path: Path, store: Store, chroms: Collection[str], thinning: Thinning | None
) -> int:
    """Write each kept cut site as one base of BED6, all of the forward strand, so that each covers
    [c - ext/2, c + ext/2); returns how many there are.
    """
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for chrom in chroms:
            for start in range(0, store.chroms[chrom], CHUNK_BP):
                cuts, fragments = store.cuts(chrom, start, start + CHUNK_BP)
                kept = cuts if thinning is None else cuts[thinning.keep(fragments)]
                file.writelines(f"{chrom}\t{c}\t{c + 1}\t.\t0\t+\n" for c in kept.tolist())
                written += len(kept)
    return written


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        reason = lines[-1].strip() if lines else f"exit code {result.returncode}"
        raise OSError(f"{command[0]} {command[1]} failed: {reason}")
