"""The ranks of one run, the processes that `torchrun` starts, and the sums that they share.

Each rank holds the whole model and takes its share of every batch. Sums over the batch and
gradients are added over all ranks, so a training is the same up to rounding for any number of them.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from denoiseq.cores import cores_of_rank
from denoiseq.errors import LostRank, UserError, is_reported, mark_reported, sentence
from denoiseq.interrupt import how_to_go_on
from denoiseq.rank_watch import MEETING, RankWatch

# How long ranks wait for one that prepares data or evaluates: `rank_watch` notices one that died.
PATIENCE = timedelta(days=365)
# A collective may fail a little before it is known who is gone; longer than the watch's OWN_S.
WHO_S = 2
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process, `rank` of `world`, and the device that it computes on."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def main(self) -> bool:
        """Whether this rank writes the files and reports to the user."""
        return self.rank == 0

    def total(self, sums: Tensor) -> Tensor:
        """Sum of `sums` over all ranks, equal on each; differentiable.

        `mean_gradients` gives the gradient of a loss that every rank computes from such totals.
        """
        return sums if self.world == 1 else _Total.apply(sums)

    def total_array(self, array: np.ndarray) -> np.ndarray:
        """Sum of `array` over all ranks, equal on each."""
        if self.world == 1:
            return array
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        return _all_reduced(tensor).cpu().numpy()

    def mean_gradients(self, model: nn.Module) -> None:
        """Replace the gradients of all parameters by their mean over ranks, in one message."""
        if self.world == 1:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = _all_reduced(torch.cat([g.flatten() for g in gradients])) / self.world
        for p, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = mean.view_as(p)

    def mean_statistics(self, model: nn.Module) -> None:
        """Replace BatchNorm's running statistics by their mean over ranks, each its own before."""
        for buffer in model.buffers() if self.world > 1 else ():
            if buffer.is_floating_point():
                buffer.copy_(_all_reduced(buffer.clone()) / self.world)

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds on some rank."""
        return bool(self.total_array(np.array([int(flag)]))[0])

    def tell(self, value: Any = None) -> Any:
        """Rank 0's value, on every rank; the others' values are ignored."""
        values = [value]
        if self.world > 1:
            with _noticing_loss():
                dist.broadcast_object_list(values, device=self.device)
        return values[0]

    def first(self, value: Any) -> Any:
        """The value of the first rank that has one; None where every rank's is None."""
        values = [value] * self.world
        if self.world > 1:
            with _noticing_loss():
                dist.all_gather_object(values, value)
        return next((v for v in values if v is not None), None)

    def wait(self) -> None:
        """Return when every rank has called this."""
        self.any(False)


ALONE = Ranks()


@contextmanager
def joined(name: str) -> Iterator[Ranks]:
    """Join the ranks that `torchrun` started; rank 0 of 1 without it. `name`: see `device`.

    An error ends all ranks; where another one is lost, the innermost `Stop` says how to go on.
    """
    world, chosen = int(os.environ.get("WORLD_SIZE", 1)), device(name)
    if world == 1:
        yield Ranks(device=chosen)
        return
    store, watch = _met(world)
    _watches.append(watch)
    ranks = Ranks(watch.rank, world, chosen)
    try:
        with _noticing_loss():
            backend = "nccl" if chosen.type == "cuda" else "gloo"
            dist.init_process_group(
                backend, store=store, rank=ranks.rank, world_size=world, timeout=PATIENCE
            )
        yield ranks
        ranks.wait()
    except LostRank as error:
        told = error if error.advised else advised(error, f"{error}: {how_to_go_on()}.")
        watch.leave(told)
        raise told from error.__cause__
    except BaseException as error:
        watch.leave(error)
        raise
    watch.leave()
    dist.destroy_process_group()  # not after an error: it may wait for ranks that are gone


# Of every time that this process joined: the last one's is in use.
_watches: list[RankWatch] = []


def _met(world: int) -> tuple[dist.Store, RankWatch]:
    """The store of the ranks, with fresh names for this time that they join, and their watch."""
    try:
        whole, rank, _ = next(dist.rendezvous("env://", timeout=MEETING))
        store = dist.PrefixStore(f"denoiseq_{len(_watches)}", whole)
        store.set_timeout(MEETING)
        return store, RankWatch(store, rank, world)
    except (ValueError, RuntimeError, OSError) as error:  # no address, port or rank; or none comes
        raise UserError(
            f"WORLD_SIZE={world}, but the ranks cannot meet ({sentence(error)}): start them all "
            "with torchrun, or unset WORLD_SIZE"
        ) from error


def advised(error: LostRank, text: str) -> LostRank:
    """The error with a text that says how to go on."""
    told = LostRank(text)
    told.advised = True
    if is_reported(error):
        mark_reported(told)
    return told


def first_alone(run: Callable[[Any], None], settings: Any) -> None:
    """Let the first rank run what is not distributed, while the others wait for it."""
    with joined("cpu") as ranks:
        if ranks.main:
            run(settings)


def leave(code: int) -> NoReturn:
    """End this rank at once, after writing its output.

    In a usual exit the destructors of torch's threads now and then abort the process, and the
    launcher takes a complete training for a failed one.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def device(name: str) -> torch.device:
    """Where this process computes: "cpu", "cuda", or by "auto" a GPU of its own if there is one."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and local >= gpus):
        return CPU
    if local >= gpus:
        raise UserError(
            f"trainer.device=cuda: {gpus} GPUs were found, process {local} of this host has none; "
            "set trainer.device=cpu, or start fewer processes."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def use_threads(threads: int | None, readers: int = 0) -> int:
    """Set torch's intra-op threads and return their number.

    None keeps what OMP_NUM_THREADS asks for; without it, torch's own number, but no more than this
    rank's share of the cores, without those for its `readers`, the processes that load windows.
    """
    usable = max(1, cores_of_rank() - readers)
    if threads is not None:
        torch.set_num_threads(threads)
    elif not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(min(torch.get_num_threads(), usable))
    return torch.get_num_threads()


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, sums: Tensor) -> Tensor:
        return _all_reduced(sums.clone())

    @staticmethod
    def backward(_ctx, gradient: Tensor) -> Tensor:
        return _all_reduced(gradient.clone())


def _all_reduced(tensor: Tensor) -> Tensor:
    """`tensor` itself, which holds the sum over ranks afterwards."""
    with _noticing_loss():
        dist.all_reduce(tensor)
    return tensor


@contextmanager
def _noticing_loss() -> Iterator[None]:
    """Around a collective, which raises RuntimeError where a rank that takes part is gone."""
    watch = _watches[-1] if _watches else None
    if watch is not None:
        watch.in_collective = True
    try:
        yield
    except RuntimeError as error:
        if watch is not None and watch.noticed.wait(WHO_S):
            assert watch.lost is not None
            raise watch.lost from error
        raise LostRank("another process died or is out of reach") from error
    finally:
        if watch is not None:
            watch.in_collective = False
