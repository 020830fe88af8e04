"""Lists and tables of barcodes in the forms that tools write them."""

import gzip

import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.barcode_forms import in_form_of, reverse_complemented, side_by_side
from denoiseq.genomics.barcodes import read_cells
from hypothesis import given
from hypothesis import strategies as st

BARCODES = ["AAACGG-1", "CCCTGG-1", "GGGTAC-1"]
KEPT = [barcode.encode() for barcode in BARCODES]


def listed(path, text) -> list[bytes]:
    path.write_text(text)
    return list(read_cells(path, None)[0])


@given(
    st.lists(st.text("ACGT", min_size=8, max_size=9), min_size=1, max_size=20, unique=True),
    st.sampled_from(["", "\ufeff", "# made by x\n", "barcode\n", '"Barcode"\r\n', "CB\n", "\n"]),
    st.sampled_from(["\n", "\r\n", "\r", " \n", "\n\n"]),
    st.sampled_from(["{}", '"{}"', "'{}'", "  {}", "{}\t7", "{},7", '"{}";"T cells; naive"']),
    st.sampled_from([bytes, gzip.compress]),
)
def test_read_cells_of_any_way_to_write_a_list(
    tmp_path_factory, barcodes, head, end, quoted, packed
):
    path = tmp_path_factory.mktemp("list") / "x"
    text = head + "".join(quoted.format(b + "-1") + end for b in barcodes)
    path.write_bytes(packed(text.encode()))
    assert list(read_cells(path, None)[0]) == [f"{b}-1".encode() for b in barcodes]


def test_read_cells_takes_the_cells_of_a_csv(tmp_path):
    head = "barcode,total,passed_filters,cell_id,is__cell_barcode\nNO_BARCODE,99,0,None,0\n"
    rows = [f"{b},9,8,_cell_{i},{i % 2}\n" for i, b in enumerate(BARCODES)]
    assert listed(tmp_path / "singlecell.csv", head + "".join(rows)) == [b"CCCTGG-1"]
    arc = "barcode,gex_barcode,is_cell\nAAACGG-1,x,True\nCCCTGG-1,y,False\n"
    assert listed(tmp_path / "per_barcode_metrics.csv", arc) == [b"AAACGG-1"]
    two = "barcode,is_hg19_cell_barcode,is_mm10_cell_barcode\nA-1,0,0\nB-1,0,1\nC-1,1,0\n"
    assert listed(tmp_path / "two.csv", two) == [b"B-1", b"C-1"]
    with pytest.raises(UserError, match="has no cell: its column is_cell is 1 in no line"):
        listed(tmp_path / "none.csv", "barcode,is_cell\nAAACGG-1,0\n")


@pytest.mark.parametrize(
    "text",
    [
        ",leiden\n" + "".join(f"{b},{i}\n" for i, b in enumerate(BARCODES)),  # pandas
        '"","barcode"\n' + "".join(f'"{i}","{b}"\n' for i, b in enumerate(BARCODES)),  # R
        "barcode\tgroup\n" + "".join(f"{i}\t{b}\tx\n" for i, b in enumerate(BARCODES)),
        "barcode\tn\n" + "".join(f"{b}\t{b}\t7\n" for b in BARCODES),
        "barcode\n" + "".join(f"{b}\t7\n" for b in BARCODES),
        "x\n" + "".join(f"{i}\t{b}\n" for i, b in enumerate(BARCODES)),
        "orig.ident\tn\n" + "".join(f"{b}\tproj\t7\n" for b in BARCODES),
        '"x"\n' + "".join(f'"{i}" "{b}"\n' for i, b in enumerate(BARCODES)),
        "sample;barcode\n" + "".join(f"PBMC;{b}\n" for b in BARCODES),
    ],
)
def test_read_cells_finds_the_column_of_barcodes(tmp_path, text):
    assert listed(tmp_path / "x", text) == KEPT


@pytest.mark.parametrize(
    "text", ["AAACCC-1,TTTGGG-1,CCCAAA-1", '"AAACCC-1"\t"TTTGGG-1"\t"CCCAAA-1"\n']
)
def test_read_cells_on_one_line(tmp_path, text):
    (tmp_path / "x").write_text(text)
    assert list(read_cells(tmp_path / "x", None)[0]) == [b"AAACCC-1", b"TTTGGG-1", b"CCCAAA-1"]


def test_read_cells_of_one_endless_line_is_refused(tmp_path):
    with pytest.raises(UserError, match="x is not a list of barcodes"):
        listed(tmp_path / "x", "A" * 200_000)


@pytest.mark.parametrize(
    "text",
    [
        "AAACGG-1\tB cells\nCCCTGG-1\tT\n",
        "\ufeffAAACGG-1\tB cells\r\nCCCTGG-1\tT\r\n",
        "Barcode,Cluster\nAAACGG-1,B cells\nCCCTGG-1,T\n",
        '"","cell_type","n"\n"AAACGG-1","B cells",3\n"CCCTGG-1","T",4\n',
        '"group"\n"AAACGG-1" "B cells"\n"CCCTGG-1" "T"\n',
        '"n" "cluster"\n"AAACGG-1" 3 "B cells"\n"CCCTGG-1" 4 "T"\n',
        "cell\tn\tcluster\nAAACGG-1\t3\tB cells\nCCCTGG-1\t3\tT\n",
        "# made\n'AAACGG-1';'B cells'\n\n'CCCTGG-1';'T'\n",
    ],
)
def test_read_cells_of_any_way_to_write_groups(tmp_path, text):
    (tmp_path / "g").write_text(text)
    groups = read_cells(None, tmp_path / "g")
    assert groups == ({b"AAACGG-1": 0, b"CCCTGG-1": 1}, ["B cells", "T"])


def test_read_cells_puts_a_list_into_the_form_of_the_groups(tmp_path):
    (tmp_path / "list").write_text("AAACGG\nGGGTAC\n")
    (tmp_path / "groups").write_text("AAACGG-1\tB\nCCCTGG-1\tT\n")
    assert read_cells(tmp_path / "list", tmp_path / "groups")[0] == {b"AAACGG-1": 0}
    (tmp_path / "groups").write_text("AAACGG-1\tB\nAAACGG-2\tT\n")
    with pytest.raises(
        UserError, match=r"no barcode of the list .*: it has AAACGG-1, the list AAA"
    ):
        read_cells(tmp_path / "list", tmp_path / "groups")


FILE = [b"AAACGG-1", b"CCCTGG-1", b"TTTTTT-1"]


@pytest.mark.parametrize(
    "form", ["{}", "{}-1", "PBMC#{}-1", "PBMC#{}", "s1_{}-1", "my.sample_{}", "{}-1_2"]
)
def test_in_form_of_adds_or_drops_what_one_side_lacks(form):
    ours = [form.format(bases).encode() for bases in ("AAACGG", "CCCTGG")]
    assert list(in_form_of(ours, FILE).values()) == FILE[:2]
    back = in_form_of(FILE, ours)
    assert [back[barcode] for barcode in FILE[:2]] == ours


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["AAACGG-2", "CCCTGG-2"], FILE),  # another library
        (["AAACGG-10", "CCCTGG-10"], FILE),
        (["a#AAACGG-1", "b#CCCTGG-1"], FILE),  # which sample is the file's?
        (["AAACGG", "CCCTGG"], [b"AAACGG-1", b"AAACGG-2"]),
        (["AAACGG", "cell_7"], FILE),
        (["a#AAACGG-1"], [b"b#AAACGG-1"]),
        (["AAACGG"], []),
        (["AAACGG-1"], [b"CCCTGGTTACGT.AAACGG", b"ACGTACGTACGT.CCCTGG"]),
    ],
)
def test_in_form_of_leaves_what_is_not_certain(ours, theirs):
    ours = [barcode.encode() for barcode in ours]
    assert in_form_of(ours, theirs) == {barcode: barcode for barcode in ours}


def test_side_by_side_shows_one_cell_in_both_forms():
    assert side_by_side([b"TTTTTT-1", b"AAACGG-1"], [b"x", b"AAACGG-2"]) == ("AAACGG-1", "AAACGG-2")
    assert side_by_side([b"x"], [b"y"]) == ("x", "y")


def test_reverse_complemented_barcodes_are_known():
    ours = [b"AAACGGTC-1", b"CCCTGGAA-1", b"ACGTTTTT-1"]
    assert reverse_complemented([b"GACCGTTT-1", b"TTCCAGGG-1"], ours)
    assert not reverse_complemented(ours, ours)
