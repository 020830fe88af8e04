"""Pages from made-up numbers: what they say, what they mark, and what they leave out."""

import re

import numpy as np
import pytest
from denoiseq.report import curve_figures, locus_figures, metric_tables
from denoiseq.report.evaluation_page import evaluation_page, sentences
from denoiseq.report.locus_figures import Locus, draw_loci
from denoiseq.report.metrics import BY_KEY
from denoiseq.report.prediction_page import Findings, depth_sentence, prediction_page
from denoiseq.report.training_page import training_page

NAN = float("nan")
FACTS = {"Model": {"checkpoint": "run/<best>.pt", "config": {"seed": 0}}, "Software": {"isa": "x"}}
SIGNAL = {"mse": 60.0, "log1p_pearson": 0.76, "pearson": 0.93, "spearman": 0.61}
PEAKS = {"precision": 0.8, "recall": 0.6, "f1": 0.69, "iou_bp": 0.55}
PLAIN = {**SIGNAL, "auprc": 0.86, "auroc": 0.97, "best_f1": 0.77, "peaks": PEAKS}
RISING = [0.0, 0.5, 1.0]


def rich(auprc):
    """A track's metrics with all that an evaluation can add."""
    summit = {"median": 31.0, "q1": 12.0, "q3": 77.0, "peaks": 40}
    more = {"inside": SIGNAL, "outside": SIGNAL, "frip": 0.3}
    intervals = {"auprc": [auprc - 0.01, auprc + 0.01], "peaks.f1": [None, None]}
    peaks = {**PEAKS, "summit_distance_bp": summit, "reproducibility": 0.64}
    peaks |= {"without_cuts": 0.043, "without_cuts_precision": 0.82}
    return {**PLAIN, **more, "auprc": auprc, "peaks": peaks, "intervals": intervals}


@pytest.fixture
def metrics():
    tracks = {"noisy": rich(0.78), "gaussian": rich(0.85), "linear": rich(0.855)}
    tracks |= {"denoised": rich(0.87)}
    macs3 = {"precision": 0.97, "recall": 0.42, "f1": 0.6, "peaks": {**PEAKS, "precision": 0.98}}
    gain = {"gaussian": {"auprc": {"value": 0.02, "low": 0.01, "high": 0.03}}}
    return {
        **{"split": "test", **tracks, "macs3": macs3, "gain": gain},
        "chromosomes": {"chrIV": {"gaussian": PLAIN, "denoised": PLAIN}},
        "calibration": {"temperature": 1.2, "ece": 0.012},
    }


CURVES = {
    "pr": {"denoised": {"recall": RISING, "precision": RISING[::-1]}},
    "roc": {"denoised": {"fpr": RISING, "tpr": RISING}},
    "reliability": {"predicted": RISING, "observed": RISING, "bases": [100, 10, 1]},
    "profile": {"offset_bp": [-10, 0, 10], "noisy": [1, 2, 1], "denoised": [1, 3, 1]},
    "summit_distance_bp": {"edges": [0, 10, 20], "counts": [5, 1]},
    "macs3": {"recall": 0.42, "precision": 0.97},
}


def locus(start=5_000, length=900, **tracks):
    tracks = tracks or {"noisy": np.arange(length), "clean": np.ones(length)}
    return Locus("chrIV", start, start + length, tracks, {"clean": np.array([[5_100, 5_300]])})


def headings(page):
    return [section.heading for section in page.sections]


def check_page(page):
    """The page stands alone, and its figures are whole and have names of their own."""
    text = page.html()
    assert len(text) < 2e6
    assert "http" not in text and "<script" not in text
    files = page.files()
    assert all(png.startswith(b"\x89PNG") for png in files.values())
    assert text.count("data:image/png;base64,") == len(files)
    anchors = re.findall(r'href="#([^"]+)"', text)
    assert all(f'id="{anchor}"' in text for anchor in anchors) and len(set(anchors)) == len(anchors)
    return text


def test_an_evaluation_shows_all_that_was_measured(metrics):
    panels = {"Chosen": [locus()], "At random": [locus(9_000)]}
    page = evaluation_page("<yeast>", metrics, CURVES, panels, FACTS, [0] * 50 + [4] * 300)
    assert headings(page) == [
        *("Summary", "Gains", "Curves", "Loci", "Fragments"),
        *("Inside and outside of peaks", "By chromosome"),
    ]
    assert set(page.files()) == {
        *("precision_recall.png", "roc.png", "reliability.png", "profile.png"),
        *("summit_distance.png", "locus_1.png", "locus_2.png", "fragment_sizes.png"),
    }
    text = check_page(page)
    assert "&lt;yeast&gt;" in text and "<yeast>" not in text
    assert "run/&lt;best&gt;.pt" in text
    assert "never saw (chrIV)" in text and "finds 60% of the true peaks" in text
    assert "0.860 to 0.880" in text and "chrIV:9,000-9,900" in text
    assert "4.3% hold not one cut site of the input; 82% of these are true." in text
    for row in ("holding no cut site of the input", "precision of those", "found again on other"):
        assert row in text


def test_an_evaluation_of_few_numbers_leaves_out_the_rest():
    few = {"noisy": PLAIN, "gaussian": PLAIN, "denoised": PLAIN, "split": "validation"}
    page = evaluation_page("x", few, {}, {}, {})
    assert headings(page) == ["Summary"] and not page.files()
    text = check_page(page)
    assert "validation chromosomes" in text and "MACS3" not in text
    assert "cut site" not in text and "found again" not in text


@pytest.mark.parametrize("missing", ["recall", "precision", "peaks"])
def test_undefined_metrics_are_told_in_words(metrics, missing):
    track = {**rich(0.8), "auprc": None}
    track["peaks"] = None if missing == "peaks" else {**PEAKS, missing: None}
    metrics["denoised"] = track
    lead = evaluation_page("x", metrics, {}, {}, {}).lead[0]
    expected = "calls no peak" if missing == "precision" else "no true peak to find"
    assert expected in lead


@pytest.mark.parametrize(("share", "right"), [(0.0, None), (None, None), (0.5, 0.0)])
def test_peaks_without_cuts_are_told_as_far_as_there_are_any(metrics, share, right):
    peaks = {**PEAKS, "without_cuts": share, "without_cuts_precision": right}
    metrics["denoised"] = {**rich(0.8), "peaks": peaks}
    told = [sentence for sentence in sentences(metrics) if "cut site" in sentence]
    if share is None:
        assert told == []
    elif share:
        assert told[0].endswith("50.0% hold not one cut site of the input; 0% of these are true.")
    else:
        assert told[0].endswith("0.0% hold not one cut site of the input.")


def marked(table, key):
    cells = next(cells for name, cells in table.rows if name.startswith(key) and cells)
    return [name for name, cell in zip(table.head[1:], cells, strict=True) if cell.best]


def test_the_best_of_a_row_is_marked():
    two = {"noisy": {"mse": 5.0, "auprc": 0.70004, "pearson": 0.5, "auroc": 0.1, "frip": 0.3}}
    two["denoised"] = {"mse": 4.0, "auprc": 0.70001, "pearson": 0.4, "auroc": None, "frip": 0.2}
    table = metric_tables.summary(two)
    assert marked(table, "MSE") == ["denoised"]  # less is better
    assert marked(table, "Pearson") == ["noisy"]
    assert marked(table, "AUPRC") == []  # as shown, all are equal
    assert marked(table, "AUROC") == []  # nothing to be better than
    assert marked(table, "share of cut sites") == []  # neither is better


@pytest.mark.parametrize(
    ("key", "low", "high", "expected"),
    [
        ("auprc", 0.01, 0.02, "better"),
        ("auprc", -0.02, -0.01, "worse"),
        ("auprc", -0.02, 0.01, "no clear difference"),
        ("mse", -5, -1, "better"),
        ("mse", 1, 5, "worse"),
        ("mse", None, None, "-"),
    ],
)
def test_a_gain_is_judged_by_its_interval(key, low, high, expected):
    assert BY_KEY[key].verdict({"value": 0.0, "low": low, "high": high}) == expected


def test_gains_are_signed_where_they_are_sure():
    sure = {"value": -4.0, "low": -5.0, "high": -3.0}
    unsure = {"value": 0.02, "low": -0.01, "high": 0.05}
    gain = {"gaussian": {"mse": sure, "auprc": unsure}, "macs3": {"peaks.f1": sure}, "noisy": {}}
    table = metric_tables.gains({"gain": gain})
    assert table.head[1:] == ["Gaussian", "MACS3"]
    found = {name[:-2]: [cell.text for cell in cells] for name, cells in table.rows}
    assert found == {"AUPRC": ["+0.020", ""], "MSE": ["-4 ▲", ""], "peaks: F1": ["", "-4.000 ▼"]}
    assert metric_tables.gains({}) is None and metric_tables.gains({"gain": {"macs3": {}}}) is None


def test_without_an_interval_nothing_is_called_better(metrics):
    metrics["gain"] = {}
    assert not any("better" in sentence for sentence in sentences(metrics))
    metrics["gain"] = {"gaussian": {"auprc": {"value": 0.02, "low": 0.01, "high": 0.03}}}
    assert "ranks bases better than the Gaussian" in sentences(metrics)[-1]


@pytest.mark.parametrize("epochs", [0, 1, 5])
def test_a_training_shows_its_curves(metrics, epochs):
    terms = {"loss": 2.0, "loss_mse": 40.0, "loss_bce": float("nan")}
    row = {f"{kind}_{name}": v for kind in ("train", "validation") for name, v in terms.items()}
    history = [
        {
            "epoch": i + 1,
            "step": 9 * i + 9,
            "lr": 1e-3,
            "validation_auprc": 0.8,
            "validation_mse": 4.0,
            **row,
        }
        for i in range(epochs)
    ]
    page = training_page("yeast", metrics, history, 1 if epochs else None, {}, FACTS)
    assert ("Training curves" in headings(page)) == (epochs > 0)
    told = f"{epochs} epoch{'s' * (epochs != 1)}" if epochs else "nothing was trained"
    assert told in page.lead[0]
    assert ("epoch 1 was best" in page.lead[0]) == (epochs > 1)
    check_page(page)


def test_weights_taken_as_given_have_no_training_curves(metrics):
    row = {"epoch": 1, "step": 0, "lr": 1e-3, "validation_auprc": 0.8}
    page = training_page("yeast", metrics, [row], 1, {}, FACTS)
    assert "nothing was trained" in page.lead[0] and "Training curves" not in headings(page)


SUMMARY = {
    "name": "liver",
    "peaks": 3,
    "peak_bp": 1_500,
    "depth": {"given_cuts_per_mb": 1_000.0, "used_cuts_per_mb": 1_000.0,
              "trained_cuts_per_mb": 1_000.0, "thinning_fraction": 1.0},
    "settings": {"peak_threshold": 0.4},
}  # fmt: skip
PEAK = {"chrom": "chr1", "start": 100, "end": 600, "summit": None, "score": 990.0, "signal": 12.5}


def test_a_prediction_tells_what_was_found():
    found = Findings(
        genome_bp=100_000,
        peaks=[PEAK],
        lengths_bp=[400, 500, 600],
        fragment_sizes=[0] * 40 + [9] * 100 + [1] * 100,
        cutoffs={"score": [0.2, 0.4, 0.6], "npeaks": [5, 3, 1], "lpeaks": [2e3, 1e3, 500]},
        profile={"offset_bp": [-10, 0, 10], "input": [1, 2, 1], "denoised": [0, 9, 0]},
    )
    page = prediction_page(SUMMARY, found, {"Chosen": [locus(input=np.ones(900))]}, FACTS)
    assert headings(page) == ["Loci", "Peaks and reads", "Strongest peaks"]
    assert set(page.files()) == {
        *("locus_1.png", "profile.png", "fragment_sizes.png", "peak_lengths.png", "cutoffs.png")
    }
    text = check_page(page)
    assert "3 peaks cover 1.5% of the genome (0.1 Mb)" in text
    assert "chr1:100-600" in text and not page.warnings
    assert ("54%", "of fragments below 100 bp") in page.tiles


def test_a_prediction_without_peaks_is_a_page_all_the_same():
    nothing = SUMMARY | {"peaks": 0, "peak_bp": 0}
    page = prediction_page(nothing, Findings(genome_bp=2_000_000), {}, {})
    assert page.lead[0] == "No peak reached the threshold in 2.0 Mb."
    assert not page.sections
    check_page(page)


@pytest.mark.parametrize("length", [200, 700])
def test_peaks_of_one_length_have_a_histogram(length):
    found = Findings(genome_bp=10_000, lengths_bp=[length] * 3)
    check_page(prediction_page(SUMMARY, found, {}, {}))


@pytest.mark.parametrize(
    ("used", "trained", "said"),
    [
        (1_000, (1_000, 1_000), "a depth that it was trained for"),
        (3_000, (500, 5_000), "a depth that it was trained for"),
        (600, (1_000, 1_000), "60% of the depth"),
        (300, (1_000, 4_000), "30% of the depth that it was trained for (1,000)"),
        (9_000, (1_000, 4_000), "225% of the depth that it was trained for (4,000)"),
        (0, (1_000, 1_000), "no cut sites"),
    ],
)
def test_the_depth_is_put_beside_that_of_the_training(used, trained, said):
    depth = {"used_cuts_per_mb": used, "trained_cuts_per_mb": trained[0]}
    assert said in depth_sentence(depth, trained)


def test_warnings_stand_on_top_of_the_page():
    sentences = ["r<1>.bam: 6,000 reads lack their mate", "the input is deep"]
    page = prediction_page(
        SUMMARY | {"warnings": sentences}, Findings(100_000, lengths_bp=[500]), {}, {}
    )
    text = check_page(page)
    first = text.index("Look at this first")
    assert first < text.index("r&lt;1&gt;.bam: 6,000 reads lack their mate") < text.index("<main>")
    assert (
        "Look at this first"
        not in prediction_page(SUMMARY, Findings(100_000, lengths_bp=[500]), {}, {}).html()
    )


def test_a_long_locus_keeps_its_highest_base():
    track = np.zeros(200_001)
    track[123_456] = 7.0
    edges, tops = locus_figures._binned(track, 1_000)
    assert len(edges) == len(tops) <= locus_figures.BINS + 1
    assert (edges[0], edges[-1]) == (1_000, 201_001)
    i = int(np.argmax(tops))
    assert tops[i] == 7.0 and edges[i] <= 124_456 < edges[i + 1]


def test_a_locus_of_empty_tracks_is_drawn():
    empty = locus(length=100, input=np.zeros(100), denoised=np.zeros(100))
    assert draw_loci([empty, empty], "nothing").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_figures_without_a_curve_are_drawn_without_a_warning():
    """As of a validation without reads, where every score is nan."""
    history = [{"epoch": n, "lr": 0.1, "train_loss": NAN, "validation_auprc": NAN} for n in (1, 2)]
    nothing = {"recall": [NAN], "precision": [NAN]}
    for png in (
        curve_figures.losses(history, None),
        curve_figures.validation_scores(history, {"auprc": "AUPRC"}, 1),
        curve_figures.precision_recall({}, {}, {}),
        curve_figures.precision_recall({"denoised": nothing}, {"denoised": None}, {}),
        curve_figures.roc({}, {}),
        curve_figures.profile([0, 10], {}),
    ):
        assert png.startswith(b"\x89PNG")
