"""A chromosome cut into tiles, and the answer for each, with no seam between them.

Each tile is read with the model's full context, cut at the chromosome's ends and never filled
beyond them, so the joined cores equal one run over the whole chromosome. Stretches without any
input are not computed.
"""

from collections.abc import Iterator

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.intervals import Tile, tile_chromosome
from denoiseq.models.network import Network

# The least that a tile answers for: below it the fixed cost of a call shows.
MIN_TILE_BP = 1 << 16
# And the most, for memory: 15 channels of it are 63 MB.
MAX_TILE_BP = 1 << 20
# The context that is read on both sides is this part of a default tile.
CONTEXT_SHARE = 0.05
# A gap is skipped where that saves more bases than this besides the context of its two edges.
MIN_SAVED_BP = 4096


def default_tile_bp(context_bp: int) -> int:
    """Bases that a tile answers for, such that its context costs at most `CONTEXT_SHARE`."""
    wanted = int(2 * context_bp / CONTEXT_SHARE)
    return min(max(wanted, MIN_TILE_BP), MAX_TILE_BP)


class Denoiser:
    """A network, put into eval mode, that answers for tiles of chromosomes; threads may share one.

    tile_bp : bases that a tile answers for; default: `default_tile_bp`. It changes results by
        float32 rounding only.
    told_depth : the depth of the input over that of the answer, where the model is told it
    nothing : track -> the model's answer where it sees no input; None where it reads bases as
        well, so that every place is computed. A base whose distance to the chromosome's ends and
        to any input other than 0 is above `context_bp()` has that answer: it depends on the bases
        of [-context, context] around it alone (the definition of `context_bp`), which are all 0
        here as in the window that `nothing` was computed from, and no layer's padding lies among
        them. Normalisation in eval mode and pooling are functions of the same bases and so are no
        exception; only the last bits may differ, since a convolution sums in an order that
        depends on the place. Nearer to an end padding is seen, so those bases are computed.
    """

    def __init__(self, model: Network, tile_bp: int | None = None, told_depth: float | None = None):
        self.model = model.eval()
        self.context_bp = model.context_bp()
        self.tile_bp = tile_bp or default_tile_bp(self.context_bp)
        self.nothing: dict[str, np.float32] | None = None
        # The rows that are 0 where there is no input.
        self.sparse = model.in_channels - model.rows.depth
        if not model.rows.bases:
            empty = np.zeros((model.in_channels, 2 * self.context_bp + 1), dtype=np.float32)
            empty[self.sparse :] = np.log2(told_depth or 1.0)
            answer = model.answer(empty)
            self.nothing = {name: track[self.context_bp] for name, track in answer.items()}

    def tiles(self, chrom: str, size: int) -> list[Tile]:
        """The tiles of a chromosome of `size` bp, in order; they may be answered in any order."""
        step_bp = self.model.tile_step_bp
        return tile_chromosome(chrom, size, self.tile_bp, self.context_bp, step_bp=step_bp)

    def answer(self, x: np.ndarray, tile: Tile, size: int) -> dict[str, np.ndarray]:
        """The model's tracks of a tile's core, by name: float32 (tile.core_end - tile.core_start,).

        x : its input, float32 (C, tile.end - tile.start). size : length of the chromosome, bp.
        """
        background = self.nothing or dict.fromkeys(self.model.track_names, np.float32(0))
        length = tile.core_end - tile.core_start
        answer = {name: np.full(length, value) for name, value in background.items()}
        for start, end in self._stretches(x, tile, size):
            first = max(start - self.context_bp, tile.start)
            first -= first % self.model.tile_step_bp  # a window begins on a multiple of it as well
            last = min(end + self.context_bp, tile.end)
            computed = self.model.answer(x[:, first - tile.start : last - tile.start])
            core = slice(start - tile.core_start, end - tile.core_start)
            for name, track in computed.items():
                answer[name][core] = track[start - first : end - first]
        if not all(np.isfinite(track).all() for track in answer.values()):
            raise UserError(
                f"The model's answer at {tile.chrom}:{tile.core_start}-{tile.core_end} is not "
                "finite: the checkpoint is broken, or the input is far from what it learned."
            )
        return answer

    def _stretches(self, x: np.ndarray, tile: Tile, size: int) -> Iterator[tuple[int, int]]:
        """[start, end) of the core's parts to compute, in order; coordinates of the chromosome."""
        core = tile.core_start, tile.core_end
        if self.nothing is None:
            yield core
            return
        reach = self.context_bp
        filled = tile.start + np.flatnonzero(x[: self.sparse].any(axis=0))
        # the bases just beyond the chromosome stand for its ends, whose padding is no input of 0
        seen = np.concatenate([[-1], filled, [size]])
        gaps = np.diff(seen) > 4 * reach + 1 + MIN_SAVED_BP
        starts = seen[np.append(True, gaps)] - reach
        ends = seen[np.append(gaps, True)] + reach + 1
        for start, end in zip(starts.clip(*core).tolist(), ends.clip(*core).tolist(), strict=True):
            if start < end:
                yield start, end
