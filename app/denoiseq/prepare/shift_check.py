"""Whether the ends of fragments are where the Tn5 shift expects them, told from the bases there.

Tn5 prefers a motif that equals its own reverse complement about the middle of the 9 bp between its
two nicks, so its centre can be found without a reference: where the base composition around the
ends is most symmetric. It lies 4 bp inside both ends of unshifted fragments.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from denoiseq.errors import UserError
from denoiseq.genomics.fasta import Genome, bases_around
from denoiseq.genomics.size_table import is_size_table
from denoiseq.prepare.cut_sites import LEFT, RIGHT, Fragments
from denoiseq.settings import Prepare
from denoiseq.settings.prepare import SHIFTS

_log = logging.getLogger(__name__)

REACH_BP = 30  # bases that are looked at on each side of an end
_HALF_BP = 10  # the motif is taken as 2 * 10 + 1 bases
_CENTRES = range(-9, 20)
_FLANK_BP = 10  # bases at either margin that give the background
_LEAST_ENDS = 500
_LEAST_BITS = 0.15
_LEAST_SYMMETRY = 0.6  # 0.98 in yeast; 0.2 to 0.4 in random sequence
_TOLERANCE_BP = 1  # the conventions +4/-4, +4/-5 and atacworks differ by so much


@dataclass(frozen=True)
class Motif:
    """What lies around one kind of end.

    centre_bp : the motif's centre, counted from the end into the fragment.
    bits : information over 21 bases against the bases further off.
    symmetry : at most 1; how well the composition equals its reverse complement about the centre.
    ends : how many were looked at.
    """

    centre_bp: int
    bits: float
    symmetry: float
    ends: int

    @property
    def found(self) -> bool:
        noise = 3 * (2 * _HALF_BP + 1) / (2 * np.log(2) * max(self.ends, 1))  # of random bases
        return self.bits > max(_LEAST_BITS, 3 * noise) and self.symmetry > _LEAST_SYMMETRY


def check_ends(
    source: str, ends: Mapping[str, Fragments], settings: Prepare
) -> dict[str, Any] | None:
    """Check the shift against the bases around the ends of fragments, a sample by chromosome.

    Returns the content of `shift_check` in the qc.json; None where it is off or there is no FASTA.
    UserError where the Tn5 motif is elsewhere than the shift expects it; a warning without a motif
    or a FASTA.
    """
    if not settings.shift_check:
        return None
    if settings.fasta is None or is_size_table(settings.fasta):
        _log.warning(
            "the Tn5 shift of %s is not checked, because no FASTA is given: shift=%s is taken as "
            "it is; give fasta=genome.fa, or shift_check=false if you know the shift",
            source,
            settings.shift,
        )
        return None
    left, right, genome = [], [], Genome(settings.fasta)
    for chrom, (starts, lengths, known) in ends.items():
        first, last = starts[(known & LEFT) > 0], (starts + lengths - 1)[(known & RIGHT) > 0]
        left.append(bases_around(genome, chrom, first, REACH_BP))
        right.append(reverse_complement(bases_around(genome, chrom, last, REACH_BP)))
    result = check_shift(np.concatenate(left), np.concatenate(right), settings.shift)
    if result["verdict"] == "wrong":
        raise UserError(_wrong_shift(source, result))
    if result["verdict"] != "right":
        _log.warning(
            "the Tn5 shift of %s could not be checked (%s): shift=%s is taken as it is",
            source,
            result["verdict"],
            settings.shift,
        )
    return result


def _wrong_shift(source: str, result: Mapping[str, Any]) -> str:
    left, right = result["left"]["centre_bp"], result["right"]["centre_bp"]
    fitting = [name for name in result["fitting"] if name != "atacworks"]
    if fitting:
        remedy = f"set shift={fitting[0]}"
    else:
        remedy = "no shift mends that, so start from reads as they were aligned"
    state = "is shifted already" if fitting[:1] in (["none"], ["10x"]) else "is not shifted so"
    return (
        f"{source} {state}: the Tn5 motif is centred {left} bp inside the left ends and {right} bp "
        f"inside the right ends of its fragments (4 and 4 before any shift), which shift="
        f"{result['shift']} does not meet; {remedy}, or shift_check=false to go on all the same."
    )


def find_motif(bases: np.ndarray) -> Motif:
    """The motif in bases around ends: uint8 (E, 2 * REACH_BP + 1), A, C, G, T as 0 to 3, else 4.

    Each row runs into the fragment, so those of right ends are reverse complements.
    """
    counts = np.stack([(bases == base).sum(axis=0) for base in range(4)]) + 0.25
    share = counts / counts.sum(axis=0)  # (4, 2 * REACH_BP + 1)
    flanks = np.concatenate([share[:, :_FLANK_BP], share[:, -_FLANK_BP:]], axis=1)
    background = flanks.mean(axis=1, keepdims=True)  # (4, 1)
    excess = share - background

    def around(centre: int) -> slice:
        return slice(REACH_BP + centre - _HALF_BP, REACH_BP + centre + _HALF_BP + 1)

    def agreement(centre: int) -> float:
        window = excess[:, around(centre)]
        return float((window * window[::-1, ::-1]).sum())  # with its own reverse complement

    centre = max(_CENTRES, key=agreement)
    window, total = share[:, around(centre)], float((excess[:, around(centre)] ** 2).sum())
    bits = float((window * np.log2(window / background)).sum())
    symmetry = agreement(centre) / total if total else 0.0
    return Motif(centre, bits, symmetry, len(bases))


def reverse_complement(bases: np.ndarray) -> np.ndarray:
    """Rows of base codes (E, W) on the other strand; 4 (unknown) stays."""
    return np.where(bases < 4, 3 - bases, 4)[:, ::-1]


def check_shift(left: np.ndarray, right: np.ndarray, shift: str) -> dict[str, Any]:
    """Compare where the motif is, in bases around ends as in `find_motif`, with where cuts are."""
    motifs = {"left": find_motif(left), "right": find_motif(right)}
    result: dict[str, Any] = {"verdict": "right", "shift": shift, "fitting": []}
    for end, motif in motifs.items():
        rounded = {"bits": round(motif.bits, 3), "symmetry": round(motif.symmetry, 3)}
        result[end] = asdict(motif) | rounded
    if min(motif.ends for motif in motifs.values()) < _LEAST_ENDS:
        return result | {"verdict": "too few ends"}
    if not all(motif.found for motif in motifs.values()):
        return result | {"verdict": "no motif"}
    off = {name: _off_bp(motifs, at) for name, at in SHIFTS.items()}
    fitting = [name for name in sorted(off, key=off.__getitem__) if off[name] <= _TOLERANCE_BP]
    return result | {"verdict": "right" if shift in fitting else "wrong", "fitting": fitting}


def _off_bp(motifs: dict[str, Motif], shift: tuple[int, int]) -> int:
    """Largest distance of the two cut sites from the motif's centre.

    The left cut is s + shift[0], the centre s + centre; the right one e + shift[1], the centre
    e - 1 - centre.
    """
    left = shift[0] - motifs["left"].centre_bp
    right = shift[1] + 1 + motifs["right"].centre_bp
    return max(abs(left), abs(right))
