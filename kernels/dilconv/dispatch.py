"""Whether a call may go past torch's dispatcher, which takes longer than a small convolution."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad


def _key_bits(*names: str) -> int:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.Undefined)
    for name in names:
        keys = keys.add(torch._C._dispatch_key_parse(name))
    return keys.raw_repr()


try:
    _keys_of_tensor = torch._C._dispatch_keys
    _keys_of_thread = torch._C._dispatch_tls_local_include_set
    _profiling = torch._C._autograd._profiler_enabled
    # Dispatch keys of a strided CPU tensor, and of a thread without modes or transforms.
    _PLAIN_TENSOR = _key_bits("CPU", "AutogradCPU", "AutocastCPU", "ADInplaceOrView")
    _PLAIN_THREAD = _key_bits("BackendSelect", "ADInplaceOrView")
    _ = forward_ad._current_level
    _KEYS_ARE_READABLE = True
except AttributeError:  # a torch without these names: always call the dispatcher
    _KEYS_ARE_READABLE = False


def is_plain(tensors) -> bool:
    """Whether the dispatcher would call only reverse-mode autograd and the CPU kernel.

    If not, a transform, a mode, a tracer, a profiler or a lazy negation needs it.
    """
    if not _KEYS_ARE_READABLE or forward_ad._current_level >= 0 or _profiling():
        return False
    if _keys_of_thread().raw_repr() & ~_PLAIN_THREAD:
        return False
    for t in tensors:
        if t is not None and _keys_of_tensor(t).raw_repr() & ~_PLAIN_TENSOR:
            return False
    return True
