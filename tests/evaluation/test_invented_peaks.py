"""Peaks without a cut site of the input, and peaks of two disjoint draws: counted by hand, and by
loops over whole chromosomes.
"""

import logging

import numpy as np
import pytest
import torch
from denoiseq.evaluation import external_peaks
from denoiseq.evaluation.baselines import gaussian_smooth
from denoiseq.evaluation.bootstrap import Blocks
from denoiseq.evaluation.measure import measure
from denoiseq.evaluation.peak_metrics import reproducibility, total_counts
from denoiseq.evaluation.thresholds import Tuned
from denoiseq.genomics.intervals import mask
from denoiseq.genomics.peaks import runs_above
from denoiseq.models.network import Prediction
from denoiseq.settings import Data, Evaluate, Optim, Train, Trainer
from denoiseq.store.coverage_store import CoverageStore, runs_of, write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.thinning import Thinning
from denoiseq.windows.dataset import WindowDataset

TRAINED = Train(
    optim=Optim(batch_size=3),
    data=Data(label_min_length_bp=100, label_max_gap_bp=20),
    trainer=Trainer(progress=False),
)
SIZES = {"a": 2_000, "b": 1_000}
# Beside each peak: does one of the cut sites 100, 500, 901 of chromosome a lie in it?
CALLED = [
    [0, 100],  # no: 100 is the base behind it; a true peak
    [100, 200],  # yes
    [450, 500],  # no
    [500, 501],  # yes
    [700, 800],  # no; a true peak
    [880, 902],  # yes; a true peak
]
TRUE = {"a": np.array([[90, 95], [790, 795], [880, 890]]), "b": np.array([[10, 20]])}


def doubled(x):
    """A model without a peak head: its track is twice the input."""
    return Prediction(2 * x[:, 0], None)


doubled.task = "regression"


def shifted(x):
    """The input 160 bp further right, so that some of its peaks hold no cut site."""
    return Prediction(torch.nn.functional.pad(x[:, 0], (160, -160)), None)


shifted.task = "regression"


def cut_store(path, cuts, sizes=SIZES):
    """Cut sites by chromosome, each a fragment of its own."""
    rows = {chrom: (np.array(at), np.arange(len(at))) for chrom, at in cuts.items()}
    write_store(path, sizes, rows, {}, {"shift": "none"}, {})
    return CutStore(path)


def measured(data, called, model=doubled, **settings):
    tuned = Tuned(20.0, {"noisy": 2.0, "gaussian": 0.4, "denoised": 3.0})
    settings = Evaluate(**{"bootstrap": 20, "block_bp": 1_000, **settings})
    return measure(model, data, settings, TRAINED, tuned, called)


def windows(store, truth=TRUE, noisy=None, **settings):
    settings = {"interval_bp": 500, "pad_bp": 200, "half_window_bp": 75, **settings}
    data = Data(noisy_store=None if noisy is None else "x", **settings)
    return WindowDataset(store, list(store.chroms), data, truth, training=False, noisy=noisy)


def empty(metrics, name="macs3"):
    return [metrics[name]["peaks"][f"without_cuts{what}"] for what in ("", "_precision")]


def test_peaks_without_a_cut_site_are_counted(tmp_path):
    clean = cut_store(tmp_path / "clean.h5", {"a": range(0, 2_000, 7), "b": range(0, 1_000, 7)})
    noisy = cut_store(tmp_path / "noisy.h5", {"a": [100, 500, 901]})
    data = windows(clean, noisy=noisy)
    metrics = measured(data, {"macs3": {"a": np.array(CALLED)}}).metrics
    assert empty(metrics) == [pytest.approx(3 / 6), pytest.approx(2 / 3)]
    assert empty(metrics["chromosomes"]["a"]) == empty(metrics)
    assert empty(metrics["chromosomes"]["b"]) == [None, None]  # nothing is called there
    one = {"a": np.array([[100, 200]]), "b": np.array([[500, 600]])}
    assert empty(measured(data, {"macs3": one}).metrics) == [0.5, 0]
    assert empty(measured(data, {"macs3": {"a": one["a"]}}).metrics) == [0, None]
    assert empty(measured(data, {"macs3": {}}).metrics) == [None, None]


def test_only_cut_sites_of_the_draw_count(tmp_path):
    store = cut_store(tmp_path / "x.h5", {"a": 50 + 100 * np.arange(20)})
    kept = Thinning(0.4, 0).keep(np.arange(20))
    rows = np.stack([100 * np.arange(20), 100 * np.arange(1, 21)], axis=1)
    found = measured(windows(store, thin_fraction=0.4), {"macs3": {"a": rows}}).metrics
    true = np.zeros(20, dtype=bool)
    true[[0, 7, 8]] = True
    expected = [np.mean(~kept), np.mean(true[~kept])]
    assert 0 < expected[1] < expected[0] < 1
    assert empty(found) == pytest.approx(expected)


def test_of_a_coverage_track_covered_bases_count(tmp_path):
    clean = cut_store(tmp_path / "clean.h5", {"a": range(0, 2_000, 7)})
    track = np.zeros(2_000, dtype=np.float32)
    track[[100, 500, 901]] = 0.25
    runs = {"a": runs_of(track, 0)}
    write_coverage_store(tmp_path / "x.h5", SIZES, runs, {}, {"kind": "coverage"}, {})
    noisy = CoverageStore(tmp_path / "x.h5")
    found = measured(windows(clean, noisy=noisy), {"macs3": {"a": np.array(CALLED)}}).metrics
    assert empty(found) == [pytest.approx(3 / 6), pytest.approx(2 / 3)]


def test_replicates_repeat_the_peaks_without_cuts_of_their_blocks(tmp_path):
    store = cut_store(tmp_path / "x.h5", {"a": 50 + 100 * np.arange(20)})
    rows = np.stack([100 * np.arange(20) + 20, 100 * np.arange(20) + 70], axis=1)
    found = measured(windows(store, thin_fraction=0.4), {"macs3": {"a": rows}})
    bare = (~Thinning(0.4, 0).keep(np.arange(20))).reshape(2, 10).sum(1)  # of each block's ten
    times = Blocks(1_000, 20).weights([("a", 0), ("a", 1)])[1:]  # (20, 2)
    with np.errstate(invalid="ignore"):
        shares = (times @ bare) / (10 * times.sum(1))
    got = found.replicates["macs3"]["peaks.without_cuts"]
    np.testing.assert_allclose(got, shares)
    low, high = found.metrics["macs3"]["intervals"]["peaks.without_cuts"]
    assert low <= empty(found.metrics)[0] <= high and low < high


def test_peaks_of_two_draws_are_counted():
    first = {"a": np.array([[0, 100], [200, 300], [500, 600], [900, 950]])}
    second = {"a": np.array([[50, 150], [210, 220], [230, 240], [700, 800]])}
    for pair in ((first, second), (second, first)):
        found = reproducibility(total_counts(*pair))
        assert found["reproducibility"] == pytest.approx((2 / 4 + 3 / 4) / 2)
        assert found["reproducibility_iou_bp"] == pytest.approx(70 / (350 + 220 - 70))
    nothing = reproducibility(total_counts(first, {}))
    assert np.isnan(nothing["reproducibility"]) and nothing["reproducibility_iou_bp"] == 0


def base_by_base(store, model, part, thresholds):
    """Peaks of whole chromosomes and the cut sites of one draw: by track, by chromosome."""
    called, cuts = {name: {} for name in thresholds}, {}
    for chrom, size in store.chroms.items():
        draw = Thinning(0.3, 0, part=part)
        noisy = store.coverage(chrom, 0, size, 75, draw)
        denoised = model(torch.from_numpy(noisy)[None, None]).coverage[0].numpy()
        tracks = {"noisy": noisy, "gaussian": gaussian_smooth(noisy, 20), "denoised": denoised}
        counted = ~mask(store.blacklist, chrom, 0, size)
        for name, track in tracks.items():
            score = np.where(counted, track, -np.inf)
            called[name][chrom] = runs_above(score, thresholds[name], 100, 20)
        positions, fragments = store.cuts(chrom, 0, size)
        cuts[chrom] = positions[draw.keep(fragments)]
    return called, cuts


def expected(first, second, cuts, truth):
    """What is asked for of one track, by plain loops over peaks and bases."""
    pairs = [(c, s, e) for c, rows in first.items() for s, e in rows.tolist()]
    back = [(c, s, e) for c, rows in second.items() for s, e in rows.tolist()]
    bare = [(c, s, e) for c, s, e in pairs if not ((cuts[c] >= s) & (cuts[c] < e)).any()]

    def hit(peak, peaks):
        c, s, e = peak
        return any(s < end and start < e for start, end in peaks[c].tolist())

    true = [peak for peak in bare if hit(peak, truth)]
    bases, others = ({(c, i) for c, s, e in some for i in range(s, e)} for some in (pairs, back))
    there = np.mean([hit(p, second) for p in pairs]), np.mean([hit(p, first) for p in back])
    return {
        "without_cuts": len(bare) / len(pairs),
        "without_cuts_precision": len(true) / len(bare) if bare else None,
        "reproducibility": np.mean(there),
        "reproducibility_iou_bp": len(bases & others) / len(bases | others),
    }


@pytest.mark.parametrize("interval_bp", [1_000, 777])
def test_a_whole_evaluation_is_the_loops(store, peaks, interval_bp):
    truth = {chrom: peaks[chrom] for chrom in ("chrA", "chrB", "chrC")}
    data = windows(store, truth, interval_bp=interval_bp, thin_fraction=0.3, pad_bp=400)
    thresholds = {"noisy": 3.0, "gaussian": 2.0, "denoised": 2.0}
    (first, cuts), (second, _) = (base_by_base(store, shifted, n, thresholds) for n in (0, 1))
    settings = Evaluate(bootstrap=20, block_bp=1_000, reproducibility=True)
    tuned = Tuned(20.0, thresholds)
    found = measure(shifted, data, settings, TRAINED, tuned)
    open_bases = {
        c: runs_above(mask(truth, c, 0, n) * ~mask(store.blacklist, c, 0, n), 0.5, 1, 0)
        for c, n in store.chroms.items()
    }
    for name in thresholds:
        asked = expected(first[name], second[name], cuts, open_bases)
        got = {key: found.metrics[name]["peaks"][key] for key in asked}
        assert got == pytest.approx(asked)
        assert sum(map(len, first[name].values())) > 10
        assert 0 < got["reproducibility_iou_bp"] < got["reproducibility"] < 1
        low, high = found.metrics[name]["intervals"]["peaks.reproducibility"]
        assert low < got["reproducibility"] < high
    assert 0 < found.metrics["denoised"]["peaks"]["without_cuts"] < 1
    assert {"peaks.reproducibility", "peaks.reproducibility_iou_bp"} <= set(
        found.metrics["gain"]["gaussian"]
    )
    chrom = found.metrics["chromosomes"]["chrB"]["gaussian"]["peaks"]
    one = expected(
        *({"chrB": called["gaussian"]["chrB"]} for called in (first, second)), cuts, open_bases
    )
    assert {key: chrom[key] for key in one} == pytest.approx(one)


def test_where_no_second_draw_is_left_it_is_null_and_said(store, peaks, caplog):
    truth = {chrom: peaks[chrom] for chrom in ("chrA", "chrB", "chrC")}
    with caplog.at_level(logging.WARNING):
        for more in ({"thin_fraction": 0.6}, {"noisy": store}):
            caplog.clear()
            found = measured(windows(store, truth, pad_bp=400, **more), {}, reproducibility=True)
            for scores in (found.metrics["noisy"], found.metrics["chromosomes"]["chrA"]["noisy"]):
                assert scores["peaks"]["reproducibility"] is None
                assert scores["peaks"]["reproducibility_iou_bp"] is None
            assert "reproducibility of peaks is not measured: the input holds" in caplog.text
    found = measured(windows(store, truth, thin_fraction=0.3, pad_bp=400), {})
    assert "reproducibility" not in found.metrics["noisy"]["peaks"]


def test_macs3_is_called_on_the_second_draw_where_it_was_on_the_first(store, peaks, monkeypatch):
    asked = []

    def called(data, macs3):
        asked.append((data.draw(), macs3))
        return {"macs3": {"chrA": np.array([[650, 700], [9_000, 9_100]])}} if macs3 else {}

    monkeypatch.setattr(external_peaks, "called", called)
    data = windows(store, {"chrA": peaks["chrA"]}, thin_fraction=0.3, pad_bp=400)
    first = {"macs3": {"chrA": np.array([[600, 700]])}}
    found = measured(data, first, reproducibility=True).metrics["macs3"]["peaks"]
    assert found["reproducibility"] == pytest.approx((1 + 0.5) / 2)
    assert found["reproducibility_iou_bp"] == pytest.approx(50 / 200)
    assert "macs3" not in measured(data, {}, reproducibility=True).metrics
    assert asked == [(Thinning(0.3, 0, part=1), True), (Thinning(0.3, 0, part=1), False)]
