"""Training: epochs of steps, validation after each, checkpoints that resume to the same bits.
Leaves config.yaml, history.csv, checkpoints/{last,best}.pt and TensorBoard events in the folder.
"""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from denoiseq.atomic import write_text
from denoiseq.distributed import ALONE, Ranks, advised
from denoiseq.errors import LostRank, UserError
from denoiseq.evaluation.baselines import fit_linear, tune_baselines
from denoiseq.evaluation.calibration import at_temperature
from denoiseq.evaluation.measure import Loss, measure, validate
from denoiseq.evaluation.thresholds import Choice
from denoiseq.interrupt import Stop
from denoiseq.models.checkpoint import load_checkpoint, save_checkpoint
from denoiseq.models.network import Network, Prediction
from denoiseq.settings import Evaluate, Train, plain, to_yaml
from denoiseq.settings.optim import PEAK_METRICS
from denoiseq.training.losses import atacworks_loss
from denoiseq.training.optimizer import learning_rate
from denoiseq.training.progress import Progress, Records
from denoiseq.training.resume import adopt_best
from denoiseq.training.state import State, checkpoint_path, how_to_resume
from denoiseq.training.step import first_not_finite, optimizer_step
from denoiseq.windows.batches import TileBatches, WindowLoader
from denoiseq.windows.dataset import WindowDataset
from denoiseq.windows.splits import Splits

log = logging.getLogger(__name__)


class Training:
    """One training: its model, windows and state, and what moves them on.

    model : on its device, made with the training's seed
    settings : `out` is the run folder, `resume` a checkpoint to go on from
    ranks : the processes that share the training; only the main one writes
    metadata : further plain containers that every checkpoint stores as they are: versions, ...
    picture : draws example loci of a model as PNG, with what was chosen on validation

    Attributes: `loss` is of the whole batch, with several ranks its sums go through `Ranks.total`;
    `evaluation` is how the best epoch is measured on the validation split.
    """

    def __init__(
        self,
        model: Network,
        windows: Splits,
        settings: Train,
        ranks: Ranks = ALONE,
        metadata: dict[str, Any] | None = None,
        picture: Callable[[Any, Choice], bytes | None] | None = None,
    ):
        self.model, self.windows, self.settings, self.ranks = model, windows, settings, ranks
        self.metadata = {"config": plain(settings), **(metadata or {})}
        self.picture, self.evaluation = picture, Evaluate()
        self.device = next(model.parameters()).device
        self.loss: Loss = partial(atacworks_loss, weights=settings.loss, total=ranks.total)
        self.state = State(model, settings.optim)
        self.batches = TileBatches(windows.train, settings.optim.batch_size, settings.seed, ranks)
        self.loader = WindowLoader(self.batches, settings.trainer.workers)
        self.saved_at = -math.inf
        self.stop = Stop("Training", partial(how_to_resume, settings.out), ranks.world > 1)

    def train(self) -> dict[str, Any]:
        """Train to the last epoch; the model ends with the weights of the best one.

        Returns what `measure` gives on the validation split; empty except on the main rank. Raises
        Interrupted after one of its signals, with last.pt saved at the current step; LostRank if
        another rank died, with last.pt saved at the last step that all have done; UserError if a
        loss or gradient is not finite, or if the checkpoint to resume does not fit.
        """
        with self.stop:
            self._begin()
            optim, done = self.settings.optim, self.state.done
            with closing(self.records):
                try:
                    self._save("last")
                    if not optim.epochs:  # the given weights are measured and saved
                        self._close_epoch(0.0, 0.0)
                    while done.epoch < optim.epochs and done.patient(optim.patience):
                        self.epoch()
                except LostRank as error:
                    raise self._after_loss(error) from error
                except RuntimeError as error:  # torch raises it anywhere when a loader has died
                    if not _loader_died(error):
                        raise
                    raise OSError(
                        f"Training stopped, a process that loads windows died: {self.stop.how()}."
                    ) from error
            if done.epoch < optim.epochs:
                log.info("no better %s for %d epochs: done", optim.monitor, optim.patience)
            return self._measured_best()

    def epoch(self) -> None:
        """The rest of the current epoch, validation, checkpoints and records."""
        done, trainer, began = self.state.done, self.settings.trainer, time.perf_counter()
        self.batches.start(done.epoch, done.batch)
        sizes = [len(keys) for keys in self.batches.batches()]
        with (
            self.stop.deferred(),
            tqdm(
                total=len(sizes),
                initial=done.batch,
                desc=f"epoch {done.epoch + 1}/{self.settings.optim.epochs}",
                unit="batch",
                leave=False,
                disable=None if trainer.progress else True,
            ) as bar,
        ):
            self.model.train()
            windows = 0
            for batch in self._loaded():
                windows += sizes[done.batch]
                value = self.step(batch, sizes[done.batch], len(sizes))
                rate = windows / (time.perf_counter() - began)
                bar.set_postfix_str(f"loss {value:.4f}, {rate:.2f} segments/s", refresh=False)
                bar.update()
                if self.ranks.any(self.stop.signal is not None):
                    self._save("last")
                    raise self.stop.interruption()
                if time.monotonic() - self.saved_at >= 60 * trainer.checkpoint_minutes:
                    self._save("last")
        self._save("last")
        seconds = time.perf_counter() - began
        self._close_epoch(seconds, windows / seconds)

    def step(self, batch: dict[str, Tensor], windows: int, n_batches: int) -> float:
        """One optimizer step on a batch of `windows` over all ranks; returns the loss."""
        state, done, optim = self.state, self.state.done, self.settings.optim
        monitored = [row.get(f"validation_{optim.monitor}", math.nan) for row in done.history]
        comparable_from = done.comparable_from(optim.monitor)
        epochs_done = done.epoch + done.batch / n_batches
        rate = learning_rate(optim, epochs_done, monitored, comparable_from)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        step = optimizer_step(
            self.model,
            state.optimizer,
            self.loss,
            batch,
            gradient_clip=optim.gradient_clip,
            micro_batch=optim.micro_batch,
            ranks=self.ranks,
        )
        value = step.losses["loss"]
        if not step.finite:
            raise UserError(self._not_finite(batch, step.prediction, value))
        done.add(step.losses, windows)
        if state.average is not None:
            state.average.follow(self.model, done.step)
        self.records.step(value, rate)
        return value

    def _begin(self) -> None:
        """Resume, or choose the baselines; then open the records."""
        settings, state, train = self.settings, self.state, self.windows.train
        if settings.resume is not None:
            state.resume(Path(settings.resume), settings, train, self.ranks)
        if self.ranks.main:  # not before, as what is refused leaves the run's own
            write_text(Path(settings.out) / "config.yaml", to_yaml(settings))
        if not state.done.chosen:
            state.done.chosen = [self._baselines(data) for data in self._validated()]
        # A choice is made anew by the denoised track's scores alone: it keeps the baselines'.
        state.done.nominal = self._nominal()
        monitor = settings.optim.monitor
        if monitor in PEAK_METRICS and math.isnan(state.done.standing.tuned.thresholds["noisy"]):
            log.warning(
                "no true peak on validation: the best epoch is chosen by loss, not %s", monitor
            )
            monitor = "loss"
            self.settings = replace(settings, optim=replace(settings.optim, monitor=monitor))
        if settings.resume is not None:
            if self.ranks.main:
                best = checkpoint_path(settings.out, "best")
                adopt_best(Path(settings.resume), best, state.done, monitor)
            state.done.best = self.ranks.tell(state.done.best)
        self.records = Records(self.settings, state.done, self.ranks.main)

    def _validated(self) -> list[WindowDataset]:
        """The validation windows at every depth that is validated, from the least on."""
        validation = self.windows.validation
        return [validation.at(fraction) for fraction in validation.settings.validated_fractions]

    def _baselines(self, data: WindowDataset) -> Choice:
        """The baselines' bandwidth and thresholds at the depth of `data`."""
        train = self.windows.train.at(data.thin_fraction)
        linear = fit_linear(train, self.ranks)
        tuned = tune_baselines(data, self.settings, self.ranks, linear)
        return Choice(data.input_cuts_per_mb, tuned)

    def _nominal(self) -> int:
        """Which of the validated depths is nearest to data.thin_fraction."""
        depths = [choice.cuts_per_mb for choice in self.state.done.chosen]
        wanted = self.windows.train.input_cuts_per_mb
        return min(range(len(depths)), key=lambda i: abs(math.log(depths[i] / wanted)))

    def _loaded(self) -> Iterator[dict[str, Tensor]]:
        """This rank's share of the batches; one sentence if a process that loads them fails."""
        try:
            yield from self.loader
        except (OSError, RuntimeError, UserError) as error:
            unknown = isinstance(error, RuntimeError) and not _loader_died(error)
            if not self.settings.trainer.workers or unknown:
                raise
            self._save("last")
            if self.stop.signal is not None:  # it came to all processes of the job
                raise self.stop.interruption() from error
            kind = UserError if isinstance(error, UserError) else OSError
            # The error of a worker comes with its whole traceback.
            reason = str(error).strip().splitlines()[-1].removeprefix("denoiseq.errors.UserError: ")
            raise kind(
                f"Training stopped at step {self.state.done.step}, a process that loads windows "
                f"failed ({reason}): {self.stop.how()}."
            ) from error

    def _after_loss(self, error: LostRank) -> BaseException:
        """Save, and return the exception that tells how to go on without the lost rank."""
        if not self.stop.ending:  # a collective noticed it, within a step
            with self.stop.deferred():
                self._save("last")
            if self.stop.signal == signal.SIGINT:  # every rank had the Ctrl-C, and one has ended
                return self.stop.interruption()
        self.stop.ending = True
        step = self.state.done.step
        return advised(error, f"Training stopped at step {step}, {error}: {self.stop.how()}.")

    def _not_finite(self, batch: dict[str, Tensor], pred: Prediction, value: float) -> str:
        """The sentence that names the window; before the step, so the weights are still sound."""
        done, row = self.state.done, first_not_finite(batch, pred)
        what = f"the loss is {value}" if not math.isfinite(value) else "a gradient is not finite"
        window = f"window {self.windows.train.window_name(int(batch['index'][row or 0]))}"
        broken = self.ranks.first(None if row is None else window)
        where = broken or f"the batch that begins with {self.ranks.tell(window)}"
        return (
            f"Training stopped, {what} at epoch {done.epoch + 1}, step {done.step + 1} in "
            f"{where}: lower optim.lr or look at the data there."
        )

    def _close_epoch(self, seconds: float, rate: float) -> None:
        """Validate, then write everything that an epoch leaves."""
        state, done, monitor = self.state, self.state.done, self.settings.optim.monitor
        row: dict[str, Any] = {
            "epoch": done.epoch + 1,
            "step": done.step,
            "lr": state.optimizer.param_groups[0]["lr"],
            **{f"train_{name}": mean for name, mean in done.means().items()},
        }
        # What is validated is what is saved.
        for model in dict.fromkeys((self.model, state.validated)):
            self.ranks.mean_statistics(model)
        result = self._validate()
        row |= {f"validation_{name}": value for name, value in result.items()}
        if monitor not in result:
            raise UserError(
                f"optim.monitor={monitor} is not measured by this training, "
                f"choose one of {', '.join(result)}."
            )
        better = done.improves(monitor, result[monitor])
        done.close_epoch(row | {"seconds": seconds, "segments_per_second": rate})
        for name in ("best", "last") if better else ("last",):
            self._save(name)
        self.records.epoch(monitor)
        if (draw := self.picture) is not None:
            with at_temperature(state.validated, done.standing.temperature):
                self.records.image(lambda: draw(state.validated, done.standing))

    def _validate(self) -> dict[str, float]:
        """The metrics by name, means over the validated depths, and of several depths each one's as
        well, as "auprc_at_5000" cut sites per Mb; makes the choices anew.
        """
        done, each = self.state.done, []
        for i, data in enumerate(self._validated()):
            result, scores = validate(
                self.state.validated, data, self.loss, self.settings, self.ranks
            )
            done.chosen[i] = done.chosen[i].with_denoised(scores)
            each.append(result)
        if len(each) == 1:
            return each[0]
        means = {name: sum(result[name] for result in each) / len(each) for name in each[0]}
        for choice, result in zip(done.chosen, each, strict=True):
            means |= {f"{n}_at_{choice.cuts_per_mb:.0f}": value for n, value in result.items()}
        return means

    def _measured_best(self) -> dict[str, Any]:
        """Load the weights of the best epoch, and measure them on the main rank."""
        ranks, validation = self.ranks, self.windows.validation
        path = checkpoint_path(self.settings.out, "best")
        best = ranks.tell(load_checkpoint(path) if ranks.main else None)
        self.model.load_state_dict(best["state_dict"])
        if not ranks.main:
            return {}
        chosen = Progress.from_payload(best).standing
        validation = validation.at(validation.settings.validated_fractions[self.state.done.nominal])
        with at_temperature(self.model, chosen.temperature):
            measured = measure(self.model, validation, self.evaluation, self.settings, chosen.tuned)
        return {"split": "validation", **measured.metrics}

    def _save(self, name: str) -> None:
        """Write last.pt or best.pt with all that predict, evaluate and resume need."""
        self.saved_at = time.monotonic()
        if self.ranks.main:
            payload = self.state.payload(self.settings, self.windows.train)
            path = checkpoint_path(self.settings.out, name)
            save_checkpoint(path, {**self.metadata, **payload})


def _loader_died(error: RuntimeError) -> bool:
    """Whether torch says that a process that loads windows was killed."""
    return str(error).startswith("DataLoader worker")
