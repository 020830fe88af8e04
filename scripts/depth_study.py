#!/usr/bin/env python
"""What depth is denoising worth? Scores against depth, and the depth that noisy reads would need.

    python scripts/depth_study.py                          # data/yeast/denoiser.pt
    python scripts/depth_study.py --checkpoint outputs/yeast/run/checkpoints/best.pt --draws 1

Truth comes from one half of the fragments, inputs from the other: at 50% they are that half whole.
One network serves all depths; at each the Gaussian's bandwidth is tuned on the validation
chromosomes, and the test chromosomes are measured. True peaks are MACS3's on the first half where
it is installed, else Poisson labels of it. A denoised score is worth the depth at which the curve
of the noisy (or smoothed) scores reaches it. Intervals are those of a bootstrap over blocks of
50 kb, whose replicates are the same at every depth.

Leaves depth.csv (a row a depth, metric and track; worth 0 is below the least depth, inf above the
largest), depth.md and depth.png (scripts/depth_figure.py) in --out. What is measured already is not
measured again.
"""

import argparse
import json
import math
import os
import sys
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
from denoiseq import settings
from denoiseq.atomic import atomic_path, check_writable, write_csv, write_text
from denoiseq.distributed import use_threads
from denoiseq.evaluation import external_peaks
from denoiseq.evaluation.external_peaks import call_peaks, find_macs3
from denoiseq.evaluation.measure import measure, tune
from denoiseq.models.checkpoint import open_checkpoint, trained_network
from denoiseq.store.compatibility import check_store_matches_training
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.thinning import Thinning
from denoiseq.windows.splits import held_out, open_or_prepare, open_stores
from depth_figure import ABOVE, BELOW, METRICS, RULERS, TRACKS, write
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
HALVES = 999  # seed of the division
FIRST_DRAW = 1000  # seeds of the draws: none that a training had
BOOTSTRAP = 1000


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=ROOT / "data" / "yeast" / "denoiser.pt",
        help="the network",
    )
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS, help="of all")
    parser.add_argument("--draws", type=int, default=3, help="of fragments, at each fraction")
    parser.add_argument(
        "--truth",
        choices=("auto", "macs3", "poisson"),
        default="auto",
        help="where true peaks come from",
    )
    parser.add_argument("--threads", type=int, help="of the arithmetic")
    parser.add_argument(
        "--runs",
        type=Path,
        default=ROOT / "outputs" / "depth_study",
        help="what is measured already",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "depth", help="output folder")
    arguments = parser.parse_args()
    arguments.fractions = sorted(set(arguments.fractions))
    if not 0 < arguments.fractions[0] < arguments.fractions[-1] <= 0.5:
        parser.error("--fractions: give two or more, above 0 and at most 0.5")
    if arguments.draws < 1:
        parser.error("--draws: give 1 or more")
    return arguments


def worth(value, depths, curve):
    """The depth at which a curve first reaches a value: linear in the logarithm of the depth.

    Parameters
    ----------
    depths : ascending, above 0.
    curve : what is reached at each depth; where it falls, the highest so far stands.

    Returns
    -------
    float, within `depths`; BELOW where the curve begins above the value, ABOVE where it does not
    reach it, nan where either is unknown.
    """
    highest = np.maximum.accumulate(np.asarray(curve, dtype=float))  # one nan spreads to the end
    if math.isnan(value) or math.isnan(highest[-1]):
        return math.nan
    if value < highest[0]:
        return BELOW
    if value > highest[-1]:
        return ABOVE
    i = int(np.searchsorted(highest, value))
    if i == 0:
        return float(depths[0])
    share = (value - highest[i - 1]) / (highest[i] - highest[i - 1])
    return float(depths[i - 1] * (depths[i] / depths[i - 1]) ** share)


def interval(values):
    """The 95% interval of replicates by rank, since some may be ABOVE; nan where there is none."""
    ordered = np.sort(values[~np.isnan(values)])
    if not len(ordered):
        return math.nan, math.nan
    first = round(0.025 * (len(ordered) - 1))
    return ordered[first], ordered[-1 - first]


class Study:
    """A network, the two halves of its sample, and the truth.

    Stores, true peaks and measurements lie in a folder named after the checkpoint's content and
    the truth, so that none is taken for another's.
    """

    def __init__(self, arguments):
        payload, config = open_checkpoint(str(arguments.checkpoint))
        digest = sha256(arguments.checkpoint.read_bytes()).hexdigest()[:12]
        self.truth = truth_of(arguments.truth)
        self.folder = arguments.runs / f"{digest}_{self.truth}"
        whole = open_or_prepare(config.data)
        check_store_matches_training(payload["preprocessing"], whole)
        self.fragments, self.seed = whole.n_fragments, config.seed
        trained = config.data.thin_range or [config.data.thin_fraction]
        self.trained = "-".join(f"{f:g}" for f in trained)
        self.network = trained_network(
            payload, config, settings.Conv(), settings.Precision(), "auto"
        )
        self.config = replace(config, trainer=settings.Trainer(progress=False))
        self.evaluation = settings.Evaluate(bootstrap=BOOTSTRAP)
        clean, noisy = (self._half(whole, name) for name in ("clean", "noisy"))
        alone = {"more_stores": [], "more_noisy_stores": [], "prepare": settings.Prepare()}
        truth = {"target": "all", "labels": "poisson", "truth": self._true_peaks(clean, config)}
        halves = {"store": clean, "noisy_store": noisy, "thin_range": None}
        self.data = replace(config.data, **halves, **truth, **alone)

    def _half(self, whole, name):
        """The path of a store of the fragments for truth ("clean") or for inputs ("noisy")."""
        path = self.folder / f"{name}.h5"
        if not path.is_file():
            write_half(whole, path, Thinning(0.5, HALVES, complement=name == "noisy"))
        return str(path)

    def _true_peaks(self, clean, config):
        """The path of a BED file of MACS3's peaks; None for the Poisson labels."""
        if self.truth != "macs3":
            return None
        path, store = self.folder / "truth.bed", CutStore(clean)
        if not path.is_file():
            width = 2 * config.data.half_window_bp
            peaks = call_peaks(store, list(store.chroms), None, ext_bp=width)
            lines = [f"{c}\t{s}\t{e}\n" for c, rows in peaks.items() for s, e in rows.tolist()]
            write_text(path, "".join(lines))
        return str(path)

    def files(self, fraction, draws):
        """Where the measurements of a depth are kept; of the whole half there is but one draw."""
        n = 1 if fraction == 0.5 else draws
        return [self.folder / f"{fraction:g}_{draw}.npz" for draw in range(n)]

    def measure(self, fraction, draws):
        """Measure the draws of a depth that are not measured yet."""
        missing = [file for file in self.files(fraction, draws) if not file.is_file()]
        if not missing:
            return
        data = replace(self.data, thin_fraction=2 * fraction)
        given = open_stores(data)
        validation = held_out(data, given, self.seed, "validation")
        tuned = tune(self.network, validation, self.config)
        for file in missing:
            draw = int(file.stem.split("_")[1])
            split = held_out(data, given, FIRST_DRAW + draw, "test")
            external = external_peaks.called(split, "auto")
            how = self.evaluation, self.config
            keep(file, measure(self.network, split, *how, tuned, external))


def truth_of(asked):
    """Whose true peaks to take, "macs3" or "poisson"."""
    if asked != "auto":
        return asked
    with suppress(ValueError):
        find_macs3()
        return "macs3"
    return "poisson"


def write_half(whole, path, share):
    """Write the fragments of a store that `share` keeps as a store of its own."""
    if not whole.thinnable:
        raise ValueError(f"{whole.path} holds coverage, and only fragments can be halved")
    cuts = {}
    for chrom, size in whole.chroms.items():
        positions, fragments = whole.cuts(chrom, 0, size)
        kept = share.keep(fragments)
        cuts[chrom] = positions[kept], np.unique(fragments[kept], return_inverse=True)[1]
    made = {**whole.provenance, "half_of": whole.path.name}
    write_store(path, whole.chroms, cuts, whole.blacklist, whole.preprocessing, made)


def keep(file, found):
    """One measurement as a file: of each score the value as it is, then the replicates."""
    names = {f"{track}/{metric}": (track, metric) for track, metric in product(TRACKS, METRICS)}
    names["macs3/best_f1"] = "macs3", "f1"  # its peaks have one cutoff
    arrays = {
        name: np.array([found.metrics[track][metric], *found.replicates[track][metric]], float)
        for name, (track, metric) in names.items()
        if metric in found.replicates.get(track, ())
    }
    about = {
        "sigma_bp": found.metrics["tuned"]["gaussian_sigma_bp"],
        "true_peaks": found.metrics["truth"]["peaks"],
    }
    with atomic_path(file) as temporary, temporary.open("wb") as raw:
        np.savez_compressed(raw, about=json.dumps(about), **arrays)


def summary(study, fractions, draws):
    """Rows of the CSV: means over draws of each score, and what the denoised ones are worth."""
    loaded = [[np.load(file) for file in study.files(f, draws)] for f in fractions]
    rows = []
    for metric in METRICS:
        curves = {track: curve(loaded, f"{track}/{metric}") for track in TRACKS}
        curves = {track: values for track, values in curves.items() if values is not None}
        for ruler in RULERS if "denoised" in curves else ():
            curves[f"worth_{ruler}"] = worths(curves["denoised"], fractions, curves[ruler])
        for what, (i, fraction) in product(curves, enumerate(fractions)):
            values = curves[what][i]
            numbers = zip(("value", "low", "high"), (values[0], *interval(values[1:])), strict=True)
            row = {"metric": metric, "what": what, "fraction": fraction}
            row |= {name: f"{number:.5g}" for name, number in numbers}
            row |= {"fragments": round(fraction * study.fragments), "draws": len(loaded[i])}
            row |= json.loads(str(loaded[i][0]["about"]))
            rows.append({**row, "truth": study.truth, "trained": study.trained})
    return rows


def curve(loaded, name):
    """A score at every depth, (depths, 1 + replicates); None where it is not measured at all."""
    if not all(name in one for some in loaded for one in some):
        return None
    return np.array([np.mean([one[name] for one in some], axis=0) for some in loaded])


def worths(values, fractions, curves):
    """`worth` of every score (depths, 1 + replicates) along the curve of the same replicate."""
    pairs = zip(values.T, curves.T, strict=True)
    return np.array([[worth(v, fractions, curve) for v in column] for column, curve in pairs]).T


def main():
    arguments = parse_arguments()
    for name in ("checkpoint", "runs", "out"):
        setattr(arguments, name, getattr(arguments, name).absolute())
    os.chdir(ROOT)  # what a checkpoint says of paths is seen from here
    try:
        check_writable(arguments.out / "depth.csv")
        use_threads(arguments.threads)
        study = Study(arguments)
        for fraction in tqdm(arguments.fractions, disable=None):
            study.measure(fraction, arguments.draws)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    write_csv(arguments.out / "depth.csv", summary(study, arguments.fractions, arguments.draws))
    print(write(arguments.out))


if __name__ == "__main__":
    main()
