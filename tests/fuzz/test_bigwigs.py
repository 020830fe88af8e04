"""Damaged bigWig files of several writers, read in a process of their own.

What is read of a damaged file is what the whole one holds: values are compressed with a checksum,
and every number that leads to them can be compared with another.
"""

import struct
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import FUZZ, Edit, edited, edits

SIZES = {f"chr{i}": 300 - 7 * i for i in range(12)}
FILES = ["deep", "uncompressed", "pyBigWig", "no zoom", "no data"]


def read_tracks(path: str, sizes: dict[str, int]) -> dict[str, str] | str:
    """A digest of the track of each chromosome; what differs where the sizes do."""
    from denoiseq.genomics.bigwig_reader import (
        bigwig_sizes,
        bigwig_sums,
        read_bigwig,
        stream_bigwig,
    )

    own = bigwig_sizes(path)
    assert np.isfinite(list(bigwig_sums(path).values())).all()
    if own != sizes:  # which prepare refuses, as those of another genome
        return "other sizes"
    digests = {}
    for chrom, track in stream_bigwig(path, sizes, chunk_bp=77):
        values = np.concatenate([piece for _, piece in track])
        assert values.dtype == np.float32 and len(values) == sizes[chrom]
        window = read_bigwig(path, chrom, 50, 150)
        np.testing.assert_array_equal(window, np.nan_to_num(values[50:150]))
        digests[chrom] = sha256(values.tobytes()).hexdigest()
    return digests


def values_of(chrom: str) -> np.ndarray:
    return np.random.default_rng(SIZES[chrom]).integers(0, 9, SIZES[chrom]).astype(np.float32)


@pytest.fixture(scope="module")
def bigwigs(tmp_path_factory, track_writer):
    """Name -> bytes of a file. By our writer with trees of several levels, compressed or not."""
    from denoiseq.genomics import bigwig_writer as writer

    folder = tmp_path_factory.mktemp("bigwigs")
    pieces = [(chrom, 20, values_of(chrom)[20:]) for chrom in list(SIZES)[2:]]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "BLOCK_ITEMS": 16,
            "FAN_OUT": 4,
            "ZOOM_BP": 8,
            "ZOOM_LEVELS": 3,
        }.items():
            patch.setattr(writer, name, value)
        files = {"deep": track_writer(folder / "deep", SIZES, pieces).read_bytes()}
        patch.setattr(writer.zlib, "compress", lambda data, _level: data)
        data = bytearray(track_writer(folder / "unpacked", SIZES, pieces).read_bytes())
    data[52:56] = bytes(4)  # uncompressBufSize
    files |= {"uncompressed": bytes(data)}
    files |= {"pyBigWig": by_pybigwig(folder / "py"), "no zoom": by_pybigwig(folder / "no", 0)}
    return files | {"no data": track_writer(folder / "empty", SIZES, []).read_bytes()}


def by_pybigwig(path, zooms: int = 10) -> bytes:
    """Blocks of each of the three kinds, and a chromosome without any."""
    import pyBigWig

    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(SIZES.items()), maxZooms=zooms)
        for i, chrom in enumerate(list(SIZES)[1:]):
            values = values_of(chrom)[:60].tolist()
            starts = list(range(3, 183, 3))
            if i % 3 == 0:
                file.addEntries([chrom] * 60, starts, ends=[s + 2 for s in starts], values=values)
            elif i % 3 == 1:
                file.addEntries(chrom, starts, values=values, span=2)
            else:
                file.addEntries(chrom, 3, values=values, span=2, step=3)
    return path.read_bytes()


def regions(data: bytes) -> dict[str, tuple[int, int]]:
    """Name -> [start, end) of the parts of a file, of which some are small."""
    levels, chroms, blocks, index = struct.unpack_from("<6xHQQQ", data)
    zooms = [struct.unpack_from("<IIQQ", data, 64 + 24 * i) for i in range(levels)]
    parts = {"header": (0, chroms), "chromosomes": (chroms, blocks), "all": (0, len(data))}
    if index:
        parts |= {"index": (index, min([zoom[2] for zoom in zooms], default=len(data)))}
        parts |= {"blocks": (blocks, index)}
    parts |= {f"zoom {i}": (zoom[3], zoom[3] + 200) for i, zoom in enumerate(zooms[:2])}
    return parts


def outcome_of_file(folder, sandbox, whole, data, name):
    path = folder / "fuzz.bw"
    path.write_bytes(data)
    outcome = sandbox(read_tracks, str(path), SIZES)
    assert outcome.state != "failed", outcome.text
    unlike = outcome.state == "read" and outcome.text not in (whole, "other sizes")
    assert not unlike, f"{name}: other values, without an error"
    return outcome


@pytest.fixture(scope="module")
def tracks(tmp_path_factory, sandbox, bigwigs):
    """Name -> what is read of the whole file."""
    path, outcomes = tmp_path_factory.mktemp("whole") / "fuzz.bw", {}
    for name, data in bigwigs.items():
        path.write_bytes(data)
        outcomes[name] = sandbox(read_tracks, str(path), SIZES)
    return outcomes


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(tracks, name):
    """Else all that is changed would be refused for another reason."""
    assert tracks[name].state == "read" and tracks[name].text != "other sizes"


@FUZZ
@given(
    name=st.sampled_from(FILES),
    part=st.sampled_from(["header", "chromosomes", "index", "index", "blocks", "zoom 0", "zoom 1"]),
    changes=edits(2),
)
def test_a_part_of_a_bigwig(folder, sandbox, bigwigs, tracks, name, part, changes):
    """Flipped, cut, removed and repeated bytes; but for values that have no checksum."""
    data = bigwigs[name]
    start, end = regions(data).get(part, (0, 64))
    if (name, part) == ("uncompressed", "blocks"):
        changes = [change for change in changes if change.kind == "cut"] or [Edit("cut", 0.5, 1, 1)]
    data = data[:start] + edited(data[start:end], changes) + data[end:]
    outcome_of_file(folder, sandbox, tracks[name].text, data, name)


@FUZZ
@given(name=st.sampled_from(FILES), changes=edits(kinds=["cut", "zero", "remove", "repeat"]))
def test_a_piece_of_a_bigwig(folder, sandbox, bigwigs, tracks, name, changes):
    """What interrupted copies and bad disks leave."""
    data = edited(bigwigs[name], changes)
    if name != "uncompressed" or {change.kind for change in changes} == {"cut"}:
        outcome_of_file(folder, sandbox, tracks[name].text, data, name)


@FUZZ
@given(changes=edits(4, kinds=["flip", "integer", "zero"]))
def test_blocks_without_a_checksum(folder, sandbox, bigwigs, changes):
    """Other values may be read, but nothing else happens."""
    data = bigwigs["uncompressed"]
    start, end = regions(data)["blocks"]
    path = folder / "fuzz.bw"
    path.write_bytes(data[:start] + edited(data[start:end], changes) + data[end:])
    outcome = sandbox(read_tracks, str(path), SIZES)
    assert outcome.state != "failed", outcome.text
