"""What all networks share: task, scale of the input, precision, and how far a base sees."""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from denoiseq.models.layers import SameConv1d
from denoiseq.settings import Conv, Model, Precision
from denoiseq.settings.data import Rows

# expm1 of anything larger is no coverage: exp(16) is 8.9 million cuts over one base.
LOG1P_LIMIT = 16.0
# Anscombe's: sqrt(count + 3/8) has nearly the same variance whatever the expected count.
SQRT_OFFSET = 0.375
# What the tracks of a prediction are called: of the regression head, and of the peak head.
DENOISED, PROBABILITY = "denoised", "peak probability"


class Prediction(NamedTuple):
    """What every network returns, float32 (N, L) whatever the autocast: denoised coverage, >= 0, in
    the units of the input track, and log-odds that a base lies in a peak. None stands for a head
    that the network's task does without.
    """

    coverage: Tensor | None
    peak_logits: Tensor | None

    @property
    def score(self) -> Tensor:
        """What bases are ranked by (N, L): the log-odds of a peak, else the coverage."""
        score = self.coverage if self.peak_logits is None else self.peak_logits
        assert score is not None  # every task has a head
        return score


class Network(nn.Module):
    """Base of the networks, which define `_tracks` and `_path`.

    settings : log1p and sqrt compress the input coverage first; the regression head then lives on
        that scale, and `Prediction.coverage` is brought back by expm1 or square. sqrt is
        sqrt(x + 3/8): noise is level on it, and k times the coverage stays a factor, so spikes
        neither rule the gradients, as with none, nor blow up on the way back. With both_strands
        the answers to x and to its reverse complement are averaged in evaluation mode: twice the
        work, half of what depends on the strand that was read.
    precision : bf16 is autocast inside `forward`: activations are bfloat16; weights, their
        gradients, sums, heads and predictions stay float32, so state dicts do not depend on it
    rows : what is read; where that is the input's depth too, the answer is the coverage at another
        depth, that of the training's clean samples, and with add_input the network learns the
        fragments that the input lacks there: input + (1 - depth ratio) * track is compared with the
        clean track, which holds the input. The input's own noise is no signal, however: in
        evaluation mode the input, at the depth of the answer, has the weight of the squared ratio.
        An input as deep as the answer is its own answer, and a deeper one, divided by the ratio.

    `temperature` is what peak logits are divided by; a calibration sets it, after the training.
    """

    # Tiles of a chromosome give its answer only if they begin on a multiple of this.
    tile_step_bp = 1

    def __init__(self, settings: Model, conv: Conv, precision: Precision, rows: Rows):
        super().__init__()
        self.task = settings.task
        self.input_transform = settings.input_transform
        self.both_strands = settings.both_strands
        self.backend, self.conv = conv, conv.backend
        self.precision = precision.name
        self.rows, self.in_channels = rows, rows.total
        self.add_input, self.temperature = False, 1.0

    def forward(self, x: Tensor) -> Prediction:
        """x (N, in_channels, L), the coverage its first channel -> Prediction of (N, L) tracks."""
        pred = self._one_strand(x)
        if self.both_strands and not self.training:
            turned = self._one_strand(reverse_complement(x, self.rows.bases))
            pred = Prediction(*map(_mean, pred, turned))
        return pred

    @property
    def track_names(self) -> list[str]:
        """The tracks that `answer` gives."""
        heads = {"regression": [DENOISED], "classification": [PROBABILITY]}
        return heads.get(self.task, [DENOISED, PROBABILITY])

    @torch.inference_mode()
    def answer(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The tracks of one window x (in_channels, L) by name: float32 (L,) each."""
        window = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))[None]  # (1, C, L)
        coverage, logits = self(window.to(next(self.parameters()).device))
        probability = None if logits is None else torch.sigmoid(logits)
        tracks = {DENOISED: coverage, PROBABILITY: probability}
        return {name: t[0].cpu().numpy() for name, t in tracks.items() if t is not None}

    def _one_strand(self, x: Tensor) -> Prediction:
        track, logits = self._tracks(self._compressed(x))
        if track is not None:
            track = self._expanded(track)
            track = self._with_input(track, x) if self.add_input else track
        return Prediction(
            None if track is None else track.squeeze(1),
            None if logits is None else logits.squeeze(1) / self.temperature,
        )

    def _with_input(self, track: Tensor, x: Tensor) -> Tensor:
        """The fragments that were seen as a part of the answer: (N, 1, L).

        The square was chosen on a validation chromosome of yeast: beside fragments that the input
        lacks, the log1p-Pearson at half the depth rises from .805 to .819, and the squared error
        stays.
        """
        if not self.rows.depth:
            return track + x[:, :1]
        ratio = x[:, -1:].exp2()
        weight = ratio.clamp(max=1) if self.training else ratio.clamp(max=1).square()
        return weight * (x[:, :1] / ratio) + (1 - weight) * track

    def _tracks(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """x (N, in_channels, L) -> track on the input's scale and peak logits, (N, 1, L) each."""
        raise NotImplementedError

    def _path(self) -> Iterable[nn.Module]:
        """The layers that see furthest, from input to output: SameConv1d, MaxPool1d, Upsample."""
        raise NotImplementedError

    def _regression_head(self, channels: int) -> SameConv1d:
        """1x1 convolution and ReLU of features that are >= 0."""
        head = SameConv1d(channels, 1, 1, bias=False, activation="relu", conv=self.backend)
        # Weights of one sign keep the head's own ReLU from being born dead, which would silence
        # every gradient.
        with torch.no_grad():
            head.conv_layer.get_parameter("weight").abs_()
        return head

    def _peak_head(self, channels: int) -> SameConv1d:
        """1x1 convolution with bias: features to logits."""
        return SameConv1d(channels, 1, 1, bias=True, activation=None, conv=self.backend)

    def _autocast(self, h: Tensor):
        """The network's precision, for the layers before the heads."""
        if self.precision == "fp32":  # what the caller has set holds
            return nullcontext()
        return torch.autocast(h.device.type, torch.bfloat16)

    @staticmethod
    def _head(layer: SameConv1d, h: Tensor) -> Tensor:
        """h (N, C, L) -> (N, 1, L), in float32 whatever the autocast."""
        with torch.autocast(h.device.type, enabled=False):
            return layer(wide(h))

    def _compressed(self, x: Tensor) -> Tensor:
        """The input with its coverage on the scale that the network lives on."""
        if self.input_transform == "none":
            return x
        track = self._scaled(x[:, :1])
        if self.in_channels == 1:
            return track
        first = 1 + 4 * self.rows.bases
        last = first + self.rows.background + self.rows.surroundings
        around = self._scaled(x[:, first:last])
        return torch.cat([track, x[:, 1:first], around, x[:, last:]], dim=1)

    def _scaled(self, coverage: Tensor) -> Tensor:
        """Coverage as log1p or sqrt has it."""
        log = self.input_transform == "log1p"
        return coverage.log1p() if log else (coverage + SQRT_OFFSET).sqrt()

    def _expanded(self, track: Tensor) -> Tensor:
        """The regression output, >= 0, as coverage."""
        if self.input_transform == "log1p":
            return torch.expm1(track.clamp(max=LOG1P_LIMIT))
        return track.square() if self.input_transform == "sqrt" else track

    def receptive_field_bp(self) -> int:
        """Input bases that one base of the answer depends on, at most."""
        return max(last - first + 1 for first, last in self._fields())

    def context_bp(self) -> int:
        """Bases needed on each side of a base for the answer that the whole chromosome gives."""
        return max(max(i - first, last - i) for i, (first, last) in enumerate(self._fields()))

    def _fields(self) -> list[tuple[int, int]]:
        """The first and last base that each base of [0, tile_step_bp) depends on."""
        fields = []
        for base in range(self.tile_step_bp):
            first = last = base
            for layer in reversed(list(self._path())):
                if isinstance(layer, SameConv1d):
                    first, last = first - layer.padding[0], last + layer.padding[1]
                elif isinstance(layer, nn.Upsample):
                    first, last = first // 2, last // 2
                else:
                    first, last = 2 * first, 2 * last + 1
            fields.append((first, last))
        return fields


def reverse_complement(x: Tensor, bases: bool) -> Tensor:
    """The input (N, C, L) as the other strand has it: positions reversed, and, where it holds the
    bases, A for T and C for G.
    """
    if bases:
        x = torch.cat([x[:, :1], x[:, 1:5].flip(1), x[:, 5:]], dim=1)
    return x.flip(-1)


def _mean(forward: Tensor | None, turned: Tensor | None) -> Tensor | None:
    """The mean of the forward strand's track (N, L) and the other's, which runs backwards."""
    return None if forward is None or turned is None else (forward + turned.flip(-1)) / 2


def wide(h: Tensor) -> Tensor:
    """At least float32, whatever the autocast made of it."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
