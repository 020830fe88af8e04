"""Fixtures of the kernel tests: every test that takes `isa` runs once per instruction set built."""

import pytest
from dilconv import _native


@pytest.fixture(params=_native.built_isas())
def isa(request, monkeypatch):
    if request.param not in _native.available_isas():
        pytest.skip(f"this CPU cannot run {request.param}")
    monkeypatch.setenv("DILCONV_ISA", request.param)
    return request.param
