"""What made a result: versions, inputs, model and machine, as plain JSON-able values."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from denoiseq import __version__
from denoiseq.inputs import is_pipe

PACKAGES = ("torch", "numpy", "pysam", "h5py", "hydra-core", "pyBigWig", "matplotlib")


def versions() -> dict[str, str | None]:
    """Versions of everything that has a say in the results."""
    packages = {name: _package_version(name) for name in PACKAGES}
    return {"denoiseq": __version__, "python": platform.python_version(), **packages}


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def store_provenance(inputs: Mapping[str, list[Path]]) -> dict[str, Any]:
    """What made a store: its input files by setting, one or a list, the command, and versions."""
    facts = {key: [_file_facts(path) for path in paths] for key, paths in inputs.items()}
    return {
        "inputs": {key: rows[0] if len(rows) == 1 else rows for key, rows in facts.items()},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": versions(),
    }


def _file_facts(path: Path) -> dict[str, Any]:
    """What identifies an input file without reading it; of a pipe only its path is known."""
    if is_pipe(path):
        return {"name": str(path), "bytes": None, "mtime": None}
    stat = path.stat()
    return {"name": path.name, "bytes": stat.st_size, "mtime": int(stat.st_mtime)}


def model_facts(path: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What the summary of a prediction says about its model."""
    names = ("epoch", "step", "seed", "fingerprint", "config")
    return {"checkpoint": path, **{name: payload[name] for name in names}}


def software_facts(network: Any) -> dict[str, Any]:
    """What the summary of a prediction says about the program and the machine's part."""
    device = next(network.parameters()).device.type
    conv, precision = network.conv, network.precision
    active = "active" if precision == "fp32" else f"active_{precision}"
    state = dilconv_state() if conv == "dilconv" and device == "cpu" else {}
    return {
        "versions": versions(),
        "conv": conv,
        "algorithm": conv,  # the key's old name, for its readers
        "isa": state.get(active),
        "precision": precision,
        "device": device,
    }


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
