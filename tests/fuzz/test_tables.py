"""Text readers against slow, strict parsers: what is accepted is what the format allows."""

import re

import pytest
from denoiseq.genomics.barcodes import read_cells
from denoiseq.genomics.bed import read_bed
from denoiseq.prepare.run import prepare_stores
from denoiseq.report.loci import parse_regions
from denoiseq.settings import Prepare
from denoiseq.store.store import open_store
from hypothesis import given
from hypothesis import strategies as st
from mutations import FUZZ, NAMES, NUMBERS, edited, edits, pack_bgzf, table

SIZES = {"chr1": 1_000, "chr2": 800, "\u00fc": 1_200}
BARCODE = st.one_of(st.text("ACGT", min_size=4, max_size=8), NAMES)
BED = table(NAMES, NUMBERS, NUMBERS)
NARROW_PEAK = table(NAMES, NUMBERS, NUMBERS, NAMES, NUMBERS, st.just("."), *[NUMBERS] * 4)
FRAGMENT = st.tuples(st.integers(0, 900), st.integers(1, 400))  # some beyond the end of chr2


def _fragment_lines(rows: list[tuple[int, int]], odd: bytes, at: int, end: str) -> bytes:
    """A sorted file of chr1 and chr2, with an odd line somewhere."""
    half = len(rows) // 2
    named = [("chr1", *row) for row in sorted(rows[:half])]
    named += [("chr2", *row) for row in sorted(rows[half:])]
    lines = [f"{c}\t{s}\t{s + n}\tAAAC-1\t1".encode() for c, s, n in named]
    lines.insert(at % (len(lines) + 1), odd)
    return end.encode().join(lines) + end.encode()


ODD_LINE = table(st.sampled_from(["chr1", "chr2", "\u00fc"]), NUMBERS, NUMBERS, BARCODE, most=1)
FRAGMENTS = st.builds(
    _fragment_lines,
    st.lists(FRAGMENT, max_size=8),
    ODD_LINE.map(lambda line: line.rstrip(b"\r\n")),
    st.integers(0, 9),
    st.sampled_from(["\n", "\r\n"]),
)


def lines_of(data: bytes) -> list[str]:
    text = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    return re.split("\r\n|\n|\r", text)


def strict_intervals(data: bytes) -> list[tuple[str, int, int]]:
    """The rows of a BED that hold data and are right."""
    rows = []
    for line in lines_of(data):
        fields = [f.strip() for f in (line.split("\t") if "\t" in line else line.split())]
        skipped = not line.strip() or line[0] == "#" or line.split()[0] in ("track", "browser")
        if skipped or len(fields) < 3 or not fields[0]:
            continue
        if all(re.fullmatch("[0-9]{1,19}", f) for f in fields[1:3]):
            start, end = int(fields[1]), int(fields[2])
            if start < end < 2**62:
                rows.append((fields[0], start, end))
    return rows


@FUZZ
@given(st.one_of(BED, NARROW_PEAK))
def test_bed(folder, limited, data):
    path = folder / "fuzz.bed"
    path.write_bytes(data)
    intervals = []
    outcome = limited(lambda: intervals.extend(read_bed(path)))
    assert outcome.state != "failed", outcome.text
    if outcome.state == "read":
        assert [(i.chrom, i.start, i.end) for i in intervals] == strict_intervals(data)


@FUZZ
@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 99), st.integers(1, 99)), max_size=9)
)
def test_every_right_bed_is_read(folder, rows):
    path = folder / "fuzz.bed"
    rows = [(chrom, start, start + length) for chrom, start, length in rows]
    path.write_text("".join(f"{c}\t{s}\t{e}\n" for c, s, e in rows))
    assert [(i.chrom, i.start, i.end) for i in read_bed(path)] == rows


def cut_sites(folder, **inputs) -> dict[str, list[int]]:
    """Prepare a fragment file of fragments that need no shift; chromosome -> its cut sites."""
    out = folder / "fuzz.h5"
    settings = Prepare(
        **inputs, out=str(out), shift="none", shift_check=False, exclude=[], progress=False
    )
    prepare_stores(settings, SIZES)
    store = open_store(out)
    return {c: store.cuts(c, 0, 2_000)[0].tolist() for c in store.chroms}


def strict_cut_sites(rows) -> dict[str, list[int]]:
    sites: dict[str, list[int]] = {chrom: [] for chrom in SIZES}
    for chrom, start, end in rows:
        if chrom in SIZES and end <= SIZES[chrom]:
            sites[chrom] += [start, end - 1]
    return {chrom: sorted(positions) for chrom, positions in sites.items()}


@FUZZ
@given(FRAGMENTS)
def test_fragments(folder, limited, data):
    path = folder / "fuzz.tsv"
    path.write_bytes(data)
    sites = {}
    outcome = limited(lambda: sites.update(cut_sites(folder, fragments=str(path))))
    assert outcome.state != "failed", outcome.text
    if outcome.state == "read":
        assert sites == strict_cut_sites(strict_intervals(data))


@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, 700), st.integers(1, 100)), min_size=1, max_size=9),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_right_fragment_file_is_read(folder, rows, end_of_line):
    path = folder / "fuzz.tsv"
    rows = [("chr2", start, start + length) for start, length in sorted(rows)]
    lines = (f"{c}\t{s}\t{e}\tAAAC-1\t1{end_of_line}" for c, s, e in rows)
    path.write_bytes("".join(lines).encode())
    assert cut_sites(folder, fragments=str(path)) == strict_cut_sites(rows)


@FUZZ
@given(st.one_of(table(BARCODE), table(BARCODE, NAMES), table(BARCODE, NUMBERS, NAMES)))
def test_barcodes(folder, limited, data):
    path = folder / "fuzz.txt"
    path.write_bytes(data)
    barcodes = []
    outcome = limited(lambda: barcodes.extend(read_cells(path, None)[0]))
    assert outcome.state != "failed", outcome.text
    text = "\n".join(lines_of(data))
    for barcode in barcodes:
        assert barcode and barcode.decode() in text.replace('""', '"')
        assert barcode.decode() == barcode.decode().strip()


@FUZZ
@given(st.lists(st.text("ACGT", min_size=6, max_size=7), min_size=1, max_size=9))
def test_every_right_barcode_list_is_read(folder, barcodes):
    path = folder / "fuzz.txt"
    path.write_text("\n".join(barcodes) + "\n")
    assert list(read_cells(path, None)[0]) == list(dict.fromkeys(b.encode() for b in barcodes))


@FUZZ
@given(st.one_of(table(BARCODE, st.sampled_from("ABC")), table(BARCODE, NAMES, NAMES)))
def test_groups(folder, limited, data):
    path = folder / "fuzz.txt"
    path.write_bytes(data)
    outcome = limited(read_cells, None, path)
    assert outcome.state != "failed", outcome.text


@FUZZ
@given(
    st.lists(
        st.tuples(st.sampled_from(["AAACCC", "AAAGGG", "TTTCCC"]), st.sampled_from("ABC")),
        min_size=1,
        max_size=6,
    )
)
def test_groups_are_those_of_the_table(folder, limited, rows):
    path = folder / "fuzz.txt"
    path.write_text("".join(f"{barcode}\t{group}\n" for barcode, group in rows))
    cells = {}
    outcome = limited(
        lambda: cells.update(zip(("of", "names"), read_cells(None, path), strict=True))
    )
    if len(set(rows)) > len(dict(rows)):
        assert "in two groups" in outcome.text
    else:
        got = {b.decode(): cells["names"][i] for b, i in cells["of"].items()}
        assert (outcome.state, got) == ("read", dict(rows))


FITTING = st.builds(
    lambda chrom, start, size: f"{chrom}:{start}-{start + size}",
    st.sampled_from(sorted(SIZES)),
    st.integers(0, 900),
    st.integers(90, 900),
)
POSITION = st.one_of(NUMBERS, st.integers(0, 1_000).map("{:,}".format))
REGIONS = st.one_of(
    FITTING,
    st.builds("{}:{}-{}".format, st.sampled_from(sorted(SIZES)), POSITION, POSITION),
    st.builds("{}:{}-{}".format, NAMES, POSITION, POSITION),
)


@FUZZ
@given(st.lists(REGIONS, min_size=1, max_size=2))
def test_regions(limited, texts):
    windows = []
    outcome = limited(lambda: windows.extend(parse_regions(texts, SIZES)))
    assert outcome.state != "failed", outcome.text
    for text, (chrom, start, end) in zip(texts, windows, strict=outcome.state == "read"):
        assert (chrom, f"{start}-{end}") == (
            text.rpartition(":")[0].strip(),
            re.sub(r"(^|-)0+(?=\d)", r"\1", text.strip().rpartition(":")[2].replace(",", "")),
        )
        assert 0 <= start < end <= SIZES[chrom]


@FUZZ
@given(st.one_of(table(NAMES, NUMBERS), table(st.sampled_from("ABC"), NUMBERS, most=2)))
def test_chromosome_sizes(folder, limited, data):
    size_table = pytest.importorskip("denoiseq.genomics.size_table")
    path = folder / "fuzz.sizes"
    path.write_bytes(data)
    sizes = {}
    outcome = limited(lambda: sizes.update(size_table.read_size_table(path)))
    assert outcome.state != "failed", outcome.text
    for chrom, size in sizes.items():
        assert 0 < size < 2**31
        assert re.search(rf"{re.escape(chrom)}\s+0*{size}\b", "\n".join(lines_of(data)))


@FUZZ
@given(FRAGMENTS, edits(2))
def test_compressed_text(folder, limited, data, changes):
    path = folder / "fuzz.bed.gz"
    path.write_bytes(edited(pack_bgzf(data), changes))
    outcome = limited(read_bed, path)
    assert outcome.state != "failed", outcome.text
