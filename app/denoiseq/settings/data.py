"""What windows are made of: stores, noise, labels, folds."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from denoiseq.settings.prepare import Prepare
from denoiseq.settings.setting import (
    FRACTION,
    Allowed,
    at_least,
    between,
    check,
    check_settings,
    group,
    one_of,
    path,
    setting,
)

VALIDATED_DEPTHS = 5  # where a range of depths is trained and validation_fractions says nothing


@dataclass(frozen=True)
class Rows:
    """What a network reads, row by row: the coverage, the bases A, C, G and T, the background, the
    mean coverage around each base at so many distances, and the depth.
    """

    bases: bool = False
    background: bool = False
    surroundings: int = 0
    depth: bool = False

    @property
    def total(self) -> int:
        """The number of rows, the coverage included."""
        return 1 + 4 * self.bases + self.background + self.surroundings + self.depth


COVERAGE_ALONE = Rows()


@dataclass
class Data:
    """Windows, noise, labels and folds."""

    store: str = path(
        "store of `denoiseq prepare`; made with the settings `prepare` if it does not exist",
        MISSING,
    )
    noisy_store: str | None = path(
        "another store for the noisy input; null = a thinning of `store`"
    )
    more_stores: list[str] = setting(
        [], "stores of further samples; windows are drawn from every sample", kind="list of paths"
    )
    more_noisy_stores: list[str] = setting(
        [],
        "noisy stores of `more_stores`, in the same order, where noisy_store is given",
        kind="list of paths",
    )
    synthetic: bool = setting(
        False, "generate the small synthetic genome that `prepare` names, if it does not exist"
    )
    prepare: Prepare = group(Prepare, "how to make `store`; the settings of `denoiseq prepare`")
    truth: str | None = path("true peaks for the metrics, BED or narrowPeak; null = the labels")
    labels: str = setting(
        "poisson", "peaks to learn: called with the Poisson rule, or from a BED or narrowPeak file",
        kind='"poisson", or path',
    )  # fmt: skip
    label_neglog10_p: float = setting(3.0, "Poisson rule: least -log10(p) of a base in a peak")
    label_min_length_bp: int = setting(200, "Poisson rule: shorter peaks are dropped", at_least(0))
    label_max_gap_bp: int = setting(
        30, "Poisson rule: gaps up to this length are closed", at_least(0)
    )
    interval_bp: int = setting(10_000, "scored bases of a window", at_least(1))
    pad_bp: int = setting(
        4_200, "context on each side; at least half the receptive field", at_least(0)
    )
    half_window_bp: int = setting(
        100, "a cut site covers the bases up to this far on each side", at_least(0)
    )
    thin_fraction: float | None = setting(
        None,
        "fraction of the fragments that the noisy input keeps; null = 0.1, or 1 with noisy_store",
        FRACTION,
    )
    thin_range: list[float] | None = setting(
        None,
        "two fractions, such as 0.01 and 0.5, between which each training window draws its own, "
        "log-uniformly",
        Allowed(
            "two fractions as in [0.01,0.5]",
            lambda pair: len(pair) == 2 and 0 < pair[0] <= pair[1] <= 1,
        ),
    )
    tell_depth: bool = setting(
        False, "tell the network the depth of its input, so that one serves many depths"
    )
    answer_cuts_per_mb: float | None = setting(
        None,
        "depth of the answer of a network that is told its input's, cut sites per Mb; null = that "
        "of the clean samples, their mean",
        Allowed("more than 0", lambda value: value > 0),
    )
    validation_fractions: list[float] | None = setting(
        None,
        "fractions of the fragments that are validated, by the mean of whose metrics the epoch is "
        "chosen; null = thin_fraction, or five in thin_range with tell_depth",
        Allowed(
            "fractions as in [0.02,0.1,0.5]",
            lambda values: bool(values) and all(0 < value <= 1 for value in values),
        ),
    )
    target: str = setting(
        "all",
        "fragments of the clean track: all of them, or only those not in the noisy input",
        one_of("all", "complement"),
    )
    sequence: bool = setting(False, "the network also reads the DNA sequence, from `fasta`")
    background_bp: int | None = setting(
        None,
        "the network also reads the background up to so far on each side, such as 25000: the "
        "coverage that the bases without any tell of; null = not",
        at_least(1),
    )
    surroundings_bp: list[int] = setting(
        [],
        "the network also reads the mean coverage up to so far on each side, such as "
        "[500,2500,5000]; [] = not",
        Allowed("distances in bp of 1 or more", lambda values: all(v >= 1 for v in values)),
    )
    fasta: str | None = path("FASTA of the genome, for `sequence`; by default that of `prepare`")
    peak_share: float = setting(
        0.0,
        "share of the training windows that are moved to a peak of the labels, drawn at random; 0: "
        "every base is in one window of an epoch",
        between(0, 1),
    )
    epoch_windows: int | None = setting(
        None,
        "training windows of an epoch, each time others; null = all: validation after the whole "
        "genome",
        at_least(1),
    )
    reverse_complement: bool = setting(
        False, "read half of the training windows from the other strand"
    )
    validation: list[str] = setting(
        MISSING, "chromosomes on which the epoch and the thresholds are chosen"
    )
    test: list[str] = setting(MISSING, "chromosomes that only `evaluate split=test` reads")
    exclude: list[str] = setting([], "chromosomes of the store that are not used at all")

    def __post_init__(self) -> None:
        if self.thin_fraction is None:
            self.thin_fraction = 0.1 if self.noisy_store is None else 1.0
        check_settings(self, "data.")
        self._check_samples()
        low, high = self.thin_fractions
        for fraction in self.validation_fractions or ():
            check(
                low <= fraction <= high,
                f"data.validation_fractions holds {fraction}, which is not trained: only "
                f"{low:g} to {high:g} is (data.thin_fraction, data.thin_range)",
            )
        check(
            low <= self.thin_fraction <= high,
            f"data.thin_fraction is {self.thin_fraction}, outside data.thin_range="
            f"{self.thin_range}: validation would measure a depth that is never trained",
        )
        check(
            self.target == "all" or high < 1,
            "data.target=complement leaves no clean track where every fragment is kept: lower "
            "data.thin_fraction, or the upper end of data.thin_range, below 1",
        )

    @property
    def thin_fractions(self) -> tuple[float, float]:
        """The least and the largest fraction of the fragments that training windows keep."""
        assert self.thin_fraction is not None  # `__post_init__` has replaced null
        low, high = self.thin_range or (self.thin_fraction, self.thin_fraction)
        return low, high

    @property
    def validated_fractions(self) -> list[float]:
        """The fractions of the fragments that are validated, from the least on."""
        low, high = self.thin_fractions
        if self.validation_fractions is not None:
            return sorted(set(self.validation_fractions))
        if not self.tell_depth or low == high:
            assert self.thin_fraction is not None
            return [self.thin_fraction]
        steps = VALIDATED_DEPTHS - 1
        return [min(low * (high / low) ** (i / steps), high) for i in range(steps + 1)]

    @property
    def rows(self) -> Rows:
        """What the network reads."""
        background, around = self.background_bp is not None, len(self.surroundings_bp)
        return Rows(self.sequence, background, around, self.tell_depth)

    @property
    def window_bp(self) -> int:
        """Bases of a window: the scored ones and the context on both sides."""
        return self.interval_bp + 2 * self.pad_bp

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
            "data.noisy_store is data.store itself, so noisy and clean would be the same: leave it "
            "out to thin data.store",
        )
        check(
            not paired or self.target == "all",
            "data.target=complement needs a thinning of data.store: give no data.noisy_store",
        )


@dataclass
class DataOverrides:
    """Data settings that an evaluation may change; null = as in training."""

    store: str | None = path("store of cut sites or of coverage")
    noisy_store: str | None = path("another store for the noisy input")
    fasta: str | None = path("FASTA of the genome, for a model that reads it")
    truth: str | None = path("true peaks, BED or narrowPeak")
    thin_fraction: float | None = setting(
        None, "fraction of the fragments that the noisy input keeps"
    )
    target: str | None = setting(None, "all or complement, as data.target")
    validation: list[str] | None = setting(None, "chromosomes of the validation split")
    test: list[str] | None = setting(None, "chromosomes of the test split")
