"""What made a result: versions, inputs, model and machine, as plain JSON-able values."""

from __future__ import annotations

import platform
from typing import Any

from denoiseq import __version__
from denoiseq.genomics.store import CutStore, Store
from denoiseq.machine import PACKAGES, dilconv_state, package_version


def versions() -> dict[str, str | None]:
    """Versions of everything that has a say in the results."""
    packages = {name: package_version(name) for name in PACKAGES}
    return {"denoiseq": __version__, "python": platform.python_version(), **packages}


def model_facts(path: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What the summary of a prediction says about its model."""
    names = ("epoch", "step", "seed", "fingerprint", "config")
    return {"checkpoint": path, **{name: payload[name] for name in names}}


def input_facts(opened: Store) -> dict[str, Any]:
    """What the summary of a prediction says about its reads, or its track."""
    counts = {}
    if isinstance(opened, CutStore):
        counts = {"fragments": opened.n_fragments, "cut_sites": opened.n_cuts}
    return {
        "files": opened.provenance.get("inputs", {}),
        **counts,
        "fingerprint": opened.fingerprint,
        "preprocessing": opened.preprocessing,
    }


def software_facts(conv: str, precision: str, device: str) -> dict[str, Any]:
    """What the summary of a prediction says about the program and the machine's part."""
    active = "active" if precision == "fp32" else f"active_{precision}"
    on_cpu = conv == "dilconv" and device == "cpu"
    isa = dilconv_state().get(active) if on_cpu else None
    facts = {"versions": versions(), "algorithm": conv, "isa": isa}
    return {**facts, "precision": precision, "device": device}
