"""The tables of a metrics.json: what is in them, and that they fit a terminal."""

import csv
import io

import pytest
from denoiseq.report import metric_text as tables
from denoiseq.report.metric_tables import by_chromosome
from denoiseq.report.tracks import MEASURED

TRACK = {
    "auprc": 0.85912,
    "mse": 123.4,
    "pearson": None,
    "peaks": {"f1": 0.7, "summit_distance_bp": {"median": 23.0}},
    "inside": {"mse": 9.5},
    "intervals": {"auprc": [0.84, 0.87], "mse": [100.2, 150.9], "peaks.f1": [None, None]},
    "frip": 0.4,
}
MACS3 = {"peaks": {"f1": 1.0}, "frip": 0.1, "intervals": {"peaks.f1": [1.0, 1.0]}}
GAIN = {"auprc": {"value": -0.0123, "low": -0.02, "high": 0.001}}
METRICS = {
    **dict.fromkeys(("noisy", "gaussian", "linear", "denoised"), TRACK),
    "macs3": MACS3,
    "gain": {"noisy": GAIN, "linear": {"mse": {"value": 1.5, "low": None, "high": None}}},
}


def test_the_table_fits_a_terminal_and_says_the_numbers():
    text = tables.metrics_table(METRICS)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    rows = {line[:15].strip(): line[15:].split() for line in lines}
    assert rows["AUPRC"] == ["-.012", "[-.020,.001]", "-"]  # the last section: gains
    assert ".859 [.840,.870]" in text
    assert rows["F1"] == [".700"] * 4 + ["1.00", "[1.00,1.00]"]
    assert rows["to summit (bp)"] == ["23.0"] * 4 + ["-"]
    assert "Pearson" not in rows and "Outside peaks" not in rows
    assert "macs3" in rows["Called peaks"] and "macs3" not in rows["Inside peaks"]
    assert " 123 [100,151]" in text


def test_wide_cells_keep_apart():
    track = {"auprc": -0.999, "intervals": {"auprc": [-0.999, -0.998]}}
    text = tables.metrics_table(dict.fromkeys(MEASURED, track))
    assert text.count(" -.999 [-.999,-.998]") == 5


def test_the_tsv_holds_values_then_bounds():
    header, *rows = csv.reader(io.StringIO(tables.metrics_tsv(METRICS)), delimiter="\t")
    assert header[:6] == ["metric", "noisy", "gaussian", "linear", "denoised", "macs3"]
    assert header[6:8] == ["noisy_low", "noisy_high"]
    values = {row[0]: row[1:] for row in rows}
    assert {len(row) for row in rows} == {len(header)}
    assert values["auprc"][:5] == ["0.85912"] * 4 + [""]
    assert values["auprc"][5:7] == ["0.84", "0.87"]
    assert values["peaks.f1"][5] == ""
    assert float(values["mse"][0]) == pytest.approx(123.4)
    assert "pearson" not in values


def test_without_intervals_and_gains_the_values_stand_alone():
    bare = {"noisy": {"auprc": 0.5}, "denoised": {"auprc": 0.6}}
    lines = tables.metrics_table(bare).splitlines()
    assert lines[1].split() == ["AUPRC", ".500", ".600"]
    assert len(lines) == 2


def test_of_thousands_of_chromosomes_the_page_shows_the_first():
    chroms = {f"scaffold_{i}": {"noisy": TRACK, "denoised": TRACK} for i in range(1_200)}
    rows = by_chromosome({"chromosomes": chroms}).rows
    headings = [name for name, cells in rows if not cells]
    assert headings == [*list(chroms)[:100], "and 1,100 more in metrics.json"]
    assert by_chromosome({"chromosomes": {"chrI": chroms["scaffold_0"]}}).rows[-1][1]
