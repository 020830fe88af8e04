"""What a training stores in its checkpoints and takes up from them again."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from denoiseq.distributed import Ranks
from denoiseq.errors import UserError
from denoiseq.interrupt import ANEW
from denoiseq.models.checkpoint import (
    check_weights,
    load_checkpoint,
    require,
    trained_settings,
)
from denoiseq.models.network import Network
from denoiseq.models.payload import TO_RESUME
from denoiseq.settings import Optim, Train
from denoiseq.training.optimizer import Average, check_optimizer_state, make_optimizer
from denoiseq.training.progress import Progress
from denoiseq.training.resume import check_resumable
from denoiseq.windows.dataset import WindowDataset


def train_options(settings: Train) -> dict[str, Any]:
    """How a network is trained, under the key names of checkpoint version 2."""
    options = {**vars(settings.optim), **vars(settings.trainer), "seed": settings.seed}
    options["optimizer"] = options.pop("name")
    del options["device"], options["threads"]
    return options


def checkpoint_path(folder: Path | str, name: str) -> Path:
    """The path of "last" or "best" in a run folder."""
    return Path(folder) / "checkpoints" / f"{name}.pt"


def how_to_resume(folder: Path | str) -> str:
    """How to go on with the training of a run folder."""
    last = checkpoint_path(folder, "last")
    return f"go on with resume={last}" if last.exists() else f"it has no checkpoint yet, {ANEW}"


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
        require(payload, TO_RESUME, path)
        check_resumable(path, payload, settings, data)
        state = payload["training_state"]
        check_weights(state["weights"] or payload["state_dict"], path)
        try:
            check_optimizer_state(state["optimizer"], self.optimizer)
            if self.average is not None:
                self.average.model.load_state_dict(payload["state_dict"])
            self.model.load_state_dict(state["weights"] or payload["state_dict"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise UserError(
                f"{path} holds the weights of another model: resume with the model it was made by."
            ) from error
        self.done = Progress.from_payload(payload)
        if trained_settings(payload, path).loss != settings.loss:
            self.done.other_losses = len(self.done.history)
