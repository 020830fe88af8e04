import numpy as np
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.bigwig_reader import read_bigwig, stream_bigwig


def test_reading_what_is_not_there(tmp_path, track_writer):
    with pytest.raises(FileNotFoundError, match="no such bigWig"):
        read_bigwig(tmp_path / "none.bw", "chr1", 0, 1)
    (tmp_path / "text.bw").write_text("no bigWig at all")
    with pytest.raises(ValueError, match="not a bigWig"):
        read_bigwig(tmp_path / "text.bw", "chr1", 0, 1)
    path = track_writer(tmp_path / "x.bw", {"chr2": 300, "chr1": 100}, [("chr2", 0, np.ones(3))])
    for window in (("chr9", 0, 1), ("chr1", 50, 101), ("chr1", -1, 5)):
        with pytest.raises(ValueError, match="has no window"):
            read_bigwig(path, *window)
    np.testing.assert_array_equal(read_bigwig(path, "chr2", 1, 5), [1, 1, 0, 0])
    assert len(read_bigwig(path, "chr2", 7, 7)) == 0


def test_data_that_cannot_be_unpacked(tmp_path, track_writer):
    path = track_writer(tmp_path / "x.bw", {"chr1": 5_000}, [("chr1", 0, np.arange(5_000) % 7)])
    data = bytearray(path.read_bytes())
    begins = int.from_bytes(data[16:24], "little")  # fullDataOffset of the header
    data[begins + 8 : begins + 200] = bytes(192)
    path.write_bytes(data)
    for read in (
        lambda: read_bigwig(path, "chr1", 0, 5_000),
        lambda: [list(track) for _, track in stream_bigwig(path, {"chr1": 5_000})],
    ):
        with pytest.raises(UserError, match=r"x.bw is damaged at chr1:0-1024: no data"):
            read()
