"""Fixtures of the kernel tests: a test that takes one of these runs once per instruction set."""

import pytest
from dilconv import _native

# Their float32 kernels are avx512's.
ONLY_BF16 = ("avx512bf16", "amx")


def chosen(name, monkeypatch):
    if name not in _native.available_isas():
        pytest.skip(f"this CPU cannot run {name}")
    monkeypatch.setenv("DILCONV_ISA", name)
    return name


@pytest.fixture(params=[name for name in _native.built_isas() if name not in ONLY_BF16])
def isa(request, monkeypatch):
    """Every instruction set built that has float32 kernels of its own."""
    return chosen(request.param, monkeypatch)


@pytest.fixture(params=_native.built_isas())
def bf16_isa(request, monkeypatch):
    """Every instruction set built."""
    return chosen(request.param, monkeypatch)
