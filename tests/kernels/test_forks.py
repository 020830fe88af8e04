"""A forked child computes, unless it would wait for threads of OpenMP that the fork did not copy.

Run as a program, this file forks a child: PARENT_USED_OPENMP CHILD_THREADS.
"""

import multiprocessing
import subprocess
import sys

import dilconv
import pytest
import torch
from dilconv import _native
from torch.utils.data import DataLoader, Dataset


def answer(queue, threads):
    torch.set_num_threads(threads)
    x, w = torch.ones(1, 4, 5000), torch.ones(4, 4, 9)  # too few numbers for torch's own threads
    try:
        queue.put(f"sum {dilconv.conv1d(x, w, algorithm='direct')[0, 0, 0]:.0f}")
    except RuntimeError as error:
        queue.put(str(error))


def fork(used: bool, threads: int) -> str:
    torch.set_num_threads(2)
    if used:
        torch.ones(1 << 20).exp()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=answer, args=(queue, threads))
    child.start()
    try:
        return queue.get(timeout=60)
    finally:
        child.kill()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("used", [False, True])
def test_a_child_is_refused_only_where_it_would_hang(used, threads):
    command = [sys.executable, "-W", "ignore", __file__, str(int(used)), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused = used and min(threads, _native.cores()) > 1
    expected = "called in a forked child" if refused else "sum 36"
    assert expected in done.stdout


class Scored(Dataset):
    """Each item is the output of a converted model, computed in the worker."""

    def __init__(self):
        self.net = dilconv.convert(torch.nn.Sequential(torch.nn.Conv1d(4, 8, 21)))

    def __len__(self):
        return 4

    def __getitem__(self, i):
        with torch.no_grad():
            return self.net(torch.ones(4, 300) * i)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_of_a_loader_run_a_converted_model(set_threads):
    set_threads(2)
    data = Scored()
    torch.ones(1 << 20).exp()
    expected = torch.stack([data[i] for i in range(len(data))])
    batches = DataLoader(data, 2, num_workers=2, multiprocessing_context="fork")
    torch.testing.assert_close(torch.cat(list(batches)), expected, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    print(fork(sys.argv[1] == "1", int(sys.argv[2])))
