import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pysam
import pytest
from denoiseq.errors import UserError
from denoiseq.genomics.bam import check_bam
from denoiseq.genomics.bed import read_bed
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.genomics.intervals import Interval
from denoiseq.prepare import bam
from denoiseq.store.cut_store import CutStore

SIZES = {"chr1": 10_000}
REVERSE, REVERSE_STRAND = 0x1 | 0x2 | 0x10, 0x10


@pytest.fixture(scope="module")
def prepare_synthetic(synthetic, prepare):
    def run(out, workers=1, bam=synthetic["bam"]):
        sizes = chrom_sizes(synthetic["fasta"])
        blacklist = read_bed(synthetic["blacklist"])
        return prepare(sizes, out, blacklist, bam=bam, workers=workers, progress=False)

    return run


@pytest.fixture(scope="module")
def prepared(prepare_synthetic, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "x.h5"
    return out, prepare_synthetic(out)


def test_the_counts_of_qc_add_up_and_equal_the_store(prepared):
    out, qc = prepared
    store = CutStore(out)
    assert json.loads(out.with_suffix(".qc.json").read_text()) == qc
    reads = dict(qc["reads"])
    assert reads.pop("total") == sum(reads.values())
    odd = ("unmapped", "secondary", "supplementary", "qc_fail", "duplicate", "low_mapq")
    assert all(reads[fate] > 0 for fate in (*odd, "not_proper_pair"))
    assert reads["forward_mate"] == qc["fragments"] + qc["blacklisted"]["fragments"]
    assert qc["cut_sites"] == 2 * reads["forward_mate"] - qc["blacklisted"]["cut_sites"]
    assert (qc["fragments"], qc["cut_sites"]) == (store.n_fragments, store.n_cuts)
    assert qc["cuts_per_mb"] == store.cuts_per_mb
    assert (qc["fingerprint"], qc["preprocessing"]) == (store.fingerprint, store.preprocessing)
    assert sum(qc["fragment_size"]["histogram"]) == qc["fragments"]
    for key in ("fragments", "cut_sites"):
        assert sum(row[key] for row in qc["chromosomes"].values()) == qc[key]


def test_the_store_tells_how_it_was_made(prepared, synthetic):
    provenance = CutStore(prepared[0]).provenance
    assert provenance["inputs"]["bam"]["name"] == "reads.bam"
    assert provenance["inputs"]["bam"]["bytes"] == synthetic["bam"].stat().st_size
    assert provenance["command"] == [Path(sys.argv[0]).name, *sys.argv[1:]]
    assert {"denoiseq", "numpy", "pysam"} <= set(provenance["versions"])


def test_no_cut_lies_in_the_blacklist_and_the_store_keeps_it(prepared):
    store = CutStore(prepared[0])
    for chrom, rows in store.blacklist.items():
        assert all(len(store.cuts(chrom, *row)[0]) == 0 for row in rows.tolist())
        assert len(store.cuts(chrom, rows[0, 0] - 2_000, rows[0, 0])[0]) > 0


def test_parallel_processes_give_the_same_cuts(prepared, prepare_synthetic, tmp_path, monkeypatch):
    started = []

    def pool(processes, **options):
        started.append(processes)
        return ProcessPoolExecutor(processes, **options)

    monkeypatch.setattr(bam, "ProcessPoolExecutor", pool)
    qc = prepare_synthetic(tmp_path / "x.h5", workers=2)
    assert started == [2]
    assert qc == prepared[1]
    assert (tmp_path / "x.h5").read_bytes() == prepared[0].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.h5", "x.qc.json"]


def test_nothing_is_printed_when_stderr_is_no_terminal(prepare, synthetic, tmp_path, capfd):
    sizes = chrom_sizes(synthetic["fasta"])
    prepare(sizes, tmp_path / "x.h5", bam=synthetic["bam"], progress=True)
    assert capfd.readouterr() == ("", "")


def test_chromosomes_are_selected_and_need_fit_only_then(prepare, bam_of, read_type, tmp_path):
    sizes = {"chr1": 10_000, "chr2": 9_000, "chrM": 500, "decoy": 700}
    reads = [read_type(100, chrom=c) for c in ("chr1", "chr1", "chr2", "chrM", "decoy")]
    bam = bam_of(reads, sizes=sizes)
    fasta = {"chrX": 4_000, "chr2": 9_000, "chr1": 10_000, "chrM": 499}
    qc = prepare(fasta, tmp_path / "x.h5", bam=bam, exclude=["chrM", "decoy"])
    assert list(qc["chromosomes"]) == ["chr2", "chr1"]
    assert (qc["reads"]["excluded_chromosome"], qc["reads"]["total"]) == (2, 5)
    assert CutStore(tmp_path / "x.h5").chroms == {"chr2": 9_000, "chr1": 10_000}
    qc = prepare(fasta, tmp_path / "y.h5", bam=bam, include=["chr1"])
    assert (qc["fragments"], qc["reads"]["excluded_chromosome"]) == (2, 3)


def test_a_blacklist_is_clipped_and_one_of_another_genome_refused(
    prepare, bam_of, read_type, tmp_path
):
    bam = bam_of([read_type(100)])
    over = [Interval("chr1", 9_000, 99_000), Interval("chrUn", 1, 2)]
    prepare(SIZES, tmp_path / "x.h5", over, bam=bam)
    assert CutStore(tmp_path / "x.h5").blacklist["chr1"].tolist() == [[9_000, 10_000]]
    with pytest.raises(ValueError, match="blacklist is of another genome: it names 1, the FASTA"):
        prepare(SIZES, tmp_path / "y.h5", [Interval("1", 5, 9)], bam=bam)


def test_no_fragment_left_is_said_with_the_counts(prepare, bam_of, read_type, tmp_path):
    bam = bam_of([read_type(5, mapq=3), read_type(9, -100, REVERSE)])
    with pytest.raises(ValueError, match="passed the filters: low_mapq 1, reverse_mate 1; loosen"):
        prepare(SIZES, tmp_path / "x.h5", bam=bam)
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".bam", ".bai"]


def test_missing_bam(prepare, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such BAM file: .*none.bam"):
        prepare(SIZES, tmp_path / "x.h5", bam=tmp_path / "none.bam")


def test_bam_without_index(bam_of, read_type):
    with pytest.raises(FileNotFoundError, match="has no index; make one: samtools index"):
        check_bam(bam_of([read_type(5)], index=False), SIZES)


@pytest.mark.parametrize("keep", [0.4, 0.999])
def test_truncated_bam(synthetic, tmp_path, keep):
    whole = synthetic["bam"].read_bytes()
    (tmp_path / "x.bam").write_bytes(whole[: int(keep * len(whole))])
    (tmp_path / "x.bam.bai").write_bytes(synthetic["bam"].with_suffix(".bam.bai").read_bytes())
    with pytest.raises(ValueError, match=r"x.bam is truncated"):
        check_bam(tmp_path / "x.bam", chrom_sizes(synthetic["fasta"]))


@pytest.mark.parametrize("workers", [1, 2])
def test_bam_damaged_in_the_middle(prepare, synthetic, tmp_path, capfd, workers):
    data = bytearray(synthetic["bam"].read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40_000] = bytes(40_000)
    (tmp_path / "x.bam").write_bytes(data)
    (tmp_path / "x.bam.bai").write_bytes(synthetic["bam"].with_suffix(".bam.bai").read_bytes())
    sizes = chrom_sizes(synthetic["fasta"])
    with pytest.raises(ValueError, match=r"x.bam is damaged: reading stopped"):
        prepare(sizes, tmp_path / "x.h5", bam=tmp_path / "x.bam", workers=workers)
    assert capfd.readouterr().err == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.bam", "x.bam.bai"]


@pytest.mark.parametrize(
    "line",
    [
        b"@HD\tVN",
        b"@XX\tno such line",
        b"@CO\tcaf\xe9",
        b"@SQ\tSN:chr1\tLN:many",
        b"@SQ\tSN:\xff\tLN:9",
        b"@SQ\xffSN:chr1\tLN:10000",
    ],
)
def test_a_header_that_cannot_be_parsed(tmp_path, line):
    text, path = line + b"\n", tmp_path / "x.bam"
    contig = struct.pack("<ii5si", 1, 5, b"chr1", 10_000)
    with pysam.BGZFile(str(path), "wb") as file:
        file.write(b"BAM\1" + struct.pack("<i", len(text)) + text + contig)
    with pytest.raises(
        UserError, match=r"the header of .*x.bam cannot be read .*samtools reheader"
    ):
        check_bam(path, SIZES)


@pytest.mark.parametrize("order", ["unsorted", "queryname"])
def test_unsorted_bam(bam_of, read_type, order):
    bam = bam_of([read_type(9), read_type(5)], order=order, index=False)
    with pytest.raises(ValueError, match=f"not sorted by coordinate .*{order}.*samtools sort"):
        check_bam(bam, SIZES)


SINGLE = [(100, 0), (150, REVERSE_STRAND), (200, 0x400), (300, 0), (301, REVERSE_STRAND)]


def test_single_end_reads_give_one_cut_each(prepare, bam_of, read_type, tmp_path):
    bam = bam_of([read_type(start, 0, flag) for start, flag in SINGLE])  # 10 bases are aligned
    qc = prepare(SIZES, tmp_path / "x.h5", [Interval("chr1", 300, 305)], bam=bam)
    positions, fragments = CutStore(tmp_path / "x.h5").cuts("chr1", 0, 10_000)
    assert positions.tolist() == [104, 155, 306]  # start + 4 forward, end - 5 reverse
    assert fragments.tolist() == [0, 1, 2]
    assert qc["reads"]["single_end"] == 4 and qc["reads"]["duplicate"] == 1
    assert qc["reads"]["total"] == sum(qc["reads"].values()) - qc["reads"]["total"] == 5
    assert qc["blacklisted"] == {"fragments": 1, "cut_sites": 1}
    assert qc["fragment_size"]["histogram"] == []
    assert qc["files"][0]["layout"] == qc["preprocessing"]["layout"] == "single"


def test_the_layout_can_be_demanded(prepare, bam_of, read_type, tmp_path):
    single = bam_of([read_type(5, flag=0), read_type(9, flag=0x10)])
    with pytest.raises(UserError, match=r"single-end: none of its 2 reads is paired; set layout="):
        prepare(SIZES, tmp_path / "x.h5", bam=single, layout="paired")
    pair = bam_of([read_type(100), read_type(190, -100, REVERSE)])
    qc = prepare(SIZES, tmp_path / "x.h5", bam=pair, layout="single")
    assert CutStore(tmp_path / "x.h5").cuts("chr1", 0, 10_000)[0].tolist() == [104, 195]
    assert qc["fragments"] == 2


def test_replicates_are_merged_and_counted_file_by_file(prepare, bam_writer, read_type, tmp_path):
    sizes = {"chr1": 10_000, "chr2": 5_000}
    rng = np.random.default_rng(0)
    bams, starts = [], []
    for name, n in (("a", 300), ("b", 200)):
        at = np.sort(rng.integers(0, 9_000, n))
        starts.append(at)
        reads = [read_type(int(s)) for s in at] + [read_type(7, mapq=0, chrom="chr2")]
        bams.append(bam_writer(tmp_path / f"{name}.bam", reads, sizes))
    qc = prepare(sizes, tmp_path / "x.h5", bam=bams)
    store = CutStore(tmp_path / "x.h5")
    positions, fragments = store.cuts("chr1", 0, 10_000)
    every = np.concatenate(starts)
    assert positions.tolist() == sorted([*(every + 4), *(every + 95)])
    assert np.bincount(fragments.astype(int)).tolist() == [2] * 500
    assert [row["name"] for row in qc["files"]] == ["a.bam", "b.bam"]
    assert [row["reads"]["forward_mate"] for row in qc["files"]] == [300, 200]
    assert (qc["reads"]["forward_mate"], qc["reads"]["low_mapq"]) == (500, 2)
    assert [row["name"] for row in store.provenance["inputs"]["bam"]] == ["a.bam", "b.bam"]


def test_replicates_must_fit_each_other(prepare, bam_writer, read_type, tmp_path):
    one = bam_writer(tmp_path / "one.bam", [read_type(5)])
    more = bam_writer(tmp_path / "more.bam", [read_type(5)], {"chr1": 10_000, "chr2": 50})
    single = bam_writer(tmp_path / "single.bam", [read_type(5, flag=0)])
    sizes = {"chr1": 10_000, "chr2": 50}
    for others, why in (
        ([more], "different genomes: their headers list different contigs"),
        ([single], r"one.bam and .*single.bam are not both paired-end"),
        ([one], "given twice"),
    ):
        with pytest.raises(ValueError, match=why):
            prepare(sizes, tmp_path / "x.h5", bam=[one, *others])


def as_cram(bam, fasta, path):
    with (
        pysam.AlignmentFile(str(bam)) as old,
        pysam.AlignmentFile(str(path), "wc", template=old, reference_filename=str(fasta)) as new,
    ):
        for read in old.fetch(until_eof=True):
            new.write(read)
    pysam.index(str(path))
    return path


def without_origin(qc):
    return {key: value for key, value in qc.items() if key not in ("provenance", "files")}


def test_a_cram_gives_what_its_bam_gives_and_needs_no_reference(
    prepared, prepare_synthetic, synthetic, tmp_path, monkeypatch
):
    """Its bases are not decoded: the reference is neither looked for on disk nor on a server."""
    fasta = shutil.copy(synthetic["fasta"], tmp_path / "moved.fa")
    cram = as_cram(synthetic["bam"], fasta, tmp_path / "reads.cram")
    (tmp_path / "moved.fa").unlink()
    (tmp_path / "moved.fa.fai").unlink()
    monkeypatch.setenv("REF_PATH", "kept")
    qc = prepare_synthetic(tmp_path / "x.h5", bam=cram)
    assert without_origin(qc) == without_origin(prepared[1])
    assert CutStore(tmp_path / "x.h5").n_cuts == CutStore(prepared[0]).n_cuts
    assert os.environ["REF_PATH"] == "kept"
    cram.write_bytes(cram.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"reads.cram is truncated"):
        check_bam(cram, chrom_sizes(synthetic["fasta"]))


def test_a_csi_index_serves_as_well(synthetic, prepared, prepare_synthetic, tmp_path):
    bam = shutil.copy(synthetic["bam"], tmp_path / "reads.bam")
    pysam.index("-c", str(bam))
    assert (tmp_path / "reads.bam.csi").is_file()
    qc = prepare_synthetic(tmp_path / "x.h5", bam=bam)
    assert without_origin(qc) == without_origin(prepared[1])


def test_bam_without_reads_and_other_files(bam_of, tmp_path):
    with pytest.raises(ValueError, match="holds no reads"):
        check_bam(bam_of([]), SIZES)
    (tmp_path / "x.bam").write_text("chr1\t1\t2\n")
    with pytest.raises(ValueError, match="is not a BAM file"):
        check_bam(tmp_path / "x.bam", SIZES)


def test_fasta_with_other_lengths(bam_of, read_type):
    with pytest.raises(ValueError, match=r"other lengths of chr1 \(10000 bp against 9999\)"):
        check_bam(bam_of([read_type(5)]), {"chr1": 9_999})


def test_unwritable_output_is_said_before_any_work(prepare, bam_of, read_type, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file/x.h5"):
        prepare(SIZES, tmp_path / "file" / "x.h5", bam=bam_of([read_type(5)]))


KILLED = """
import sys
from denoiseq.genomics.fasta import chrom_sizes
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Prepare
if __name__ == "__main__":
    bam, fasta, out = sys.argv[1:]
    print("begun", flush=True)
    while True:
        prepare_stores(Prepare(bam=bam, out=out, workers=2), chrom_sizes(fasta))
"""


@pytest.mark.parametrize("delay_s", [0.05, 0.3, 0.7, 1.1])
def test_a_killed_run_leaves_no_half_file_and_no_process(synthetic, tmp_path, delay_s):
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    out = tmp_path / "x.h5"
    command = [sys.executable, script, synthetic["bam"], synthetic["fasta"], out]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    assert run.stdout.readline() == b"begun\n"
    time.sleep(delay_s)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    if out.exists():
        assert CutStore(out).n_cuts > 0
    if out.with_suffix(".qc.json").exists():
        json.loads(out.with_suffix(".qc.json").read_text())
    deadline = time.monotonic() + 20
    while _lives(run.pid):
        assert time.monotonic() < deadline, "processes of a killed run live on"
        time.sleep(0.1)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
