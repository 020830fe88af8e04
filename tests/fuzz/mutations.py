"""What fuzzing changes: bytes of any file, the unpacked bytes of a BGZF one, and lines of text.

A change is a plain value, so that hypothesis makes it smaller and a worker process repeats it.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from denoiseq.inputs import BGZF_END
from hypothesis import settings
from hypothesis import strategies as st

# at least 300 cases a reader; --hypothesis-profile=search asks for more
FUZZ = settings(max_examples=max(300, settings().max_examples))

_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
_INTEGERS += (2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_BLOCK = 0xFF00  # bytes of a BGZF block, unpacked


class Edit(NamedTuple):
    """One change of some bytes at a place, which is a share of their length."""

    kind: str
    place: float
    size: int
    value: int

    def __call__(self, data: bytes) -> bytes:
        at = min(int(self.place * len(data)), max(len(data) - 1, 0))
        before, piece, after = data[:at], data[at : at + self.size], data[at + self.size :]
        match self.kind:
            case "flip":
                return (
                    before
                    + bytes(b ^ (1 << self.value % 8) for b in data[at : at + 1])
                    + (data[at + 1 :])
                )
            case "cut":
                return before
            case "remove":
                return before + after
            case "repeat":
                return before + piece + piece + after
            case "zero":
                return before + bytes(len(piece)) + after
            case "integer":
                width = 1 << self.size % 4  # 1, 2, 4 or 8 bytes
                number = _INTEGERS[self.value % len(_INTEGERS)] % (1 << 8 * width)
                return before + number.to_bytes(width, "little") + data[at + width :]
            case _:
                raise ValueError(self.kind)


def edits(most: int = 3, kinds: Sequence[str] = ()) -> st.SearchStrategy[list[Edit]]:
    """One or more changes; half of them in the first tenth of a file, where headers are."""
    kinds = kinds or ("flip", "integer", "integer", "zero", "remove", "repeat", "cut")
    place = st.floats(0, 1, exclude_max=True)
    places = st.one_of(place, place.map(lambda share: share / 10))
    sizes = st.one_of(st.integers(1, 8), st.integers(1, 4096))
    return st.lists(
        st.builds(Edit, st.sampled_from(kinds), places, sizes, st.integers(0, 255)),
        min_size=1,
        max_size=most,
    )


def edited(data: bytes, changes: Sequence[Edit]) -> bytes:
    """The bytes after all changes, one after another."""
    for change in changes:
        data = change(data)
    return data


def unpack_bgzf(data: bytes) -> bytes:
    """The bytes of a BGZF or gzip file."""
    unpacked = b""
    while data:
        block = zlib.decompressobj(wbits=31)
        unpacked += block.decompress(data)
        data = block.unused_data
    return unpacked


def pack_bgzf(data: bytes) -> bytes:
    """A valid BGZF file, checksums and end marker included (SAM specification, 4.1).

    Blocks are stored, not compressed: a change of bytes moves none, so that an index stays right.
    """
    packed = b""
    for at in range(0, len(data), _BLOCK):
        piece = data[at : at + _BLOCK]
        deflate = zlib.compressobj(0, zlib.DEFLATED, -15)
        body = deflate.compress(piece) + deflate.flush()
        head = bytes.fromhex("1f8b08040000000000ff060042430200") + struct.pack("<H", len(body) + 25)
        packed += head + body + struct.pack("<II", zlib.crc32(piece), len(piece))
    return packed + BGZF_END


# numbers as text, right and wrong, as columns of tables hold them
NUMBERS = st.one_of(
    st.integers(0, 1_200).map(str),
    st.integers(0, 1_200).map(str),
    st.sampled_from(
        [
            *("-1", "", " ", "1e3", "1.0", "+5", "0x10", "9" * 19, "9" * 5_000, "NA", "00012"),
            *("1_0", "1,000", ",", "\uff11\uff12", "\u0663"),  # digits of other scripts
            *map(str, (2**31, 2**32, 2**62, 2**63)),
        ]
    ),
)
NAMES = st.one_of(
    st.sampled_from(["chr1", "chr2", "chrM", "1", "chr1 ", "", "track", "#x", "ü", "chrom", "a:b"]),
    st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"]), max_size=6),
)
LINE_ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])


def table(*columns: st.SearchStrategy[str], most: int = 12) -> st.SearchStrategy[bytes]:
    """A table of tabs, some rows of which are another kind of line or have other columns."""
    row = st.tuples(*columns).map("\t".join)
    ragged = st.lists(st.one_of(NAMES, NUMBERS), max_size=len(columns) + 2).map("\t".join)
    odd = st.sampled_from(
        ["", "   ", "# comment", "track name=x", "browser position", "chrom\tstart\tend", "\0", '"']
    )
    rows = st.lists(st.one_of(row, row, row, row, ragged, odd), max_size=most)
    text = st.builds(lambda rows, end: end.join(rows) + end * bool(rows), rows, LINE_ENDS)
    plain = text.map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(plain, st.builds(edited, plain, edits(2)))
