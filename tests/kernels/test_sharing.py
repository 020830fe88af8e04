"""Regions whose threads wait for busy cores are followed by a while with fewer threads."""

import os
import subprocess
import sys

import dilconv
import pytest
import torch
from dilconv import _native

MILLISECOND = 1_000_000


def run(most, speedup, elapsed=MILLISECOND):
    """One made-up region on the threads that it would take now; their number.

    `speedup`: how many times as much its threads compute as one would in that time.
    """
    threads = _native.threads_now(most)
    _native.count_region(most, threads, elapsed, int(min(speedup, threads) * elapsed))
    return threads


@pytest.fixture(autouse=True)
def idle():
    """All cores are free before and after."""
    calm()
    yield
    calm()


def calm():
    run(2, 2, 1_000_000 * MILLISECOND)  # longer than any while with fewer threads
    for _ in range(1000):
        run(2, 2)


@pytest.mark.parametrize("most", [2, 3, 8, 192])
def test_all_threads_where_none_waits(most):
    for speedup in (most, 0.9 * most, 0.78 * most):  # waiting up to 30% of the work
        assert [run(most, speedup) for _ in range(100)] == [most] * 100


@pytest.mark.parametrize(
    ("most", "speedup", "fewer"), [(2, 0.4, 1), (8, 2.5, 3), (8, 0.6, 1), (192, 0.6, 1)]
)
def test_fewer_threads_where_they_wait_and_all_again(most, speedup, fewer):
    for _ in range(50):
        run(most, speedup)
    crowded = [run(most, speedup) for _ in range(200)]
    assert crowded.count(fewer) > 100
    assert most in crowded  # it tries from time to time
    freed = [run(most, most) for _ in range(200)]
    assert freed[-100:] == [most] * 100


def test_tasks_that_do_not_divide_among_the_threads_are_no_reason():
    """Three on two threads: one waits for a third of the time, yet fewer would be slower."""
    assert [run(2, 1.5) for _ in range(100)] == [2] * 100


def test_one_slow_region_costs_no_more_than_it_lost():
    run(2, 0.5, 100 * MILLISECOND)
    threads = [run(2, 2) for _ in range(200)]
    assert 0 < threads.count(1) <= 100
    assert threads[-100:] == [2] * 100


def test_a_clock_that_is_too_coarse_changes_nothing():
    assert [run(2, 0) for _ in range(100)] == [2] * 100


def test_the_same_bits_on_fewer_threads(set_threads):
    set_threads(8)
    x, w = torch.randn(3, 15, 3000), torch.randn(15, 15, 51)

    def results(algorithm):
        leaves = [x.clone().requires_grad_(), w.clone().requires_grad_()]
        y = dilconv.conv1d(*leaves, padding="same", dilation=8, algorithm=algorithm)
        return y.detach(), *torch.autograd.grad(y.sum(), leaves)

    for algorithm in _native.ALGORITHMS:
        expected = results(algorithm)
        for speedup in (0.5, 2.5, 4.5):
            calm()
            run(8, speedup, 100_000 * MILLISECOND)
            fewer = _native.threads_now(8)
            assert fewer < 8
            assert all(map(torch.equal, results(algorithm), expected)), (algorithm, fewer)


def printed(code, **environment):
    """What a process of its own prints."""
    command = [sys.executable, "-c", "from dilconv import _native\n" + code]
    everything = os.environ | environment
    done = subprocess.run(command, env=everything, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_switched_off():
    code = "_native.count_region(2, 2, 1000, 500)\nprint(_native.threads_now(2))"
    assert printed(code, DILCONV_YIELD="0") == ["2"]
    assert printed(code) == ["1"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_more_threads_than_cores_while_these_are_shared():
    """GNU's OpenMP then spins briefly; they are gone when the cores are free."""
    code = """
import os, time

def threads(enough):
    for _ in range(1000):
        number = len(os.listdir("/proc/self/task"))
        if enough(number):
            break
        time.sleep(0.01)
    return number

cores = len(os.sched_getaffinity(0))
before = len(os.listdir("/proc/self/task"))
for _ in range(3):
    _native.count_region(cores, cores, 1_000_000, 100_000)
print(threads(lambda n: n >= before + 2) - before)
_native.count_region(cores, 1, 1_000_000_000, 0)
for _ in range(200):
    _native.count_region(cores, cores, 1_000_000, cores * 1_000_000)
print(threads(lambda n: n == before) - before)
"""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one core has no second thread to wait for")
    assert printed(code) == ["2", "0"]
