"""Training: epochs of steps, validation after each, checkpoints that resume to the same bits.

Takes objects, never configs. Leaves checkpoints/{last,best}.pt, history.csv and TensorBoard events
in the run's folder.
"""

import logging
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from denoiseq.distributed import LostRank
from denoiseq.errors import UserError
from denoiseq.evaluation.baselines import fit_linear, tune_baselines
from denoiseq.evaluation.calibration import at_temperature
from denoiseq.evaluation.measure import Loss, measure, validate
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.models.checkpoint import load_checkpoint, save_checkpoint
from denoiseq.models.network import Prediction
from denoiseq.training.interrupt import Interrupted, Stop
from denoiseq.training.optimizer import Average, learning_rate, make_optimizer
from denoiseq.training.options import Run, TrainOptions, usable_monitor
from denoiseq.training.progress import Progress, Records, check_resumable
from denoiseq.training.step import optimizer_step
from denoiseq.windows.dataset import TileBatches, WindowDataset, window_loader

log = logging.getLogger(__name__)
__all__ = ["Interrupted", "Run", "TrainOptions", "TrainResult", "train"]


@dataclass(frozen=True)
class TrainResult:
    """history: a dict an epoch; best: {"monitor", "value", "epoch"}; metrics: of the best epoch,
    empty on all ranks but the first.
    """

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
        Of the whole batch: with several ranks its sums go through `run.ranks.total`.
    options : TrainOptions
    run : Run

    Returns
    -------
    TrainResult
        `metrics` as `measure` gives them, on the validation split.

    Raises
    ------
    Interrupted
        After Ctrl-C or SIGTERM, with last.pt saved at the current step.
    ValueError
        If a loss or gradient is not finite, naming the window, or if `run.resume` does not fit.
    LostRank
        If another process died; last.pt is saved at the last step that all have done.
    """
    ranks = run.ranks
    with Stop(run.checkpoint("last"), patient=ranks.world > 1) as stop:
        training = _Training(model, train_data, validation_data, (loss, options, run))
        with training.records:
            training.go_on(stop)
        best = ranks.tell(load_checkpoint(run.checkpoint("best")) if ranks.main else None)
        model.load_state_dict(best["state_dict"])
        metrics: dict[str, Any] = {}
        if ranks.main:
            tuned = Tuned.from_checkpoint(best)
            assert tuned is not None  # best.pt is written after a validation
            with at_temperature(model, best.get("temperature", 1.0)):
                measured = measure(model, validation_data, run.evaluation, run.validation, tuned)
            metrics = {"split": "validation", **measured.metrics}
    return TrainResult(training.done.history, training.done.best or {}, metrics)


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
        self.loss, options, self.run = settings
        self.ranks = self.run.ranks
        self.device = next(model.parameters()).device
        self.optimizer = make_optimizer(model, options)
        self.batches = TileBatches(train_data, options.batch_size, options.seed, self.ranks)
        self.loader = window_loader(self.batches, options.workers)
        self.average = Average(model, options.ema_decay) if options.ema_decay else None
        self.done = Progress()
        if self.run.resume is not None:
            self._resume(Path(self.run.resume), options)
        self.baselines = self.done.tuned or tune_baselines(
            validation_data,
            self.run.validation,
            self.ranks,
            fit_linear(train_data, self.ranks),
        )
        self.done.tuned = self.baselines
        monitor = usable_monitor(options.monitor, self.baselines)
        self.options = replace(options, monitor=monitor)
        self.records = Records(self.run, self.options, self.done, self.ranks.main)
        self.saved_at = -math.inf

    @property
    def validated(self) -> nn.Module:
        """The weights that count: the average, where one is kept."""
        return self.model if self.average is None else self.average.model

    def go_on(self, stop: Stop) -> None:
        """From where the training stands to its last epoch."""
        done, options = self.done, self.options
        try:
            self._save("last")
            if not options.epochs:  # the weights as they were given, measured and kept
                self._close_epoch(0.0, 0.0)
            while done.epoch < options.epochs and done.patient(options.patience):
                self.epoch(stop)
        except LostRank as error:
            with stop.deferred():
                self._save("last")
            if stop.signal == signal.SIGINT:  # all had the Ctrl-C, and one has gone already
                raise stop.interruption() from error
            raise LostRank(
                f"Training stopped at step {done.step}, {error}: "
                f"go on with resume={self.run.checkpoint('last')}."
            ) from error
        if done.epoch < options.epochs:
            log.info("no better %s for %d epochs: done", options.monitor, options.patience)

    def epoch(self, stop: Stop) -> None:
        """The rest of the current epoch, validation, checkpoints and records."""
        done, began = self.done, time.perf_counter()
        self.batches.start(done.epoch, done.batch)
        sizes = [len(keys) for keys in self.batches.batches()]
        with (
            stop.deferred(),
            tqdm(
                total=len(sizes),
                initial=done.batch,
                desc=f"epoch {done.epoch + 1}/{self.options.epochs}",
                unit="batch",
                leave=False,
                disable=None if self.options.progress else True,
            ) as bar,
        ):
            self.model.train()
            windows = 0
            for batch in self._loaded():
                n = sizes[done.batch]
                value = self._step(batch, n, len(sizes))
                windows += n
                rate = windows / (time.perf_counter() - began)
                bar.set_postfix_str(f"loss {value:.4f}, {rate:.2f} segments/s", refresh=False)
                bar.update()
                if self.ranks.any(stop.requested):
                    self._save("last")
                    raise stop.interruption()
                if time.monotonic() - self.saved_at >= 60 * self.options.checkpoint_minutes:
                    self._save("last")
        self._save("last")
        seconds = time.perf_counter() - began
        self._close_epoch(seconds, windows / seconds)

    def _loaded(self) -> Iterator[dict[str, Tensor]]:
        """This rank's share of the batches; a loader's process that fails is one sentence."""
        try:
            yield from self.loader
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, LostRank) or not self.options.workers:
                raise
            self._save("last")
            reason = str(error).strip().splitlines()[-1]
            raise OSError(
                f"Training stopped at step {self.done.step}, a process that loads windows failed "
                f"({reason}): go on with resume={self.run.checkpoint('last')}."
            ) from error

    def _step(self, batch: dict[str, Tensor], windows: int, n_batches: int) -> float:
        """One optimizer step on a batch of so many windows over all ranks; returns the loss."""
        done, options = self.done, self.options
        monitored = [row[f"validation_{options.monitor}"] for row in done.history]
        rate = learning_rate(options, done.epoch + done.batch / n_batches, monitored)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        step = optimizer_step(
            self.model,
            self.optimizer,
            self.loss,
            batch,
            gradient_clip=options.gradient_clip,
            micro_batch=options.micro_batch,
            ranks=self.ranks,
        )
        value = step.losses["loss"]
        if not step.finite:
            raise UserError(self._not_finite(batch, step.prediction, value))
        done.add(step.losses, windows)
        if self.average is not None:
            self.average.follow(self.model, done.step)
        self.records.step(value, rate)
        return value

    def _not_finite(self, batch: dict[str, Tensor], pred: Prediction, value: float) -> str:
        """The sentence that names the window; before the step, so weights are still sound."""
        tracks = (batch["x"].flatten(1), batch["coverage"], *pred)
        finite = [t.isfinite().all(1) for t in tracks if t is not None]  # each (N,)
        broken = ~torch.stack(finite).all(0)
        row = int(broken.int().argmax())
        what = f"the loss is {value}" if not math.isfinite(value) else "a gradient is not finite"
        window = f"window {self.data.window_name(int(batch['index'][row]))}"
        found = self.ranks.first(window if broken.any() else None)
        where = found or f"the batch that begins with {self.ranks.tell(window)}"
        return (
            f"Training stopped, {what} at epoch {self.done.epoch + 1}, "
            f"step {self.done.step + 1} in {where}: lower optim.lr or look at the data there."
        )

    def _close_epoch(self, seconds: float, rate: float) -> None:
        """Validate, then write everything that an epoch leaves."""
        done, monitor = self.done, self.options.monitor
        row: dict[str, Any] = {
            "epoch": done.epoch + 1,
            "step": done.step,
            "lr": self.optimizer.param_groups[0]["lr"],
            **{f"train_{name}": mean for name, mean in done.means().items()},
        }
        result, scores = validate(
            self.validated, self.validation_data, self.loss, self.run.validation, self.ranks
        )
        row |= {f"validation_{name}": value for name, value in result.items()}
        if monitor not in result:
            raise UserError(
                f"optim.monitor={monitor} is not measured by this training, "
                f"choose one of {', '.join(result)}."
            )
        tuned = done.choose(self.baselines, scores)
        better = done.improves(monitor, result[monitor])
        done.close_epoch(row | {"seconds": seconds, "segments_per_second": rate})
        for name in ("best", "last") if better else ("last",):
            self._save(name)
        self.records.epoch(monitor)
        if self.run.picture is not None:
            draw = self.run.picture
            with at_temperature(self.validated, done.temperature):
                self.records.image(lambda: draw(self.validated, tuned, scores.scale))

    def _save(self, name: str) -> None:
        """Write last.pt or best.pt, complete: what predict, evaluate and resume need."""
        self.saved_at = time.monotonic()
        if not self.ranks.main:
            return
        payload = {
            **self.run.metadata,
            **self.done.payload(),
            **self.data.facts(),
            "state_dict": self.validated.state_dict(),
            "training_state": {
                "weights": None if self.average is None else self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "random": torch.get_rng_state(),
            },
            "train_options": asdict(self.options),
            "seed": self.options.seed,
        }
        save_checkpoint(self.run.checkpoint(name), payload)

    def _resume(self, path: Path, options: TrainOptions) -> None:
        """Take over weights, optimizer and progress; refuse what would not go on as it was."""
        payload = self.ranks.tell(load_checkpoint(path) if self.ranks.main else None)
        check_resumable(path, payload, options, self.data)
        state = payload["training_state"]
        try:
            if self.average is not None:
                self.average.model.load_state_dict(payload["state_dict"])
            self.model.load_state_dict(state["weights"] or payload["state_dict"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{path} holds the weights of another model: resume with the model it was made by."
            ) from error
        torch.set_rng_state(state["random"])
        self.done = Progress.from_payload(payload)
        if self.ranks.main and not self.run.adopt_best(path) and self.done.best:
            log.warning("no best.pt beside %s: the best epoch is sought anew.", path)
            self.done.best = None
        self.done.best = self.ranks.tell(self.done.best)
