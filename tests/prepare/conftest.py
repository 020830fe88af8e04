"""`denoiseq prepare` as a call: settings and chromosome sizes in, the content of qc.json out."""

import pytest
from denoiseq.prepare.run import prepare_stores
from denoiseq.settings import Prepare


def text(value):
    """Paths as the command line gives them."""
    return [str(item) for item in value] if isinstance(value, list) else str(value)


@pytest.fixture(scope="session")
def prepare_all(tmp_path_factory):
    """`prepare_all(sizes, out, blacklist, bam=…)`: each store that was made with its qc.json.

    The blacklist is a list of intervals. One process reads, unless `workers` says otherwise.
    """

    def run(sizes, out, blacklist=(), **settings):
        files = ("bam", "fragments", "bigwig", "fasta", "barcodes", "groups")
        settings = {k: text(v) if k in files else v for k, v in settings.items()}
        if blacklist:
            bed = tmp_path_factory.mktemp("blacklist") / "blacklist.bed"
            bed.write_text("".join(f"{i.chrom}\t{i.start}\t{i.end}\n" for i in blacklist))
            settings["blacklist"] = str(bed)
        return prepare_stores(Prepare(out=str(out), **{"workers": 1, **settings}), sizes)

    return run


@pytest.fixture(scope="session")
def prepare(prepare_all):
    """`prepare(sizes, out, blacklist, bam=…)`: the content of the qc.json of the one store."""

    def run(sizes, out, *arguments, **settings):
        ((store, qc),) = prepare_all(sizes, out, *arguments, **settings).items()
        assert store == out
        return qc

    return run
