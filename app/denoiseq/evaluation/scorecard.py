"""What one pass over the genome sums up about every track, and the metrics that it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from denoiseq.evaluation import peak_metrics
from denoiseq.evaluation.bootstrap import Blocks, TrackBootstrap, interval
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.scored import Scored
from denoiseq.evaluation.thresholds import probability
from denoiseq.genomics.peaks import Peak, PeakCaller
from denoiseq.models.network import DENOISED
from denoiseq.report.metrics import METRICS, named
from denoiseq.settings import Data
from denoiseq.windows.dataset import WindowDataset

Replicates = dict[str, np.ndarray]


class TrackScores:
    """Everything that is summed up about one track; `add` takes its parts in genome order.

    Peaks are called at `threshold`, by the rule of the training's labels. Without `blocks` of the
    bootstrap there are no intervals.
    """

    def __init__(self, logits: bool, labels: Data, threshold: float, blocks: Blocks | None):
        self.rule = threshold, labels.label_min_length_bp, labels.label_max_gap_bp
        self.logits, self.total = logits, TrackMetrics(logits)
        self.by_chrom: dict[str, dict[str, float]] = {}  # chromosome -> its metrics
        self.called: dict[str, list[Peak]] = {}  # its peaks, none with a blacklisted base
        self.bootstrap = TrackBootstrap(blocks, logits) if blocks else None
        self._current: tuple[str, TrackMetrics, PeakCaller] | None = None

    def add(self, part: Scored, name: str, plain: str) -> None:
        """Count the track `name` of a part; its blocks are those of the chromosome `plain`."""
        if self._current is None or self._current[0] != part.chrom:
            self.close()
            caller = PeakCaller(part.chrom, *self.rule)
            self._current = part.chrom, TrackMetrics(self.logits), caller
        _, metrics, caller = self._current
        track, score = part.tracks[name]
        metrics.update(track, score, *part.counted)
        if self.bootstrap:
            self.bootstrap.update((plain, part.start), track, score, *part.counted)
        score = probability(score) if self.logits else score
        caller.add(part.start, np.where(part.mask, score, -np.inf), track)

    def close(self) -> None:
        """End the current chromosome."""
        if self._current is not None:
            chrom, metrics, caller = self._current
            self.by_chrom[chrom], self.called[chrom] = metrics.result(), caller.finish()
            self.total.add(metrics)
            self._current = None


class Scorecard:
    """The metrics of tracks, each closed, and of external callers' peaks, by name.

    `truth` are the true peaks by chromosome, as `peak_metrics.true_peaks` gives them.
    """

    def __init__(
        self,
        data: WindowDataset,
        truth: Mapping[str, list[Peak]],
        tracks: Mapping[str, TrackScores],
        external: Mapping[str, peak_metrics.Peaks],
    ):
        self.data, self.truth, self.tracks = data, truth, tracks
        self.true_rows = peak_metrics.rows(truth)
        self.rows = {name: peak_metrics.rows(track.called) for name, track in tracks.items()}
        for name, peaks in external.items():
            self.rows[name] = {chrom: rows for chrom, rows in peaks.items() if chrom in truth}
        self.replicates = {name: self._replicates(name) for name in self.rows}

    def _replicates(self, name: str) -> Replicates:
        """Each metric of a track or an external caller in every replicate of the bootstrap."""
        track = self.tracks.get(name, self.tracks[DENOISED])  # all share their blocks
        if track.bootstrap is None:
            return {}
        blocks, plain = track.bootstrap.sums.blocks, self.data.store.plain_names
        counts = peak_metrics.replicated_counts(self.rows[name], self.true_rows, blocks, plain)
        peaks = {f"peaks.{key}": v for key, v in peak_metrics.agreement(counts).items()}
        if name not in self.tracks:
            return peak_metrics.base_agreement(counts) | peaks
        return track.bootstrap.replicates(track.total.result()) | peaks

    def metrics(self) -> dict[str, Any]:
        """Every track's and external caller's metrics, `truth`, `gain` and `chromosomes`."""
        frip = self._frip()
        metrics: dict[str, Any] = {}
        for name in self.rows:
            intervals = {key: list(interval(v)) for key, v in self.replicates[name].items()}
            metrics[name] = {**self._scores(name), "frip": frip[name], "intervals": intervals}
        true = np.concatenate([peak_metrics.NONE, *self.true_rows.values()])
        true_bp = int((true[:, 1] - true[:, 0]).sum())
        metrics["truth"] = {"peaks": len(true), "bp": true_bp, "frip": frip["truth"]}
        metrics["gain"] = {n: self._gain(metrics, n) for n in self.rows if n != DENOISED}
        metrics["chromosomes"] = {chrom: self._chromosome(chrom) for chrom in self.truth}
        return metrics

    def distances(self, name: str) -> np.ndarray:
        """From a track's summits to the true ones, bp."""
        return peak_metrics.summit_distances(self.tracks[name].called, self.truth)

    def _scores(self, name: str) -> dict[str, Any]:
        """Metrics of bases and of whole peaks; external callers give neither score nor summit."""
        called = self.rows[name], self.true_rows
        peaks: dict[str, Any] = dict(peak_metrics.peak_agreement(*called))
        if name not in self.tracks:
            bases = peak_metrics.base_agreement(peak_metrics.total_counts(*called))
            return {**{key: float(value) for key, value in bases.items()}, "peaks": peaks}
        peaks["summit_distance_bp"] = peak_metrics.quartiles(self.distances(name))
        total = self.tracks[name].total
        return {**total.result(), "peaks": peaks, **total.parts()}

    def _chromosome(self, chrom: str) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        truth = {chrom: self.true_rows[chrom]}
        for name, rows in self.rows.items():
            scores = self.tracks[name].by_chrom.get(chrom, {}) if name in self.tracks else {}
            called = {chrom: rows.get(chrom, peak_metrics.NONE)}
            metrics[name] = {**scores, "peaks": peak_metrics.peak_agreement(called, truth)}
        return metrics

    def _frip(self) -> dict[str, float | None]:
        """Fraction of the clean sample's cut sites in the peaks of each, and in the true ones."""
        total, inside = 0.0, dict.fromkeys([*self.rows, "truth"], 0.0)
        for chrom, true in self.true_rows.items():
            peaks = {name: rows.get(chrom, peak_metrics.NONE) for name, rows in self.rows.items()}
            peaks["truth"] = true
            cuts, kept = peak_metrics.signal_in_peaks(self.data.store, chrom, peaks)
            total += cuts
            inside = {name: value + kept[name] for name, value in inside.items()}
        return {name: value / total if total else None for name, value in inside.items()}

    def _gain(self, metrics: Mapping[str, Any], baseline: str) -> dict[str, dict[str, float]]:
        """The denoised track's metrics less a baseline's, with paired intervals."""
        gains = {}
        for key in (metric.key for metric in METRICS if metric.compared):
            values = [named(metrics[track], key) for track in (DENOISED, baseline)]
            if any(value is None or np.isnan(value) for value in values):
                continue
            denoised, other = (self.replicates[track].get(key) for track in (DENOISED, baseline))
            paired = np.zeros(0) if denoised is None or other is None else denoised - other
            low, high = interval(paired)
            gains[key] = {"value": values[0] - values[1], "low": low, "high": high}
        return gains
