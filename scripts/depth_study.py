"""What depth is denoising worth? Scores against depth, and the depth that noisy reads would need.

    python scripts/depth_study.py                          # data/yeast/denoiser.pt
    python scripts/depth_study.py --checkpoint outputs/yeast/run/checkpoints/best.pt --draws 1

Truth comes from one half of the fragments, inputs from the other: at 50% they are that half whole.
One network serves all depths; at each the Gaussian's bandwidth is tuned on the validation
chromosomes. A denoised score is worth the depth at which the curve of the noisy (or smoothed)
scores reaches it. Intervals are of a bootstrap over blocks of 50 kb, the same at every depth.

Leaves depth.csv (worth 0 is below the least depth, inf above the largest), depth.md and depth.png
in --out. What was measured before is kept.
"""

import json
import math
import os
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
from bench.command import ROOT, at_least, parser, script
from denoiseq import settings
from denoiseq.atomic import write_text
from denoiseq.distributed import use_threads
from denoiseq.evaluation.external_peaks import call_peaks, find_macs3
from denoiseq.evaluation.measure import tune
from denoiseq.store.compatibility import check_store_matches_training
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.thinning import Thinning
from denoiseq.windows.splits import held_out, open_or_prepare, open_stores
from depth_figure import ABOVE, BELOW, METRICS, RULERS, TRACKS, write
from results.rows import Record
from studies.measurements import Subject, keep, mean
from tqdm import tqdm

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
HALVES = 999  # seed of the division


def parse_arguments():
    made = parser(__doc__, runs=ROOT / "outputs" / "depth_study", out=ROOT / "docs" / "depth")
    add = made.add_argument
    released = ROOT / "data" / "yeast" / "denoiser.pt"
    add("--checkpoint", type=Path, default=released, help="the network")
    add("--fractions", type=float, nargs="+", default=FRACTIONS, help="of all")
    add("--draws", type=at_least(1), default=3, help="of fragments, at each fraction")
    truths = ("auto", "macs3", "poisson")
    add("--truth", choices=truths, default="auto", help="where true peaks come from")
    add("--threads", type=int, help="of the arithmetic")
    arguments = made.parse_args()
    arguments.fractions = sorted(set(arguments.fractions))
    if not 0 < arguments.fractions[0] < arguments.fractions[-1] <= 0.5:
        made.error("--fractions: give two or more, above 0 and at most 0.5")
    return arguments


def worth(value, depths, curve):
    """The depth at which a curve first reaches a value: linear in the logarithm of the depth.

    The `depths` ascend; where the curve falls, the highest so far stands. BELOW where it begins
    above the value, ABOVE where it does not reach it, nan where either is unknown.
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
    the truth, so that two studies never share them.
    """

    def __init__(self, arguments):
        self.subject = Subject(arguments.checkpoint)
        trained = self.subject.trained.data
        digest = sha256(arguments.checkpoint.read_bytes()).hexdigest()[:12]
        self.truth = truth_of(arguments.truth)
        self.folder = arguments.runs / f"{digest}_{self.truth}"
        whole = open_or_prepare(trained)
        check_store_matches_training(self.subject.payload["preprocessing"], whole)
        self.fragments = whole.n_fragments
        self.trained = "-".join(f"{f:g}" for f in trained.thin_range or [trained.thin_fraction])
        clean, noisy = (self._half(whole, name) for name in ("clean", "noisy"))
        alone = {"more_stores": [], "more_noisy_stores": [], "prepare": settings.Prepare()}
        truth = {"target": "all", "labels": "poisson", "truth": self._true_peaks(clean, trained)}
        halves = {"store": clean, "noisy_store": noisy}
        training = {"thin_range": None, "validation_fractions": None}
        training |= {"answer_cuts_per_mb": self.subject.payload.get("answer_cuts_per_mb")}
        self.data = replace(trained, **halves, **training, **truth, **alone)

    def _half(self, whole, name):
        """The path of a store of the fragments for truth ("clean") or for inputs ("noisy")."""
        path = self.folder / f"{name}.h5"
        if not path.is_file():
            write_half(whole, path, Thinning(0.5, HALVES, complement=name == "noisy"))
        return str(path)

    def _true_peaks(self, clean, trained):
        """The path of a BED file of MACS3's peaks; None for the Poisson labels."""
        if self.truth != "macs3":
            return None
        path, store = self.folder / "truth.bed", CutStore(clean)
        if not path.is_file():
            peaks = call_peaks(store, list(store.chroms), None, ext_bp=2 * trained.half_window_bp)
            lines = [f"{c}\t{s}\t{e}\n" for c, rows in peaks.items() for s, e in rows.tolist()]
            write_text(path, "".join(lines))
        return str(path)

    def files(self, fraction, draws):
        """Where the measurements of a depth are kept; of the whole half there is but one draw."""
        n = 1 if fraction == 0.5 else draws
        return {draw: self.folder / f"{fraction:g}_{draw}.npz" for draw in range(n)}

    def measure(self, fraction, draws):
        files = self.files(fraction, draws)
        missing = {draw: file for draw, file in files.items() if not file.is_file()}
        if not missing:
            return
        data, subject = replace(self.data, thin_fraction=2 * fraction), self.subject
        stores = open_stores(data)
        validation = held_out(data, stores, subject.trained.seed, "validation")
        tuned = tune(subject.network, validation, subject.trained)
        for draw, file in missing.items():
            measurement = subject.measure(data, stores, draw, tuned)
            metrics = measurement.metrics
            sigma, peaks = metrics["tuned"]["gaussian_sigma_bp"], metrics["truth"]["peaks"]
            keep(file, measurement, METRICS, about={"sigma_bp": sigma, "true_peaks": peaks})


def truth_of(name):
    """Whose true peaks to take, "macs3" or "poisson"."""
    if name != "auto":
        return name
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


def summary(study, fractions, draws):
    """Rows of the CSV: means over draws of each score, and what the denoised ones are worth."""
    depths = [[np.load(file) for file in study.files(f, draws).values()] for f in fractions]
    rows = []
    for metric in METRICS:
        curves = {track: [mean(kept, f"{track}/{metric}") for kept in depths] for track in TRACKS}
        curves = {
            track: np.array(values)  # (depths, 1 + replicates)
            for track, values in curves.items()
            if all(value is not None for value in values)
        }
        for ruler in RULERS if "denoised" in curves else ():
            pairs = zip(curves["denoised"].T, curves[ruler].T, strict=True)  # of one replicate
            worths = [[worth(v, fractions, curve) for v in values] for values, curve in pairs]
            curves[f"worth_{ruler}"] = np.transpose(worths)
        for what, (i, fraction) in product(curves, enumerate(fractions)):
            value, *replicates = curves[what][i]
            low, high = interval(np.array(replicates))
            numbers = {"value": value, "low": low, "high": high}
            rows.append({
                "metric": metric, "what": what, "fraction": fraction,
                **{name: f"{number:.5g}" for name, number in numbers.items()},
                "fragments": round(fraction * study.fragments), "draws": len(depths[i]),
                **json.loads(str(depths[i][0]["about"])),
                "truth": study.truth, "trained": study.trained,
            })  # fmt: skip
    return rows


@script
def main():
    arguments = parse_arguments()
    for name in ("checkpoint", "runs", "out"):
        setattr(arguments, name, getattr(arguments, name).absolute())
    os.chdir(ROOT)  # what a checkpoint says of paths is seen from here
    record = Record(arguments.out / "depth.csv")
    use_threads(arguments.threads)
    study = Study(arguments)
    for fraction in tqdm(arguments.fractions, disable=None):
        study.measure(fraction, arguments.draws)
    record.add(summary(study, arguments.fractions, arguments.draws))
    print(write(arguments.out))
