"""Other programs' peaks on what a model is given: MACS3, where it is installed."""

from __future__ import annotations

import logging

import numpy as np

from denoiseq.errors import UserError
from denoiseq.evaluation.macs3 import call_peaks, find_macs3
from denoiseq.windows.dataset import WindowDataset

log = logging.getLogger(__name__)


def called(data: WindowDataset, macs3: bool | str) -> dict[str, dict[str, np.ndarray]]:
    """Peaks by program and chromosome, on the noisy input of `data`, its draw included.

    macs3 : True, False, or "auto", which leaves it out, saying so, where it cannot be run.
    """
    if macs3 is False:
        return {}
    if macs3 == "auto":
        reason = _cannot(data)
        if reason:
            log.info("MACS3 is not compared with: %s", reason)
            return {}
    log.info("calling peaks with MACS3 on the same input")
    return {"macs3": _macs3(data)}


def _cannot(data: WindowDataset) -> str | None:
    """Why MACS3 cannot be run on the input; None if it can."""
    if not data.noisy.thinnable:
        return "the input is coverage, not cut sites"
    try:
        find_macs3()
    except UserError as error:
        return str(error)
    return None


def _macs3(data: WindowDataset) -> dict[str, np.ndarray]:
    """MACS3's peaks on the chromosomes of `data`, each sample's by itself."""
    width = 2 * data.settings.half_window_bp
    found: dict[str, np.ndarray] = {}
    for store in data.noisy.samples:
        names = {c: data.noisy.home(c)[1] for c in data.chroms if data.noisy.home(c)[0] is store}
        peaks = call_peaks(store, list(names.values()), data.draw(), ext_bp=width)
        found |= {name: peaks[plain] for name, plain in names.items()}
    return found
