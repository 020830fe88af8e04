"""What made a result: versions, inputs, model and machine, as plain JSON-able values."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from denoiseq import __version__

PACKAGES = ("torch", "numpy", "pysam", "h5py", "hydra-core", "pyBigWig", "matplotlib")


def versions() -> dict[str, str | None]:
    """Versions of everything that has a say in the results."""
    packages = {name: package_version(name) for name in PACKAGES}
    return {"denoiseq": __version__, "python": platform.python_version(), **packages}


def model_facts(path: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What the summary of a prediction says about its model."""
    names = ("epoch", "step", "seed", "fingerprint", "config")
    return {"checkpoint": path, **{name: payload[name] for name in names}}


def software_facts(network: Any) -> dict[str, Any]:
    """What the summary of a prediction says about the program and the machine's part."""
    device = next(network.parameters()).device.type
    conv, precision = network.conv, network.precision
    active = "active" if precision == "fp32" else f"active_{precision}"
    on_cpu = conv == "dilconv" and device == "cpu"
    isa = dilconv_state().get(active) if on_cpu else None
    return {
        "versions": versions(),
        "conv": conv,
        "algorithm": conv,  # the key's old name, for its readers
        "isa": isa,
        "precision": precision,
        "device": device,
    }


def package_version(name: str) -> str | None:
    """The installed version of a distribution, None where it is absent."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def dilconv_state() -> dict[str, Any]:
    """Instruction sets of the compiled kernels here and the one in use, or why they do not load."""
    try:
        import dilconv
        import torch

        return {
            "loaded": True,
            "isas": list(dilconv.available_isas()),
            "active": dilconv.active_isa(),
            "active_bf16": dilconv.active_isa(torch.bfloat16),
        }
    except (ImportError, OSError, RuntimeError, ValueError) as error:  # ValueError: DILCONV_ISA
        return {"loaded": False, "reason": " ".join(str(error).split())}
