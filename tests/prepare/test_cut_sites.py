import numpy as np
import pytest
from denoiseq.genomics.bam import ReadFile
from denoiseq.genomics.intervals import Interval, merge
from denoiseq.prepare import pairs
from denoiseq.prepare.cut_sites import BOTH, CutWriter, in_order, no_sizes
from denoiseq.prepare.parts import PartColumns
from denoiseq.prepare.reads import NOTES, READ_FATES, Scanner
from denoiseq.settings import Prepare
from denoiseq.settings.prepare import SHIFTS
from hypothesis import given, settings
from hypothesis import strategies as st

FORWARD, REVERSE = 0x1 | 0x2 | 0x20, 0x1 | 0x2 | 0x10


def scan(bam, folder, blacklist=None, size=10_000, **settings):
    """Cuts as (position, fragment) pairs, and the counts."""
    scanned = scan_all(bam, folder, blacklist, size, **settings)
    counts = scanned.counts["chr1"]
    cuts = [[], []] if counts.part is None else PartColumns({"chr1": counts.part}, "cuts")["chr1"]
    return list(zip(*map(list, cuts), strict=True)), counts


def scan_all(bam, folder, blacklist=None, size=10_000, **settings):
    settings = Prepare(**{"shift": "+4/-4", **settings})
    with Scanner([ReadFile(bam)], settings, blacklist or {}, size) as scanner:
        return scanner.scan({"chr1": size}, folder / "part")


@pytest.mark.parametrize(
    ("shift", "left", "right"),
    [
        ("+4/-4", 104, 195),  # s + 4 and e - 5 of [100, 200)
        ("+4/-5", 104, 194),
        ("none", 100, 199),
        ("10x", 100, 199),
        ("atacworks", 105, 196),
    ],
)
def test_the_table_of_shifts(bam_of, read_type, tmp_path, shift, left, right):
    cuts, _ = scan(bam_of([read_type(100, 100)]), tmp_path, shift=shift)
    assert cuts == [(left, 0), (right, 0)]


def test_every_read_is_counted_once_under_its_filter(bam_of, read_type, tmp_path):
    cases = {
        "unmapped": [read_type(10, 0, 0x1 | 0x4)],
        "secondary": [read_type(11, flag=FORWARD | 0x100)] * 2,
        "supplementary": [read_type(12, flag=FORWARD | 0x800)] * 3,
        "qc_fail": [read_type(13, flag=FORWARD | 0x200)] * 4,
        "duplicate": [read_type(14, flag=FORWARD | 0x400)] * 5,
        "not_proper_pair": [read_type(15, flag=0x1 | 0x20), read_type(15, flag=0)],
        "low_mapq": [read_type(16, mapq=29), read_type(16, -100, REVERSE, mapq=0)],
        "reverse_mate": [read_type(17, -100, REVERSE)],
        "bad_template": [read_type(18, 0), read_type(18, -50), read_type(18, 9_990)],
        "too_short": [read_type(19, 8)],
        "too_long": [read_type(20, 2_001)],
        "forward_mate": [read_type(21, 9), read_type(22, 2_000), read_type(23, mapq=30)],
        "lone_reverse_mate": [read_type(90, -76, REVERSE, mate_start=24)],
    }
    reads = [read for group in cases.values() for read in group]
    scanned = scan_all(bam_of(reads), tmp_path)
    counts = scanned.counts["chr1"]
    (fates,) = counts.by_file
    assert {fate: fates[fate] for fate in READ_FATES} == {k: len(v) for k, v in cases.items()}
    assert set(fates) == {*READ_FATES, *NOTES}
    assert (fates["paired"], fates["unpaired"]) == (13, 1)  # of those whose flags pass
    assert counts.fragments == 4
    assert np.flatnonzero(scanned.fragment_sizes).tolist() == [9, 76, 100, 2_000]


def test_duplicates_are_kept_on_request_and_other_flags_are_not(bam_of, read_type, tmp_path):
    reads = [read_type(14, flag=FORWARD | 0x400), read_type(15, flag=FORWARD | 0x400 | 0x100)]
    _, counts = scan(bam_of(reads), tmp_path, keep_duplicates=True)
    (fates,) = counts.by_file
    assert (counts.fragments, fates["secondary"], fates["duplicate"]) == (1, 1, 0)


def test_blacklisted_cuts_are_dropped_one_by_one_and_ids_have_no_holes(bam_of, read_type, tmp_path):
    blacklist = merge([Interval("chr1", 104, 196), Interval("chr1", 604, 605)])
    reads = [read_type(100), read_type(150), read_type(600), read_type(700)]
    cuts, counts = scan(bam_of(reads), tmp_path, blacklist=blacklist)
    assert cuts == [(245, 0), (695, 1), (704, 2), (795, 2)]
    assert (counts.fragments, counts.cut_sites) == (3, 4)
    assert (counts.blacklisted_fragments, counts.blacklisted_cut_sites) == (1, 4)


@settings(max_examples=30, deadline=None)
@given(
    fragments=st.lists(st.tuples(st.integers(0, 400), st.integers(10, 300)), min_size=1),
    batch=st.integers(1, 9),
    shift=st.sampled_from(sorted(SHIFTS)),
)
def test_streaming_equals_sorting_everything(
    bam_writer, read_type, tmp_path_factory, fragments, batch, shift
):
    folder = tmp_path_factory.mktemp("scan")
    ordered = sorted(fragments, key=lambda fragment: fragment[0])
    bam = bam_writer(folder / "x.bam", [read_type(*fragment) for fragment in ordered])
    left, right = SHIFTS[shift]
    ends = [(i, s + left, s + n + right) for i, (s, n) in enumerate(ordered)]
    expected = sorted((cut, i) for i, *cuts in ends for cut in cuts)
    before = pairs._BATCH_READS
    pairs._BATCH_READS = batch
    try:
        cuts, counts = scan(bam, folder, shift=shift)
    finally:
        pairs._BATCH_READS = before
    assert cuts == expected
    assert (counts.fragments, counts.cut_sites) == (len(ordered), 2 * len(ordered))


def rows(starts, length=100):
    starts = np.asarray(starts, dtype=np.int64)
    return np.stack([starts, np.full_like(starts, length), np.full_like(starts, BOTH)])


def test_what_waits_in_memory_is_a_fragment_length_not_the_chromosome(tmp_path):
    settings = Prepare(shift="+4/-4", max_fragment_bp=200)
    writer = CutWriter("chr1", settings, tmp_path / "part", {}, no_sizes(settings))
    for start in range(0, 900_000, 1_000):
        writer.add(rows(np.arange(start, start + 1_000, 10), 150))
        assert len(writer._pending) <= 40
    assert writer.finish().cut_sites == 2 * 90_000


@pytest.mark.parametrize("alone", [True, False])
def test_reads_that_are_not_sorted_are_refused(bam_writer, read_type, tmp_path, alone):
    """The index is of the sorted file, as the header is."""
    mates = [
        read
        for i, start in enumerate(range(100, 4_000, 10))
        for read in (
            read_type(start, 50, name=f"p{i}", mate_start=start + 40),
            read_type(start + 40, -50, REVERSE, name=f"p{i}", mate_start=start),
        )[: 1 if alone else 2]
    ]
    bam = bam_writer(tmp_path / "x.bam", sorted(mates, key=lambda read: read.start))
    bam_writer(tmp_path / "x.bam", mates[::-1], index=False)
    with pytest.raises(ValueError, match="reads on chr1 are not sorted by coordinate"):
        scan(bam, tmp_path)


def test_fragments_out_of_order_are_refused():
    for batches in ([[5, 4]], [[5], [4]]):
        with pytest.raises(ValueError, match="what and where"):
            list(in_order([map(rows, batches), map(rows, [[1, 9]])], "what and where"))


@given(
    st.lists(st.lists(st.lists(st.integers(0, 50), max_size=4), max_size=6), min_size=1, max_size=3)
)
def test_merged_streams_hold_every_fragment_in_order(streams):
    sorted_streams = []
    for stream in streams:
        values = sorted(value for batch in stream for value in batch)
        sizes = np.cumsum([len(batch) for batch in stream])[:-1]
        sorted_streams.append([rows(part) for part in np.split(values, sizes)])
    merged = [batch[0] for batch in in_order([iter(s) for s in sorted_streams], "x")]
    assert all(len(batch) for batch in merged)
    everything = sorted(value for stream in streams for batch in stream for value in batch)
    assert np.concatenate([*merged, []]).tolist() == everything


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"shift": "+5/-4"}, r"shift is '\+5/-4', expected one of"),
        ({"min_mapq": -1}, "min_mapq"),
        ({"max_fragment_bp": 5}, "max_fragment_bp"),
    ],
)
def test_bad_options_are_said(wrong, why):
    with pytest.raises(ValueError, match=why):
        Prepare(**wrong)
