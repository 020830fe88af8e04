"""What a training stores in its checkpoints, and how another one goes on from them."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from denoiseq.atomic import atomic_path
from denoiseq.distributed import Ranks
from denoiseq.errors import UserError
from denoiseq.models.checkpoint import load_checkpoint
from denoiseq.models.network import Network
from denoiseq.settings import Optim, Train
from denoiseq.training.optimizer import Average, make_optimizer
from denoiseq.training.progress import Progress
from denoiseq.windows.dataset import WindowDataset, window_options

log = logging.getLogger(__name__)
# Settings that a resumed training must share, or its batches would not be the ones left to do.
PINNED = ("seed", "batch_size", "optimizer", "ema_decay")
# Settings that may change, although the training then does not go on as it would have.
LASTING = (
    *("epochs", "lr", "weight_decay", "schedule", "warmup_epochs", "plateau_epochs"),
    *("plateau_factor", "gradient_clip", "patience"),
)
# Settings of windows that the first checkpoints of version 2 lack, with what they mean there.
LATER_WINDOW_OPTIONS = {"thin_range": None, "reverse_complement": False}


def train_options(settings: Train) -> dict[str, Any]:
    """How a network is trained, under the key names of checkpoint version 2."""
    options = {**vars(settings.optim), **vars(settings.trainer), "seed": settings.seed}
    options["optimizer"] = options.pop("name")
    del options["device"], options["threads"]
    return options


def check_resumable(
    path: Path, payload: dict[str, Any], settings: Train, data: WindowDataset
) -> None:
    """Raise UserError if a training cannot go on from a checkpoint as it was."""
    if payload["training_state"] is None:
        raise UserError(
            f"{path} was released to predict with, without its training's state: start a training "
            "from its weights with model.pretrained=."
        )
    now = train_options(settings)
    before = now | payload.get("train_options", {})
    for name in PINNED:
        if before[name] != now[name]:
            raise UserError(
                f"{path} was trained with {name}={before[name]}, not {now[name]}: "
                "resume with the same settings."
            )
    if changed := [f"{n} {before[n]} -> {now[n]}" for n in LASTING if before[n] != now[n]]:
        log.warning("resumed with other settings: %s", ", ".join(changed))
    windows = window_options(data.settings, data.seed)
    if LATER_WINDOW_OPTIONS | payload["window_options"] != windows:
        raise UserError(
            f"{path} was trained on windows of {payload['window_options']}, "
            f"not {windows}: resume with the same data settings."
        )
    if payload["fingerprint"] != data.fingerprint:
        raise UserError(
            f"{path} was trained on a store prepared otherwise than {data.store.path} or one that "
            "goes with it: resume on the same ones."
        )


def checkpoint_path(folder: Path | str, name: str) -> Path:
    """The path of "last" or "best" in a run folder."""
    return Path(folder) / "checkpoints" / f"{name}.pt"


class State:
    """What a training moves and a checkpoint stores: weights, average, optimizer, progress."""

    def __init__(self, model: Network, settings: Optim):
        self.model = model
        self.optimizer = make_optimizer(model, settings)
        self.average = Average(model, settings.ema_decay) if settings.ema_decay else None
        self.done = Progress()

    @property
    def validated(self) -> nn.Module:
        """The model that is validated and predicted with: the averaged one, if there is one."""
        return self.model if self.average is None else self.average.model

    def payload(self, settings: Train, data: WindowDataset) -> dict[str, Any]:
        """The keys of a checkpoint, apart from what surrounds the training."""
        return {
            **self.done.payload(),
            **data.facts(),
            "state_dict": self.validated.state_dict(),
            "training_state": {
                "weights": None if self.average is None else self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "random": torch.get_rng_state(),
            },
            "train_options": train_options(settings),
            "seed": settings.seed,
        }

    def resume(self, path: Path, settings: Train, data: WindowDataset, ranks: Ranks) -> None:
        """Go on from a checkpoint; refuse one from which the training would not go on as it was."""
        payload = ranks.tell(load_checkpoint(path) if ranks.main else None)
        check_resumable(path, payload, settings, data)
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
        best = checkpoint_path(settings.out, "best")
        if ranks.main and not _adopt_best(path, best) and self.done.best:
            log.warning("no best.pt beside %s: the best epoch is chosen anew.", path)
            self.done.best = None
        self.done.best = ranks.tell(self.done.best)


def _adopt_best(resumed: Path, best: Path) -> bool:
    """Copy the best.pt beside a resumed checkpoint to `best`; whether there is one then."""
    source = resumed.with_name("best.pt")
    if source.is_file() and source.resolve() != best.resolve():
        with atomic_path(best) as temporary:
            shutil.copyfile(source, temporary)
    return best.is_file()
