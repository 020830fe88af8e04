"""One optimizer step: by parts and by several processes it is the step of the whole batch.

Run as a program, this file is one of several processes: FOLDER.
"""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from denoiseq import models
from denoiseq.distributed import ALONE, Ranks, joined, leave
from denoiseq.settings import Conv, Loss, Precision
from denoiseq.settings.model import DenoisingResNet
from denoiseq.training.losses import atacworks_loss
from denoiseq.training.step import optimizer_step

WINDOWS = 7
EVERY_TERM = Loss(mse=0.01, log1p_mse=0.3, poisson=0.1)


def batch() -> dict[str, torch.Tensor]:
    """Windows of very different heights: a mean of their correlations is far from that of all."""
    generator = torch.Generator().manual_seed(2)
    height = torch.logspace(0, 1.5, WINDOWS)[:, None]
    coverage = torch.poisson(height * torch.rand(WINDOWS, 300, generator=generator))
    mask = torch.ones(WINDOWS, 300, dtype=torch.bool)
    mask[:, :20] = mask[3] = False
    peaks = (coverage > 3).float()
    return {"x": coverage[:, None] / 2, "coverage": coverage, "peaks": peaks, "mask": mask}


def share(ranks: Ranks) -> dict[str, torch.Tensor]:
    """This rank's windows; one that counts nothing where there is none left for it."""
    mine = {name: t[ranks.rank :: ranks.world] for name, t in batch().items()}
    if len(mine["x"]):
        return mine
    whole = batch()
    return {name: t[:1] * (name != "mask") for name, t in whole.items()}


def stepped(ranks: Ranks = ALONE, micro_batch: int = 0):
    """Losses, gradients and weights of a step from fixed weights."""
    torch.set_num_threads(1)
    shape = {"channels": 4, "kernel_size": 5, "dilation": 2, "blocks": 1, "peak_blocks": 1}
    settings = DenoisingResNet(**shape, peak_kernel_size=5)
    model = models.build(settings, Conv("torch"), Precision(), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = partial(atacworks_loss, weights=EVERY_TERM, total=ranks.total)
    step = optimizer_step(
        model, optimizer, loss, share(ranks), micro_batch=micro_batch, ranks=ranks
    )
    assert step.finite
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return step.losses, gradients, model.state_dict()


def assert_same(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    for a, b in zip(one[1:], other[1:], strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5 * a[name].abs().max())


@pytest.mark.parametrize("micro_batch", [1, 3, 7, 50])
def test_by_parts_it_is_the_step_of_the_whole_batch(micro_batch):
    assert_same(stepped(), stepped(micro_batch=micro_batch))


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch without gloo")
@pytest.mark.parametrize("world", [2, 8])
def test_by_several_processes_it_is_the_step_of_the_whole_batch(tmp_path, world):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": 1}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path)],
            env=os.environ | {k: str(v) for k, v in (common | {"RANK": rank}).items()},
        )
        for rank in range(world)
    ]
    assert [process.wait(120) for process in processes] == [0] * world
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(world)]
    for one in found:
        assert_same(stepped(), one)
    statistics = [
        torch.load(tmp_path / f"{rank}.statistics", weights_only=True) for rank in range(world)
    ]
    for mean in statistics:
        assert mean.tolist() == pytest.approx([(world - 1) / 2] * 3)
    for rank, (heard, seen) in enumerate(
        torch.load(tmp_path / f"{r}.told", weights_only=True) for r in range(world)
    ):
        assert (heard, seen) == ("of rank 0", f"rank {min(1, world - 1)}"), rank


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with joined("cpu") as ranks:
        torch.save(stepped(ranks, micro_batch=2), folder / f"{ranks.rank}.pt")
        norm = torch.nn.BatchNorm1d(3)
        norm.running_mean += ranks.rank
        ranks.mean_statistics(norm)
        torch.save(norm.running_mean, folder / f"{ranks.rank}.statistics")
        told = ranks.tell(f"of rank {ranks.rank}")
        seen = ranks.first(f"rank {ranks.rank}" if ranks.rank else None)
        assert ranks.any(ranks.rank == 1) and not ranks.any(False)
        torch.save((told, seen), folder / f"{ranks.rank}.told")
    leave(0)
