"""From reads to windows: how inputs are prepared, and what a training makes of them."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from denoiseq.settings.prepare import Prepare
from denoiseq.settings.setting import (
    PATH,
    Allowed,
    at_least,
    check,
    check_settings,
    group,
    one_of,
    setting,
    share,
)


def _fractions(value: list[float]) -> bool:
    return len(value) == 2 and 0 < value[0] <= value[1] <= 1


@dataclass
class Data:
    """Windows, noise, labels and folds."""

    store: str = setting(
        MISSING,
        "cut store of `denoiseq prepare`; made from `prepare` if it does not exist",
        kind=PATH,
    )
    noisy_store: str | None = setting(
        None, "another store as noisy input; null = a thinning of `store`", kind=PATH
    )
    more_stores: list[str] = setting(
        [], "further samples, kept apart: windows are drawn from all", kind="list of paths"
    )
    more_noisy_stores: list[str] = setting(
        [],
        "their noisy inputs in the same order, where noisy_store is given",
        kind="list of paths",
    )
    synthetic: bool = setting(
        False, "generate the small synthetic genome that `prepare` names, if absent"
    )
    prepare: Prepare = group(Prepare, "how to make `store`: the settings of `denoiseq prepare`")
    truth: str | None = setting(
        None, "BED or narrowPeak that the metrics take as true peaks; null = the labels", kind=PATH
    )
    labels: str = setting(
        "poisson", "peaks to learn: called by the Poisson rule, or those of a BED or narrowPeak",
        kind='"poisson", or path',
    )  # fmt: skip
    label_neglog10_p: float = setting(3.0, "Poisson rule: -log10 of the p of a base in a peak")
    label_min_length_bp: int = setting(200, "Poisson rule: shorter peaks are dropped", at_least(0))
    label_max_gap_bp: int = setting(30, "Poisson rule: gaps up to this are closed", at_least(0))
    interval_bp: int = setting(10_000, "bases of a window that are learned from", at_least(1))
    pad_bp: int = setting(
        4_200, "context on each side of them, at least half the receptive field", at_least(0)
    )
    half_window_bp: int = setting(
        100, "h: each cut site c covers the bases from c-h to c+h", at_least(0)
    )
    thin_fraction: float | None = setting(
        None,
        "share of the fragments that the noisy input keeps; null = 0.1, with noisy_store 1",
        share(),
    )
    thin_range: list[float] | None = setting(
        None,
        "as [0.01,0.5]: each training window keeps a share of its own, log-uniform",
        Allowed("two fractions as in [0.01,0.5]", _fractions),
    )
    target: str = setting(
        "all",
        "fragments of the clean track: all, or those that are not in the noisy input",
        one_of("all", "complement"),
    )
    sequence: bool = setting(False, "the network also reads the bases of `fasta`")
    fasta: str | None = setting(
        None, "the genome, for `sequence`; by default that of `prepare`", kind=PATH
    )
    reverse_complement: bool = setting(
        False, "half of the training windows are read from the other strand"
    )
    validation: list[str] = setting(MISSING, "chromosomes that choose epoch and thresholds")
    test: list[str] = setting(MISSING, "chromosomes that `evaluate split=test` alone reads")
    exclude: list[str] = setting([], "chromosomes of the store that are used for nothing")

    def __post_init__(self) -> None:
        if self.thin_fraction is None:
            self.thin_fraction = 0.1 if self.noisy_store is None else 1.0
        check_settings(self, "data.")
        self._check_samples()
        inside = self.thin_range or [0, 1]
        check(
            inside[0] <= self.thin_fraction <= inside[1],
            f"data.thin_fraction is {self.thin_fraction}, outside data.thin_range="
            f"{self.thin_range}: validation would measure a depth that is never trained",
        )

    def _check_samples(self) -> None:
        paired = self.noisy_store is not None
        expected = len(self.more_stores) if paired else 0
        check(
            len(self.more_noisy_stores) == expected,
            f"data.more_noisy_stores names {len(self.more_noisy_stores)} stores, expected "
            f"{expected}: one for each of data.more_stores, and none without data.noisy_store",
        )
        check(
            not paired or self.noisy_store != self.store,
            "data.noisy_store is data.store itself, so noisy and clean would be one: leave it out "
            "to thin data.store",
        )
        check(
            not paired or self.target == "all",
            "data.target=complement needs a thinning of data.store: give no data.noisy_store",
        )


@dataclass
class DataOverrides:
    """What may differ at evaluation from the data of the training; null = as trained."""

    store: str | None = setting(None, "cut store or coverage store", kind=PATH)
    noisy_store: str | None = setting(None, "another store as noisy input", kind=PATH)
    fasta: str | None = setting(None, "the genome, of a model of the sequence", kind=PATH)
    truth: str | None = setting(None, "true peaks, BED or narrowPeak", kind=PATH)
    thin_fraction: float | None = setting(None, "share of the fragments kept")
    target: str | None = setting(None, "all or complement, as data.target")
    validation: list[str] | None = setting(None, "chromosomes of the validation split")
    test: list[str] | None = setting(None, "chromosomes of the test split")
