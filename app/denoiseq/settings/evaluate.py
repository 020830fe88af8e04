"""The settings of `denoiseq evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from denoiseq.settings.conv import Conv
from denoiseq.settings.data import DataOverrides
from denoiseq.settings.precision import Precision
from denoiseq.settings.predict import LOCI, RANDOM_LOCI, REGIONS
from denoiseq.settings.setting import (
    Allowed,
    at_least,
    check_settings,
    group,
    one_of,
    path,
    setting,
)
from denoiseq.settings.trainer import Trainer


@dataclass
class Evaluate:
    """Measure a checkpoint on held-out chromosomes: metrics and figures.

    denoiseq evaluate --checkpoint outputs/mine/checkpoints/best.pt --split test
    """

    checkpoint: str | None = path("best.pt of a training; required")
    split: str = setting("validation", "chromosomes to measure on", one_of("validation", "test"))
    out: str | None = path(
        "output folder; null = evaluate/SPLIT in the run folder of the checkpoint"
    )
    loci: int = setting(*LOCI)
    random_loci: int = setting(*RANDOM_LOCI)
    regions: list[str] = setting(*REGIONS)
    retune: bool = setting(
        False, "choose sigma, linear filter and thresholds again, without the test split"
    )
    macs3: Any = setting(
        "auto",
        "also call peaks with MACS3 on the same input; auto = if it is installed",
        Allowed("auto, true or false", lambda value: value in ("auto", True, False)),
        kind="auto, true or false",
    )
    reproducibility: bool = setting(
        False,
        "also call peaks on as many other fragments, and measure how far both sets agree: a second "
        "pass of the network; needs data.thin_fraction of at most 0.5",
    )
    bootstrap: int = setting(
        500,
        "replicates used for the 95% intervals; 0 = no intervals",
        Allowed("0, or 20 to 10,000", lambda value: value == 0 or 20 <= value <= 10_000),
    )
    block_bp: int = setting(
        50_000, "length of the blocks of the genome that the bootstrap draws", at_least(1_000)
    )
    data: DataOverrides = group(DataOverrides, "what to evaluate on; null = as in training")
    conv: Conv = group(Conv, "which convolution the network runs on")
    precision: Precision = group(Precision, "precision of the activations")
    trainer: Trainer = group(Trainer, "how the machine is used")

    def __post_init__(self) -> None:
        check_settings(self)
