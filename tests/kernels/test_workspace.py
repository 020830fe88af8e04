"""The memory that calls work in: kept from call to call, within limits, given back when asked."""

import os
import subprocess
import sys
import threading

import dilconv
import torch
from dilconv import _native

MEGABYTE = 1 << 20
# Prepares calls into tensors that are there already; `resident()` and `faults()` of the process.
BEGIN = """
import resource, dilconv, torch
from dilconv import _native
threads, (N, C, K, W, S, d) = {threads}, (1, 64, 64, 20_000, 51, 8)
x, w, g = torch.randn(N, C, W), torch.randn(K, C, S), torch.randn(N, K, W)
y, dx, dw, db = torch.ones_like(g), torch.ones_like(x), torch.ones_like(w), torch.ones(K)
number = _native.ALGORITHMS.index("spectral")
problem = _native.Problem(N, C, K, W, S, d, 200, W, C * W, W, 0, threads, number, 0, 0)

def call():
    _native.forward(problem, x, w, None, None, y)
    _native.backward(problem, g, None, x, w, dx, dw, db, None)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

planned = _native.plan(_native.active_isa(), problem, "backward").workspace_bytes
"""


def in_a_process(code, threads=1):
    """The numbers that the code prints."""
    command = [sys.executable, "-c", BEGIN.format(threads=threads) + code]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_a_call_takes_what_is_planned_and_gives_it_back():
    code = (
        "before = resident(); call(); call(); after = resident()\n"
        "released = dilconv.release_memory()\n"
        "print(planned, after - before, released, after - resident(), dilconv.release_memory())"
    )
    planned, taken, released, returned, again = in_a_process(code)
    assert 10 * MEGABYTE < planned <= released < planned + MEGABYTE and again == 0
    assert 0.5 * planned < returned <= taken < planned + 4 * MEGABYTE


def test_no_page_is_taken_again_in_the_next_call():
    """Without being kept, the workspace takes 2,500 faults and more."""
    code = "call()\nbefore = faults(); call(); print(faults() - before)"
    (kept,) = in_a_process(code)
    assert kept < 100


def test_many_threads_stay_within_their_limits():
    code = "before = resident(); call(); print(resident() - before)"
    (taken,) = in_a_process(code, threads=16)
    assert taken < (256 + 16 * 32) * MEGABYTE


def test_calls_of_several_threads_at_a_time():
    x, w = torch.randn(4, 15, 3000), torch.randn(20, 15, 25)
    expected = [dilconv.conv1d(x * i, w) for i in range(8)]
    found = [[] for _ in range(8)]

    def work(i):
        torch.set_num_threads(1 + i % 2)
        for turn in range(20):
            if turn % 5 == i % 5:
                dilconv.release_memory()
            found[i].append(torch.equal(dilconv.conv1d(x * i, w), expected[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(each) == 20 and all(each) for each in found)


def test_a_fork_beside_running_calls_can_use_the_kept_memory():
    """No lock stays closed in the child, whatever the parent's other threads were doing."""
    problem = _native.Problem(1, 4, 4, 300, 3, 1, 1, 300, 1200, 300, 0, 1, 1, 0, 0)
    stop = threading.Event()

    def work():
        x, w = torch.randn(1, 4, 300), torch.randn(4, 4, 3)
        while not stop.is_set():
            dilconv.conv1d(x, w, algorithm="direct")
            dilconv.release_memory()

    thread = threading.Thread(target=work)
    thread.start()
    x, w, y = torch.randn(1, 4, 300), torch.randn(4, 4, 3), torch.empty(1, 4, 300)
    library, isa = _native._library(), _native.built_isas().index(_native.active_isa())
    arguments = (x.data_ptr(), w.data_ptr(), None, _native._operand(None), y.data_ptr())
    for _ in range(40):
        child = os.fork()
        if child == 0:
            status = library.dilconv_forward(isa, problem, *arguments)
            library.dilconv_release_memory()
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    thread.join()
