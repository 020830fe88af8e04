"""What the files of an experiment hold, read to their ends, without the times that are recorded."""

import csv
import json
import re
from pathlib import Path
from typing import Any

# Keys and columns that may differ between two runs that do the same: times, and how it is run.
MASKED = ("seconds", "seconds_of", "segments_per_second", "resume", "workers")
# Files that are a record of each run by itself.
RECORDS = (".log", ".tfevents")


class NotWhole(Exception):
    """A file that ends early or is damaged."""


def files_of(folder: Path) -> dict[str, bytes]:
    """The files below a folder by name; a file of TensorBoard's has a time in its own."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = re.sub(r"(tfevents)\..*", r"\1", str(path.relative_to(folder)))
            files[name] = path.read_bytes()
    return files


def contents(path: Path) -> Any:
    """All that a file holds; NotWhole where it cannot be read to its end."""
    try:
        return READERS.get(path.suffix, Path.read_text)(path)
    except Exception as error:  # each library has its own
        raise NotWhole(f"{path} is not whole: {type(error).__name__}: {error}") from error


def _masked(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items() if key not in MASKED}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return repr(value)  # in which nan equals nan


def _json(path: Path) -> Any:
    return _masked(json.loads(path.read_text()))


def _checkpoint(path: Path) -> Any:
    from denoiseq.models.checkpoint import load_checkpoint

    return _masked(load_checkpoint(path))


def _store(path: Path) -> bytes:
    from denoiseq.store.store import open_store

    store = open_store(path)
    for chrom, size in store.chroms.items():
        store.coverage(chrom, 0, size, 100)
    return path.read_bytes()


def _bigwig(path: Path) -> bytes:
    import pyBigWig

    with pyBigWig.open(str(path)) as file:
        for chrom, size in file.chroms().items():
            file.values(chrom, 0, size)
    return path.read_bytes()


def _png(path: Path) -> bytes:
    from matplotlib.image import imread

    imread(path)
    return path.read_bytes()


def _table(path: Path) -> Any:
    text = path.read_text()
    rows = list(csv.DictReader(text.splitlines(), delimiter="," if path.suffix == ".csv" else "\t"))
    if not text.endswith("\n") or any(None in (*row, *row.values()) for row in rows):
        raise ValueError("a line ends early")
    return _masked(rows)


def _page(path: Path) -> str:
    text = path.read_text()
    if not text.rstrip().endswith("</html>"):
        raise ValueError("it ends early")
    # A resumed training does not repeat the warnings of what it need not do again.
    rows = r'<tr><th scope="row">(?:resume|trainer\.workers)</th>.*?</tr>\n'
    return re.sub(rf'{rows}|<div class="warnings">.*?</div>\n', "", text, flags=re.DOTALL)


def _yaml(path: Path) -> Any:
    import yaml

    return _masked(yaml.safe_load(path.read_text()))


READERS = {
    ".json": _json,
    ".pt": _checkpoint,
    ".h5": _store,
    ".bw": _bigwig,
    ".png": _png,
    ".csv": _table,
    ".tsv": _table,
    ".narrowPeak": Path.read_bytes,
    ".html": _page,
    ".yaml": _yaml,
}
