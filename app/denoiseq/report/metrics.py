"""Every metric of a track: a new one of `evaluation` is one entry here; tables and gains follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Sections of the terminal's table and of metrics.tsv, and of the summary on a page.
RANKED, CALLED, COVERAGE = "Bases ranked", "Called peaks", "Track"
INSIDE, OUTSIDE = "Inside peaks", "Outside peaks"
SECTIONS = (RANKED, CALLED, COVERAGE, INSIDE, OUTSIDE)
PAGE_CALLED, PAGE_RANKED = "Whole peaks", "Bases of true peaks"
PAGE_COVERAGE = "Coverage, against the clean track"
PAGE_SECTIONS = (PAGE_CALLED, PAGE_RANKED, PAGE_COVERAGE)
PAGE_INSIDE, PAGE_OUTSIDE = "Coverage inside true peaks", "Coverage outside of them"
PAGE_PARTS = (PAGE_INSIDE, PAGE_OUTSIDE)


@dataclass(frozen=True)
class Metric:
    """One metric of a track."""

    key: str  # dotted, in the track's metrics
    label: str  # beneath its section
    section: str  # of the terminal's table, one of SECTIONS; "" where it is on the page alone
    page_section: str  # one of PAGE_SECTIONS or PAGE_PARTS
    page_label: str = ""  # what the page calls it; "": the label
    better: str = "more"  # "less", or "" where more of it is neither
    compared: bool = False  # whether the denoised track's gain over each baseline is measured
    digits: str = ".3f"

    @property
    def heading(self) -> str:
        """What it is called where no section says whether it is of whole peaks."""
        return f"peaks: {self.label}" if self.key.startswith("peaks.") else self.label

    def text(self, value: float) -> str:
        return f"{value:{self.digits}}"

    def verdict(self, gain: Mapping[str, float | None]) -> str:
        """What a gain's interval says: better, worse, no clear difference, or - without one."""
        low, high = gain.get("low"), gain.get("high")
        if low is None or high is None:
            return "-"
        if low <= 0 <= high:
            return "no clear difference"
        return "better" if (low > 0) == (self.better == "more") else "worse"


METRICS = (
    Metric("auprc", "AUPRC", RANKED, PAGE_RANKED, compared=True),
    Metric("auroc", "AUROC", RANKED, PAGE_RANKED, compared=True),
    Metric("best_f1", "best F1", RANKED, PAGE_RANKED, compared=True),
    Metric("precision", "precision", "", PAGE_RANKED, "precision as called"),
    Metric("recall", "recall", "", PAGE_RANKED, "recall as called"),
    Metric("f1", "F1", "", PAGE_RANKED, "F1 as called"),
    Metric("log1p_pearson", "log1p Pearson", COVERAGE, PAGE_COVERAGE, compared=True),
    Metric("pearson", "Pearson", COVERAGE, PAGE_COVERAGE, compared=True),
    Metric("spearman", "Spearman", COVERAGE, PAGE_COVERAGE),
    Metric("mse", "MSE", COVERAGE, PAGE_COVERAGE, better="less", compared=True, digits=".4g"),
    Metric("peaks.precision", "precision", CALLED, PAGE_CALLED, compared=True),
    Metric("peaks.recall", "recall", CALLED, PAGE_CALLED, compared=True),
    Metric("peaks.f1", "F1", CALLED, PAGE_CALLED, compared=True),
    Metric("peaks.iou_bp", "IoU (bp)", CALLED, PAGE_CALLED, compared=True),
    Metric("peaks.summit_distance_bp.median", "to summit (bp)", CALLED, PAGE_CALLED,
           "distance to true summit (bp)", better="less", digits=".0f"),
    # neither more nor less of it is better by itself: what counts is how many of them are true
    Metric("peaks.without_cuts", "without cuts", CALLED, PAGE_CALLED,
           "holding no cut site of the input", better=""),
    Metric("peaks.without_cuts_precision", "w/o cuts, true", CALLED, PAGE_CALLED,
           "precision of those without one"),
    Metric("peaks.reproducibility", "in both draws", CALLED, PAGE_CALLED,
           "found again on other fragments", compared=True),
    Metric("peaks.reproducibility_iou_bp", "IoU of draws", CALLED, PAGE_CALLED,
           "IoU of both draws (bp)", compared=True),
    # more of it is better only where the peaks are true
    Metric("frip", "FRiP", CALLED, PAGE_RANKED, "share of cut sites in peaks (FRiP)", better=""),
    Metric("inside.log1p_pearson", "log1p Pearson", INSIDE, PAGE_INSIDE),
    Metric("inside.pearson", "Pearson", INSIDE, PAGE_INSIDE),
    Metric("inside.mse", "MSE", INSIDE, PAGE_INSIDE, better="less", digits=".4g"),
    Metric("outside.log1p_pearson", "log1p Pearson", OUTSIDE, PAGE_OUTSIDE),
    Metric("outside.pearson", "Pearson", OUTSIDE, PAGE_OUTSIDE),
    Metric("outside.mse", "MSE", OUTSIDE, PAGE_OUTSIDE, better="less", digits=".4g"),
)  # fmt: skip
BY_KEY = {metric.key: metric for metric in METRICS}


def named(metrics: Mapping[str, Any], key: str) -> Any:
    """A value by its dotted key; None where there is none."""
    value: Any = metrics
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def interval_of(track: Mapping[str, Any], key: str) -> tuple[float | None, float | None]:
    """The bounds of a metric's 95% interval; None where there are none."""
    return (track.get("intervals") or {}).get(key) or (None, None)
