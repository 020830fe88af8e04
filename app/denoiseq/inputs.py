"""Input files as they are opened: text, plain or gzipped, from a file or a pipe; and files to seek.

A pipe, as `<(zcat x.bed.gz)`, /dev/stdin or a FIFO, can be read once, from its start to its end.
"""

import codecs
import gzip
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from denoiseq.atomic import write_bytes
from denoiseq.errors import UserError

# the empty block that every complete BGZF file ends with (SAM specification, 4.1.2)
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_GZIP, _UTF_16 = b"\x1f\x8b", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LOOKED_AT = 512  # bytes that tell what a file is
# how other files begin -> what they are, and how to go on
_NO_TEXT = {
    b"\xfd7zXZ\0": "is compressed by xz, so unpack it first (xz -d)",
    b"BZh": "is compressed by bzip2, so unpack it first (bunzip2)",
    b"PK\x03\x04": "is a zip archive, so unpack it first (unzip)",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd, so unpack it first (zstd -d)",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive, so unpack it first (7z x)",
    _GZIP: "is gzipped twice, so unpack it once (gunzip)",
    b"BAM\x01": "is a BAM, which is given as bam=",
    b"CRAM": "is a CRAM, which is given as bam=",
    b"\x89HDF": "is an HDF5 file, perhaps a store, which is given as store=",
    b"\x26\xfc\x8f\x88": "is a bigWig, which is given as bigwig=",
    b"\xeb\xf2\x89\x87": "is a bigBed, so convert it first (bigBedToBed)",
}


def is_pipe(path: str | Path) -> bool:
    """Whether a path leads to a pipe; it is not opened, which would wait for a writer."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def refuse_pipe(path: str | Path, what: str) -> None:
    """UserError where `path`, of which `what` is the format, is a pipe: it has to seek there."""
    if is_pipe(path):
        raise UserError(
            f"{path} is a pipe; a {what} has to be a file, because the program goes back and forth "
            "in it: write it to a file first, and give that."
        )


def cut_off(path: str | Path) -> UserError:
    """The error of a file that lacks what its format ends with."""
    return UserError(f"{path} is truncated: its end marker is missing; copy or make it again.")


@contextmanager
def open_text(
    path: str | Path, what: str, advance: Callable[[int], object] = lambda _: None
) -> Iterator[Any]:
    """A stream of the bytes of a text input in UTF-8, unpacked, with `read(size)`.

    `advance` is called with the number of bytes, still packed, each time that some are read. Errors
    say which file is no `what`; whether a bgzipped one is whole shows when it was read to its end.
    """
    with _opened(Path(path), what) as raw:
        source = _Source(raw, advance)
        if is_pipe(path) and not source.head:
            raise UserError(
                f"{path} is a pipe that gave nothing: the command behind it failed, or the pipe "
                "was read before."
            )
        try:
            yield _decoded(source, path, what)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            cut = isinstance(error, EOFError)
            state = "truncated or damaged" if cut else f"not a {what} or is damaged"
            raise UserError(f"{path} is {state} ({error}); copy or make it again.") from error
        if source.cut_off:
            raise cut_off(path)


@contextmanager
def _opened(path: Path, what: str) -> Iterator[BinaryIO]:
    try:
        raw = path.open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"no such {what}: {path}") from None
    except OSError as error:
        raise OSError(f"cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    with raw:
        yield raw


class _Source:
    """The bytes of a file or a pipe: `head`, the first ones, can be seen before they are read."""

    def __init__(self, raw: BinaryIO, advance: Callable[[int], object]) -> None:
        self._raw, self._advance = raw, advance
        self.head = self._unread = raw.read(_LOOKED_AT)
        self.tail, self.ended = b"", False

    def read(self, size: int = -1) -> bytes:
        first = self._unread if size < 0 else self._unread[:size]
        self._unread = self._unread[len(first) :]
        block = first + self._raw.read(size if size < 0 else size - len(first))
        self.ended = self.ended or len(block) < size or size < 0
        last = block[-len(BGZF_END) :]
        self.tail = (self.tail + last)[-len(BGZF_END) :]
        self._advance(len(block))
        return block

    @property
    def cut_off(self) -> bool:
        """Whether it was read to its end, is bgzipped and lacks the end marker of that."""
        bgzipped = self.head.startswith(_GZIP) and self.head[12:14] == b"BC"
        return self.ended and bgzipped and self.tail != BGZF_END


def _decoded(source: _Source, path: str | Path, what: str) -> Any:
    """The stream, unpacked, without a byte order mark; UserError where it is no text."""
    stream: Any = source
    start = source.head
    if start.startswith(_GZIP):
        stream = gzip.GzipFile(fileobj=source)  # type: ignore[call-overload]
        start = stream.peek(_LOOKED_AT)[:_LOOKED_AT]
    for magic, words in _NO_TEXT.items():
        if start.startswith(magic) and (magic != b"BZh" or start[4:10] == b"1AY&SY"):
            raise UserError(f"{path} is not a {what}: it {words}.")
    if start.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    if start.startswith(_UTF_16) and not all(start[i::2].strip(b"\0") for i in (2, 3)):
        return codecs.EncodedFile(stream, "utf-8", "utf-16")  # every other byte is 0, as in ASCII
    if b"\0" in start:
        raise UserError(f"{path} is not a {what}: it holds binary data, not text.")
    return stream


def read_lines(path: str | Path, what: str) -> list[str]:
    """All lines of a text input, without their ends: those of Unix, Windows or the old Mac."""
    with open_text(path, what) as stream:
        text = stream.read().decode(errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def keep_pipes(settings: Any, names: Iterable[str], folder: str | Path) -> Any:
    """The settings with files in place of pipes, since what is read again has to be a file.

    What the pipes among the text inputs `names` give is copied to `folder`/piped_NAME.txt.
    """
    copies = {}
    for name in names:
        path = getattr(settings, name)
        if path is not None and is_pipe(path):
            copies[name] = str(Path(folder) / f"piped_{name}.txt")
            with open_text(path, f"file for {name}=") as stream:
                write_bytes(copies[name], stream.read())
    return replace(settings, **copies)
