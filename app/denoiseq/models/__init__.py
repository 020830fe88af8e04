"""The networks, and the files that hold their weights."""

from importlib import import_module

import torch

from denoiseq.models.network import Network
from denoiseq.settings import Conv, Model, Precision
from denoiseq.settings.data import COVERAGE_ALONE, Rows


def build(
    settings: Model,
    conv: Conv,
    precision: Precision,
    seed: int = 0,
    rows: Rows = COVERAGE_ALONE,
) -> Network:
    """The network that `settings` names, with fresh weights that depend on `seed` alone.

    rows : what it reads, `Data.rows`
    """
    module, _, name = settings.network.rpartition(".")
    network: type[Network] = getattr(import_module(module), name)
    torch.manual_seed(seed)
    return network(settings, conv, precision, rows)
