r"""An append-only file of JSON lines that can be killed at any byte, interrupted, or run out of disk.

An entry is in the file whole or not at all: what follows the last `\n` is what a kill left, and goes when the file is
opened again; an append that fails leaves the file as it was. Entries reach the kernel at once, so that only a power cut
can lose one, and the disk when `sync` is called.

It knows nothing of what the entries mean.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from data_pipeline.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Json: TypeAlias = "Mapping[str, Any]"


class Journal:
    """The file at `path`, made where it is missing. Read `replay` to its end before the first `append`."""

    def __init__(self, path: Path) -> None:
        """Opens it. Raises OSError."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._end = 0
        """Where the last whole entry ends."""
        self._torn = True
        """Whether there may be something behind `_end`."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file < 0

    def replay(self) -> Iterator[tuple[int, Json]]:
        """Offset and content of each whole entry.

        Raises:
            JournalError: A line is no JSON object; only damage to the file makes such a one.
        """
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break  # killed within it
                try:
                    entry = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise self.damaged(number) from error
                if not isinstance(entry, dict):
                    raise self.damaged(number)
                offset, self._end = self._end, self._end + len(line)
                yield offset, entry

    def damaged(self, line: int) -> JournalError:
        """What to raise where an entry is not what it should be."""
        return JournalError(f"{self.path}, line {line}, is damaged: delete the file, or --restart, to begin anew")

    def append(self, entry: Json) -> int:
        """Writes an entry and returns its offset. Raises OSError, and then the file is as it was."""
        line = to_line(entry)
        if self._torn:
            os.ftruncate(self._file, self._end)
        # Set before the write, and cleared only behind it: an interrupt in between leaves a tail that goes next time.
        self._torn = True
        try:
            written = 0
            while written < len(line):
                written += os.pwrite(self._file, line[written:], self._end + written)
        except OSError as error:
            error.filename = str(self.path)
            os.ftruncate(self._file, self._end)
            raise
        offset, self._end = self._end, self._end + len(line)
        self._torn = False
        return offset

    def read(self, offsets: Iterable[int]) -> Iterator[Json]:
        """The entries at these offsets, in their order."""
        with self.path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                yield orjson.loads(file.readline())

    def sync(self) -> None:
        """All that was appended is on the disk when this returns. Raises OSError."""
        os.fsync(self._file)

    def close(self) -> None:
        """Lets go of the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def to_line(value: Any) -> bytes:
    """A JSON line of any value that a JSON parser can answer.

    What JSON can spell and UTF-8 or 64 bits cannot hold is changed: halves of surrogate pairs become U+FFFD, and whole
    numbers beyond 64 bits strings.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(value), option=orjson.OPT_APPEND_NEWLINE)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(part) for part in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value
