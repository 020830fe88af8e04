"""Which loci are drawn, and what is gathered for a page beside them."""

import numpy as np
import pytest
from denoiseq.genomics.peaks import Peak
from denoiseq.prediction import loci as prediction_loci
from denoiseq.prediction import run as prediction_run
from denoiseq.report import loci
from denoiseq.report.locus_figures import Locus
from denoiseq.report.prediction_page import Findings, prediction_page

SIZES = {"chr1": 50_000, "chrEBV:1": 3_000}


def test_regions_are_read_with_and_without_commas():
    given = ["chr1:1000-2000", "chr1:1,000-2,000", "chrEBV:1:0-3000"]
    expected = [("chr1", 1000, 2000), ("chr1", 1000, 2000), ("chrEBV:1", 0, 3000)]
    assert loci.parse_regions(given, SIZES) == expected


@pytest.mark.parametrize(
    "region",
    [
        *("chr1: 1,000 - 2,000 ", "chr1:1,000\N{EN DASH}2,000", "chr1:1000\N{MINUS SIGN}2000"),
        *("chr1:1000..2000", "chr1 1000 2000", "chr1\t1,000\t2,000"),
        "chr1:1000\N{NO-BREAK SPACE}\N{EM DASH}\N{NO-BREAK SPACE}2000",
    ],
)
def test_regions_are_read_as_browsers_show_them(region):
    assert loci.parse_regions([region], SIZES) == [("chr1", 1_000, 2_000)]


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ("chr1", "is no region, expected one as in chr1:100000-120000"),
        ("chr1:5000", "is no region"),
        ("chr1:-5-200", "is no region"),
        ("chr1:0-" + "9" * 5_000, "is no region"),
        ("chr9:0-1000", "on none of the chromosomes here \\(chr1, chrEBV:1\\)"),
        ("chr1:49000-51000", "within the 50,000 bp of chr1"),
        ("chr1:2000-1000", "expected 100 to 200,000 bp"),
        ("chr1:1000-1050", "expected 100 to 200,000 bp"),
    ],
)
def test_a_wrong_region_is_named(region, sentence):
    with pytest.raises(ValueError, match=sentence):
        loci.parse_regions([region], SIZES)


def test_random_windows_are_seeded_and_meet_reads():
    def draw(seed, has_reads=lambda window: True):
        return loci.random_windows(SIZES, 3, seed, has_reads)

    assert draw(1) == draw(1) != draw(2)
    for chrom, start, end in draw(1):
        assert 0 <= start < end <= SIZES[chrom] and end - start == min(8_000, SIZES[chrom])
    left = draw(1, lambda window: window[0] == "chr1" and window[2] < 20_000)
    assert len(left) == 3 and all(end < 20_000 for _, _, end in left)
    assert draw(1, lambda window: False) == []
    assert loci.random_windows(SIZES, 0, 1, lambda window: True) == []


def test_the_profile_skips_summits_near_an_end():
    summits = [999, 1_000, 2_000, None, 49_000, 49_001]
    peaks = [Peak("chr1", 0, 9, "x", 1.0, 1.0, summit=summit) for summit in summits]
    found = prediction_loci.around_summits(peaks, SIZES)
    assert found == [("chr1", 0, 2_000), ("chr1", 1_000, 3_000), ("chr1", 48_000, 50_000)]
    many = [Peak("chr1", 0, 9, "x", 1.0, 1.0, summit=25_000)] * 4_001
    assert len(prediction_loci.around_summits(many, SIZES)) <= prediction_loci.PROFILE_PEAKS


def test_a_cutoff_analysis_is_read_where_there_is_one(tmp_path):
    path = tmp_path / "x.cutoff_analysis.tsv"
    assert prediction_run.columns(path) == {}
    path.write_text("score\tnpeaks\tlpeaks\n")
    assert prediction_run.columns(path) == {}
    path.write_text("score\tnpeaks\tlpeaks\n0.5\t20\t9000\n0.6\t10\t4000\n")
    assert prediction_run.columns(path) == {
        "score": [0.5, 0.6],
        "npeaks": [20.0, 10.0],
        "lpeaks": [9000.0, 4000.0],
    }


def test_a_page_leaves_no_loci_of_an_earlier_one(tmp_path):
    def page(n):
        shown = Locus("chr1", 0, 500, {"input": np.ones(500)})
        summary = {"name": "x", "peaks": 0, "peak_bp": 0, "settings": {}}
        summary["depth"] = {"used_cuts_per_mb": 1.0, "trained_cuts_per_mb": 1.0}
        return prediction_page(summary, Findings(1_000), {"Chosen": [shown] * n}, {})

    page(2).write(tmp_path)
    page(1).write(tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["locus_1.png"]
    assert (tmp_path / "report.html").read_text().count("<figure") == 1
