"""The processes of one training, and the sums that they share; a single process is a set of one.

`torchrun` starts the processes ("ranks"). Each holds the whole model and takes its share of every
batch; sums over the batch and gradients are added over all ranks, so a training is the same,
rounding apart, whatever their number. Knows nothing of models, data or files.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from denoiseq.errors import UserError

# How long ranks wait for one that prepares data or evaluates. One that died is noticed at once.
PATIENCE = timedelta(days=1)
CPU = torch.device("cpu")


class LostRank(ConnectionError):
    """Another process of the training died or cannot be reached any more."""


@dataclass(frozen=True)
class Ranks:
    """This process among the `world` processes of a training, and the device it computes on."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    def total(self, sums: Tensor) -> Tensor:
        """Sum of `sums` over all ranks, equal on each; differentiable.

        Where each rank computes the same loss from totals, `mean_gradients` behind its backward
        gives the gradient of that loss.
        """
        return sums if self.world == 1 else _Total.apply(sums)

    def total_array(self, array: np.ndarray) -> np.ndarray:
        """The same for an array."""
        if self.world == 1:
            return array
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        return _all_reduced(tensor).cpu().numpy()

    def mean_gradients(self, model: nn.Module) -> None:
        """Replace the gradients of all parameters by their mean over ranks, in one message."""
        if self.world == 1:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = _all_reduced(torch.cat([g.flatten() for g in own])) / self.world
        for p, whole in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = whole.view_as(p)

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds on some rank."""
        return flag if self.world == 1 else bool(self.total_array(np.array([int(flag)]))[0])

    def tell(self, value: Any = None) -> Any:
        """Rank 0's value, on every rank; the others' is ignored."""
        if self.world == 1:
            return value
        box = [value]
        with _noticing_loss():
            dist.broadcast_object_list(box, device=self.device)
        return box[0]

    def first(self, value: Any) -> Any:
        """The value of the first rank where it is not None; None where none is."""
        if self.world == 1:
            return value
        values: list[Any] = [None] * self.world
        with _noticing_loss():
            dist.all_gather_object(values, value)
        return next((v for v in values if v is not None), None)

    def wait(self) -> None:
        """Go on when every rank has come here."""
        self.any(False)


ALONE = Ranks()


@contextmanager
def joined(wanted: str = "auto") -> Iterator[Ranks]:
    """Join the processes that `torchrun` started; alone, if it did not. `wanted`: see `device`."""
    world, chosen = int(os.environ.get("WORLD_SIZE", 1)), device(wanted)
    if world == 1:
        yield Ranks(device=chosen)
        return
    with _noticing_loss():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    ranks = Ranks(dist.get_rank(), world, chosen)
    yield ranks
    # Behind an error neither: it could wait for processes that are gone.
    ranks.wait()
    dist.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End a process of several here and now, its output written.

    On the ordinary way out torch's threads abort the process now and then, in their destructors,
    and the launcher takes a training that is complete for one that failed.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def device(wanted: str) -> torch.device:
    """Where this process computes.

    wanted : {"auto", "cpu", "cuda"}; "auto" takes a GPU a process where there is one for it

    Raises ValueError if cuda is asked for and there is none for this process.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and local >= found):
        return CPU
    if local >= found:
        raise UserError(
            f"trainer.device=cuda: {found} GPUs were found, process {local} of this host has none; "
            "set trainer.device=cpu, or start fewer processes."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def use_threads(threads: int | None) -> int:
    """Set torch's intra-op threads, unless None, and return their number."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, sums: Tensor) -> Tensor:
        return _all_reduced(sums.clone())

    @staticmethod
    def backward(_ctx, gradient: Tensor) -> Tensor:
        return _all_reduced(gradient.clone())


def _all_reduced(tensor: Tensor) -> Tensor:
    """`tensor` itself, which now holds the sum over ranks."""
    with _noticing_loss():
        dist.all_reduce(tensor)
    return tensor


@contextmanager
def _noticing_loss() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch's own errors of collectives are of this type
        raise LostRank("another process of the training died or is out of reach") from error
