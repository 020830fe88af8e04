import gzip
import json
import logging
import os
import threading

import numpy as np
import pysam
import pytest
from denoiseq.genomics import fragment_file
from denoiseq.genomics.bad_lines import BadLines
from denoiseq.genomics.barcodes import read_cells
from denoiseq.genomics.fragment_file import read_fragments
from denoiseq.genomics.intervals import Interval
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Prepare
from denoiseq.store.cut_store import CutStore
from hypothesis import given
from hypothesis import strategies as st

SIZES = {"chr1": 10_000, "chr2": 5_000, "chrM": 500}
LINES = """# id=sample
# primary_contig=chr1
chr1\t100\t200\tAA-1\t1
chr1\t100\t350\tCC-1\t3
chr1\t150\t2500\tAA-1\t1
chr1\t700\t760\tGG-1\t2
chr2\t5\t95\tCC-1\t1
chrM\t5\t95\tCC-1\t1
GL000\t5\t95\tCC-1\t1
"""


@pytest.fixture
def write(tmp_path):
    """`write(text)` makes a bgzipped fragment file."""

    def make(text, name="atac_fragments.tsv.gz"):
        path = tmp_path / name
        with pysam.BGZFile(str(path), "wb") as file:
            file.write(text.encode())
        return path

    return make


def cuts_of(path, chrom="chr1"):
    return [array.tolist() for array in CutStore(path).cuts(chrom, 0, 10_000)]


def test_lines_become_cut_sites_and_the_rest_is_counted(prepare_all, write, tmp_path):
    out = tmp_path / "cuts.h5"
    results = prepare_all(SIZES, out, [Interval("chr1", 700, 800)], fragments=write(LINES))
    assert list(results) == [out]
    assert cuts_of(out) == [[100, 100, 199, 349], [0, 1, 0, 1]]
    assert cuts_of(out, "chr2") == [[5, 94], [2, 2]]
    qc = json.loads(out.with_suffix(".qc.json").read_text())
    assert qc == results[out]
    assert {fate: n for fate, n in qc["reads"].items() if n} == {
        "total": 7,
        "not_in_genome": 1,
        "excluded_chromosome": 1,
        "too_long": 1,
        "kept": 4,
    }
    assert (qc["fragments"], qc["blacklisted"]["fragments"], qc["barcodes"]) == (3, 1, None)
    made = CutStore(out).preprocessing
    assert (made["source"], made["shift"], made["min_mapq"]) == ("fragments", "10x", None)


def test_a_store_for_each_group_in_one_pass(prepare_all, write, tmp_path):
    table = tmp_path / "groups.tsv"
    table.write_text("barcode\tgroup\nAA-1\tB cells\nCC-1\tT\nTT-1\tT\nXX-1\tempty\n")
    out = tmp_path / "cuts.h5"
    results = prepare_all(SIZES, out, fragments=write(LINES), groups=table)
    names = [path.name for path in results]
    assert names == ["cuts.B_cells.h5", "cuts.T.h5"]
    assert cuts_of(tmp_path / "cuts.B_cells.h5") == [[100, 199], [0, 0]]
    assert cuts_of(tmp_path / "cuts.T.h5") == [[100, 349], [0, 0]]
    assert cuts_of(tmp_path / "cuts.T.h5", "chr2") == [[5, 94], [1, 1]]
    one, other = results.values()
    assert one["reads"] == other["reads"] and one["reads"]["other_barcode"] == 1
    assert (one["group"], other["group"]) == ("B cells", "T")
    assert other["barcodes"] == {"listed": 2, "found": 1}
    assert not out.exists() and not (tmp_path / "cuts.empty.h5").exists()


def test_a_list_of_barcodes(prepare_all, write, tmp_path):
    barcodes = tmp_path / "barcodes.tsv.gz"
    barcodes.write_bytes(gzip.compress(b"CC-1\nTT-1\n"))
    out = tmp_path / "cuts.h5"
    qc = prepare_all(SIZES, out, fragments=write(LINES), barcodes=barcodes)[out]
    assert cuts_of(out) == [[100, 349], [0, 0]]
    assert qc["reads"]["other_barcode"] == 3
    assert qc["barcodes"] == {"listed": 2, "found": 1}


def test_both_lists_keep_what_is_in_both(tmp_path):
    (tmp_path / "b").write_text("A\nB\n")
    (tmp_path / "g").write_text("B\tx\nC\ty\n")
    group_of, _ = read_cells(tmp_path / "b", tmp_path / "g")
    assert group_of == {b"B": 0}


@pytest.mark.parametrize(
    ("barcodes", "groups", "why"),
    [
        ("", None, "lists no barcode"),
        (None, "A\n", "line 1: expected a barcode, a tab and its group"),
        (None, "A\tx\nB\tx\nA\ty\n", "line 3: A is in two groups"),
        ("A\n", "B\tx\n", "gives no barcode of the list"),
    ],
)
def test_lists_that_say_nothing_are_refused(tmp_path, barcodes, groups, why):
    paths = []
    for name, text in (("b", barcodes), ("g", groups)):
        paths.append(None if text is None else tmp_path / name)
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=why):
        read_cells(*paths)
    with pytest.raises(FileNotFoundError, match="no such list of barcodes"):
        read_cells(tmp_path / "none", None)


def test_groups_whose_files_would_be_one(prepare_all, write, tmp_path):
    (tmp_path / "g").write_text("A\tT cell\nC\tT/cell\n")
    with pytest.raises(ValueError, match=r"two inputs would both be written to .*cuts.T_cell.h5"):
        prepare_all(SIZES, tmp_path / "cuts.h5", fragments=write(LINES), groups=tmp_path / "g")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("chr1\t9\t50\tA\t1\nchr1\t8\t50\tA\t1\n", "fragments on chr1 are not sorted by start"),
        ("chr1\t9\t50\nchr2\t9\t50\nchr1\t99\t150\n", "chr1 comes back after chr2; sort"),
        ("#x\nchr1\t9\t50\nchr1\tten\t50\n", r"line 3: expected .*, got 'chr1\\tten\\t50'"),
        ("chr1\t9\t50\nchr1\t9\n", "line 2: expected"),
        ("chr1\t9\t9\n", r"line 1: expected chrom, start, end \(above start\)"),
        ("chr1 9 50\n", "line 1: expected"),
        ("chr1\t9\t99999999999\n", "line 1: expected"),
        ("chr1\t5\t90\nchr1\t9950\t10001\n", r"line 2: .* beyond chr1 \(10000 bp\)"),
        ("1\t9\t50\n2\t9\t50\n", r"of another genome: the FASTA has none .*\(1, 2\)"),
        ("# only comments\n", "holds no fragments"),
        ("", "holds no fragments"),
        ("chrM\t9\t50\n", "no fragment of .* passed the filters: excluded_chromosome 1; loosen"),
    ],
)
def test_files_that_cannot_be_used(prepare_all, write, tmp_path, text, why):
    with pytest.raises(ValueError, match=why):
        prepare_all(SIZES, tmp_path / "x.h5", fragments=write(text))
    assert [path.name for path in tmp_path.iterdir()] == ["atac_fragments.tsv.gz"]


def test_barcodes_are_wanted_where_the_file_has_none(prepare_all, write, tmp_path):
    (tmp_path / "b").write_text("A\n")
    with pytest.raises(ValueError, match=r"line 1: no barcode .* leave out barcodes= and groups="):
        prepare_all(
            SIZES,
            tmp_path / "x.h5",
            fragments=write("chr1\t9\t50\n"),
            barcodes=tmp_path / "b",
        )


@pytest.mark.parametrize("keep", [0.5, 0.9])
@pytest.mark.parametrize("kind", ["bgzip", "gzip"])
def test_truncated_files(write, tmp_path, keep, kind):
    rows = "".join(f"chr1\t{i}\t{i + 50}\tA\t1\n" for i in range(5_000))
    path = write(rows)
    if kind == "gzip":
        path.write_bytes(gzip.compress(rows.encode()))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"atac_fragments.tsv.gz is truncated"):
        list(read_fragments(path, BadLines(path)))
    with pytest.raises(FileNotFoundError, match="no such fragment file"):
        list(read_fragments(tmp_path / "none.tsv", BadLines(tmp_path)))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["c", "chr22", "KI270728.1"]),
            st.integers(0, 2**31),
            st.integers(1, 3_000),
            # a letter first: lines whose column 4 is a number or a strand may be another format
            st.text("ACGT-1", max_size=20).map("A{}".format),
            st.sampled_from(["", "\t1", "\t12\t+"]),
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(60, 300),
    st.booleans(),
)
def test_any_blocks_of_lines_read_as_split_lines_do(tmp_path_factory, rows, block, newline):
    path = tmp_path_factory.mktemp("lines") / "x.tsv"
    text = "\n".join(f"{c}\t{s}\t{s + n}\t{b}{more}" for c, s, n, b, more in rows)
    path.write_text("# head\n" + text + "\n" * newline)
    before, fragment_file._BLOCK_BYTES = fragment_file._BLOCK_BYTES, block
    try:
        got = list(read_fragments(path, BadLines(path)))
    finally:
        fragment_file._BLOCK_BYTES = before
    lines = [
        (piece.chrom, start, end, barcode.decode())
        for piece in got
        for start, end, barcode in zip(
            piece.starts.tolist(), piece.ends.tolist(), piece.barcodes.tolist(), strict=True
        )
    ]
    assert lines == [(c, s, s + n, b) for c, s, n, b, _ in rows]
    numbers = np.cumsum([2, *(len(piece.starts) for piece in got)])[:-1]
    assert [piece.first_line for piece in got] == numbers.tolist()


def test_memory_does_not_grow_with_the_file(write, tmp_path, monkeypatch):
    monkeypatch.setattr(fragment_file, "_BLOCK_BYTES", 1 << 12)
    rows = "".join(f"chr1\t{i // 10}\t{i // 10 + 50}\tA\t1\n" for i in range(50_000))
    path = write(rows)
    sizes = [len(piece.starts) for piece in read_fragments(path, BadLines(path))]
    assert sum(sizes) == 50_000 and max(sizes) < 400


CELLS = ["".join("ACGT"[(i // 4**k) % 4] for k in range(8)) + "-1" for i in range(0, 60_000, 1_500)]
ROWS = [f"chr1\t{20 * i}\t{20 * i + 50 + 7 * (i % 30)}\t{CELLS[i % 40]}\t1" for i in range(400)]
LISTED = CELLS[:10]


@pytest.fixture
def warnings_of(caplog, monkeypatch):
    """`warnings_of()`: the sentences of all warnings so far."""
    monkeypatch.setattr(logging.getLogger("denoiseq"), "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= 30]


@pytest.fixture
def prepared(prepare, tmp_path):
    """`prepared(lines, barcodes)`: the qc.json of fragments of a list of barcodes, both as text."""

    def run(text, barcodes=None):
        (tmp_path / "frag.tsv").write_bytes(text.encode())
        more = {}
        if barcodes is not None:
            (tmp_path / "list.txt").write_bytes(barcodes.encode())
            more["barcodes"] = tmp_path / "list.txt"
        return prepare(SIZES, tmp_path / "x.h5", fragments=tmp_path / "frag.tsv", **more)

    return run


@pytest.mark.parametrize(
    "text",
    [
        "\r\n".join(row.removesuffix("\t1") for row in [*ROWS, ""]),
        "\r\n".join(row.removesuffix("\t1") for row in ROWS) + "\r",
        "\ufeff" + "\n".join(ROWS) + "\n",
        "\n".join(
            [*ROWS[:9], "# a comment", "", " \t", *ROWS[9:200], "#another", *ROWS[200:], "", ""]
        ),
        "chrom\tstart\tend\tbarcode\tcount\n" + "\n".join(ROWS),
        "# made\ntrack name=x\n#Chr\tStart\tEnd\n" + "\n".join(ROWS),
    ],
)
def test_ends_marks_comments_and_names_of_columns_change_nothing(prepared, text, warnings_of):
    qc = prepared(text, "\n".join(CELLS[30:]))  # that of the last line is among them
    assert (qc["fragments"], qc["reads"]["other_barcode"]) == (100, 300)
    assert qc["barcodes"] == {"listed": 10, "found": 10}
    assert warnings_of() == []


GOOD = [f"chr1\t{20 * i}\t{20 * i + 60 + i % 90}\t{CELLS[i % 40]}\t1" for i in range(450)]
BAD = {
    "end beyond": "chr1\t9900\t10001\tA\t1",
    "start beyond": "chr1\t10050\t10100\tA\t1",
    "no bases": "chr1\t70\t70\tA\t1",
    "backwards": "chr1\t90\t70\tA\t1",
    "negative": "chr1\t-4\t70\tA\t1",
    "exponent": "chr1\t1e+02\t170\tA\t1",
    "decimal": "chr1\t100.0\t170\tA\t1",
    "NA": "chr1\tNA\tNA\tA\t1",
    "too large": "chr1\t9\t99999999999\tA\t1",
    "two columns": "chr1\t70",
    "one word": "x" * 9_000,
    "binary": "chr1\1\t\2\t\3",
    "blanks": "chr1 70 170 A 1",
    "no name": "\t70\t170\tA\t1",
    "names of columns": "chrom\tstart\tend\tbarcode\tcount",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("at", [0, 200, 450])
def test_a_bad_line_is_left_out_and_counted_with_its_number(prepared, warnings_of, kind, at):
    lines = ["# head", "", *GOOD[:at], BAD[kind], *GOOD[at:]]
    qc = prepared("\r\n".join([*lines, ""]))
    if (kind, at) == ("names of columns", 0):
        assert (qc["fragments"], qc["reads"]["bad_line"], warnings_of()) == (450, 0, [])
        return
    assert (qc["fragments"], qc["cut_sites"]) == (450, 900)
    assert (qc["reads"]["total"], qc["reads"]["bad_line"]) == (451, 1)
    (text,) = warnings_of()
    assert f"1 of 451 lines is no fragment and is left out; the first is line {at + 3}: " in text


def test_bad_lines_among_those_of_listed_barcodes(prepared, warnings_of):
    without_barcode = GOOD[200].rsplit("\t", 2)[0]
    lines = [*GOOD[:200], without_barcode, *GOOD[201:400], BAD["end beyond"], *GOOD[400:]]
    qc = prepared("\n".join(lines), "\n".join(CELLS))
    assert (qc["fragments"], qc["reads"]["bad_line"], qc["barcodes"]["found"]) == (449, 2, 40)
    assert (
        "2 of 451 lines are no fragments and are left out; the first is line 201"
        in (warnings_of()[0])
    )


@pytest.mark.parametrize(("more", "why"), [(4, None), (5, "5 of 455 lines"), (2_000, "more than")])
def test_many_bad_lines_are_refused(prepared, more, why):
    text = "\n".join([*GOOD[:300], *[BAD["negative"]] * more, *GOOD[300:]])
    if why is None:
        assert prepared(text)["reads"]["bad_line"] == more
        return
    with pytest.raises(ValueError, match=rf"{why}.* are no fragments, and at most 1%.* line 301: "):
        prepared(text)


def test_pieces_begin_anew_after_a_bad_line(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("\n".join([*GOOD[:9], BAD["negative"], *GOOD[9:20], ""]))
    pieces = list(read_fragments(path, BadLines(path)))
    assert [(piece.first_line, len(piece.starts)) for piece in pieces] == [(1, 9), (11, 11)]


def test_bad_lines_are_refused_as_soon_as_there_are_1000(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("".join(f"chr1\t{i}\t{i + 9}\n" for i in range(200_000)) + "chr1\n" * 1_001)
    with pytest.raises(ValueError, match=r"more than 1,000 lines are no fragments"):
        list(read_fragments(path, BadLines(path)))


def test_fragments_beyond_the_ends_of_many_chromosomes_are_of_another_genome(prepare, tmp_path):
    sizes = {f"chr{i}": 10_000 for i in range(1, 5)}
    rows = [(c, s, s + 60 + s % 90) for c in sizes for s in range(0, 9_800, 10)]
    text = "".join(f"{c}\t{s}\t{e}\n" for c, s, e in rows)
    for n, refused in ((2, False), (3, True)):
        lines = text
        for i in range(1, n + 1):
            last = f"chr{i}\t9790\t9920\n"
            assert last in lines
            lines = lines.replace(last, f"{last}chr{i}\t10020\t10090\n")
        (tmp_path / "x.tsv").write_text(lines)
        given = {"fragments": tmp_path / "x.tsv"}
        if not refused:
            assert prepare(sizes, tmp_path / "x.h5", **given)["reads"]["bad_line"] == n
            continue
        with pytest.raises(ValueError, match="begin beyond the ends of chr1, chr2, chr3; give the"):
            prepare(sizes, tmp_path / "x.h5", **given)


@pytest.mark.parametrize("end", ["chr1", "chr1\t9", "chr1\t9500"])
def test_a_last_line_that_was_cut_off_is_refused(prepared, end):
    with pytest.raises(ValueError, match=r"frag.tsv is truncated within its last line"):
        prepared("\n".join([*GOOD, end]))


def test_a_bad_line_after_comments_is_named_by_its_number(prepared):
    with pytest.raises(ValueError, match="line 5: expected"):
        prepared("# a\nchr1\t1\t9\n\n# b\nchr1\tx\t9\n")


@pytest.mark.parametrize(
    ("form", "warned"),
    [("{}-1", 0), ("{}", 1), ("PBMC#{}-1", 1), ("PBMC_{}-1", 1), ('"s1#{}"', 1), ("{}-1,9", 0)],
)
def test_barcodes_in_another_form_are_the_same_cells(prepared, form, warned, warnings_of):
    qc = prepared("\n".join(ROWS), "\n".join(form.format(cell[:-2]) for cell in LISTED))
    assert (qc["fragments"], qc["barcodes"]["found"]) == (100, 10)
    assert len(warnings_of()) == warned
    assert all("AAAAAAAA-1: they are taken as the same cells" in text for text in warnings_of())


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("{}-2", "it has AAAAAAAA-1, the list AAAAAAAA-2"),
        ("cell {}x", "it has "),
        ("{n}#{}-1", "it has AAAAAAAA-1, the list 0#AAAAAAAA-1"),
    ],
)
def test_barcodes_of_which_none_is_in_the_file_are_shown(prepared, form, why):
    barcodes = [form.format(cell[:-2], n=n) for n, cell in enumerate(LISTED)]
    with pytest.raises(
        ValueError, match=rf"none of the 10 barcodes of .*list.txt is in .*frag.tsv: {why}"
    ):
        prepared("\n".join(ROWS), "\n".join(barcodes))


def test_reverse_complemented_barcodes_are_said_to_be(prepared):
    turned = [cell[7::-1].translate(str.maketrans("ACGT", "TGCA")) + "-1" for cell in CELLS[3:30]]
    rows = [row for row in ROWS if row.split("\t")[3] not in turned]
    with pytest.raises(ValueError, match=r"none of the .* reverse complement of the other's"):
        prepared("\n".join(rows), "\n".join(turned))


def test_few_barcodes_that_are_met_are_a_warning(prepared, warnings_of):
    others = [f"{'TG' * 4}{cell}" for cell in LISTED]
    qc = prepared("\n".join(ROWS), "\n".join([*LISTED, *others[:9]]))
    assert qc["barcodes"] == {"listed": 19, "found": 10} and warnings_of() == []
    qc = prepared("\n".join(ROWS), "\n".join([*LISTED[:3], *others]))
    assert qc["barcodes"] == {"listed": 13, "found": 3}
    (text,) = warnings_of()
    assert text.startswith("only 3 of the 13 barcodes of ")


def test_barcodes_on_excluded_chromosomes_alone_are_in_the_file(prepared):
    text = "chr1\t1\t90\tAAAAAAAA-1\t1\nchrM\t1\t90\tCCCCCCCC-1\t1\n"
    with pytest.raises(ValueError, match=r"no fragment of .* passed the filters"):
        prepared(text, "CCCCCCCC-1\n")


def test_fragments_of_one_length_are_a_warning(prepared, warnings_of):
    lengths = [50] * 1_100 + [60] * 100
    text = "".join(f"chr1\t{i}\t{i + n}\n" for i, n in enumerate(lengths))
    prepared(text)
    (warning,) = warnings_of()
    assert warning.startswith("92% of the 1,200 fragments of ") and "are 50 bp long" in warning
    prepared("\n".join(text.split("\n")[:999]))  # too few to say
    prepared("".join(f"chr1\t{i}\t{i + 50 + i % 2}\n" for i in range(1_200)))
    assert len(warnings_of()) == 1


def test_a_pipe_of_fragments_equals_the_file(prepare, prepared, tmp_path):
    text = "\n".join(ROWS)
    plain = prepared(text, "\n".join(LISTED))
    for name, data in (("f", gzip.compress(text.encode())), ("b", "\n".join(LISTED).encode())):
        os.mkfifo(tmp_path / name)
        threading.Thread(target=(tmp_path / name).write_bytes, args=(data,), daemon=True).start()
    piped = prepare(SIZES, tmp_path / "y.h5", fragments=tmp_path / "f", barcodes=tmp_path / "b")
    assert cuts_of(tmp_path / "y.h5") == cuts_of(tmp_path / "x.h5")
    same = ("reads", "fragments", "cut_sites", "barcodes", "fingerprint")
    assert [piped[name] for name in same] == [plain[name] for name in same]
    assert piped["provenance"]["inputs"]["fragments"]["bytes"] is None


def test_a_blacklist_without_intervals_is_a_warning(write, tmp_path, warnings_of):
    (tmp_path / "b.bed").write_text("# nothing\n")
    paths = {"fragments": write(LINES), "out": tmp_path / "x.h5", "blacklist": tmp_path / "b.bed"}
    prepare_stores(Prepare(**{name: str(path) for name, path in paths.items()}), SIZES)
    assert f"the blacklist {tmp_path}/b.bed holds no interval: nothing is masked" in warnings_of()
