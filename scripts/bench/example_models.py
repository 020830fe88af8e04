"""Models as their authors write them, in plain torch, for scripts/bench_models.py.

BPNet comes from the package bpnet-lite, the others are written here. Nothing here knows dilconv.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[tuple[Tensor, ...], Tensor]  # inputs, truth
Loss = Callable[..., Tensor]


class GatedBlock(nn.Module):
    """A causal gated convolution with its residual and skip branches (WaveNet, 2016)."""

    def __init__(self, channels: int, taps: int, dilation: int):
        super().__init__()
        self.pad = (taps - 1) * dilation
        self.filter = nn.Conv1d(channels, channels, taps, dilation=dilation)
        self.gate = nn.Conv1d(channels, channels, taps, dilation=dilation)
        self.residual = nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        padded = F.pad(x, (self.pad, 0))
        z = torch.tanh(self.filter(padded)) * torch.sigmoid(self.gate(padded))
        return x + self.residual(z), self.skip(z)  # both (N, channels, W)


class WaveNet(nn.Module):
    """Next-sample logits (N, 256, W) of a mu-law coded signal (N, 1, W)."""

    def __init__(self, channels: int = 64, taps: int = 2, blocks: int = 10):
        super().__init__()
        self.first = nn.Conv1d(1, channels, 1)
        self.blocks = nn.ModuleList(GatedBlock(channels, taps, 2**i) for i in range(blocks))
        self.head = nn.Conv1d(channels, channels, 1)
        self.last = nn.Conv1d(channels, 256, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.first(x), 0
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip
        return self.last(F.relu(self.head(F.relu(total))))


def wavenet_batch(N: int) -> Batch:
    """A second of 16 kHz audio each: mu-law codes, and the sample before as the input."""
    codes = torch.randint(0, 256, (N, 16_001))
    return (codes[:, None, :-1] / 128.0 - 1,), codes[:, 1:]


class Filterbank(nn.Module):
    """Keyword logits (N, 35) of one second at 16 kHz (N, 1, 16000).

    A learned bank of 40 complex filters of 401 taps (25 ms) at every sample, its energy, a smoother
    of 401 taps at stride 160 and a small network: the front end of LEAF (2021), freely learned.
    """

    def __init__(self, filters: int = 40, taps: int = 401, keywords: int = 35):
        super().__init__()
        self.bank = nn.Conv1d(1, 2 * filters, taps, padding=taps // 2, bias=False)
        self.smooth = nn.AvgPool1d(taps, stride=160, padding=taps // 2)
        self.net = nn.Sequential(
            *(nn.Conv1d(filters, 64, 5, padding=2), nn.ReLU()),
            *(nn.Conv1d(64, 64, 5, padding=4, dilation=2), nn.ReLU()),
            *(nn.Conv1d(64, 64, 5, padding=8, dilation=4), nn.ReLU()),
        )
        self.classify = nn.Linear(64, keywords)

    def forward(self, x: Tensor) -> Tensor:
        energy = self.bank(x).unflatten(1, (-1, 2)).square().sum(2)  # (N, filters, 16000)
        bands = torch.log(self.smooth(energy) + 1e-3)  # (N, filters, 100)
        return self.classify(self.net(bands).mean(2))


def filterbank_batch(N: int) -> Batch:
    return (torch.randn(N, 1, 16_000),), torch.randint(0, 35, (N,))


def bpnet(n_control_tracks: int) -> nn.Module:
    """bpnet-lite's BPNet with its defaults: 64 filters, stem of 21 taps, 8 layers, head of 75."""
    from bpnetlite import BPNet

    return BPNet(n_control_tracks=n_control_tracks, verbose=False)


def bpnet_batch(n_control_tracks: int, N: int) -> Batch:
    """One-hot sequences (N, 4, 2114), control tracks, and reads (N, 2, 1000) on two strands."""
    x = F.one_hot(torch.randint(0, 4, (N, 2114)), 4).transpose(1, 2).float().contiguous()
    control = torch.poisson(torch.full((N, n_control_tracks, 2114), 0.2))
    return (x, control)[: 1 + bool(n_control_tracks)], torch.poisson(torch.ones(N, 2, 1000))


def bpnet_loss(model: nn.Module) -> Loss:
    """As its `fit` has it: multinomial NLL of the profile and log1p-MSE of the counts."""
    from bpnetlite.losses import _mixture_loss

    weight = model.count_loss_weight
    return lambda prediction, y: _mixture_loss(y, *prediction, weight)[2]


@dataclass(frozen=True)
class Example:
    """A model, its inputs and truth for a batch of N, and its loss(prediction, truth)."""

    name: str
    batches: tuple[int, ...]
    build: Callable[[], nn.Module]
    batch: Callable[[int], Batch]
    loss: Callable[[nn.Module], Loss] = lambda _: F.cross_entropy
    install: str = ""  # the command that installs its package

    def available(self) -> bool:
        """Whether its package can be imported."""
        try:
            self.build()
        except ImportError:
            return False
        return True


BPNET = "pip install --no-deps bpnet-lite tangermeme && pip install pandas numba scipy"
EXAMPLES = (
    *(
        Example(name, N, partial(bpnet, tracks), partial(bpnet_batch, tracks), bpnet_loss, BPNET)
        for name, tracks, N in (("BPNet", 0, (8, 64)), ("BPNet, 2 controls", 2, (64,)))
    ),
    Example("WaveNet S=2", (1,), WaveNet, wavenet_batch),
    Example("WaveNet S=3", (1,), partial(WaveNet, taps=3), wavenet_batch),
    Example("filterbank S=401", (8,), Filterbank, filterbank_batch),
    Example("filterbank S=101", (8,), partial(Filterbank, taps=101), filterbank_batch),
)
