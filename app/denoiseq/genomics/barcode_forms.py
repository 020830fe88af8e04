"""How one cell's barcode is written by different tools: AAAC, AAAC-1, PBMC#AAAC-1, PBMC_AAAC-1.

Two ways are taken as the same cells only where that is certain: see `in_form_of`.
"""

import re
from collections.abc import Collection, Iterable

# the bases of a barcode, between characters that are no part of a longer word
_BASES = re.compile(rb"(?<![A-Za-z0-9])[ACGTN]{4,}(?![A-Za-z0-9])")
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


def _bases(barcode: bytes) -> bytes:
    """The longest stretch of bases; empty where there is none."""
    return max(_BASES.findall(barcode), key=len, default=b"")


def _form(barcodes: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    """What all barcodes have before and behind their bases; None where they differ in that."""
    form = None
    for barcode in barcodes:
        bases = _bases(barcode)
        before, _, behind = barcode.partition(bases) if bases else (barcode, b"", b"")
        if not bases or (form is not None and form != (before, behind)):
            return None
        form = before, behind
    return form


def in_form_of(listed: Collection[bytes], others: Collection[bytes]) -> dict[bytes, bytes]:
    """Each listed barcode as `others` are written, or as it is.

    They are written anew where all of a side are bases between the same two texts, and only one
    side adds to these texts: "-1" or "_2" behind, or "PBMC#" before. No listed barcode would be
    among such others as it is, so no other reading is possible.
    """
    form, wanted = _form(listed), _form(others)
    if form is None or wanted is None or not _adds(form, wanted):
        return {barcode: barcode for barcode in listed}
    return {barcode: wanted[0] + _bases(barcode) + wanted[1] for barcode in listed}


def _adds(form: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> bool:
    """Whether the texts of one side are those of the other with whole words added outside."""
    short, long = sorted((form[0], other[0]), key=len)
    before = long.removesuffix(short) if long.endswith(short) else b"x"
    short, long = sorted((form[1], other[1]), key=len)
    behind = long.removeprefix(short) if long.startswith(short) else b"x"
    return not before[-1:].isalnum() and not behind[:1].isalnum()


def side_by_side(first: Collection[bytes], second: Collection[bytes]) -> tuple[str, str]:
    """A barcode of each side to show: of equal bases, if there are such."""
    by_bases = {_bases(barcode): barcode for barcode in second}
    pairs = ((b, by_bases[_bases(b)]) for b in first if _bases(b) and _bases(b) in by_bases)
    shown = next(pairs, None) or (next(iter(first), b"none"), next(iter(second), b"none"))
    return shown[0].decode(errors="replace"), shown[1].decode(errors="replace")


def reverse_complemented(first: Collection[bytes], second: Collection[bytes]) -> bool:
    """Whether the bases of many barcodes of one side are those of the other, read backwards."""
    bases = {_bases(b) for b in second} - {b""}
    turned = {_bases(b).translate(_COMPLEMENT)[::-1] for b in first}
    return len(bases & turned) > min(len(bases), len(turned)) / 20
