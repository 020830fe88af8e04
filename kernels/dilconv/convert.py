"""Swap the convolutions of any model in place by changing their class; nothing else changes."""

from __future__ import annotations

import logging

from torch import nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from dilconv import _native
from dilconv.conv import Conv1d, unsupported

_log = logging.getLogger(__name__)


def convert(model: nn.Module) -> nn.Module:
    """Turn every eligible `torch.nn.Conv1d` of `model` into `dilconv.Conv1d`, in place.

    Only modules whose type is exactly `nn.Conv1d`, parametrized or not, are touched. What cannot
    run on the kernels (subclasses, strides, groups, padding modes, other dtypes and devices) is
    left as it is and named in the log. `revert` undoes it. Returns `model` itself.
    """
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv1d) or isinstance(module, Conv1d):
            continue
        reason = _why_not(module)
        if reason is None:
            _set_class(module, Conv1d)
            vars(module).update(activation=None, algorithm="auto")
        else:
            _log.warning("%s stays with torch: %s", _named(name), reason)
    return model


def _named(name: str) -> str:
    return name or "the model"


def _set_class(module: nn.Module, kind: type) -> None:
    """Change the class of a module; of a parametrized one, what its class derives from."""
    if is_parametrized(module):
        # Its class was made for it alone, but copies of the module share it.
        own = {k: v for k, v in vars(type(module)).items() if k not in ("__dict__", "__weakref__")}
        kind = type(type(module).__name__, (kind,), own)
    module.__class__ = kind


def _why_not(module: nn.Conv1d) -> str | None:
    kind = type_before_parametrizations(module)
    if issubclass(kind, nn.modules.lazy.LazyModuleMixin):
        return f"it is a {kind.__name__}: call the model once before"
    if kind is not nn.Conv1d:
        return f"it is a {kind.__name__}, not a plain Conv1d"
    for parameter in module.parameters():  # reading a parametrized weight may change buffers
        if parameter.dtype not in _native.DTYPES or parameter.device.type != "cpu":
            return f"its weight is {parameter.dtype} on {parameter.device.type}"
    return unsupported(module)


def revert(model: nn.Module) -> nn.Module:
    """Turn every `dilconv.Conv1d` of `model` back into `torch.nn.Conv1d`, in place.

    ValueError where a layer has an activation or is of a subclass, which a plain convolution
    cannot express; nothing is changed then.
    """
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, Conv1d)]
    for name, module in layers:
        kind = type_before_parametrizations(module)
        if kind is not Conv1d:
            raise ValueError(
                f"{_named(name)} is a {kind.__name__}, which revert cannot turn into a "
                "torch.nn.Conv1d: replace it in the model first"
            )
        if module.activation is not None:
            raise ValueError(
                f"{_named(name)} applies {_word(module.activation)} inside the convolution, "
                "which torch.nn.Conv1d cannot: use activation=None and a separate module instead"
            )
    for _, module in layers:
        del module.activation, module.algorithm
        _set_class(module, nn.Conv1d)
    return model


def _word(activation: str | nn.Module) -> str:
    return activation if isinstance(activation, str) else type(activation).__name__


def unfuse(model: nn.Module) -> nn.Module:
    """Give every fused ReLU of `model` a module of its own, in place; `fuse` undoes it.

    Weights, state dict and outputs stay the same, to the bit, and hooks see the ReLUs, as DeepLIFT
    and other methods of attribution need it. Returns `model` itself.
    """
    for module in model.modules():
        if isinstance(module, Conv1d) and module.activation == "relu":
            module.activation = nn.ReLU()
    return model


def fuse(model: nn.Module) -> nn.Module:
    """Undo `unfuse`: compute a ReLU that is the activation of a `dilconv.Conv1d` inside it.

    One with hooks stays a module. Returns `model` itself.
    """
    for module in model.modules():
        if isinstance(module, Conv1d) and _is_plain_relu(module.activation):
            del module.activation
            module.activation = "relu"
    return model


def _is_plain_relu(activation) -> bool:
    if type(activation) is not nn.ReLU:
        return False
    hooks = (value for name, value in vars(activation).items() if name.endswith("_hooks"))
    return not any(hooks)
