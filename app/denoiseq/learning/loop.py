"""Training: epochs of Adam, validation after each, checkpoints that resume to the same bits.

Takes objects, never configs. Leaves checkpoints/{last,best}.pt, history.csv and TensorBoard events
in the run's folder.
"""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from denoiseq.learning.checkpoint import load_checkpoint, save_checkpoint
from denoiseq.learning.dataset import TileBatches, WindowDataset, window_loader
from denoiseq.learning.evaluation import (
    Loss,
    Tuned,
    evaluate,
    tune_baselines,
    validate,
)
from denoiseq.learning.interrupt import Interrupted, Stop
from denoiseq.learning.models import Prediction
from denoiseq.learning.options import Run, TrainOptions, learning_rate, usable_monitor
from denoiseq.learning.progress import Progress, Records, check_resumable
from denoiseq.learning.step import optimizer_step

log = logging.getLogger(__name__)
__all__ = ["Interrupted", "Run", "TrainOptions", "TrainResult", "train"]


@dataclass(frozen=True)
class TrainResult:
    """history: a dict an epoch; best: {"monitor", "value", "epoch"}; metrics: of the best epoch."""

    history: list[dict[str, Any]]
    best: dict[str, Any]
    metrics: dict[str, Any]


def train(
    model: nn.Module,
    train_data: WindowDataset,
    validation_data: WindowDataset,
    loss: Loss,
    options: TrainOptions,
    run: Run,
) -> TrainResult:
    """Train `model` in place; it ends with the weights of the best epoch.

    Parameters
    ----------
    model : on its device, made under a seed of the caller's
    train_data, validation_data : WindowDataset
    loss : callable (Prediction, batch) -> (total, parts)
    options : TrainOptions
    run : Run

    Returns
    -------
    TrainResult
        `metrics` as `evaluate` gives them, on the validation split.

    Raises
    ------
    Interrupted
        After Ctrl-C or SIGTERM, with last.pt saved at the current step.
    ValueError
        If a loss or gradient is not finite, naming the window, or if `run.resume` does not fit.
    """
    with Stop(run.checkpoint("last")) as stop:
        training = _Training(model, train_data, validation_data, (loss, options, run))
        with training.records:
            while training.done.epoch < options.epochs:
                training.epoch(stop)
        best = load_checkpoint(run.checkpoint("best"))
        model.load_state_dict(best["state_dict"])
        tuned = Tuned.from_checkpoint(best)
        metrics, _ = evaluate(model, validation_data, run.evaluation, tuned)
    return TrainResult(
        training.done.history, training.done.best or {}, {"split": "validation", **metrics}
    )


class _Training:
    """The objects of one training and the steps that move it on."""

    def __init__(
        self,
        model: nn.Module,
        train_data: WindowDataset,
        validation_data: WindowDataset,
        settings: tuple[Loss, TrainOptions, Run],
    ):
        self.model, self.data, self.validation_data = model, train_data, validation_data
        self.loss, self.options, self.run = settings
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.Adam(model.parameters(), lr=self.options.lr)
        self.batches = TileBatches(train_data, self.options.batch_size, self.options.seed)
        self.loader = window_loader(self.batches, self.options.workers)
        self.done = Progress()
        if self.run.resume is not None:
            self._resume(Path(self.run.resume))
        self.baselines = self.done.tuned or tune_baselines(validation_data, self.run.evaluation)
        self.done.tuned = self.baselines
        self.monitor = usable_monitor(self.options.monitor, self.baselines)
        self.records = Records(self.run, self.options, self.done)

    def epoch(self, stop: Stop) -> None:
        """The rest of the current epoch, validation, checkpoints and records."""
        done, began = self.done, time.perf_counter()
        self.batches.start(done.epoch, done.batch)
        n_batches = len(self.batches.batches())
        with (
            stop.deferred(),
            tqdm(
                total=n_batches,
                initial=done.batch,
                desc=f"epoch {done.epoch + 1}/{self.options.epochs}",
                unit="batch",
                leave=False,
                disable=None if self.options.progress else True,
            ) as bar,
        ):
            self.model.train()
            windows = 0
            for batch in self.loader:
                value = self._step(batch, n_batches)
                windows += len(batch["x"])
                rate = windows / (time.perf_counter() - began)
                bar.set_postfix_str(f"loss {value:.4f}, {rate:.2f} segments/s", refresh=False)
                bar.update()
                if stop.requested:
                    self._save("last")
                    raise stop.interruption()
        self._save("last")
        seconds = time.perf_counter() - began
        self._close_epoch(seconds, windows / seconds)

    def _step(self, batch: dict[str, Tensor], n_batches: int) -> float:
        """One optimizer step; returns the loss."""
        done, options = self.done, self.options
        rate = learning_rate(options, done.epoch + done.batch / n_batches)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        step = optimizer_step(self.model, self.optimizer, self.loss, batch, options.gradient_clip)
        value = step.losses["loss"]
        if not step.finite:
            raise ValueError(self._not_finite(batch, step.prediction, value))
        done.add(step.losses, len(batch["x"]))
        self.records.step(value)
        return value

    def _not_finite(self, batch: dict[str, Tensor], pred: Prediction, value: float) -> str:
        """The sentence that names the window; before the step, so weights are still sound."""
        finite = [batch["x"].flatten(1), pred.coverage, pred.peak_logits, batch["coverage"]]
        broken = ~torch.stack([t.isfinite().all(1) for t in finite]).all(0)  # (N,)
        row = int(broken.int().argmax())
        tile = self.data.tiles[int(batch["index"][row])]
        what = f"the loss is {value}" if not math.isfinite(value) else "a gradient is not finite"
        where = f"window {tile.chrom}:{tile.start}-{tile.end}"
        if not broken.any():
            where = f"the batch that begins with {where}"
        return (
            f"Training stopped, {what} at epoch {self.done.epoch + 1}, "
            f"step {self.done.step + 1} in {where}: lower optim.lr or look at the data there."
        )

    def _close_epoch(self, seconds: float, rate: float) -> None:
        """Validate, then write everything that an epoch leaves."""
        done = self.done
        row: dict[str, Any] = {
            "epoch": done.epoch + 1,
            "step": done.step,
            "lr": self.optimizer.param_groups[0]["lr"],
            **{f"train_{name}": mean for name, mean in done.means().items()},
        }
        result, scores = validate(self.model, self.validation_data, self.loss, self.run.evaluation)
        row |= {f"validation_{name}": value for name, value in result.items()}
        done.tuned = self.baselines.with_denoised(scores)
        done.scale = scores.scale
        better = done.improves(self.monitor, result[self.monitor])
        done.close_epoch(row | {"seconds": seconds, "segments_per_second": rate})
        for name in ("best", "last") if better else ("last",):
            self._save(name)
        self.records.epoch(self.monitor)

    def _save(self, name: str) -> None:
        """Write last.pt or best.pt, complete: what predict, evaluate and resume need."""
        store = self.data.store
        payload = {
            **self.run.metadata,
            **self.done.payload(),
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "preprocessing": store.preprocessing,
            "fingerprint": store.fingerprint,
            "trained_cuts_per_mb": self.data.input_cuts_per_mb,
            "train_options": asdict(self.options),
            "window_options": asdict(self.data.options),
            "seed": self.options.seed,
        }
        save_checkpoint(self.run.checkpoint(name), payload)

    def _resume(self, path: Path) -> None:
        """Take over weights, optimizer and progress; refuse what would not go on as it was."""
        payload = load_checkpoint(path)
        check_resumable(path, payload, self.options, self.data)
        try:
            self.model.load_state_dict(payload["state_dict"])
            self.optimizer.load_state_dict(payload["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{path} holds the weights of another model: resume with the model it was made by."
            ) from error
        self.done = Progress.from_payload(payload)
        if not self.run.adopt_best(path):
            log.warning("no best.pt beside %s: the best epoch is sought anew.", path)
            self.done.best = None
