"""Tables of chromosome sizes are told from FASTA and BED by their content."""

import gzip

import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.fasta import Genome, chrom_sizes
from denoiseq.genomics.size_table import is_size_table

SIZES = {"chr1": 60_000, "chr2": 40_000}
TABLES = {
    "chrom.sizes": "chr1\t60000\nchr2\t40000\n",
    "blanks": "chr1 60000\nchr2   40000",
    "Windows": "chr1\t60000\r\nchr2\t40000\r\n",
    "comments": "# made by hand\n\nchr1\t60000\n\nchr2\t40000\n\n",
    "names of columns": "chrom\tsize\nchr1\t60000\nchr2\t40000\n",
    "fai": "chr1\t60000\t6\t60\t61\nchr2\t40000\t61012\t60\t61\n",
    "chromInfo": "chr1\t60000\t/gbdb/x.2bit\nchr2\t40000\t/gbdb/x.2bit\n",
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("zipped", [False, True])
def test_chrom_sizes_of_a_table(tmp_path, kind, zipped):
    path, data = tmp_path / "x", TABLES[kind].encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert is_size_table(path)
    assert chrom_sizes(path) == SIZES
    with pytest.raises(UserError, match="is a table of chromosome sizes, but the bases are needed"):
        Genome(path)


@pytest.mark.parametrize(
    "text", [">chr1\nACGT\n", "chr1\t0\t60000\n", "chr1\t5\t9\ta\t0\t+\n", "hello\n", "", "\0\1\n"]
)
def test_is_size_table_of_other_files(tmp_path, text):
    (tmp_path / "x").write_text(text)
    assert not is_size_table(tmp_path / "x")
    assert not is_size_table(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("chr1\t60000\nchr2\t0\n", "line 2: expected a chromosome and its size in bp, above 0"),
        ("chr1\t60000\nchr2\t-1\n", "line 2: expected"),
        ("chr1\t60000\nchr2\n", "line 2: expected"),
        ("chr1\t99999999999\n", "line 1: expected"),
        ("chr1\t60000\nchr2\t" + "9" * 5_000 + "\n", "line 2: expected"),
        ("chr1\t60000\nchr1\t5\n", "line 2: chr1 has another size further up"),
    ],
)
def test_chrom_sizes_of_a_bad_table(tmp_path, text, why):
    (tmp_path / "x").write_text(text)
    with pytest.raises(UserError, match=why):
        chrom_sizes(tmp_path / "x")
