"""Memory between calls: what the kernels keep, and a setting of the allocator of tensors."""

from __future__ import annotations

import ctypes

from dilconv import _native

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h> of glibc


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next tensors of this process.

    By default it hands large tensors back to the kernel at every free (from 32 MB on whatever the
    threshold), and each new activation is cleared and mapped page by page again: 15% of a training
    step of small tensors, a third and more of large ones. The process then keeps all memory that it
    has used until it ends. Call it before the first training step. True if the allocator agreed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return False
    return all([mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1)])  # -1: never


def release_memory() -> int:
    """Give the workspace that is kept from call to call back to the operating system; its bytes.

    The kernels keep what their largest call needed: at most 32 MB a thread, and 256 MB beside. Call
    it when a program has done with its convolutions but goes on; the next call allocates anew.
    """
    return _native.release_memory()
