"""How far a training has come, the part of a checkpoint that is neither weights nor settings; and
its records, which are rewritten from it on resume, so they never run ahead of the checkpoint.
"""

import io
import logging
import math
from collections.abc import Callable, Container
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from denoiseq.atomic import write_csv
from denoiseq.evaluation.thresholds import NOTHING_CHOSEN, Choice, choices
from denoiseq.settings import Train
from denoiseq.settings.optim import smaller_is_better

log = logging.getLogger(__name__)
# Metrics that the settings `loss` have a say in.
WEIGHTED = ("loss", "loss_bce")


@dataclass
class Progress:
    """Epochs and batches of the current epoch that are done, and their results.

    step counts optimizer steps; sums holds the current epoch's losses summed over windows; best
    is {"monitor", "value", "epoch"}; chosen is the last validation's, depth by depth in ascending
    order, before it the baselines'; nominal is the place in it of the depth that stands for all.
    other_losses counts the first epochs whose loss was of other settings than now.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    chosen: list[Choice] = field(default_factory=list)
    nominal: int = 0
    other_losses: int = 0

    def payload(self) -> dict[str, Any]:
        """The checkpoint's keys that this fills; `from_payload` reads them back."""
        own = {name: value for name, value in vars(self).items() if name != "chosen"}
        by_depth = [choice.keys() for choice in self.chosen]
        standing = by_depth[self.nominal] if by_depth else NOTHING_CHOSEN
        return own | {"by_depth": by_depth, **standing}

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> "Progress":
        known = {f.name: payload[f.name] for f in fields(cls) if f.name in payload}
        return cls(**known, chosen=choices(payload))

    @property
    def standing(self) -> Choice:
        """What was chosen at the depth that stands for all."""
        return self.chosen[self.nominal]

    def add(self, losses: dict[str, float], windows: int) -> None:
        """Add the losses of a batch of `windows` to the epoch's means."""
        for name, value in {**losses, "windows": 1.0}.items():
            self.sums[name] = self.sums.get(name, 0.0) + windows * value
        self.batch, self.step = self.batch + 1, self.step + 1

    def means(self) -> dict[str, float]:
        """Mean losses of the current epoch so far."""
        return {k: v / self.sums["windows"] for k, v in self.sums.items() if k != "windows"}

    def improves(self, monitor: str, value: float) -> bool:
        """Whether this epoch is the best so far; if so, remember it."""
        if better := _is_better(monitor, value, self.best):
            self.best = {"monitor": monitor, "value": value, "epoch": self.epoch + 1}
        return better

    def best_by(self, monitor: str, epochs: Container[int] | None = None) -> dict[str, Any] | None:
        """The best of the comparable epochs, or of those in `epochs`; None where there is none."""
        best = None
        for row in self.history[self.comparable_from(monitor) :]:
            value = row.get(f"validation_{monitor}")
            if value is None or (epochs is not None and row["epoch"] not in epochs):
                continue
            if _is_better(monitor, value, best):
                best = {"monitor": monitor, "value": value, "epoch": row["epoch"]}
        return best

    def best_is_comparable(self, monitor: str) -> bool:
        """Whether the best epoch was chosen by `monitor` as it is measured now."""
        if self.best is None or self.best["monitor"] != monitor:
            return False
        return self.best["epoch"] > self.comparable_from(monitor)

    def comparable_from(self, monitor: str) -> int:
        """How many of the first epochs have a value that cannot be compared with the later ones."""
        return self.other_losses if monitor in WEIGHTED else 0

    def patient(self, patience: int) -> bool:
        """Whether the best epoch is less than `patience` epochs ago; 0 waits forever."""
        return not (patience and self.best and self.epoch - self.best["epoch"] >= patience)

    def close_epoch(self, row: dict[str, Any]) -> None:
        """End the current epoch with its row of history."""
        self.history.append(row)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}


def _is_better(monitor: str, value: float, best: dict[str, Any] | None) -> bool:
    """Whether a value beats the best one; any beats nan."""
    least = math.nan if best is None else best["value"]
    better = value < least if smaller_is_better(monitor) else value > least
    return better or math.isnan(least)


class Records:
    """history.csv, TensorBoard's events, a log line an epoch; only the main rank `writes`."""

    def __init__(self, settings: Train, done: Progress, writes: bool):
        self.done, self.epochs, self.writes = done, settings.optim.epochs, writes
        self.path = Path(settings.out) / "history.csv"
        self.writer = None
        if done.history:
            self._write_history()
        if settings.trainer.tensorboard and writes:
            # Imported here, because it takes a second that trainings without it need not spend.
            from torch.utils.tensorboard import SummaryWriter

            settings.out.encode()  # TensorBoard needs UTF-8
            # Events beyond the resumed step belong to a training that did not happen.
            purge = done.step + 1 if done.step else None
            self.writer = SummaryWriter(settings.out, purge_step=purge)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def step(self, loss: float, rate: float) -> None:
        """Write the loss and the learning rate of the step just done."""
        if self.writer is not None:
            self.writer.add_scalar("step/loss", loss, self.done.step)
            self.writer.add_scalar("step/lr", rate, self.done.step)

    def image(self, draw: Callable[[], bytes | None]) -> None:
        """Write the PNG that `draw` gives, if events are written for TensorBoard."""
        if self.writer is not None and (png := draw()) is not None:
            from matplotlib.image import imread

            pixels = imread(io.BytesIO(png), format="png")
            self.writer.add_image("tracks", pixels, self.done.step, dataformats="HWC")

    def epoch(self, monitor: str) -> None:
        """Write the epoch just closed."""
        row = self.done.history[-1]
        self._write_history()
        best = self.done.best and self.done.best["epoch"] == row["epoch"]
        if not self.epochs:  # none trained
            return
        measured = "" if monitor == "loss" else f", {monitor} {row[f'validation_{monitor}']:.4f}"
        log.info(
            f"epoch {row['epoch']}/{self.epochs}: loss {row['train_loss']:.4f}, "
            f"validation loss {row['validation_loss']:.4f}{measured}{' (best)' if best else ''}, "
            f"{row['segments_per_second']:.2f} segments/s"
        )
        if self.writer is not None:
            for name, value in row.items():
                part, _, metric = name.partition("_")
                tag = f"{part}/{metric}" if part in ("train", "validation") else f"epoch/{name}"
                self.writer.add_scalar(tag, value, row["step"])
            self.writer.flush()

    def _write_history(self) -> None:
        if self.writes:
            write_csv(self.path, self.done.history)
