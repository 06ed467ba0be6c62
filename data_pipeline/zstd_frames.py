"""Notices where a zstd file breaks off, which the decompressor does not: it ends quietly in the midst of a frame.

Follows the frames' structure (RFC 8878, section 3.1) through the compressed bytes as they pass by, without
decompressing them. Knows where frames and blocks begin and end, and nothing of what is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Generator

MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = range(0x184D2A50, 0x184D2A60)
_RLE_BLOCK: Final = 1
_RESERVED_BLOCK: Final = 3


class WatchedFile:
    """A file to read from that counts; of a zstd file, `truncated` tells at its end whether that is within a frame."""

    def __init__(self, file: BinaryIO, *, zstd: bool) -> None:
        """Reads from where the file stands."""
        self._file = file
        self.zstd = zstd
        self._structure = _follow()
        self._inside = next(self._structure)
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as a file gives them."""
        data = self._file.read(size)
        self.bytes_read += len(data)
        if data and self.zstd:
            try:
                self._inside = self._structure.send(data)
            except StopIteration:  # junk, as the decompressor will say
                self._inside = True
        return data

    @property
    def truncated(self) -> bool:
        """Whether what was read so far ends in the midst of a frame."""
        return self._inside


class _Place:
    """Where in the bytes we stand; `inside` is whether within a frame."""

    def __init__(self) -> None:
        self.data = b""
        self.at = 0
        self.inside = False

    def take(self, count: int) -> Generator[bool, bytes, bytes]:
        taken = self.data[self.at : self.at + count]
        self.at += len(taken)
        while len(taken) < count:
            yield from self._more()
            piece = self.data[self.at : self.at + count - len(taken)]
            self.at += len(piece)
            taken += piece
        return taken

    def skip(self, count: int) -> Generator[bool, bytes, None]:
        while self.at + count > len(self.data):
            count -= len(self.data) - self.at
            yield from self._more()
        self.at += count

    def _more(self) -> Generator[bool, bytes, None]:
        self.data, self.at = (yield self.inside), 0


def _follow() -> Generator[bool, bytes, None]:
    """Is sent the bytes piece by piece, and answers whether each ends within a frame; returns at what is no frame."""
    place = _Place()
    while True:
        place.inside = False
        magic = yield from place.take(1)
        place.inside = True
        magic += yield from place.take(3)
        if int.from_bytes(magic, "little") in _SKIPPABLE:
            yield from place.skip(int.from_bytes((yield from place.take(4)), "little"))
            continue
        if magic != MAGIC:
            return
        descriptor = (yield from place.take(1))[0]
        yield from place.skip(_header_bytes(descriptor))
        last = False
        while not last:
            header = int.from_bytes((yield from place.take(3)), "little")
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            if kind == _RESERVED_BLOCK:
                return
            yield from place.skip(1 if kind == _RLE_BLOCK else size)
        if descriptor & 4:
            yield from place.skip(4)  # checksum


def _header_bytes(descriptor: int) -> int:
    """How long a frame's header is behind its descriptor: window, dictionary and content size."""
    single_segment = bool(descriptor & 0x20)
    content_size = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
    return (0 if single_segment else 1) + (0, 1, 2, 4)[descriptor & 3] + content_size
