"""The study of depths: what a denoised score is worth, halves of a sample, a whole small run."""

import csv
import importlib
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from denoiseq.store.cut_store import CutStore
from denoiseq.store.thinning import Thinning
from studies import measurements

ROOT = Path(__file__).parents[2]
DEPTHS = (0.01, 0.04, 0.16)


@pytest.fixture
def study(monkeypatch, tmp_path):
    """The script as a module; the working folder, which it changes, is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("depth_study")


@pytest.mark.parametrize(
    ("value", "curve", "depth"),
    [
        (0.2, (0.2, 0.4, 0.6), 0.01),
        (0.4, (0.2, 0.4, 0.6), 0.04),
        (0.6, (0.2, 0.4, 0.6), 0.16),
        (0.3, (0.2, 0.4, 0.6), 0.02),  # half way in the logarithm
        (0.19, (0.2, 0.4, 0.6), 0.0),
        (0.61, (0.2, 0.4, 0.6), math.inf),
        (0.5, (0.2, 0.6, 0.4), 0.01 * 4**0.75),  # where the curve falls the first depth counts
        (0.6, (0.2, 0.6, 0.6), 0.04),
        (0.4, (0.4, 0.4, 0.4), 0.01),
        (math.nan, (0.2, 0.4, 0.6), math.nan),
        (0.3, (0.2, math.nan, 0.6), math.nan),
    ],
)
def test_worth(study, value, curve, depth):
    assert study.worth(value, DEPTHS, curve) == pytest.approx(depth, nan_ok=True)


def test_a_better_score_is_never_worth_less(study):
    curve = np.random.default_rng(0).random(3)
    found = [study.worth(value, DEPTHS, curve) for value in np.linspace(-0.1, 1.1, 200)]
    assert found == sorted(found) and found[0] == 0 and found[-1] == math.inf


def test_intervals_hold_what_is_out_of_range(study):
    assert study.interval(np.array([0.1] * 50 + [math.inf] * 50)) == (0.1, math.inf)
    assert study.interval(np.array([0.1, math.nan])) == (0.1, 0.1)
    assert np.isnan(study.interval(np.array([math.nan]))).all()


def test_halves_share_no_fragment_and_lose_none(study, workplace, tmp_path):
    whole = CutStore(workplace / "cuts.h5")
    for name in ("clean", "noisy"):
        share = Thinning(0.5, study.HALVES, complement=name == "noisy")
        study.write_half(whole, tmp_path / f"{name}.h5", share)
    clean, noisy = (CutStore(tmp_path / f"{name}.h5") for name in ("clean", "noisy"))
    assert clean.n_fragments + noisy.n_fragments == whole.n_fragments
    assert clean.n_fragments == pytest.approx(whole.n_fragments / 2, rel=0.05)
    assert clean.fingerprint == noisy.fingerprint == whole.fingerprint
    for chrom, size in whole.chroms.items():
        parts = [one.cuts(chrom, 0, size) for one in (clean, noisy)]
        both = np.concatenate([positions for positions, _ in parts])
        assert np.array_equal(np.sort(both), whole.cuts(chrom, 0, size)[0])
        mates = [np.unique(ids, return_counts=True)[1] for _, ids in parts]
        together = np.unique(whole.cuts(chrom, 0, size)[1], return_counts=True)[1]
        assert np.array_equal(np.sort(np.concatenate(mates)), np.sort(together))


def test_the_f1_of_called_peaks_is_that_of_their_bases(tmp_path):
    """3 bases called, 3 true, 2 shared: F1 2/3 and intersection over union 2/4."""
    scores = {"macs3": {"peaks": {"iou_bp": 2 / 4}}}
    replicates = {"macs3": {"peaks.iou_bp": np.array([0.0, 1.0])}}
    measurement = SimpleNamespace(metrics=scores, replicates=replicates)
    measurements.keep(tmp_path / "kept.npz", measurement, {})
    assert np.load(tmp_path / "kept.npz")["macs3/called_f1"] == pytest.approx([2 / 3, 0.0, 1.0])


def test_study_measures_once_and_draws(study, workplace, tmp_path, monkeypatch, capsys):
    best, out = workplace / "run" / "checkpoints" / "best.pt", tmp_path / "out"
    options = ["--fractions", "0.5", "0.1", "--draws", "2", "--truth", "poisson"]
    folders = ["--runs", str(tmp_path / "runs"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["", "--checkpoint", str(best), *options, *folders])
    monkeypatch.setattr(measurements.external_peaks, "called", lambda *_: {})
    monkeypatch.setattr(measurements, "BOOTSTRAP", 20)
    study.main()
    with (out / "depth.csv").open(newline="") as file:
        rows = {(r["metric"], r["what"], r["fraction"]): r for r in csv.DictReader(file)}
    assert len(rows) == 3 * 5 * 2
    shallow, deep = (rows["auprc", "noisy", fraction] for fraction in ("0.1", "0.5"))
    assert float(shallow["value"]) < float(deep["value"])
    assert float(shallow["low"]) <= float(shallow["value"]) <= float(shallow["high"])
    assert (shallow["draws"], deep["draws"]) == ("2", "1")
    assert int(deep["fragments"]) == round(CutStore(workplace / "cuts.h5").n_fragments / 2)
    assert (deep["truth"], deep["trained"]) == ("poisson", "0.1")
    table = (out / "depth.md").read_text()
    assert "Poisson labels of the first half" in table and table in capsys.readouterr().out
    assert sum(line.startswith("| AUPRC |") for line in table.splitlines()) == 2
    png = (out / "depth.png").read_bytes()
    assert png.startswith(b"\x89PNG")

    monkeypatch.setattr(measurements, "measure", None)  # would fail if it were called
    kept = {path: path.read_bytes() for path in out.iterdir()}
    study.main()
    assert {path: path.read_bytes() for path in out.iterdir()} == kept


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--checkpoint", "nowhere.pt"], "nowhere.pt does not exist"),
        (["--fractions", "0.1", "0.6"], "give two or more, above 0 and at most 0.5"),
        (["--fractions", "0.1"], "give two or more"),
        (["--draws", "0"], "give 1 or more"),
    ],
)
def test_mistakes_are_sentences(study, options, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "--out", str(tmp_path), *options])
    with pytest.raises(SystemExit) as stop:
        study.main()
    assert words in f"{stop.value.code} {capsys.readouterr().err}"


def test_a_table_wants_rows_of_the_study(study, tmp_path):
    (tmp_path / "depth.csv").write_text("chrom,start\nchr1,5\n")
    with pytest.raises(ValueError, match="holds no rows of scripts/depth_study"):
        study.write(tmp_path)
