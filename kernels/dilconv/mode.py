"""`enabled`: other people's calls of `torch.nn.functional.conv1d` on dilconv's kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from dilconv.conv import check_shapes, conv1d, ineligible, leave_to_torch, uncovered
from dilconv.geometry import resolve_padding


class enabled(TorchFunctionMode):
    """Inside `with dilconv.enabled():` every `F.conv1d` of this thread runs on the kernels.

    So does what calls it, such as `nn.Conv1d` and its subclasses. What the kernels do not cover
    runs in torch, and the reason is logged once. What torch refuses, it refuses as before.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.conv1d and not types:  # types: classes that override functions themselves
            y = _on_kernels(*args, **kwargs)
            if y is not None:
                return y
        return function(*args, **kwargs)


def _on_kernels(
    input=None, weight=None, bias=None, stride=1, padding=0, dilation=1, groups=1, *more, **others
):
    """`F.conv1d` of these arguments, or None where torch has to take or to refuse them."""
    tensors = [input, weight] if bias is None else [input, weight, bias]
    if more or others or not all(isinstance(t, torch.Tensor) for t in tensors):
        return None
    try:
        dilation = _number(dilation)
        padding = padding if isinstance(padding, str) else _number(padding)
        reason = uncovered(_number(stride), groups) or ineligible(input, weight, bias, None)
        if reason is not None:
            leave_to_torch(reason)
            return None
        both = resolve_padding(padding, weight.shape[-1], dilation)
        check_shapes(input[None] if input.dim() == 2 else input, weight, bias, None, both, dilation)
    except (ValueError, IndexError):  # torch has its own words for it
        return None
    if len({t.dtype for t in tensors}) > 1 and not torch.is_autocast_enabled("cpu"):
        return None
    return conv1d(input, weight, bias, padding=padding, dilation=dilation)


def _number(value) -> int:
    """An argument that torch takes as a number or as a sequence of one."""
    if isinstance(value, int):
        return value
    (number,) = value
    return number
