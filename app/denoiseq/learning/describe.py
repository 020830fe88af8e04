"""What a network's convolutions will run as: shape by shape, for the log of a training."""

from collections import Counter

import torch
from torch import Tensor, nn


def convolutions(model: nn.Module, x: Tensor, batch_size: int) -> list[str]:
    """A line for each shape of convolution, as "19 x 15->15, S=51, d=8, W=60000: spectral, …".

    Parameters
    ----------
    x : (1, C, L)
        A window to pass through the network, so that every layer's width is known.
    batch_size : windows that a step passes through it at once
    """
    found: Counter[tuple] = Counter()

    def note(layer: nn.Conv1d, inputs: tuple, _output: Tensor) -> None:
        shape = (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.dilation[0])
        width, dtype = inputs[0].shape[-1], inputs[0].dtype
        found[(*shape, width, dtype, getattr(layer, "algorithm", None))] += 1

    layers = [m for m in model.modules() if isinstance(m, nn.Conv1d)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    was_training = model.training
    try:
        with torch.inference_mode():
            model.eval()(x)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return [
        f"{count} x {C}->{K}, S={S}, d={d}, W={W}: {_runs_as(batch_size, x.device, *shape)}"
        for shape, count in found.items()
        for C, K, S, d, W, *_ in [shape]
    ]


def _runs_as(
    N: int,
    device: torch.device,
    C: int,
    K: int,
    S: int,
    d: int,
    W: int,
    dtype: torch.dtype,
    algorithm: str | None,
) -> str:
    """The algorithm of forward and of backward, as dilconv plans them."""
    if algorithm is None or device.type != "cpu":
        return "torch"
    import dilconv

    planned = [
        dilconv.plan(N, C, K, W, S, d, pass_name=name, algorithm=algorithm, dtype=dtype).algorithm
        for name in ("forward", "backward")
    ]
    return f"{planned[0]} forward, {planned[1]} backward" if len(set(planned)) > 1 else planned[0]
