"""Other formats given as fragments or as a BED are named; what is right is let through."""

import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.bad_lines import BadLines
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fragment_file import read_fragments

STARTS = [(f"chr{1 + i // 100}", 50 * (i % 100)) for i in range(200)]
SPANS = [(chrom, start, start + 60 + 7 * (i % 9)) for i, (chrom, start) in enumerate(STARTS)]


def rows(of):
    return ["\t".join(map(str, of(i, *span))) for i, span in enumerate(SPANS)]


READS = {
    "tagAlign": lambda i, c, s, e: (c, s, s + 40, "N", 1000, "+-"[i % 2]),
    "forward": lambda i, c, s, e: (c, s, e, "N", 1000, "+"),
    "one length": lambda i, c, s, e: (c, s, s + 40, f"r{i}", 60, "-"),
    "bamtobed": lambda i, c, s, e: (c, s, s + 40, f"read.{i}/{1 + i % 2}", 60),
    "bed12": lambda i, c, s, e: (c, s, e, i, 0, "-+"[i % 2], s, e, "255,0,0", 1, e - s, 0),
}
PAIRS = {
    "pairs": lambda i, c, s, e: (c, s, s + 40, c, e - 40, e, f"r{i}", 60, "+", "-"),
    "trans": lambda i, c, s, e: (c, s, s + 9, "chr7" if i % 3 == 0 else c, s, e, i, 1, "+", "-"),
    "unplaced": lambda i, c, s, e: (c, s, e, ".", -1, -1, f"r{i}", 60, "+", "."),
    "bare": lambda i, c, s, e: (c, s, s + 40, c, e - 40, e),
}
ANNOTATION = {
    "gff": lambda i, c, s, e: (c, "HAVANA", "exon", s + 1, e, ".", "+-"[i % 2], ".", "ID=x"),
}
VARIANTS = {"vcf": lambda i, c, s, e: (c, s + 1, ".", "A", "G,T", 50, "PASS", "DP=3")}
PEAKS = {
    "narrowPeak": lambda i, c, s, e: (c, s, e, f"p{i}", 55, ".", 4.2, 5.1, 3.3, 20),
    "broadPeak": lambda i, c, s, e: (c, s, e, f"p{i}", 55, ".", 4.2, 5.1, 3.3),
}
TRACKS = {
    "dense": lambda i, c, s, e: (c, s, s + 50, i % 4),
    "floats": lambda i, c, s, e: (c, s, s + 50, 0.5 * i),
}
SPARSE = {
    "sparse": lambda i, c, s, e: (c, s, s + 20 + i % 7, f"{i}.25"),
    "bins": lambda i, c, s, e: (c, s, s + 25, 1 + i % 4),
}
COUNTED_FROM_1 = {
    "macs": lambda i, c, s, e: (c, s + 1, e, e - s, s + 9, 30.0, 5.1, 4.2, 3.3, f"p{i}"),
    "granges": lambda i, c, s, e: (c, s + 1, s + 501, 501, "*"),
}
SITES = {"cut sites": lambda i, c, s, e: (c, s, s + 1, f"AAAC{i}-1")}
SAM = {"sam": lambda i, c, s, e: (f"r{i}", 99, c, s + 1, 60, "40M", "=", s, e - s, "ACGT", "FFFF")}


def parameters(*groups):
    return [
        pytest.param(rows(of), name, id=kind)
        for of_kind, name in groups
        for kind, of in of_kind.items()
    ]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        *parameters(
            (READS, "a .*BED of reads: .*each line is a read, not a fragment"),
            (PAIRS, "a BEDPE: columns 4 to 6 are a second interval"),
            (ANNOTATION, "a GFF or GTF"),
            (VARIANTS, "a VCF"),
            (PEAKS, "a narrowPeak or broadPeak"),
            (TRACKS, "a bedGraph: column 4 is .*value"),
            (SPARSE, "a bedGraph"),
            (SITES, "a BED of single positions"),
            (SAM, "SAM text"),
        ),
        pytest.param(["@HD\tVN:1.6", "@SQ\tSN:chr1\tLN:9"], "SAM text", id="header"),
        pytest.param(["fixedStep chrom=chr1 start=1 step=5", "3", "4"], "a wiggle", id="wiggle"),
        pytest.param(
            ["track type=bedGraph", *rows(TRACKS["dense"])], "a bedGraph", id="with a track line"
        ),
        pytest.param(
            ["# made", "chr1\t1\t90\tN\t0\t+", *rows(READS["tagAlign"])], "a tagAlign", id="later"
        ),
    ],
)
def test_fragments_of_another_format_are_named(tmp_path, lines, name):
    path = tmp_path / "x.bed"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"x.bed is {name}"):
        list(read_fragments(path, BadLines(path)))


@pytest.mark.parametrize(
    "of",
    [
        lambda i, c, s, e: (c, s, e),
        lambda i, c, s, e: (c, s, e, f"AAAC{i}-1", 1),
        lambda i, c, s, e: (c, s, e, i, 1),
        lambda i, c, s, e: (c, s, e, i),
        lambda i, c, s, e: (c, s, e, f"{i % 96}.{i % 7}"),
        lambda i, c, s, e: (c, s, e, ".", 1000, "."),
        lambda i, c, s, e: (c, s, e, "N", 60, "+"),
        lambda i, c, s, e: (c, s, s + 60, "A-1", 1),
        lambda i, c, s, e: (c, s, e, ".", 60, 3),
        lambda i, c, s, e: (c.removeprefix("chr"), s, e, i % 3, 2, 7),
        lambda i, c, s, e: (c, s, e, f"AAAC{i}-1", 1, "-" if i % 9 == 0 else "."),
    ],
)
def test_fragments_with_other_columns_are_read(tmp_path, of):
    path = tmp_path / "x.bed"
    path.write_text("\n".join(rows(of)))
    assert sum(len(piece.starts) for piece in read_fragments(path, BadLines(path))) == len(SPANS)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        *parameters(
            (PAIRS, "a BEDPE: .*give each on a line of its own"),
            (ANNOTATION, r"a GFF or GTF: .*awk -v OFS='\\t' '!/\^#/ {print \$1, \$4 - 1, \$5}' x"),
            (VARIANTS, "a VCF"),
            (TRACKS, "a bedGraph"),
            (SAM, "SAM text"),
            (COUNTED_FROM_1, r"a table with starts counted from 1: .*{print \$1, \$2 - 1, \$3}' x"),
        ),
        pytest.param(["chr1\t2\t5\t+\tx", "chr1\t7\t9\t-\ty"], "an interval list .*from 1"),
        pytest.param(["@SQ\tSN:chr1\tLN:9", "chr1\t1\t5\t+\tx"], "SAM text, or an interval list"),
    ],
)
def test_read_bed_names_another_format(tmp_path, lines, name):
    path = tmp_path / "x.bed"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"x.bed is {name}"):
        read_bed(path)


LENGTHS = {
    "length": lambda i, c, s, e: (c, s, e, e - s),
    "twos": lambda i, c, s, e: (c, s, s + 1, 2),
}


@pytest.mark.parametrize(
    "of", [*READS.values(), *PEAKS.values(), *SPARSE.values(), *LENGTHS.values()]
)
def test_read_bed_takes_any_intervals(tmp_path, of):
    path = tmp_path / "x.bed"
    path.write_text("\n".join(rows(of)))
    assert len(read_bed(path)) == len(SPANS)
