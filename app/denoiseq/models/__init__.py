"""The networks, and the files that hold their weights."""

import torch

from denoiseq.models.linear import Linear
from denoiseq.models.network import Network
from denoiseq.models.resnet import DenoisingResNet
from denoiseq.models.unet import UNet
from denoiseq.settings import Conv, Data, Model, Precision

MODELS: dict[str, type[Network]] = {
    "denoising_resnet": DenoisingResNet,
    "unet": UNet,
    "linear": Linear,
}


def in_channels(data: Data) -> int:
    """Rows of the network's input: the coverage, and the four bases if `data` asks for them."""
    return 5 if data.sequence else 1


def build(
    model: Model,
    conv: Conv,
    precision: Precision,
    seed: int = 0,
    in_channels: int = 1,
) -> Network:
    """The network, with fresh weights that depend on `seed` alone."""
    torch.manual_seed(seed)
    named = ("name", "pretrained")
    shape = {name: value for name, value in vars(model).items() if name not in named}
    return MODELS[model.name](
        **shape,
        conv=conv.backend,
        algorithm=conv.algorithm,
        precision=precision.name,
        in_channels=in_channels,
    )
