"""What one pass over the genome gathers about every track, and the table of numbers it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from denoiseq.evaluation import peak_metrics
from denoiseq.evaluation.bootstrap import Blocks, TrackBootstrap, interval
from denoiseq.evaluation.frip import signal_in_peaks
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.scored import Core
from denoiseq.genomics.peaks import Peak
from denoiseq.windows.dataset import WindowDataset

# What is compared with each baseline, where both have it.
GAINS = (
    *("auprc", "auroc", "best_f1", "log1p_pearson", "pearson", "mse"),
    *("peaks.precision", "peaks.recall", "peaks.f1", "peaks.iou_bp"),
)
Replicates = dict[str, np.ndarray]


@dataclass
class TrackScores:
    """Everything that is summed up about one track; `add` takes its cores in genome order.

    blocks : of the bootstrap; None leaves intervals out.
    """

    logits: bool
    calls: peak_metrics.Calls
    blocks: Blocks | None
    by_chrom: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.total, self._here = TrackMetrics(self.logits), TrackMetrics(self.logits)
        self._chrom: str | None = None
        self.bootstrap = self.blocks and TrackBootstrap(self.blocks, self.logits)

    def add(self, core: Core, name: str, plain: str) -> None:
        """Count the track `name` of a core; its blocks are those of the chromosome `plain`."""
        if core.chrom != self._chrom:
            self.close()
            self._chrom = core.chrom
        track, score = core.tracks[name]
        self._here.update(track, score, *core.counted)
        if self.bootstrap:
            self.bootstrap.update((plain, core.start), track, score, *core.counted)
        if self.logits:
            score = torch.sigmoid(torch.from_numpy(score)).numpy()
        self.calls.add(core, score, track)

    def close(self) -> None:
        """End the current chromosome."""
        if self._chrom is not None:
            self.by_chrom[self._chrom] = self._here.result()
            self.total.add(self._here)
            self._here = TrackMetrics(self.logits)
            self._chrom = None


class Scorecard:
    """The numbers of tracks and of callers that give peaks alone, on the chromosomes of `data`.

    Parameters
    ----------
    data : WindowDataset
    truth : chromosome -> true peaks, as `peak_metrics.true_peaks` gives them
    tracks : name -> TrackScores, each closed
    rivals : name -> chromosome -> peaks, int64 (M, 2)
    """

    def __init__(
        self,
        data: WindowDataset,
        truth: Mapping[str, list[Peak]],
        tracks: Mapping[str, TrackScores],
        rivals: Mapping[str, peak_metrics.Peaks],
    ):
        self.data, self.truth, self.tracks = data, truth, tracks
        self.called = {name: track.calls.finish() for name, track in tracks.items()}
        self.true_rows = peak_metrics.rows(truth)
        rows = {name: peak_metrics.rows(peaks) for name, peaks in self.called.items()}
        given = {n: {c: r for c, r in p.items() if c in truth} for n, p in rivals.items()}
        self.rows = {**rows, **given}
        self.replicates = {name: self._replicates(name) for name in self.rows}

    def _replicates(self, name: str) -> Replicates:
        """Each metric of a track or a rival in every replicate of the bootstrap."""
        blocks = next(iter(self.tracks.values())).blocks
        if blocks is None:
            return {}
        plain = self.data.store.plain_names
        counts = peak_metrics.replicated_counts(self.rows[name], self.true_rows, blocks, plain)
        peaks = {f"peaks.{key}": v for key, v in peak_metrics.agreement(counts).items()}
        if name not in self.tracks:
            return peak_metrics.base_agreement(counts) | peaks
        track = self.tracks[name]
        return (track.bootstrap.replicates(track.total.result()) if track.bootstrap else {}) | peaks

    def metrics(self) -> dict[str, Any]:
        """Every track's and rival's numbers, `truth`, `gain` and `chromosomes`."""
        share = self._frip()
        found: dict[str, Any] = {}
        for name in self.rows:
            own = self._track(name) if name in self.tracks else self._rival(name)
            intervals = {key: list(interval(v)) for key, v in self.replicates[name].items()}
            found[name] = {**own, "frip": share[name], "intervals": intervals}
        true_bp = sum(int((rows[:, 1] - rows[:, 0]).sum()) for rows in self.true_rows.values())
        n_true = sum(map(len, self.true_rows.values()))
        found["truth"] = {"peaks": n_true, "bp": true_bp, "frip": share["truth"]}
        found["gain"] = {n: self._gain(found, n) for n in self.rows if n != "denoised"}
        found["chromosomes"] = {chrom: self._chromosome(chrom) for chrom in self.truth}
        return found

    def distances(self, name: str) -> np.ndarray:
        """Of a track's summits to the true ones in bp."""
        return peak_metrics.summit_distances(self.called[name], self.truth)

    def _track(self, name: str) -> dict[str, Any]:
        total = self.tracks[name].total
        peaks: dict[str, Any] = dict(peak_metrics.peak_agreement(self.rows[name], self.true_rows))
        peaks["summit_distance_bp"] = peak_metrics.quartiles(self.distances(name))
        return {**total.result(), "peaks": peaks, **total.parts()}

    def _rival(self, name: str) -> dict[str, Any]:
        counts = peak_metrics.total_counts(self.rows[name], self.true_rows)
        bases = {key: float(v) for key, v in peak_metrics.base_agreement(counts).items()}
        return {**bases, "peaks": {k: float(v) for k, v in peak_metrics.agreement(counts).items()}}

    def _chromosome(self, chrom: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        truth = {chrom: self.true_rows[chrom]}
        for name, rows in self.rows.items():
            scores = self.tracks[name].by_chrom.get(chrom, {}) if name in self.tracks else {}
            here = {chrom: rows.get(chrom, peak_metrics.NONE)}
            found[name] = {**scores, "peaks": peak_metrics.peak_agreement(here, truth)}
        return found

    def _frip(self) -> dict[str, float | None]:
        """Fraction of the clean sample's cut sites in the peaks of each, and in the true ones."""
        total, inside = 0.0, dict.fromkeys([*self.rows, "truth"], 0.0)
        sets = {**self.rows, "truth": self.true_rows}
        for chrom in self.truth:
            peaks = {name: rows.get(chrom, peak_metrics.NONE) for name, rows in sets.items()}
            more, shares = signal_in_peaks(self.data.store, chrom, peaks)
            total += more
            for name, value in shares.items():
                inside[name] += value
        return {name: value / total if total else None for name, value in inside.items()}

    def _gain(self, found: Mapping[str, Any], baseline: str) -> dict[str, dict[str, float]]:
        """The denoised track's metrics less a baseline's, with paired intervals."""
        gains = {}
        for name in GAINS:
            ours, theirs = (_named(found[track], name) for track in ("denoised", baseline))
            if ours is None or theirs is None:
                continue
            pair = [self.replicates[track].get(name) for track in ("denoised", baseline)]
            paired = np.zeros(0) if pair[0] is None or pair[1] is None else pair[0] - pair[1]
            low, high = interval(paired)
            gains[name] = {"value": ours - theirs, "low": low, "high": high}
        return gains


def _named(metrics: Mapping[str, Any], name: str) -> float | None:
    """A metric by its dotted name; None where it is absent or undefined."""
    group, _, key = name.rpartition(".")
    value = (metrics[group] if group else metrics).get(key)
    return None if value is None or np.isnan(value) else value
