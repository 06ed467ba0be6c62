r"""A dump, read block by block: `.zst`, lines of JSON, or one JSON array. In bounded memory, whatever the file holds.

What a file is, its first bytes say, not its name:

    28 b5 2f fd    zstd, with windows up to 2 GiB (`zstd --long=31`), any number of frames; what is in it is one of:
    [              an array of records, over as many lines as it likes; so is {"data": [, an answer of an API
    anything else  a record a line (`.ndjson`, `.jsonl`)

A block is the whole lines that end within 2 MiB of text, so blocks are the same at every reading, and a run can go on
from the block where it stopped. Lines that exceed a limit by a block are skipped while they are read, and never held;
so is the text that a bomb unfolds to. Knows nothing of what the lines say.

    DumpError (StageError)
    ├── NotADumpError      nothing that can be read here: another format, a folder, an empty file
    ├── BrokenDumpError    it breaks off or is damaged; what comes before that has been read
    └── BombError          it unfolds to more than any dump would

Memory: a few blocks, one line, and the window that the file's writer chose: a dump that was written with `--long=31`
takes as much as it holds, up to 2 GiB, to be decompressed at all.
"""

from __future__ import annotations

import json
import re
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, Protocol, cast

import zstandard

from data_pipeline.stage import StageError
from data_pipeline.zstd_frames import MAGIC, WatchedFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK_BYTES: Final = 2 << 20
MAX_WINDOW_BYTES: Final = 1 << 31
BOMB_LINE_BYTES: Final = 1 << 30
"""A line that long is no accident."""
BOMB_BYTES: Final = 1 << 28
"""As much any file may unfold to, before it is asked how small it was."""

_READ_BYTES: Final = 1 << 18
_OTHER_FORMATS: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"SQLite format": "SQLite",
    b"PAR1": "Parquet",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_ARRAY: Final = re.compile(rb'\s*(?:\{\s*"data"\s*:\s*)?\[')
_BETWEEN: Final = re.compile(r"[ \t\r\n,]*")
_DECODER: Final = json.JSONDecoder()
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class DumpError(StageError):
    """A dump cannot be read; the message says which, and what to do."""


class NotADumpError(DumpError):
    """There is nothing that can be read here."""


class BrokenDumpError(DumpError):
    """A dump breaks off, or is damaged."""


class BombError(DumpError):
    """A dump unfolds to more than any dump would."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a dump."""

    number: int
    """From 0."""
    offset: int
    """Of its first line in the text; of an array's elements only about."""
    lines: bytes
    r"""Each ending with `\n`, but for the file's last."""
    too_long: int
    """How many lines beyond the limit ended here, and were skipped."""
    text_bytes: int
    """How much text was read for it."""
    bytes_read: int
    """How far in the file (as it is on disk) reading has come."""


def read_blocks(path: Path, *, max_line_bytes: int, max_ratio: float) -> Iterator[Block]:
    """The blocks of a dump, from its first.

    Args:
        path: The file.
        max_line_bytes: Lines that are longer by a block are skipped and counted for sure, those in between perhaps.
        max_ratio: How many times its size a file may unfold to, once it has unfolded to `BOMB_BYTES`.

    Raises:
        DumpError: See this module. Blocks before a damage have been given, but for the last 256 KiB of their text.
    """
    with _opened(path, max_ratio) as text:
        array = _ARRAY.match(text.head)
        if array:
            text.head = text.head[array.end() :]
            yield from _array_blocks(text, max_line_bytes, alone=b"{" not in array[0])
        else:
            yield from _line_blocks(text, max_line_bytes)


def check_dump(path: Path) -> None:
    """Raises NotADumpError or BrokenDumpError if the first bytes of a file show that it cannot be read as a dump."""
    with _opened(path, max_ratio=1.0):
        pass


@contextmanager
def _opened(path: Path, max_ratio: float) -> Iterator[_Text]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotADumpError(f"{path} is no file: name the dumps themselves")
        file = path.open("rb")
    except OSError as error:
        raise NotADumpError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        magic = file.read(len(MAGIC))
        file.seek(0)
        if 0 < len(magic) < len(MAGIC) and MAGIC.startswith(magic):
            raise BrokenDumpError(f"{path} breaks off at byte {len(magic)}: fetch it again")
        watched = WatchedFile(file, zstd=magic == MAGIC or _is_skippable_frame(magic))
        if not watched.zstd:
            yield _Text(path, watched, watched, max_ratio)
            return
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        with decompressor.stream_reader(
            cast("BinaryIO", watched), read_size=_READ_BYTES, read_across_frames=True, closefd=False
        ) as reader:
            yield _Text(path, reader, watched, max_ratio)


def _is_skippable_frame(magic: bytes) -> bool:
    return len(magic) == len(MAGIC) and magic[0] & 0xF0 == 0x50 and magic[1:] == b"\x2a\x4d\x18"


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Text:
    """The text of a dump in chunks of one size, however it comes."""

    def __init__(self, path: Path, text: _Readable, watched: WatchedFile, max_ratio: float) -> None:
        """Reads the head. Raises DumpError."""
        self._path, self._text, self._watched, self._max_ratio = path, text, watched, max_ratio
        self.length = 0
        self.head = self._piece(_READ_BYTES)
        for magic, name in _OTHER_FORMATS.items():
            if self.head.startswith(magic):
                raise NotADumpError(f"{path} is {name}: unpack or convert it first, to .ndjson or .zst")
        if not self.head:
            if self._watched.truncated:
                self.broken("breaks off")
            raise NotADumpError(f"{path} is empty: fetch it again")
        self.head = self.head.removeprefix(_BYTE_ORDER_MARK)

    @property
    def bytes_read(self) -> int:
        """How much of the file, as it is on disk, was read."""
        return self._watched.bytes_read

    def chunks(self) -> Iterator[bytes]:
        """Chunks of `BLOCK_BYTES`, the first and the last shorter. Raises DumpError, after what there is before."""
        pieces, missing = [self.head], BLOCK_BYTES - len(self.head)
        trouble = None
        while pieces:
            try:
                while missing and (piece := self._piece(min(missing, _READ_BYTES))):
                    pieces.append(piece)
                    missing -= len(piece)
            except DumpError as error:
                trouble = error
            yield b"".join(pieces)
            if trouble is not None:
                raise trouble
            if missing and self._watched.truncated:
                self.broken("breaks off")
            piece = b"" if missing else self._piece(_READ_BYTES)
            pieces, missing = [piece] if piece else [], BLOCK_BYTES - len(piece)
        if self._watched.truncated:
            self.broken("breaks off")

    def broken(self, how: str) -> NoReturn:
        """Raises BrokenDumpError."""
        raise BrokenDumpError(
            f"{self._path} {how} at byte {self.bytes_read:,}, after {self.length:,} bytes of text: fetch it again, or "
            "take what comes before with --accept-broken"
        )

    def bomb(self, how: str) -> NoReturn:
        """Raises BombError."""
        raise BombError(f"{self._path} {how} at byte {self.bytes_read:,}: no dump does; leave it out")

    def _piece(self, size: int) -> bytes:
        try:
            piece = self._text.read(size)
        except zstandard.ZstdError as error:
            self.broken(f"is damaged ({error})")
        except OSError as error:
            self.broken(f"cannot be read ({error.strerror})")
        self.length += len(piece)
        if self.length > BOMB_BYTES and self.length > self._max_ratio * self.bytes_read:
            self.bomb(f"unfolds to more than {self._max_ratio:,.0f} times its size (--max-ratio)")
        return piece


def _line_blocks(text: _Text, max_line_bytes: int) -> Iterator[Block]:
    carry = b""
    skipped = 0  # bytes of a line that is too long and goes on
    begins = 0  # where in the text the carry or the skipped line does
    number = -1
    for number, chunk in enumerate(text.chunks()):
        too_long = 0
        begin, end = 0, chunk.rfind(b"\n") + 1
        if end and skipped:
            begin = chunk.find(b"\n") + 1
            begins += skipped + begin
            skipped, too_long = 0, 1
        lines = b"".join((carry, memoryview(chunk)[begin:end])) if end else b""
        offset = begins
        begins += len(lines)
        if skipped:
            skipped += len(chunk)
        else:
            carry = chunk[end:] if end else carry + chunk
        if len(carry) > max_line_bytes:
            skipped, carry = len(carry), b""
        if skipped > BOMB_LINE_BYTES:
            text.bomb(f"has a line of more than {BOMB_LINE_BYTES:,} bytes")
        yield Block(number, offset, lines, too_long, len(chunk), text.bytes_read)
    if carry or skipped:
        yield Block(number + 1, begins, carry, int(skipped > 0), 0, text.bytes_read)


def _array_blocks(text: _Text, max_line_bytes: int, *, alone: bool) -> Iterator[Block]:
    """The elements of an array, each made a line of its own. Where it stops being one, it is broken."""
    rest, pending = "", b""
    offset = 0
    for number, chunk in enumerate(text.chunks()):
        decoded, pending = _decoded(pending + chunk)
        elements, rest, whole = _elements(rest + decoded)
        yield Block(number, offset, b"".join(elements), 0, len(chunk), text.bytes_read)
        offset += len(chunk)
        if whole:
            if alone and rest.strip():
                text.broken("goes on after its array")
            return
        if len(rest) > max_line_bytes:
            text.broken(f"has an element that is no JSON, or does not end within {max_line_bytes:,} bytes,")
    text.broken("does not end its array")


def _decoded(data: bytes) -> tuple[str, bytes]:
    """The text, and the bytes at its end that may begin a character.

    What is no UTF-8 becomes halves of surrogate pairs, and bytes again in the lines: who reads those counts it.
    """
    cut = next((place for place in range(1, 4) if data[-place:][:1] >= b"\xc0"), 0)
    if cut and len(data) >= cut and cut < (2 if data[-cut] < 0xE0 else 3 if data[-cut] < 0xF0 else 4):
        return data[:-cut].decode(errors="surrogateescape"), data[-cut:]
    return data.decode(errors="surrogateescape"), b""


def _elements(text: str) -> tuple[list[bytes], str, bool]:
    """The whole elements at the head of a text as lines, what follows them, and whether the array ended there."""
    lines: list[bytes] = []
    at = 0
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere
        if text.startswith("]", at):
            return lines, text[at + 1 :], True
        try:
            _, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return lines, text[at:], False
        if end == len(text):  # a number may go on in the next chunk
            return lines, text[at:], False
        # Line ends stand between an element's parts only: within its strings they are escaped.
        line = text[at:end].replace("\n", " ").replace("\r", " ")
        lines.append(line.encode(errors="surrogateescape") + b"\n")
        at = end
