"""Mutated BAM and CRAM files and their indices, prepared in a process of their own."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import FUZZ, edited, edits, pack_bgzf, unpack_bgzf

SIZES = {"chr1": 2_000, "chr2": 900}


def prepare_bam(path: str, index_anew: bool = False, first_reads: int = 1 << 10) -> str:
    """The cut sites of a BAM or CRAM, all on their chromosomes.

    first_reads : decoded by htslib; those after them are taken from the records themselves
    """
    import pysam
    from denoiseq.genomics import read_arrays
    from denoiseq.prepare.run import prepare_stores
    from denoiseq.settings import Prepare
    from denoiseq.store.store import open_store

    read_arrays._FIRST_READS = first_reads
    if index_anew:
        try:
            pysam.index(path)
        except pysam.SamtoolsError:
            return "samtools cannot index it"
    out = Path(path).with_name("fuzz.h5")
    settings = Prepare(bam=path, out=str(out), exclude=[], workers=1)
    settings.shift_check = settings.progress = False
    prepare_stores(settings, SIZES)
    store = open_store(out)
    sites = {chrom: store.cuts(chrom, 0, 2**32 - 1)[0] for chrom in store.chroms}
    assert sum(map(len, sites.values())) == store.n_cuts
    assert all(len(x) == 0 or x[-1] < SIZES[chrom] for chrom, x in sites.items())
    assert all((np.diff(x) >= 0).all() for x in sites.values())
    return ""


@pytest.fixture(scope="module")
def alignments(tmp_path_factory):
    """name -> bytes of a BAM and a CRAM of pairs and single reads, with their indices."""
    import pysam

    folder = tmp_path_factory.mktemp("alignments")
    contigs = [{"SN": chrom, "LN": size} for chrom, size in SIZES.items()]
    head = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": contigs, "RG": [{"ID": "a", "SM": "b"}]}
    )
    for name, mode, suffix in (("a.bam", "wb", "bai"), ("a.cram", "wc", "crai")):
        options = ["no_ref=1"] if mode == "wc" else None
        with pysam.AlignmentFile(
            str(folder / name), mode, header=head, format_options=options
        ) as file:
            for contig, size in enumerate(SIZES.values()):
                for read in _reads(head, contig, size):
                    file.write(read)
        if name == "a.bam":
            (folder / name).write_bytes(pack_bgzf(unpack_bgzf((folder / name).read_bytes())))
        pysam.index(str(folder / name))
        assert (folder / f"{name}.{suffix}").is_file()
    pysam.index("-c", str(folder / "a.bam"), str(folder / "a.bam.csi"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _reads(head, contig: int, size: int) -> list:
    import pysam

    reads = []
    for n, start in enumerate(range(5, size - 250, 20)):
        for flag, at, mate, length in (
            (99, start, start + 80, 110),
            (147, start + 80, start, -110),
        ):
            read = pysam.AlignedSegment(head)
            read.query_name, read.flag, read.mapping_quality = f"r{n}", flag, 60
            read.reference_id = read.next_reference_id = contig
            read.reference_start, read.next_reference_start = at, mate
            read.template_length, read.cigarstring = length, "10M1D19M"
            read.query_sequence = "ACGTACGTACGTACGTACGTACGTACGTA"
            read.query_qualities = pysam.qualitystring_to_array("I" * 29)
            read.set_tag("MC", "10M1D19M")
            reads.append(read)
    return sorted(reads, key=lambda read: read.reference_start)


def outcome_of_files(folder, sandbox, files, name, **more):
    path = Path(tempfile.mkdtemp(dir=folder))
    for other, data in files.items():
        (path / other).write_bytes(data)
    outcome = sandbox(prepare_bam, str(path / name), *more.values())
    shutil.rmtree(path)
    assert outcome.state != "failed", outcome.text
    return outcome


@pytest.mark.parametrize("name", ["a.bam", "a.cram"])
def test_unchanged_files_are_read(folder, sandbox, alignments, name):
    """Else all that is changed would be refused for another reason."""
    assert outcome_of_files(folder, sandbox, alignments, name).state == "read"


@FUZZ
@given(name=st.sampled_from(["a.bam", "a.cram"]), changes=edits())
def test_bytes_of_a_file(folder, sandbox, alignments, name, changes):
    """Flipped, cut, removed and repeated bytes of the file as it lies on the disk."""
    index = f"{name}.{'crai' if name == 'a.cram' else 'bai'}"
    files = {name: edited(alignments[name], changes), index: alignments[index]}
    outcome_of_files(folder, sandbox, files, name)


@FUZZ
@given(changes=edits(kinds=["flip", "integer", "zero"]), first_reads=st.sampled_from([1, 1 << 10]))
def test_what_a_bam_holds(folder, sandbox, alignments, changes, first_reads):
    """Headers and reads changed before they are packed: every checksum is right."""
    data = pack_bgzf(edited(unpack_bgzf(alignments["a.bam"]), changes))
    files = {"a.bam": data, "a.bam.bai": alignments["a.bam.bai"]}
    more = {"index_anew": False, "first_reads": first_reads}
    outcome_of_files(folder, sandbox, files, "a.bam", **more)


@FUZZ
@given(changes=edits())
def test_what_a_bam_holds_with_a_new_index(folder, sandbox, alignments, changes):
    data = pack_bgzf(edited(unpack_bgzf(alignments["a.bam"]), changes))
    outcome_of_files(folder, sandbox, {"a.bam": data}, "a.bam", index_anew=True)


@FUZZ
@given(
    index=st.sampled_from(["a.bam.bai", "a.bam.csi", "a.cram.crai"]),
    changes=edits(),
    packed=st.booleans(),
)
def test_an_index(folder, sandbox, alignments, index, changes, packed):
    data = alignments[index]
    if packed or index.endswith("bai"):
        data = edited(data, changes)
    else:
        data = pack_bgzf(edited(unpack_bgzf(data), changes))
    name = index.rpartition(".")[0]
    outcome = outcome_of_files(folder, sandbox, {name: alignments[name], index: data}, name)
    assert outcome.state == "refused" or outcome.text == ""
