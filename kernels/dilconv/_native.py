"""ctypes binding of libdilconv's plain C ABI: finds, loads and checks the library, and calls it.

Tensors arrive checked (CPU, unit stride along the width, weights and bias float32, the rest of one
dtype of DTYPES); shapes are settled in `ops`.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import torch  # first: the OpenMP runtime that torch ships is then the one that libdilconv uses

ABI_VERSION = 5
PASSES = ("forward", "backward_data", "backward_weight", "backward")
ALGORITHMS = ("auto", "direct", "spectral", "winograd")
DTYPES = (torch.float32, torch.bfloat16)

_int32, _int64, _pointer = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p


class Problem(ctypes.Structure):
    """`dilconv_problem` of dilconv.h: the sizes of one convolution, strides in elements."""

    _fields_ = (
        *((name, _int64) for name in ("N", "C", "K", "W", "S", "d", "pad_left", "Q")),
        ("x_batch", _int64),
        ("x_channel", _int64),
        ("relu", _int32),
        ("threads", _int32),
        ("algorithm", _int32),
        ("fft_length", _int32),
        ("dtype", _int32),
    )


class PlanReport(ctypes.Structure):
    """`dilconv_plan_report` of dilconv.h: what the library would do for one call."""

    _fields_ = (
        ("algorithm", _int32),
        ("threads", _int32),
        ("workspace_bytes", _int64),
        ("direct_cycles", ctypes.c_double),
        ("spectral_cycles", ctypes.c_double),
        ("winograd_cycles", ctypes.c_double),
        *((n, _int64) for n in ("block", "channel_block", "fft_length", "hop", "parts", "phases")),
        *((n, _int64) for n in ("tile_outputs", "unit_tiles")),
    )


class _Operand(ctypes.Structure):
    _fields_ = (("data", _pointer), ("batch", _int64), ("channel", _int64))


def _declare(lib: ctypes.CDLL) -> None:
    problem = ctypes.POINTER(Problem)
    signatures = {
        "dilconv_abi_version": (_int32, []),
        "dilconv_status_text": (ctypes.c_char_p, [_int32]),
        "dilconv_isa_name": (ctypes.c_char_p, [_int32]),
        "dilconv_isa_supported": (_int32, [_int32]),
        "dilconv_isa_lanes": (_int32, [_int32]),
        "dilconv_default_isa": (_int32, [_int32]),
        "dilconv_forward": (
            _int32,
            [_int32, problem, _pointer, _pointer, _pointer, _Operand, _pointer],
        ),
        "dilconv_backward": (_int32, [_int32, problem, _Operand, *[_pointer] * 7]),
        "dilconv_plan": (_int32, [_int32, problem, _int32, ctypes.POINTER(PlanReport)]),
        "dilconv_peak_flops": (ctypes.c_double, [_int32, _int64]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments


@cache
def _library() -> ctypes.CDLL:
    import dilconv

    folders = [Path(p) for p in dilconv.__path__]
    path = next((f / "libdilconv.so" for f in folders if (f / "libdilconv.so").exists()), None)
    if path is None:
        raise ImportError(
            f"libdilconv.so was not found in {', '.join(map(str, folders))}: "
            "build it with `pip install -e ./kernels` in the repository"
        )
    lib = ctypes.CDLL(str(path))
    lib.dilconv_abi_version.restype = _int32
    if lib.dilconv_abi_version() != ABI_VERSION:
        raise ImportError(
            f"{path} has ABI version {lib.dilconv_abi_version()}, this code needs {ABI_VERSION}: "
            "it was built from older sources, run `pip install -e ./kernels` again"
        )
    _declare(lib)
    return lib


_loaded_in = os.getpid()


def _refuse_forked_child() -> None:
    if os.getpid() != _loaded_in:
        raise RuntimeError(
            "dilconv was called in a forked child process, where its OpenMP threads do not exist: "
            "start the process with the 'spawn' or 'forkserver' method"
        )


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
    lib = _library()
    return tuple(n for i, n in enumerate(built_isas()) if lib.dilconv_isa_supported(i))


def isa_lanes(name: str) -> int:
    """Floats in a vector of the ISA's kernels."""
    return _library().dilconv_isa_lanes(built_isas().index(name))


def active_isa(dtype: torch.dtype = torch.float32) -> str:
    """The ISA used for such tensors: the environment's DILCONV_ISA, else the fastest one.

    The same CPU always gives the same answer, so results do not depend on a measurement.

    Raises
    ------
    ValueError
        If the build or this CPU lacks the ISA asked for.
    """
    return built_isas()[_active_isa_number(DTYPES.index(dtype))]


def _active_isa_number(dtype: int) -> int:
    return _isa_number(os.environ.get("DILCONV_ISA"), dtype)


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


def _check(status: int) -> None:
    if status:
        text = _library().dilconv_status_text(status).decode()
        raise MemoryError(f"dilconv: {text}") if status == 2 else RuntimeError(f"dilconv: {text}")


def _address(t: torch.Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


_ABSENT = _Operand()


def _operand(t: torch.Tensor | None) -> _Operand:
    if t is None:
        return _ABSENT
    batch, channel, _ = t.stride()
    return _Operand(t.data_ptr(), batch, channel)


def forward(problem, x, w, b, residual, y) -> None:
    """y (N,K,Q) = act(conv(x, w) + b + residual); b and residual may be None."""
    _refuse_forked_child()
    isa, inputs = _active_isa_number(problem.dtype), map(_address, (x, w, b))
    _check(_library().dilconv_forward(isa, problem, *inputs, _operand(residual), y.data_ptr()))


def backward(problem, g, y, x, w, dx, dw, db, dr) -> None:
    """dx (N,C,W), dw (K,C,S), db (K,), dr (N,K,Q), each unless None; y only where relu."""
    _refuse_forked_child()
    addresses = map(_address, (y, x, w, dx, dw, db, dr))
    isa = _active_isa_number(problem.dtype)
    _check(_library().dilconv_backward(isa, problem, _operand(g), *addresses))


def plan(isa: str, problem: Problem, pass_name: str) -> PlanReport:
    """What one call of the pass would do, and the workspace that it would allocate and free."""
    report = PlanReport()
    number = PASSES.index(pass_name)
    _check(_library().dilconv_plan(built_isas().index(isa), problem, number, report))
    return report


def peak_flops(isa: str, iterations: int) -> float:
    """Runs `iterations` rounds of multiply-adds on one thread; returns the operations done."""
    return _library().dilconv_peak_flops(built_isas().index(isa), iterations)
