"""The C ABI: whatever a caller passes ends with a status, not with a crash or a wrong result."""

import os
import resource
from pathlib import Path

import pytest
import torch
from dilconv import _native

OK, BAD, NO_MEMORY = 0, 1, 2
N, C, K, W, S = 2, 4, 5, 60, 3


class Call:
    """A valid call, every argument of which may be replaced."""

    def __init__(self, **sizes):
        fields = {"N": N, "C": C, "K": K, "W": W, "S": S, "d": 1, "pad_left": 1, "Q": W}
        fields |= {"x_batch": C * W, "x_channel": W, "relu": 0, "threads": 2, "algorithm": 1}
        self.problem = _native.Problem(**(fields | {"fft_length": 0, "dtype": 0} | sizes))
        self.x, self.w, self.g = torch.ones(N, C, W), torch.ones(K, C, S), torch.ones(N, K, W)
        self.y, self.dx = torch.empty_like(self.g), torch.empty_like(self.x)
        self.dw, self.db = torch.empty_like(self.w), torch.empty(K)
        self.library = _native._library()
        self.isa = _native.built_isas().index(_native.active_isa())

    def forward(self, residual=None, **pointers):
        given = {name: getattr(self, name).data_ptr() for name in "xwy"} | pointers
        residual = residual or _native._Operand()
        return self.library.dilconv_forward(
            self.isa, self.problem, given["x"], given["w"], None, residual, given["y"]
        )

    def backward(self, g=None, **pointers):
        tensors = {"y": self.g, "x": self.x, "w": self.w, "dx": self.dx, "dw": self.dw}
        given = {k: t.data_ptr() for k, t in (tensors | {"db": self.db}).items()} | pointers
        g = g or _native._operand(self.g)
        order = (given[name] for name in ("y", "x", "w", "dx", "dw", "db"))
        return self.library.dilconv_backward(self.isa, self.problem, g, *order, None)

    def plan(self):
        report = _native.PlanReport()
        return self.library.dilconv_plan(self.isa, self.problem, 0, report)


def test_the_valid_call_is_valid():
    call = Call()
    assert [call.forward(), call.backward(), call.plan()] == [OK, OK, OK]


HUGE = 1 << 62
SIZES = [
    *({name: value} for name in ("C", "K", "S", "d", "Q") for value in (0, -1, HUGE)),
    *({name: value} for name in ("N", "W", "pad_left") for value in (-1, HUGE)),
    *({name: value} for name in ("x_batch", "x_channel") for value in (-1, HUGE)),
    *({"algorithm": value} for value in (-1, 4, 99)),
    *({"relu": value} for value in (-1, 2)),
    *({"threads": value} for value in (0, -5)),
    *({"dtype": value} for value in (-1, 2)),
    *({"fft_length": value} for value in (-32, 1, 16, 100, 8192)),
    {"S": 1 << 31, "d": 1 << 31},
    {"N": 1 << 40, "W": 1 << 40},
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sizes_strides_and_words_outside_their_range(sizes):
    call = Call(**sizes)
    assert [call.forward(), call.backward(), call.plan()] == [BAD, BAD, BAD]


@pytest.mark.parametrize("name", ["x", "w", "y"])
def test_forward_without_a_tensor_that_it_needs(name):
    assert Call().forward(**{name: None}) == BAD


def test_backward_without_a_tensor_that_it_needs():
    assert Call().backward(x=None) == BAD  # dw wants it
    assert Call().backward(w=None) == BAD  # dx wants it
    assert Call().backward(g=_native._Operand()) == BAD
    assert Call(relu=1).backward(y=None) == BAD  # not the gradient without the ReLU
    assert Call(relu=1).backward(y=None, dx=None, dw=None) == BAD


def test_what_is_not_needed_may_be_null():
    assert Call().backward(y=None) == OK
    assert Call().backward(x=None, dw=None) == OK
    assert Call().backward(w=None, dx=None, db=None) == OK
    assert Call().backward(x=None, w=None, dx=None, dw=None) == OK
    assert Call(N=0).forward(x=None, w=None, y=None) == OK
    assert Call(N=0).backward(g=_native._Operand(), x=None, w=None, y=None) == OK
    assert Call(W=0, Q=1, pad_left=3).forward(x=None) == OK


@pytest.mark.parametrize("strides", [(-1, W), (K * W, -1), (HUGE, W), (K * W, HUGE)], ids=str)
def test_strides_of_the_other_tensors(strides):
    call = Call()
    strided = _native._Operand(call.g.data_ptr(), *strides)
    assert call.forward(residual=strided) == BAD and call.backward(g=strided) == BAD


def test_null_structs():
    call = Call()
    call.problem = None
    assert [call.forward(), call.backward(), call.plan()] == [BAD, BAD, BAD]
    call = Call()
    plan = call.library.dilconv_plan
    assert plan(call.isa, call.problem, 0, None) == BAD
    report = _native.PlanReport()
    assert (
        plan(call.isa, call.problem, -1, report) == plan(call.isa, call.problem, 4, report) == BAD
    )


@pytest.mark.parametrize("algorithm", [1, 2, 3])
def test_out_of_memory_is_a_status(algorithm):
    """In a child process that may take no more."""
    call = Call(threads=1, algorithm=algorithm)
    child = os.fork()
    if child == 0:
        call.library.dilconv_release_memory()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(),) * 2)
        os._exit(call.forward() if call.forward() == call.backward() else 99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == NO_MEMORY


def test_more_threads_than_any_machine_has():
    assert Call(threads=2**31 - 1, algorithm=2).plan() == OK
