"""What a network's convolutions will run as: shape by shape, for the log of a training."""

from collections import Counter

import torch
from torch import Tensor, nn

from denoiseq.models.layers import algorithms


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
        f"{count} x {C}->{K}, S={S}, d={d}, W={W}: {algorithms((batch_size, *shape), x.device)}"
        for shape, count in found.items()
        for C, K, S, d, W, *_ in [shape]
    ]
