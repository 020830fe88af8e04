"""The share of the signal in peaks, counted cut by cut."""

import numpy as np
import pytest
from denoiseq.evaluation import peak_metrics
from denoiseq.store.coverage_store import CoverageStore, runs_of, write_coverage_store
from denoiseq.store.cut_store import CutStore, write_store
from denoiseq.store.samples import Samples
from denoiseq.store.thinning import Thinning

SIZES = {"a": 5_000, "b": 900}
PEAKS = {"some": np.array([[0, 100], [950, 1_050], [4_990, 5_000]]), "none": np.zeros((0, 2), int)}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(peak_metrics, "CHUNK_BP", 1_000)  # a peak lies across an edge


def test_cut_sites_in_peaks(tmp_path):
    cuts = np.sort(np.random.default_rng(0).integers(0, 5_000, 4_000))
    given = {"a": (cuts, np.arange(4_000) // 2)}
    write_store(tmp_path / "x.h5", SIZES, given, {}, {"shift": "none"}, {})
    store = CutStore(tmp_path / "x.h5")
    total, inside = peak_metrics.signal_in_peaks(store, "a", PEAKS)
    expected = [((cuts >= s) & (cuts < e)).sum() for s, e in PEAKS["some"]]
    assert total == 4_000
    assert {name: found.tolist() for name, found in inside.items()} == {
        "some": expected,
        "none": [],
    }
    assert peak_metrics.signal_in_peaks(store, "b", {}) == (0, {})
    again, of_second = peak_metrics.signal_in_peaks(Samples([store, store]), "sample2/a", PEAKS)
    assert (again, of_second["some"].tolist()) == (total, expected)
    kept = cuts[Thinning(0.2, 1).keep(given["a"][1])]
    total, inside = peak_metrics.signal_in_peaks(store, "a", PEAKS, Thinning(0.2, 1))
    assert total == len(kept)
    assert inside["some"].tolist() == [((kept >= s) & (kept < e)).sum() for s, e in PEAKS["some"]]


def test_coverage_in_peaks(tmp_path):
    track = np.random.default_rng(0).poisson(2, 5_000).astype(np.float32)
    runs = {"a": runs_of(track, 0)}
    write_coverage_store(tmp_path / "x.h5", SIZES, runs, {}, {"kind": "coverage"}, {})
    total, inside = peak_metrics.signal_in_peaks(CoverageStore(tmp_path / "x.h5"), "a", PEAKS)
    assert total == pytest.approx(track.sum())
    assert inside["some"] == pytest.approx([track[s:e].sum() for s, e in PEAKS["some"]])
