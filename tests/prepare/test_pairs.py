"""Fragments of pairs, against pairs whose mates are known from how they were made."""

import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pysam
import pytest
from denoiseq.genomics.bam import OpenReads, ReadFile
from denoiseq.prepare import pairs
from denoiseq.prepare.reads import NOTES, READ_FATES, _fragments
from denoiseq.settings import Prepare
from hypothesis import assume, given, settings
from hypothesis import strategies as st

SIZE = 10_000
FORWARD, REVERSE, DUPLICATE = 0x1 | 0x2 | 0x20, 0x1 | 0x2 | 0x10, 0x400
FIRST, SECOND = 0x40, 0x80


def fragments_of(path, **filters):
    """(start, end) in the order of the store, and what the reads are counted under."""
    fates = Counter()
    prepare = Prepare(shift="+4/-4", max_fragment_bp=300, **filters)
    batches = list(_fragments(OpenReads(ReadFile(path)), "chr1", SIZE, prepare, fates))
    rows = np.concatenate(batches, axis=1)
    counts = {fate: n for fate, n in fates.items() if n and fate not in ("paired", "unpaired")}
    return list(zip(rows[0].tolist(), (rows[0] + rows[1]).tolist(), strict=True)), counts


def aligned(cigar):
    return sum(int(n) for n in re.findall(r"(\d+)[MDN]", cigar))


@dataclass
class Pair:
    """A pair as an aligner places it; `absent` is the mate that a filter took away."""

    start: int
    mate_start: int
    cigar: str = "20M"
    mate_cigar: str = "20M"
    tlen: int | None = None
    first: bool = True
    mapq: tuple[int, int] = (60, 60)
    duplicate: bool = False
    absent: str = ""
    tag: bool = False
    name: str | None = None

    @property
    def end(self):
        return self.mate_start + aligned(self.mate_cigar)

    @property
    def stated(self):
        return self.end - self.start if self.tlen is None else self.tlen

    def reads(self, read_type, number):
        number_flags = (FIRST, SECOND) if self.first else (SECOND, FIRST)
        made = []
        for i, side in enumerate(("forward", "reverse")):
            here, there = (self.start, self.mate_start)[:: 1 - 2 * i]
            cigars = (self.cigar, self.mate_cigar)[:: 1 - 2 * i]
            flag = (FORWARD, REVERSE)[i] | number_flags[i] | DUPLICATE * self.duplicate
            if side != self.absent:
                made.append(
                    read_type(
                        here,
                        (self.stated, -self.stated)[i],
                        flag,
                        self.mapq[i],
                        name=self.name or f"p{number}",
                        cigar=cigars[0],
                        mate_start=there,
                        mate_cigar=cigars[1] if self.tag else None,
                    )
                )
        return made


def expected(made):
    """The fragments by what is known of each pair, and the fates of its reads."""
    spans, fates = [], Counter()
    for pair in made:
        if pair.duplicate:
            fates["duplicate"] += 1 + (not pair.absent)
            continue
        keeps = [mapq >= 30 for mapq in pair.mapq]
        if pair.absent != "reverse":
            fates["reverse_mate" if keeps[1] else "low_mapq"] += 1
        if pair.absent != "forward" and not keeps[0]:
            fates["low_mapq"] += 1
        elif pair.absent != "forward":
            end = pair.end
            apart = pair.mate_start - pair.start
            if pair.absent and abs(apart) < 300:
                fates["mateless"] += 1
                if not pair.tag:
                    fates["ends_by_tlen"] += 1
                    end = pair.start + pair.stated
            spans.append((pair.start, end, "forward_mate", fates))
        elif keeps[1] and 0 < pair.end - pair.start <= 300:
            fates["mateless"] += 1
            fates["reverse_mate"] -= 1
            spans.append((pair.start, pair.end, "lone_reverse_mate", fates))
    kept = []
    for start, end, fate, _ in spans:
        if end <= start or end > SIZE:
            fates["bad_template"] += 1
        elif end - start < 9:
            fates["too_short"] += 1
        elif end - start > 300:
            fates["too_long"] += 1
        else:
            fates[fate] += 1
            kept.append((start, end))
    return sorted(kept), {fate: n for fate, n in fates.items() if n}


def write(bam_writer, read_type, path, made, order=0):
    reads = [read for n, pair in enumerate(made) for read in pair.reads(read_type, n)]
    np.random.default_rng(order).shuffle(reads)
    return bam_writer(path, sorted((read_type(*r) for r in reads), key=lambda read: read.start))


KINDS = {  # as aligners write them: TLEN has either sign, and counts clipped bases
    "equal": Pair(1_000, 1_000, "40M", "40M", tlen=-40),
    "dovetail": Pair(1_001, 1_000, "43M8S", "7S44M", tlen=-59),
    "clipped": Pair(1_000, 1_061, "9S142M", "150M", tlen=220),
    "deletion": Pair(1_000, 1_061, "20M", "10M5D10M"),
    "spliced": Pair(1_000, 1_061, "20M", "10M50N10M", tlen=81),
    "no TLEN": Pair(1_000, 1_100, tlen=0),
    "huge TLEN": Pair(1_000, 1_100, tlen=2_000_000_000),
}
ENDS = {"equal": 1_040, "dovetail": 1_044, "clipped": 1_211, "deletion": 1_086, "spliced": 1_131}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", range(2))
@pytest.mark.parametrize("first", [True, False])
def test_ends_are_those_of_the_alignments(bam_writer, read_type, tmp_path, kind, order, first):
    made = [replace(KINDS[kind], first=first)]
    bam = write(bam_writer, read_type, tmp_path / "x.bam", made, order)
    end = ENDS.get(kind, 1_120)
    start = KINDS[kind].start
    assert fragments_of(bam) == ([(start, end)], {"forward_mate": 1, "reverse_mate": 1})


PAIRS = st.builds(
    lambda start, distance, **more: Pair(start, start + distance, **more),
    start=st.integers(500, 560) | st.integers(500, 2_500),
    distance=st.integers(-30, 120) | st.integers(-400, 400),
    cigar=st.sampled_from(["20M", "5S20M", "20M10S"]),
    mate_cigar=st.sampled_from(["20M", "20M3S", "5S20M", "10M2D10M", "10M2I10M"]),
    tlen=st.sampled_from([None, None, None, 0, 60, -60, 700]),
    first=st.booleans(),
    mapq=st.tuples(*[st.sampled_from([60, 60, 30, 29, 0])] * 2),
    duplicate=st.sampled_from([False, False, False, True]),
    absent=st.sampled_from(["", "", "", "", "forward", "reverse"]),
    tag=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(
    made=st.lists(PAIRS, min_size=1, max_size=30),
    order=st.integers(0, 1_000),
    sizes=st.sampled_from([(1, 0), (6, 20), (7, 0), (1 << 15, 0), (1 << 15, 20)]),
)
def test_fragments_equal_those_of_the_pairs_that_were_made(
    bam_writer, read_type, tmp_path_factory, made, order, sizes
):
    alone = Counter((p.start, abs(p.stated)) for p in made if p.absent)
    assume(max(alone.values(), default=1) == 1)  # two such reads look like mates
    bam = write(bam_writer, read_type, tmp_path_factory.mktemp("x") / "x.bam", made, order)
    before = pairs._BATCH_READS, pairs._MANY
    pairs._BATCH_READS, pairs._MANY = sizes
    try:
        spans, counts = fragments_of(bam)
    finally:
        pairs._BATCH_READS, pairs._MANY = before
    kept, fates = expected(made)
    assert [start for start, _ in spans] == [start for start, _ in kept]
    assert (sorted(spans), counts) == (kept, fates)


def lone(start, tlen, flag, **more):
    """Settings of one read, for `read_type`."""
    return {"start": start, "length": tlen, "flag": flag, "cigar": "20M", **more}


ODD = {
    "repeated names": (
        [  # two pairs of one name, told apart by what they say of their mates
            lone(1_000, 100, FORWARD, name="r", mate_start=1_080),
            lone(1_010, 130, FORWARD, name="r", mate_start=1_120),
            lone(1_080, -100, REVERSE, name="r", mate_start=1_000),
            lone(1_120, -125, REVERSE, name="r", mate_start=1_010),
        ],
        [(1_000, 1_100), (1_010, 1_140)],
        {"forward_mate": 2, "reverse_mate": 2},
    ),
    "moved reads": (  # by a program that left what they say of each other
        [
            lone(1_004, 100, FORWARD, name="r", mate_start=1_080),
            lone(1_075, -100, REVERSE, name="r", mate_start=1_000),
        ],
        [(1_004, 1_095)],
        {"forward_mate": 1, "reverse_mate": 1},
    ),
    "a duplicate of one flag alone": (
        [
            lone(1_000, 100, FORWARD | DUPLICATE, name="r", mate_start=1_080),
            lone(1_080, -100, REVERSE, name="r", mate_start=1_000),
            lone(2_000, 999, FORWARD, name="s", mate_start=2_080),
            lone(2_080, -100, REVERSE | DUPLICATE, name="s", mate_start=2_000),
        ],
        [(2_000, 2_100)],
        {"duplicate": 2, "reverse_mate": 1, "forward_mate": 1},
    ),
    "outward": (
        [
            lone(1_000, -100, REVERSE, name="r", mate_start=1_080),
            lone(1_080, 100, FORWARD, name="r", mate_start=1_000),
        ],
        [],
        {"reverse_mate": 1, "bad_template": 1},
    ),
    "both forward": (
        [
            lone(1_000, 100, FORWARD & ~0x20 | FIRST, name="r", mate_start=1_080),
            lone(1_080, -100, FORWARD & ~0x20 | SECOND, name="r", mate_start=1_000),
        ],
        [],
        {"bad_template": 2},
    ),
    "both reverse": (
        [
            lone(1_000, 100, REVERSE | 0x20 | FIRST, name="r", mate_start=1_080),
            lone(1_080, -100, REVERSE | 0x20 | SECOND, name="r", mate_start=1_000),
        ],
        [],
        {"reverse_mate": 2},
    ),
    "too far apart": (
        [
            lone(1_000, 50, FORWARD, name="r", mate_start=4_000),
            lone(2_000, 1_020, FORWARD, name="s", mate_start=3_000),
            lone(3_000, -1_020, REVERSE, name="s", mate_start=2_000),
            lone(4_000, -50, REVERSE, name="r", mate_start=1_000),
        ],
        [],
        {"too_long": 2, "reverse_mate": 2},
    ),
    "equal places and TLEN": (  # the names tell which end belongs to the read of low MAPQ
        [
            lone(1_000, 105, FORWARD, name="r", mate_start=1_080),
            lone(1_000, 105, FORWARD, name="s", mate_start=1_080, mapq=0),
            lone(1_080, -105, REVERSE, name="s", mate_start=1_000, cigar="25M"),
            lone(1_080, -105, REVERSE, name="r", mate_start=1_000, cigar="22M3S"),
        ],
        [(1_000, 1_102)],
        {"forward_mate": 1, "low_mapq": 1, "reverse_mate": 2},
    ),
    "names that end in the mate's number": (
        [
            lone(1_000, 7, FORWARD | SECOND, name="r/2", mate_start=1_080),
            lone(1_080, -100, REVERSE | FIRST, name="r/1", mate_start=1_000),
            lone(1_300, 0, FORWARD | FIRST, name="s.1.1", mate_start=1_380),
            lone(1_380, -100, REVERSE | SECOND, name="s.1.2", mate_start=1_300),
            lone(1_600, 70, FORWARD | FIRST, name="t.1", mate_start=1_680),  # mates of two pairs
            lone(1_690, -80, REVERSE | SECOND, name="t.2", mate_start=1_630),
        ],
        [(1_000, 1_100), (1_300, 1_400), (1_600, 1_670), (1_630, 1_710)],
        {
            "forward_mate": 3,
            "reverse_mate": 2,
            "lone_reverse_mate": 1,
            "mateless": 2,
            "ends_by_tlen": 1,
        },
    ),
    "an MC that is no CIGAR": (
        [lone(1_000, 101, FORWARD, name="r", mate_start=1_080, mate_cigar="-40M")],
        [(1_000, 1_101)],
        {"forward_mate": 1, "mateless": 1, "ends_by_tlen": 1},
    ),
    "first mates of one name": (  # of two pairs: each lacks its second one
        [
            lone(1_000, 100, FORWARD | FIRST, name="r", mate_start=1_080),
            lone(1_180, -190, REVERSE | FIRST, name="r", mate_start=1_010),
        ],
        [(1_000, 1_100), (1_010, 1_200)],
        {"forward_mate": 1, "lone_reverse_mate": 1, "mateless": 2, "ends_by_tlen": 1},
    ),
    "two first mates": (  # each lacks its second one, although they state the same fragment
        [
            lone(1_000, 100, FORWARD | FIRST, name="r", mate_start=1_080, mate_cigar="5S18M"),
            lone(1_080, -100, REVERSE | FIRST, name="s", mate_start=1_000),
            lone(1_300, 50, FORWARD | FIRST, name="t", mate_start=1_330),
        ],
        [(1_000, 1_098), (1_000, 1_100), (1_300, 1_350)],
        {"forward_mate": 2, "lone_reverse_mate": 1, "mateless": 3, "ends_by_tlen": 1},
    ),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("chunk", [1, 1_024])
@pytest.mark.parametrize("many", [0, 20])  # 0: never, so that names are compared here and there
def test_odd_reads(bam_writer, read_type, tmp_path, monkeypatch, kind, chunk, many):
    if kind == "two first mates" and not many:
        pytest.skip("only where many reads are odd, what looks like mates is doubted")
    monkeypatch.setattr(pairs, "_BATCH_READS", chunk)
    monkeypatch.setattr(pairs, "_MANY", many)
    made, spans, counts = ODD[kind]
    made = sorted((read_type(**values) for values in made), key=lambda read: read.start)
    assert fragments_of(bam_writer(tmp_path / "x.bam", made)) == (spans, counts)
    assert set(counts) <= {*READ_FATES, *NOTES}


@pytest.mark.parametrize("tag", [True, False])
def test_a_lone_read_of_a_cram_has_its_end_from_the_tag(bam_writer, read_type, tmp_path, tag):
    """Neither its bases nor the tags that would need them are decoded: there is no reference."""
    pair = Pair(1_000, 1_061, "9S20M", "30M", tlen=100, absent="reverse", tag=tag)
    bam = write(bam_writer, read_type, tmp_path / "x.bam", [pair])
    (tmp_path / "x.fa").write_text(f">chr1\n{'ACGT' * (SIZE // 4)}\n")
    with (
        pysam.AlignmentFile(str(bam)) as old,
        pysam.AlignmentFile(
            str(tmp_path / "x.cram"),
            "wc",
            template=old,
            reference_filename=str(tmp_path / "x.fa"),
        ) as new,
    ):
        for read in old:
            read.query_sequence = "A" * 29
            new.write(read)
    pysam.index(str(tmp_path / "x.cram"))
    (tmp_path / "x.fa").unlink()
    (tmp_path / "x.fa.fai").unlink()
    by_tlen = {} if tag else {"ends_by_tlen": 1}
    assert fragments_of(tmp_path / "x.cram") == (
        [(1_000, 1_091 if tag else 1_100)],
        {"forward_mate": 1, "mateless": 1, **by_tlen},
    )


def test_what_waits_is_bounded(bam_writer, read_type, tmp_path, monkeypatch):
    """Mates wait for a fragment's length, and for a batch, whatever becomes of them."""
    made = [Pair(s, s + 50, absent=("", "reverse")[s % 2]) for s in range(100, 9_000, 3)]
    bam = write(bam_writer, read_type, tmp_path / "x.bam", made)
    monkeypatch.setattr(pairs, "_BATCH_READS", 16)
    most = []
    take = pairs._Table.take

    def watched(table, before):
        most.append(sum(piece.shape[1] for piece in table._pieces))
        return take(table, before)

    monkeypatch.setattr(pairs._Table, "take", watched)
    assert len(fragments_of(bam)[0]) == len(made)
    assert max(most) <= 3 * 300 // 3 + 2 * 16
