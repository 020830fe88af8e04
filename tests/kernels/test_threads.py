"""Plans and results are the same on any number of threads, and those of an item in any batch."""

import os
from dataclasses import replace

import dilconv
import pytest
import torch
from dilconv import _native

MEGABYTE = 1 << 20
THREADS = range(1, 193)
# N, C, K, W, S, d: networks of genomics and of sound, layers with few or many channels, filters of
# 1 to 401 taps, windows shorter than a tile, sums of dw that fill the workspace.
SHAPES = [
    (8, 128, 256, 3750, 250, 1),
    (1, 15, 15, 60_000, 51, 8),
    (8, 15, 15, 60_000, 51, 8),
    (64, 15, 15, 1000, 51, 8),
    (2, 1, 15, 60_000, 51, 8),
    (1, 15, 1, 60_000, 51, 8),
    (1, 64, 64, 60_000, 51, 8),
    (1, 128, 128, 60_000, 51, 8),
    (1, 256, 256, 20_000, 51, 1),
    (4, 64, 64, 2114, 3, 4),
    (8, 64, 64, 2114, 3, 512),
    (64, 64, 64, 2114, 3, 1),
    (1, 64, 64, 1000, 3, 2),
    (1, 4, 64, 2114, 21, 1),
    (8, 4, 64, 2114, 21, 1),
    (8, 64, 2, 2114, 75, 1),
    (1, 64, 64, 20_000, 2, 512),
    (8, 32, 64, 15_000, 25, 1),
    (8, 64, 128, 7500, 25, 1),
    (1, 1, 1, 100, 3, 1),
    (1, 15, 15, 6000, 9, 8),
    (3, 256, 256, 1000, 5, 1),
    (1, 512, 512, 1024, 9, 1),
    (64, 256, 256, 200, 3, 1),
    (1, 1024, 1024, 500, 101, 1),
    (2, 256, 2, 517, 51, 100),
    (8, 64, 17, 183, 1, 16),
    (8, 256, 1, 8878, 9, 4),
    (20, 3, 64, 121, 1, 256),
    (1, 64, 17, 51_678, 401, 1),
    (3, 15, 17, 13_509, 9, 1),
    (8, 128, 2, 331, 401, 7),
    (1, 32, 128, 2640, 250, 4),
    (64, 4, 64, 3440, 401, 8),
    (1, 100, 2, 15_123, 75, 16),
    (20, 128, 17, 1356, 15, 8),
    (8, 16, 1, 1186, 401, 256),
    (3, 64, 64, 101, 75, 8),
    (1, 3, 2, 26_953, 51, 1),
    (2, 16, 2, 512, 401, 256),
    (64, 128, 128, 3350, 5, 256),
    (1, 2, 3, 40_000, 5000, 2),
]


def estimates(plan):
    return {name: getattr(plan, f"{name}_cycles") for name in _native.ALGORITHMS[1:]}


@pytest.mark.parametrize("pass_name", _native.PASSES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_more_threads_are_never_planned_slower(shape, pass_name):
    """Nor otherwise than by the number of threads; and the workspace stays within its limits."""
    plans = [dilconv.plan(*shape, pass_name=pass_name, threads=n) for n in THREADS]
    assert len({(p.algorithm, p.tiles) for p in plans}) == 1
    for n, fewer, more in zip(THREADS[1:], plans, plans[1:], strict=False):
        for name, cycles in estimates(more).items():
            assert cycles <= 1.02 * estimates(fewer)[name], (name, n)
        assert more.threads <= n
        assert more.workspace_bytes <= (256 + 32 * n) * MEGABYTE


@pytest.mark.parametrize("pass_name", _native.PASSES)
@pytest.mark.parametrize("algorithm", _native.ALGORITHMS)
@pytest.mark.parametrize("shape", [(1, 4096, 4096, 100, 5, 1), (1, 2048, 2048, 50, 51, 1)], ids=str)
def test_workspace_of_huge_weights(shape, algorithm, pass_name):
    """Their copies, spectra and sums would take more than all may have."""
    for n in (1, 16, 192):
        plan = dilconv.plan(*shape, pass_name=pass_name, algorithm=algorithm, threads=n)
        assert plan.workspace_bytes <= (256 + 32 * n) * MEGABYTE


@pytest.mark.parametrize("pass_name", ["forward", "backward_data", "backward"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_choice_is_the_same_for_every_batch(shape, pass_name):
    plans = [dilconv.plan(n, *shape[1:], pass_name=pass_name) for n in (1, 2, 8, 64, 1000)]
    assert len({(p.algorithm, p.tiles) for p in plans}) == 1


def test_a_plan_says_what_the_choice_for_all_batches_costs():
    chosen = dilconv.plan(64, 64, 64, 100, 1)
    assert chosen.algorithm == "direct" and "the same for all" not in str(chosen)
    beaten = replace(chosen, spectral_cycles=chosen.direct_cycles / 1.5)
    assert "spectral is estimated 1.5 times as fast for this N" in str(beaten)
    assert "the same for all" in str(beaten)


# Few blocks or units and many channels, many and few, odd sizes; all shared by more threads than
# there are of them.
COMPUTED = [
    (1, 15, 15, 3000, 51, 8),
    (3, 17, 40, 700, 25, 3),
    (2, 70, 64, 300, 3, 2),
    (1, 33, 130, 90, 5, 1),
    (5, 3, 2, 2000, 9, 16),
    (1, 130, 1, 500, 101, 1),
    (3, 1, 130, 2114, 1, 3),
    (40, 2, 5, 600, 3, 1),
]


def results(shape, algorithm, dtype):
    """y, dx, dw, db and dr of one call with everything."""
    N, C, K, W, S, d = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=generator)

    x, residual, g = (normal(N, c, W).to(dtype) for c in (C, K, K))
    leaves = [t.requires_grad_() for t in (x, normal(K, C, S), normal(K), residual)]
    options = {"padding": "same", "dilation": d, "activation": "relu", "algorithm": algorithm}
    y = dilconv.conv1d(*leaves[:3], residual=residual, **options)
    return y.detach(), *torch.autograd.grad(y, leaves, g)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("algorithm", _native.ALGORITHMS)
@pytest.mark.parametrize("shape", COMPUTED, ids=str)
def test_the_same_bits_on_1_to_16_threads(shape, algorithm, dtype, set_threads):
    set_threads(1)
    expected = results(shape, algorithm, dtype)
    for threads in range(2, 17):
        set_threads(threads)
        for name, ours, one in zip(
            ["y", "dx", "dw", "db", "dr"], results(shape, algorithm, dtype), expected, strict=True
        ):
            assert torch.equal(ours, one), (name, threads)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("algorithm", _native.ALGORITHMS)
@pytest.mark.parametrize("shape", [(64, *shape[1:]) for shape in COMPUTED[:-1]], ids=str)
def test_the_same_bits_alone_and_in_a_batch(shape, algorithm, threads, set_threads):
    set_threads(threads)
    _, C, K, W, S, d = shape
    x, g, w = torch.randn(64, C, W), torch.randn(64, K, W), torch.randn(K, C, S)

    def run(n):
        leaf = x[:n].clone().requires_grad_()
        y = dilconv.conv1d(leaf, w, padding="same", dilation=d, algorithm=algorithm)
        return y.detach(), *torch.autograd.grad(y, leaf, g[:n])

    alone = run(1)
    for n in (2, 7, 64):
        assert all(torch.equal(a[0], b[0]) for a, b in zip(alone, run(n), strict=True)), n


def test_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for cores, expected in ((2, 2), (3, 3), (64, 3)):
        monkeypatch.setattr(_native, "cores", lambda cores=cores: cores)
        assert _native.usable_threads() == expected


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system counts otherwise")
def test_cores_are_those_of_the_process():
    assert _native.cores() == len(os.sched_getaffinity(0))
