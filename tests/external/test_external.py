"""Our outputs read by the field's own tools, where they are: bedtools and MACS3.

bedtools is unpacked from Debian packages (`setup.sh`); MACS3 is run where it is on PATH.
"""

import fcntl
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.bigwig_reader import read_bigwig
from denoiseq.genomics.cutoffs import CutoffCounter

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Between two of the thousandths that the bigWig keeps, so that rounding moves no base over it.
THRESHOLD, MIN_LENGTH, MAX_GAP = 0.2005, 150, 40
needs_macs3 = pytest.mark.skipif(
    shutil.which("macs3") is None, reason="macs3 is not on PATH (pip install '.[macs3]')"
)


def output_of(*command) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def bedtools():
    """`bedtools("merge", "-i", path)`: what it prints."""
    folder = ROOT / "build" / "bedtools"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["timeout", "120", "bash", HERE / "setup.sh", folder]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"CHECKS BY BEDTOOLS SKIPPED, it is not here: {done.stderr.strip()[:300]}")
    return lambda *arguments: output_of(folder / "bedtools", *arguments)


@pytest.fixture(scope="session")
def predicted(workplace, tmp_path_factory) -> Path:
    """A folder with x.*, the outputs of predict with the rule above, and x.*.bedGraph of tracks."""
    from denoiseq import cli

    folder = tmp_path_factory.mktemp("predicted")
    command = [
        *("predict", f"checkpoint={workplace / 'run/checkpoints/best.pt'}", "name=x"),
        *(f"store={workplace / 'cuts.h5'}", f"out={folder}", f"peak_threshold={THRESHOLD}"),
        *(f"peak_min_length_bp={MIN_LENGTH}", f"peak_max_gap_bp={MAX_GAP}"),
    ]
    assert cli.main(command) == 0
    for track in ("coverage", "peak_probability"):
        with pyBigWig.open(str(folder / f"x.{track}.bw")) as file:
            sizes = file.chroms()
            lines = [
                f"{chrom}\t{start}\t{end}\t{value:.6g}\n"
                for chrom in sizes
                for start, end, value in file.intervals(chrom)
            ]
        (folder / f"x.{track}.bedGraph").write_text("".join(lines))
    names = "".join(f"{chrom}\t{size}\n" for chrom, size in sizes.items())
    (folder / "sizes.txt").write_text(names)
    return folder


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines() if not line.startswith("track")]


def test_bedtools_takes_the_peaks(bedtools, predicted, genome):
    peaks, sizes = predicted / "x.peaks.narrowPeak", predicted / "sizes.txt"
    text = peaks.read_text()
    assert len(rows(text)) > 20
    assert bedtools("sort", "-g", sizes, "-i", peaks) == text  # sorted as the genome is
    merged = rows(bedtools("merge", "-i", peaks))  # disjoint, no two touch
    assert merged == [row[:3] for row in rows(text)]
    assert bedtools("intersect", "-sorted", "-g", sizes, "-a", peaks, "-b", peaks, "-u") == text
    assert bedtools("intersect", "-a", peaks, "-b", genome["blacklist"]) == ""
    outside = bedtools("complement", "-i", peaks, "-g", sizes)
    bases = sum(int(row[2]) - int(row[1]) for row in rows(outside) + rows(text))
    assert bases == sum(int(row[1]) for row in rows(sizes.read_text()))
    names = [row[3] for row in rows(text)]
    assert len(set(names)) == len(names)


def test_bedtools_finds_the_columns_in_the_tracks(bedtools, predicted):
    peaks = predicted / "x.peaks.narrowPeak"
    options = ("-c", "4", "-o", "max")
    tracks = [predicted / f"x.{track}.bedGraph" for track in ("peak_probability", "coverage")]
    highest = bedtools("map", "-a", peaks, "-b", tracks[0], *options)
    for row in rows(highest):
        assert abs(int(row[4]) - 1000 * float(row[-1])) <= 1
    summits = predicted / "summits.bed"
    places = [(row[0], int(row[1]) + int(row[9]), row[6]) for row in rows(peaks.read_text())]
    summits.write_text("".join(f"{chrom}\t{at}\t{at + 1}\t{h}\n" for chrom, at, h in places))
    there = bedtools("map", "-a", summits, "-b", tracks[1], *options)
    for row in rows(there):
        assert float(row[3]) == pytest.approx(float(row[4]), abs=0.051)


@needs_macs3
def test_macs3_calls_the_same_peaks_from_our_track(predicted, tmp_path):
    out = tmp_path / "macs3.bed"
    track = predicted / "x.peak_probability.bedGraph"
    rule = ("-c", THRESHOLD, "-l", MIN_LENGTH, "-g", MAX_GAP)
    output_of("macs3", "bdgpeakcall", "-i", track, *rule, "-o", out)
    ours = read_bed(predicted / "x.peaks.narrowPeak")
    assert len(ours) > 20
    assert sorted(read_bed(out), key=str) == sorted(ours, key=str)


@needs_macs3
def test_macs3_finds_the_same_cutoff_table(predicted, tmp_path):
    out = tmp_path / "table.tsv"
    track = predicted / "x.peak_probability.bedGraph"
    rule = ("-l", MIN_LENGTH, "-g", MAX_GAP, "--cutoff-analysis-max", 1)
    output_of("macs3", "bdgpeakcall", "-i", track, *rule, "--cutoff-analysis", "-o", out)
    head, *lines = out.read_text().splitlines()
    ours = (predicted / "x.cutoff_analysis.tsv").read_text().splitlines()
    assert head == ours[0]
    theirs = np.array([line.split("\t") for line in lines], dtype=float)
    theirs = theirs[theirs[:, 0] > 0.02]  # at 0 it loses a chromosome's first region
    # It counts what is above a threshold, we what reaches it; the track holds thousandths.
    thresholds = (theirs[::-1, 0] + 0.0005).astype(np.float32)
    counts = np.zeros((len(thresholds), 2), dtype=np.int64)
    for chrom, size in rows((predicted / "sizes.txt").read_text()):
        counter = CutoffCounter(thresholds, MIN_LENGTH, MAX_GAP)
        counter.add(0, read_bigwig(predicted / "x.peak_probability.bw", chrom, 0, int(size)))
        counts += counter.finish()
    np.testing.assert_array_equal(counts[::-1], theirs[:, 1:3])
