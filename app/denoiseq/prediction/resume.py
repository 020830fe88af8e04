"""What a stopped prediction has done: a folder beside its outputs, with the finished chromosomes.

`key.json` says of which prediction. Each rank appends the encoded pieces of its tracks to files of
its own, `RANK.TRACK.*`, and to its record, `RANK.jsonl`, a line for each batch of finished
chromosomes; what lies behind the last line's is dropped, so a killed prediction loses only the
batch it was at: one chromosome, or many small ones.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from denoiseq.atomic import room_for, write_json
from denoiseq.genomics.bigwig_writer import Encoded, Stored, part_file
from denoiseq.genomics.peaks import Peak

log = logging.getLogger(__name__)

# The version of the folder's layout: folders of another one are not used.
LAYOUT = 2
PARTS = Encoded._fields
# The prepared reads, where the input is reads.
CUTS = "cuts.h5"


@dataclass(frozen=True)
class Finished:
    """A finished chromosome: its tracks, encoded, and its peaks."""

    tracks: list[Stored]
    peaks: list[Peak]


@contextmanager
def claimed(folder: Path, key: dict[str, Any]) -> Iterator[None]:
    """Hold `folder` for the prediction that `key` describes, emptied if it is another's.

    It is removed when the block ends well, or with nothing to go on from; with finished
    chromosomes or prepared reads it stays, whatever ended the block. Raises OSError where another
    process holds it.
    """
    key = json.loads(json.dumps({"layout": LAYOUT, **key}))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(
                f"another prediction is writing to {folder.parent} under this name: wait for it, "
                "or give another out= or name="
            ) from None
        _keep_if_of(folder, key)
        try:
            yield
        except BaseException as error:
            done = len(finished(folder))
            if not (done or (folder / CUTS).exists()):
                shutil.rmtree(folder)
                raise
            kept = f"chromosomes done: {done}; the same command goes on from there"
            if isinstance(error, KeyboardInterrupt):
                error.args = (kept,)
            else:
                log.info("%s", kept)
            raise
        shutil.rmtree(folder)


def _keep_if_of(folder: Path, key: dict[str, Any]) -> None:
    """Empty the folder unless its key is `key`, and write that."""
    path = folder / "key.json"
    try:
        old_key = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        old_key = None
    if old_key == key:
        return
    if any(folder.glob("*.jsonl")):
        log.info("%s is of another prediction, of other settings or inputs: emptied", folder)
    for old in folder.iterdir():
        if old.name == "lock":
            continue
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_json(path, key)


def finished(folder: Path) -> dict[str, Finished]:
    """The finished chromosomes of all ranks, by name."""
    chroms = {}
    for record in _records(folder):
        stem_of = cache(partial(_stem, record))
        for entry in chain.from_iterable(batch["chroms"] for batch in _batches(record)):
            tracks = [Stored(stem_of(i), *at) for i, at in enumerate(entry["tracks"])]
            chroms[entry["chrom"]] = Finished(tracks, [Peak(**peak) for peak in entry["peaks"]])
    return chroms


def counts(folder: Path) -> np.ndarray:
    """The sum of what the `CutoffCounter`s of the finished chromosomes counted, int64 (K, 2)."""
    batches = chain.from_iterable(map(_batches, _records(folder)))
    return np.array([batch["counts"] for batch in batches], dtype=np.int64).sum(axis=0)


def _records(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def _stem(record: Path, track: int) -> Path:
    return record.with_name(f"{record.stem}.{track}")


def _batches(record: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, _lines(record))


def _lines(record: Path) -> Iterator[bytes]:
    """The whole lines of a record."""
    if record.exists():
        with record.open("rb") as file:
            yield from takewhile(lambda line: line.endswith(b"\n"), file)


class Writer:
    """Appends the chromosomes that one rank predicts, of so many tracks; a context manager."""

    def __init__(self, folder: Path, rank: int, tracks: int):
        self.folder, self.tracks = folder, tracks
        self.record = folder / f"{rank}.jsonl"

    def __enter__(self) -> Writer:
        last = [[(0, 0)] * len(PARTS)] * self.tracks
        whole, line = 0, b""
        for line in _lines(self.record):
            whole += len(line)
        if line:
            last = json.loads(line)["chroms"][-1]["tracks"]
        with ExitStack() as stack:
            self._files = [
                [_cut(stack, part_file(_stem(self.record, i), part), end)
                 for part, (_, end) in zip(PARTS, bounds, strict=True)]
                for i, bounds in enumerate(last)
            ]  # fmt: skip
            self._record = _cut(stack, self.record, whole)
            self._stack = stack.pop_all()
        self._batch: list[dict[str, Any]] = []
        self._ends = [[end for _, end in bounds] for bounds in last]
        self._starts = [list(ends) for ends in self._ends]
        return self

    def __exit__(self, *exception: Any) -> None:
        with room_for(self.folder):
            self._stack.__exit__(*exception)

    def add(self, pieces: list[Encoded]) -> None:
        """Add the next piece of each track of the current chromosome."""
        with room_for(self.folder):
            for track, piece in enumerate(pieces):
                for i, part in enumerate(piece):
                    self._files[track][i].write(memoryview(part))  # type: ignore[arg-type]
                    self._ends[track][i] += memoryview(part).nbytes  # type: ignore[arg-type]

    def finish(self, chrom: str, peaks: list[Peak]) -> None:
        """Add the current chromosome, which is finished, to the batch."""
        bounds = [
            list(zip(*places, strict=True)) for places in zip(self._starts, self._ends, strict=True)
        ]
        called = [asdict(peak) for peak in peaks]
        self._batch.append({"chrom": chrom, "tracks": bounds, "peaks": called})
        self._starts = [list(ends) for ends in self._ends]

    def finish_batch(self, counts: np.ndarray) -> None:
        """Record the batch, which is finished; `counts` are a `CutoffCounter`'s of all of it."""
        with room_for(self.folder):
            for file in chain(*self._files):
                file.flush()
            batch = {"chroms": self._batch, "counts": counts.tolist()}
            self._record.write(json.dumps(batch).encode() + b"\n")
            self._record.flush()
        self._batch = []


def _cut(stack: ExitStack, path: Path, end: int) -> BinaryIO:
    """A file, opened to append to its first `end` bytes."""
    file = stack.enter_context(path.open("ab"))
    file.truncate(end)
    file.seek(end)
    return file
