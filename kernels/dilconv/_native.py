"""ctypes binding of libdilconv's plain C ABI.

`ops` checks tensors: CPU, unit stride along the width, weights and bias float32, the rest of one
dtype of DTYPES.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import torch  # first: the OpenMP runtime that torch ships is then the one that libdilconv uses

from dilconv.forks import openmp_threads_lost

ABI_VERSION = 7
PASSES = ("forward", "backward_data", "backward_weight", "backward")
ALGORITHMS = ("auto", "direct", "spectral", "winograd")
DTYPES = (torch.float32, torch.bfloat16)

_int32, _int64, _pointer = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p


def _fields(kind: type, names: str) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


class Problem(ctypes.Structure):
    """`dilconv_problem` of dilconv.h: the sizes of one convolution, strides in elements."""

    _fields_ = (
        *_fields(_int64, "N C K W S d pad_left Q x_batch x_channel"),
        *_fields(_int32, "relu threads algorithm fft_length dtype"),
    )


class PlanReport(ctypes.Structure):
    """`dilconv_plan_report` of dilconv.h: what the library would do for one call."""

    _fields_ = (
        *_fields(_int32, "algorithm threads"),
        *_fields(_int64, "workspace_bytes"),
        *_fields(ctypes.c_double, "direct_cycles spectral_cycles winograd_cycles"),
        *_fields(_int64, "block channel_block fft_length hop parts phases"),
        *_fields(_int64, "tile_outputs unit_tiles"),
    )


class _Operand(ctypes.Structure):
    _fields_ = (("data", _pointer), *_fields(_int64, "batch channel"))


_problem = ctypes.POINTER(Problem)
_SIGNATURES = {
    "dilconv_status_text": (ctypes.c_char_p, [_int32]),
    "dilconv_isa_name": (ctypes.c_char_p, [_int32]),
    "dilconv_isa_supported": (_int32, [_int32]),
    "dilconv_isa_lanes": (_int32, [_int32]),
    "dilconv_default_isa": (_int32, [_int32]),
    "dilconv_forward": (_int32, [_int32, _problem, *[_pointer] * 3, _Operand, _pointer]),
    "dilconv_backward": (_int32, [_int32, _problem, _Operand, *[_pointer] * 7]),
    "dilconv_plan": (_int32, [_int32, _problem, _int32, ctypes.POINTER(PlanReport)]),
    "dilconv_release_memory": (_int64, []),
    "dilconv_cores": (_int32, []),
    "dilconv_threads_now": (_int32, [_int32]),
    "dilconv_count_region": (None, [*[_int32] * 2, *[_int64] * 2]),
    "dilconv_peak_flops": (ctypes.c_double, [_int32, _int64]),
}


@cache
def _library() -> ctypes.CDLL:
    import dilconv

    paths = (Path(folder, "libdilconv.so") for folder in dilconv.__path__)
    path = next(filter(Path.exists, paths), None)
    if path is None:
        raise ImportError(
            f"libdilconv.so was not found in {', '.join(dilconv.__path__)}: "
            "build it with `pip install -e ./kernels` in the repository"
        )
    lib = ctypes.CDLL(str(path))
    if lib.dilconv_abi_version() != ABI_VERSION:
        raise ImportError(
            f"{path} has ABI version {lib.dilconv_abi_version()}, this code needs {ABI_VERSION}: "
            "it was built from older sources, run `pip install -e ./kernels` again"
        )
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


@cache
def built_isas() -> tuple[str, ...]:
    """Names of the instruction sets in this build, slowest first."""
    lib, names = _library(), list[str]()
    while (name := lib.dilconv_isa_name(len(names))) is not None:
        names.append(name.decode())
    return tuple(names)


@cache
def available_isas() -> tuple[str, ...]:
    """Names of the instruction sets that this build holds and this CPU runs, slowest first."""
    supported = _library().dilconv_isa_supported
    return tuple(name for i, name in enumerate(built_isas()) if supported(i))


def active_isa(dtype: torch.dtype = torch.float32) -> str:
    """The ISA used for such tensors: the environment's DILCONV_ISA, else the CPU's fastest one.

    ValueError where the build or this CPU lacks the ISA asked for.
    """
    return built_isas()[_isa_number(os.environ.get("DILCONV_ISA"), DTYPES.index(dtype))]


@cache
def _isa_number(wanted: str | None, dtype: int) -> int:
    if not wanted:
        return _library().dilconv_default_isa(dtype)
    if wanted not in available_isas():
        raise ValueError(
            f"DILCONV_ISA={wanted} cannot run here: this build on this CPU has "
            f"{', '.join(available_isas())}; unset it or name one of these"
        )
    return built_isas().index(wanted)


def check_algorithm(name: str) -> None:
    """ValueError for a name that is none."""
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {name!r}")


def _check(status: int) -> None:
    if status:
        text = _library().dilconv_status_text(status).decode()
        raise MemoryError(f"dilconv: {text}") if status == 2 else RuntimeError(f"dilconv: {text}")


def _run(function, problem: Problem, *arguments) -> None:
    if problem.threads > 1 and openmp_threads_lost():
        raise RuntimeError(
            "dilconv was called in a forked child process, where its OpenMP threads do not exist: "
            "start the process with the 'spawn' or 'forkserver' method, or call "
            "torch.set_num_threads(1) in it"
        )
    isa = _isa_number(os.environ.get("DILCONV_ISA"), problem.dtype)
    _check(function(isa, problem, *arguments))


def _address(t: torch.Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


def _operand(t: torch.Tensor | None) -> _Operand:
    return _Operand() if t is None else _Operand(t.data_ptr(), *t.stride()[:2])


def forward(problem, x, w, b, residual, y) -> None:
    """y (N,K,Q) = act(conv(x, w) + b + residual); b and residual may be None."""
    inputs = map(_address, (x, w, b))
    _run(_library().dilconv_forward, problem, *inputs, _operand(residual), y.data_ptr())


def backward(problem, g, y, x, w, dx, dw, db, dr) -> None:
    """dx (N,C,W), dw (K,C,S), db (K,), dr (N,K,Q), each unless None; y only where relu."""
    addresses = map(_address, (y, x, w, dx, dw, db, dr))
    _run(_library().dilconv_backward, problem, _operand(g), *addresses)


def plan(isa: str, problem: Problem, pass_name: str) -> PlanReport:
    """What one call of the pass would do, and the workspace that it would take."""
    report, isa_number = PlanReport(), built_isas().index(isa)
    _check(_library().dilconv_plan(isa_number, problem, PASSES.index(pass_name), report))
    return report


def release_memory() -> int:
    """Give back the workspace that no call is using; its bytes."""
    return _library().dilconv_release_memory()


def cores() -> int:
    """Cores that this process may run on."""
    return _library().dilconv_cores()


def usable_threads() -> int:
    """torch's number of threads, and no more than there are cores: more would only wait."""
    threads = torch.get_num_threads()
    return min(threads, cores()) if threads > 1 else threads  # counting cores takes 0.6 us


def threads_now(most: int) -> int:
    """Threads that a parallel region takes now: fewer than `most` where cores are shared."""
    return _library().dilconv_threads_now(most)


def count_region(most: int, threads: int, elapsed: int, computed: int) -> None:
    """As if a region had run so: nanoseconds on the clock, and those computed by its threads."""
    _library().dilconv_count_region(most, threads, elapsed, computed)


def peak_flops(isa: str, iterations: int) -> float:
    """Runs `iterations` rounds of multiply-adds on one thread; returns the operations done."""
    return _library().dilconv_peak_flops(built_isas().index(isa), iterations)
