"""DistributedDataParallel over two processes gives the gradients of one; torch.compile to code.

Run as a program, this file is one of the two processes: FOLDER RANK.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import dilconv
import pytest
import torch
import torch.distributed as dist
from torch import nn

WORLD = 2


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        dilconv.Conv1d(2, 4, 9, padding="same", dilation=3, activation="relu"),
        dilconv.Conv1d(4, 1, 51, padding="same", dilation=2),
    )


def gradients(model, x):
    """Of the mean square of what comes out, in the order of the parameters."""
    model(x).square().mean().backward()
    return [p.grad for p in model.parameters()]


def whole_batch():
    return torch.randn(4, 2, 500, generator=torch.Generator().manual_seed(1))


def work(folder, rank):
    """The gradients of one process's share of the batch, averaged by DDP, into a file."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD
    )
    model = nn.parallel.DistributedDataParallel(network())
    torch.save(gradients(model, whole_batch().chunk(WORLD)[rank]), folder / f"{rank}.pt")
    # If the model holds the group last, torch may wait for gloo's thread, and that for the GIL.
    del model
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch is built without gloo")
def test_two_processes_have_the_gradients_of_one(tmp_path):
    env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(rank)], env=env, stderr=subprocess.PIPE
        )
        for rank in range(WORLD)
    ]
    said = [process.communicate(timeout=120)[1].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0] * WORLD, said
    first, second = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)
    )
    for a, b, alone in zip(first, second, gradients(network(), whole_batch()), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, alone, rtol=1e-5, atol=1e-5 * alone.abs().max().item())


@pytest.mark.skipif(
    shutil.which("c++") is None or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="inductor needs a compiler and Python's headers",
)
def test_compiled_code_has_the_same_values_and_gradients():
    eager, compiled = network(), torch.compile(network(), fullgraph=True)
    x = whole_batch()
    torch.testing.assert_close(compiled(x), eager(x))
    for a, b in zip(gradients(compiled, x), gradients(eager, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item())


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
