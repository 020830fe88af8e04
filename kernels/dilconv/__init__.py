"""dilconv: an efficient, generic 1D dilated convolution layer for PyTorch on CPUs."""

from importlib.metadata import PackageNotFoundError, version

from dilconv import batching  # noqa: F401  registers the rules of vmap
from dilconv._native import active_isa, available_isas
from dilconv.conv import Conv1d, conv1d
from dilconv.convert import convert, fuse, revert, unfuse
from dilconv.memory import keep_freed_memory, release_memory
from dilconv.mode import enabled
from dilconv.planner import Plan, plan

try:
    __version__ = version("dilconv")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Conv1d",
    "Plan",
    "__version__",
    "active_isa",
    "available_isas",
    "conv1d",
    "convert",
    "enabled",
    "fuse",
    "keep_freed_memory",
    "plan",
    "release_memory",
    "revert",
    "unfuse",
]
