"""Windows of a genome as tensors: noisy coverage in, clean coverage and peaks out. A window depends
on (settings, seed, epoch, index) alone, so workers, ranks and resumed runs see the same windows.
"""

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from denoiseq.errors import UserError, listed
from denoiseq.genomics.fasta import Genome
from denoiseq.genomics.intervals import Tile, mask, tile_chromosome
from denoiseq.settings import Data
from denoiseq.store.header import fingerprint
from denoiseq.store.input_rows import InputRows
from denoiseq.store.store import Store
from denoiseq.store.thinning import Thinning

log = logging.getLogger(__name__)


class WindowDataset(Dataset):
    """Fixed-length windows over chromosomes; UserError if there is none, or no label in any.

    Training moves the windows by a random offset per chromosome and draws new fragments each
    epoch, and for each window its place, depth and direction if the settings say so; otherwise
    windows and draw are fixed (epoch 0's draw at thin_fraction), in genome order, and chromosomes
    shorter than a window are whole.

    store : clean coverage, and the fragments that noisy input is drawn from
    peaks : chromosome -> int64 (M, 2), labels that the peak head learns
    truth : peaks that metrics are computed against; by default the labels
    noisy : what noisy input is drawn from instead; it has the chromosomes of `store`
    genome : adds the bases to the input
    """

    def __init__(
        self,
        store: Store,
        chroms: list[str],
        settings: Data,
        peaks: dict[str, np.ndarray],
        *,
        training: bool,
        seed: int = 0,
        truth: dict[str, np.ndarray] | None = None,
        noisy: Store | None = None,
        genome: Genome | None = None,
    ):
        assert settings.thin_fraction is not None  # `Data` has replaced null
        self.settings, self.seed, self.training = settings, seed, training
        self.thin_fraction = settings.thin_fraction
        self.store, self.noisy = store, store if noisy is None else noisy
        self.reader = InputRows.of(self.noisy, settings, genome)
        self.peaks, self.truth = peaks, peaks if truth is None else truth
        self._check_thinning()
        self._number = {chrom: number for number, chrom in enumerate(store.chroms)}
        self.chroms = self._long_enough(chroms) if training else list(chroms)
        self._part = 0  # of the disjoint draws
        self.set_epoch(0)
        if not self.tiles:
            raise UserError(
                f"No window of {settings.window_bp} bp is left to train on in {listed(chroms)}: "
                "choose other chromosomes, a smaller data.interval_bp, or a smaller blacklist."
            )
        if training and not any(len(peaks.get(c, ())) for c in self.chroms):
            raise UserError(
                f"The labels hold no peaks on the training chromosomes ({listed(chroms)}): "
                "check the chromosome names of the BED, or lower the label threshold."
            )

    def _check_thinning(self) -> None:
        whole = self.settings.thin_fractions[0] == self.thin_fraction == 1
        for store in self.noisy.samples:
            if not (whole or store.thinnable):
                raise UserError(
                    f"{store.path} holds coverage, not fragments, and cannot be thinned: give a "
                    "noisy sample of its own (data.noisy_store) and no data.thin_fraction."
                )

    def _long_enough(self, chroms: list[str]) -> list[str]:
        window_bp, sizes = self.settings.window_bp, self.store.chroms
        if short := [c for c in chroms if sizes[c] < window_bp]:
            text = listed(short)
            log.info("not trained on, shorter than a window of %d bp: %s", window_bp, text)
        return [c for c in chroms if sizes[c] >= window_bp]

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch: new offsets and a new draw in training, nothing otherwise."""
        self.epoch = epoch if self.training else 0
        self.tiles = [tile for chrom in self.chroms for tile in self._tile(chrom)]
        most = self.settings.epoch_windows
        if self.training and most is not None and most < len(self.tiles):
            rng = np.random.default_rng([self.seed, self.epoch, 0, 0, 3])
            drawn = np.sort(rng.choice(len(self.tiles), most, replace=False))
            self.tiles = [self.tiles[i] for i in drawn]

    def _tile(self, chrom: str) -> list[Tile]:
        interval_bp, offset = self.settings.interval_bp, 0
        if self.training:
            offset = draw_offset(interval_bp, [self.seed, self.epoch, self._number[chrom]])
        size = self.store.chroms[chrom]
        tiles = tile_chromosome(chrom, size, interval_bp, self.settings.pad_bp, offset)
        if not self.training:
            return tiles
        if self.settings.peak_share:
            tiles = self._moved_to_peaks(chrom, tiles)
        # A core that is all blacklist teaches nothing.
        return [t for t in tiles if not self._blacklisted(t)[t.core_start - t.start :].all()]

    def _moved_to_peaks(self, chrom: str, tiles: list[Tile]) -> list[Tile]:
        """A share of the windows moved to where their core holds the middle of a random label."""
        labels, size, settings = self.peaks.get(chrom, ()), self.store.chroms[chrom], self.settings
        rng = np.random.default_rng([self.seed, self.epoch, self._number[chrom], 2])
        drawn = rng.random((len(tiles), 3))
        if not len(labels) or size == settings.window_bp:
            return tiles
        middles = np.mean(labels, axis=1).astype(int)
        for i, (moved, label, place) in enumerate(drawn):
            if moved < settings.peak_share:
                core = int(middles[int(label * len(middles))] - place * settings.interval_bp)
                core = min(max(core, 0), size - settings.interval_bp)
                start = min(max(core - settings.pad_bp, 0), size - settings.window_bp)
                end = start + settings.window_bp
                tiles[i] = Tile(chrom, start, end, core, core + settings.interval_bp)
        return tiles

    def _blacklisted(self, tile: Tile) -> np.ndarray:
        """bool, from the tile's start to its core's end."""
        return mask(self.store.blacklist, tile.chrom, tile.start, tile.core_end)

    def at(self, fraction: float) -> "WindowDataset":
        """The same windows with another fraction of the fragments as noisy input."""
        other = copy(self)
        other.thin_fraction = fraction
        return other

    @property
    def input_cuts_per_mb(self) -> float:
        """Depth of the noisy input at thin_fraction: cut sites per million unmasked bases."""
        return float(np.mean(self._depths)) * self.thin_fraction

    @property
    def input_cuts_per_mb_range(self) -> tuple[float, float]:
        """The least and the largest depth of the training's noisy input, over all samples."""
        low, high = self.settings.thin_fractions
        return min(self._depths) * low, max(self._depths) * high

    @property
    def answer_cuts_per_mb(self) -> float:
        """Depth of the clean coverage: cut sites per million unmasked bases."""
        given = self.settings.answer_cuts_per_mb
        return float(np.mean(self._clean_depths)) if given is None else given

    @cached_property
    def _depths(self) -> list[float]:
        depths = self.noisy.depths(self.settings.half_window_bp)
        if self.settings.tell_depth and 0 in depths:
            raise UserError(
                f"{self.noisy.samples[depths.index(0)].path} has no cut sites outside the "
                "blacklist, so there is no depth to tell the network: give a sample with reads."
            )
        return depths

    @cached_property
    def _clean_depths(self) -> list[float]:
        return self.store.depths(self.settings.half_window_bp)

    def _sample(self, chrom: str) -> int:
        """The number of the sample that a chromosome belongs to."""
        if len(self.store.samples) == 1:
            return 0
        home, _ = self.store.home(chrom)
        return next(i for i, sample in enumerate(self.store.samples) if sample is home)

    def _told_depth(self, chrom: str, fraction: float) -> float | None:
        """The depth of the input over that of the answer, where the network is told it."""
        if not self.settings.tell_depth:
            return None
        return self._depths[self._sample(chrom)] * fraction / self.answer_cuts_per_mb

    @property
    def fingerprint(self) -> str:
        """Of the preprocessing of every store in use."""
        if self.noisy is self.store:
            return self.store.fingerprint
        return fingerprint({"clean": self.store.fingerprint, "noisy": self.noisy.fingerprint})

    @cached_property
    def peaks_fingerprint(self) -> dict[str, str]:
        """Of the labels, and of the true peaks."""
        kinds = {"labels": self.peaks, "truth": self.truth}
        return {
            kind: fingerprint({chrom: np.asarray(rows).tolist() for chrom, rows in peaks.items()})
            for kind, peaks in kinds.items()
        }

    def facts(self) -> dict[str, Any]:
        """What a checkpoint stores of the data; `preprocessing` is that of the noisy input, which
        the input of a prediction must share.
        """
        told = {"answer_cuts_per_mb": self.answer_cuts_per_mb} if self.settings.tell_depth else {}
        return {
            **told,
            "preprocessing": self.noisy.preprocessing,
            "fingerprint": self.fingerprint,
            "peaks_fingerprint": self.peaks_fingerprint,
            "trained_cuts_per_mb": self.input_cuts_per_mb,
            "trained_cuts_per_mb_range": self.input_cuts_per_mb_range,
            "window_options": window_options(self.settings, self.seed),
        }

    def window_name(self, index: int) -> str:
        """A window of the current epoch for messages: chrom:start-end."""
        tile = self.tiles[index]
        return f"{tile.chrom}:{tile.start}-{tile.end}"

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        """One window by index in the current epoch, or by (epoch, index).

        A negative index gives the window ~index with an empty mask: it takes part in a batch and
        counts nothing.

        x float32 (C, L) is noisy coverage and the further rows of `Data.rows` below it; coverage
        float32 (L,) clean; peaks float32 (L,) and truth bool (L,) 1 inside a label / a true peak;
        mask bool (L,) True on the tile's core outside the blacklist; index int64 ().
        """
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if self.training and epoch != self.epoch:
            self.set_epoch(epoch)
        idle, index = index < 0, max(index, ~index)
        tile, fraction, turned = self.tiles[index], self.thin_fraction, False
        if self.training:
            place = self.epoch, self._number[tile.chrom], tile.start
            fraction, turned = draw_window(self.settings, self.seed, place)
        arrays = self._arrays(tile, fraction)
        if idle:
            arrays["mask"][:] = False
        if turned:
            arrays["x"] = reversed_complement(arrays["x"], self.reader.genome is not None)
            arrays |= {name: arrays[name][::-1] for name in arrays if name != "x"}
        window = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
        return window | {"index": torch.tensor(index)}

    def _arrays(self, tile: Tile, fraction: float) -> dict[str, np.ndarray]:
        """A window on the forward strand; `__getitem__` names its arrays."""
        where = tile.chrom, tile.start, tile.end
        x, clean = self.tracks(*where, fraction)
        inside = mask(self.peaks, *where)
        truth = inside if self.truth is self.peaks else mask(self.truth, *where)
        counted = np.zeros(tile.end - tile.start, dtype=bool)
        core = slice(tile.core_start - tile.start, tile.core_end - tile.start)
        counted[core] = ~self._blacklisted(tile)[core]
        peaks = inside.astype(np.float32)
        return {"x": x, "coverage": clean, "peaks": peaks, "truth": truth, "mask": counted}

    def tracks(
        self, chrom: str, start: int, end: int, fraction: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The network's input, float32 (C, L), and the clean coverage of any stretch, float32 (L,),
        in the current epoch's draw; `fraction` is by default thin_fraction.
        """
        fraction = self.thin_fraction if fraction is None else fraction
        told, draw = self._told_depth(chrom, fraction), self.draw(fraction)
        x = self.reader.read(chrom, start, end, draw, told)
        return x, self.clean(chrom, start, end, fraction)

    def clean(self, chrom: str, start: int, end: int, fraction: float | None = None) -> np.ndarray:
        """The clean coverage of any stretch, float32 (L,), as in `tracks`; at the depth of the
        answer where the network is told the depth of its input.
        """
        rest, drawn = None, self.draw(fraction)
        if drawn is not None and self.settings.target == "complement":
            rest = replace(drawn, complement=True)
        clean = self.store.coverage(chrom, start, end, self.settings.half_window_bp, rest)
        if not self.settings.tell_depth:
            return clean
        factor = self.answer_cuts_per_mb / self._clean_depths[self._sample(chrom)]
        return clean if factor == 1 else clean * np.float32(factor)

    def draw(self, fraction: float | None = None) -> Thinning | None:
        """The fragments that noisy input keeps in the current epoch; None: all."""
        fraction = self.thin_fraction if fraction is None else fraction
        return Thinning(fraction, self.seed, self.epoch, part=self._part) if fraction < 1 else None

    def second_draw(self) -> "WindowDataset | None":
        """The same windows with noisy input of as many other fragments, disjoint from these; None
        where the noisy input keeps more than half of them.
        """
        if self.thin_fraction > 0.5:
            return None
        second = copy(self)
        second._part = 1
        return second


def window_options(settings: Data, seed: int) -> dict[str, Any]:
    """How windows are cut and drawn, under the key names of checkpoint version 2."""
    return {
        "interval_bp": settings.interval_bp,
        "pad_bp": settings.pad_bp,
        "half_window_bp": settings.half_window_bp,
        "thin_fraction": settings.thin_fraction,
        "target": settings.target,
        "seed": seed,
        "thin_range": settings.thin_range and tuple(settings.thin_range),
        "reverse_complement": settings.reverse_complement,
    }


def draw_offset(interval_bp: int, key: Sequence[int]) -> int:
    """Where an epoch's windows of a chromosome begin; key : seed, epoch, number of chromosome."""
    return int(np.random.default_rng(key).integers(interval_bp))


def draw_window(settings: Data, seed: int, place: tuple[int, int, int]) -> tuple[float, bool]:
    """The fraction of the fragments that a training window keeps, and whether it is reversed.

    Depends on the seed and the place (epoch, number of the chromosome, start of the window) alone;
    neither value depends on whether the other is drawn.
    """
    low, high = settings.thin_fractions
    if low == high and not settings.reverse_complement:
        return low, False
    depth, strand = np.random.default_rng([seed, *place, 1]).random(2)
    fraction = min(low * (high / low) ** depth, high)  # log-uniform
    return float(fraction), bool(settings.reverse_complement and strand < 0.5)


def reversed_complement(x: np.ndarray, bases: bool) -> np.ndarray:
    """The input (C, L), coverage, perhaps A, C, G and T, and more, as the other strand has it."""
    rows = [x[:1], x[4:0:-1], x[5:]] if bases else [x]
    return np.concatenate(rows)[:, ::-1]
