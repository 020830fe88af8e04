"""What one pass over the genome sums up about every track, and the metrics that it gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
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
Total = Callable[[peak_metrics.Peaks, peak_metrics.Peaks], np.ndarray]


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

    `truth` are the true peaks by chromosome, as `peak_metrics.true_peaks` gives them; `second` the
    peaks called on a second draw, by name: empty where there is none, None if it was not asked for.
    """

    def __init__(
        self,
        data: WindowDataset,
        truth: Mapping[str, list[Peak]],
        tracks: Mapping[str, TrackScores],
        external: Mapping[str, peak_metrics.Peaks],
        second: Mapping[str, peak_metrics.Peaks] | None = None,
    ):
        self.data, self.truth, self.tracks, self.second = data, truth, tracks, second
        self.true_rows = peak_metrics.rows(truth)
        self.rows = {name: peak_metrics.rows(track.called) for name, track in tracks.items()}
        for name, peaks in external.items():
            self.rows[name] = {chrom: rows for chrom, rows in peaks.items() if chrom in truth}
        self.empty = self._empty()
        self.replicates = {name: self._replicates(name) for name in self.rows}

    def _replicates(self, name: str) -> Replicates:
        """Each metric of a track or an external caller in every replicate of the bootstrap."""
        track = self.tracks.get(name, self.tracks[DENOISED])  # all share their blocks
        if track.bootstrap is None:
            return {}
        blocks, plain = track.bootstrap.sums.blocks, self.data.store.plain_names
        total = partial(peak_metrics.replicated_counts, blocks=blocks, plain=plain)
        peaks = {f"peaks.{key}": v for key, v in self._peaks(name, self.truth, total).items()}
        if name not in self.tracks:
            counts = total(self.rows[name], self.true_rows)
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
        peaks: dict[str, Any] = _numbers(self._peaks(name, self.truth))
        if name not in self.tracks:
            counts = peak_metrics.total_counts(self.rows[name], self.true_rows)
            return {**_numbers(peak_metrics.base_agreement(counts)), "peaks": peaks}
        peaks["summit_distance_bp"] = peak_metrics.quartiles(self.distances(name))
        total = self.tracks[name].total
        return {**total.result(), "peaks": peaks, **total.parts()}

    def _chromosome(self, chrom: str) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for name in self.rows:
            scores = self.tracks[name].by_chrom.get(chrom, {}) if name in self.tracks else {}
            metrics[name] = {**scores, "peaks": _numbers(self._peaks(name, [chrom]))}
        return metrics

    def _peaks(
        self, name: str, chroms: Collection[str], total: Total = peak_metrics.total_counts
    ) -> Replicates:
        """Metrics of whole peaks but for their summits, on chromosomes, as `total` counts peaks."""
        sets = self.rows[name], self.true_rows, self.empty[name], (self.second or {}).get(name, {})
        called, true, empty, second = (
            {chrom: rows.get(chrom, peak_metrics.NONE) for chrom in chroms} for rows in sets
        )
        counts = total(called, true)
        metrics = peak_metrics.agreement(counts)
        metrics |= peak_metrics.without_cuts(counts, total(empty, true))
        if self.second is not None:
            metrics |= peak_metrics.reproducibility(total(called if self.second else {}, second))
        return metrics

    def _empty(self) -> dict[str, dict[str, np.ndarray]]:
        """Of each, the peaks that hold no cut site (no covered base) of the noisy input."""
        empty: dict[str, dict[str, np.ndarray]] = {name: {} for name in self.rows}
        for chrom in self.truth:
            peaks = {name: rows.get(chrom, peak_metrics.NONE) for name, rows in self.rows.items()}
            noisy, draw = self.data.noisy, self.data.draw()
            _, inside = peak_metrics.signal_in_peaks(noisy, chrom, peaks, draw)
            for name, rows in peaks.items():
                empty[name][chrom] = rows[inside[name] == 0]
        return empty

    def _frip(self) -> dict[str, float | None]:
        """Fraction of the clean sample's cut sites in the peaks of each, and in the true ones."""
        total, inside = 0.0, dict.fromkeys([*self.rows, "truth"], 0.0)
        for chrom, true in self.true_rows.items():
            peaks = {name: rows.get(chrom, peak_metrics.NONE) for name, rows in self.rows.items()}
            peaks["truth"] = true
            cuts, kept = peak_metrics.signal_in_peaks(self.data.store, chrom, peaks)
            total += cuts
            inside = {name: value + float(kept[name].sum()) for name, value in inside.items()}
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


def _numbers(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
