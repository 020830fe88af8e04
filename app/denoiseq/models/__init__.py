"""The networks, and the files that hold their weights."""

from importlib import import_module

import torch

from denoiseq.models.network import Network
from denoiseq.settings import Conv, Data, Model, Precision


def in_channels(data: Data) -> int:
    """Rows of the network's input: the coverage, and the four bases if `data` asks for them."""
    return 5 if data.sequence else 1


def build(
    settings: Model, conv: Conv, precision: Precision, seed: int = 0, in_channels: int = 1
) -> Network:
    """The network that `settings` names, with fresh weights that depend on `seed` alone."""
    module, _, name = settings.network.rpartition(".")
    network: type[Network] = getattr(import_module(module), name)
    torch.manual_seed(seed)
    return network(settings, conv, precision, in_channels)
