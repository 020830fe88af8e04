"""How far a training has come, and the records that show it: history.csv, TensorBoard, the log.

Progress is the part of a checkpoint that is neither weights nor settings. Records are rewritten
from it on resume, so they never run ahead of the checkpoint.
"""

import io
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from denoiseq.atomic import write_csv
from denoiseq.errors import UserError
from denoiseq.evaluation.calibration import calibrate
from denoiseq.evaluation.metrics import TrackMetrics
from denoiseq.evaluation.thresholds import Tuned, operating_points
from denoiseq.training.options import Run, TrainOptions, smaller_is_better
from denoiseq.windows.dataset import WindowDataset
from denoiseq.windows.options import WindowOptions

log = logging.getLogger(__name__)
COUNTERS = ("epoch", "batch", "step", "sums", "best", "history", "scale")
# Of the last validation; checkpoints of older versions lack them.
CHOICES = ("temperature", "calibration", "operating_points")
# Settings that a resumed training must share, or its batches would not be the ones left to do.
PINNED = ("seed", "batch_size", "optimizer", "ema_decay")
# Settings that may change, so that it does not go on as it would have.
LASTING = (
    *("epochs", "lr", "weight_decay", "schedule", "warmup_epochs", "plateau_epochs"),
    *("plateau_factor", "gradient_clip", "patience"),
)


@dataclass
class Progress:
    """Whole epochs and the batches of the current one that are done, and what came of them.

    step counts optimizer steps; sums holds the current epoch's losses summed over windows; best
    is {"monitor", "value", "epoch"}; scale fits the denoised track to the truth. calibration, of
    peak logits, and operating_points are the last validation's.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    scale: float | None = None
    tuned: Tuned | None = None
    temperature: float = 1.0
    calibration: dict[str, Any] | None = None
    operating_points: dict[str, list[float]] | None = None

    def payload(self) -> dict[str, Any]:
        """The checkpoint's keys that this fills; `from_payload` reads them back."""
        tuned = asdict(self.tuned) if self.tuned else {}
        return {
            **{name: getattr(self, name) for name in (*COUNTERS, *CHOICES)},
            "gaussian_sigma_bp": tuned.get("gaussian_sigma_bp"),
            "thresholds": tuned.get("thresholds"),
            "linear": tuned.get("linear"),
            "peak_threshold": tuned.get("thresholds", {}).get("denoised"),
        }

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> "Progress":
        known = {name: payload[name] for name in COUNTERS}
        known |= {name: payload[name] for name in CHOICES if name in payload}
        return cls(**known, tuned=Tuned.from_checkpoint(payload))

    def choose(self, baselines: Tuned, scores: TrackMetrics) -> Tuned:
        """Take over what a validation's scores, of logits without temperature, say to choose."""
        calibration = calibrate(scores)
        self.temperature = calibration.temperature if calibration else 1.0
        self.calibration = asdict(calibration) if calibration else None
        self.tuned = baselines.with_denoised(scores, self.temperature)
        self.operating_points = operating_points(scores, self.temperature)
        self.scale = scores.scale
        return self.tuned

    def add(self, losses: dict[str, float], windows: int) -> None:
        """Count a batch's losses, of so many windows, into the epoch's means."""
        for name, value in {**losses, "windows": 1.0}.items():
            self.sums[name] = self.sums.get(name, 0.0) + windows * value
        self.batch, self.step = self.batch + 1, self.step + 1

    def means(self) -> dict[str, float]:
        """Mean losses of the current epoch so far."""
        windows = self.sums.get("windows", 0.0)
        return {k: v / windows for k, v in self.sums.items() if k != "windows"}

    def improves(self, monitor: str, value: float) -> bool:
        """Whether this epoch is the best so far; if so, note it."""
        best = self.best["value"] if self.best else math.nan
        better = value < best if smaller_is_better(monitor) else value > best
        if better or math.isnan(best):
            self.best = {"monitor": monitor, "value": value, "epoch": self.epoch + 1}
            return True
        return False

    def patient(self, patience: int) -> bool:
        """Whether the best epoch is less than `patience` epochs ago; 0 waits for ever."""
        return not (patience and self.best and self.epoch - self.best["epoch"] >= patience)

    def close_epoch(self, row: dict[str, Any]) -> None:
        """End the current epoch with its row of history."""
        self.history.append(row)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}


def check_resumable(
    path: Path, payload: dict[str, Any], options: TrainOptions, data: WindowDataset
) -> None:
    """Raise ValueError where a training cannot go on from a checkpoint as it was."""
    if payload["training_state"] is None:
        raise UserError(
            f"{path} was released to predict with, without its training's state: start a training "
            "from its weights with model.pretrained=."
        )
    was = payload.get("train_options", {})
    for name in PINNED:
        if was.get(name, getattr(options, name)) != getattr(options, name):
            raise UserError(
                f"{path} was trained with {name}={was.get(name)}, not {getattr(options, name)}: "
                "resume with the same settings."
            )
    changed = [
        f"{name} {was[name]} -> {getattr(options, name)}"
        for name in LASTING
        if name in was and was[name] != getattr(options, name)
    ]
    if changed:
        log.warning("warning: resumed with other settings: %s", ", ".join(changed))
    if WindowOptions(**payload["window_options"]) != data.options:
        raise UserError(
            f"{path} was trained on windows of {payload['window_options']}, "
            f"not {asdict(data.options)}: resume with the same data settings."
        )
    if payload["fingerprint"] != data.fingerprint:
        raise UserError(
            f"{path} was trained on a store prepared otherwise than {data.store.path} or one that "
            "goes with it: resume on the same ones."
        )


class Records:
    """history.csv, TensorBoard scalars and images, one log line an epoch; a context manager.

    Off the main rank it keeps nothing.
    """

    def __init__(self, run: Run, options: TrainOptions, done: Progress, writes: bool = True):
        self.done, self.epochs, self.writes = done, options.epochs, writes
        self.path = Path(run.folder) / "history.csv"
        self.writer = None
        if done.history:
            self._write_history()
        if options.tensorboard and writes:
            # Imported here: it takes a second, and trainings without it need not pay.
            from torch.utils.tensorboard import SummaryWriter

            # Events beyond the resumed step belong to a training that did not happen.
            purge = done.step + 1 if done.step else None
            self.writer = SummaryWriter(str(run.folder), purge_step=purge)

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def step(self, loss: float, rate: float) -> None:
        """Note the loss and the learning rate of the step just done."""
        if self.writer is not None:
            self.writer.add_scalar("step/loss", loss, self.done.step)
            self.writer.add_scalar("step/lr", rate, self.done.step)

    def image(self, draw: Callable[[], bytes | None]) -> None:
        """Show the PNG that `draw` gives, if there is a TensorBoard to show it."""
        if self.writer is not None and (png := draw()) is not None:
            from matplotlib.image import imread

            pixels = imread(io.BytesIO(png), format="png")
            self.writer.add_image("tracks", pixels, self.done.step, dataformats="HWC")

    def epoch(self, monitor: str) -> None:
        """Note the epoch just closed."""
        row = self.done.history[-1]
        self._write_history()
        best = self.done.best and self.done.best["epoch"] == row["epoch"]
        if not self.epochs:  # none trained
            return
        measured = "" if monitor == "loss" else f", {monitor} {row[f'validation_{monitor}']:.4f}"
        log.info(
            "epoch %d/%d: loss %.4f, validation loss %.4f%s%s, %.2f segments/s",
            row["epoch"],
            self.epochs,
            row["train_loss"],
            row["validation_loss"],
            measured,
            " (best)" if best else "",
            row["segments_per_second"],
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
