"""Swap the convolutions of any model in place by changing their class; nothing else changes."""

from __future__ import annotations

import logging

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from dilconv.conv import Conv1d, unsupported

_log = logging.getLogger(__name__)


def convert(model: nn.Module) -> nn.Module:
    """Turn every eligible `torch.nn.Conv1d` of `model` into `dilconv.Conv1d`, in place.

    Only modules whose type is exactly `nn.Conv1d` are touched. What cannot run on the kernels
    (stride, groups, padding modes, other dtypes and devices, parametrizations) is left as it is
    and named in the log. `revert` undoes it. Returns `model` itself.
    """
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv1d) or isinstance(module, Conv1d):
            continue
        reason = _why_not(module)
        if reason is None:
            module.__class__ = Conv1d
            vars(module).update(activation=None, algorithm="auto")
        else:
            _log.warning("%s stays with torch: %s", name or "the model", reason)
    return model


def _why_not(module: nn.Conv1d) -> str | None:
    if is_parametrized(module):
        return "it is parametrized"
    if type(module) is not nn.Conv1d:
        return f"it is a {type(module).__name__}, not a plain Conv1d"
    weight = module.weight
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return f"its weight is {weight.dtype} on {weight.device.type}"
    return unsupported(module)


def revert(model: nn.Module) -> nn.Module:
    """Turn every `dilconv.Conv1d` of `model` back into `torch.nn.Conv1d`, in place.

    ValueError where a layer has a fused activation, which a plain convolution cannot express;
    nothing is changed then.
    """
    layers = [(n, m) for n, m in model.named_modules() if type(m) is Conv1d]
    for name, module in layers:
        if module.activation is not None:
            raise ValueError(
                f"{name or 'the model'} applies {module.activation} inside the convolution, "
                "which torch.nn.Conv1d cannot: use activation=None and a separate module instead"
            )
    for _, module in layers:
        del module.activation, module.algorithm
        module.__class__ = nn.Conv1d  # type: ignore[assignment]
    return model
