"""Where zstd files break off, of which the decompressor says nothing."""

from __future__ import annotations

import io

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.zstd_frames import WatchedFile

TEXT = b"".join(b'{"id": "%d", "words": "be me, %d times"}\n' % (n, n * n) for n in range(20_000))
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (1000).to_bytes(4, "little") + bytes(1000)


def truncated(data: bytes, piece: int) -> bool:
    watched = WatchedFile(io.BytesIO(data), zstd=True)
    while watched.read(piece):
        pass
    assert watched.bytes_read == len(data)
    return watched.truncated


def frames() -> dict[str, bytes]:
    plain = zstandard.compress(TEXT)
    streamed = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    parts = b"".join(streamed.compress(TEXT[at : at + 70_000]) + streamed.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
                     for at in range(0, len(TEXT), 70_000)) + streamed.flush()  # fmt: skip
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    long = zstandard.ZstdCompressor(compression_params=parameters).compress(TEXT)
    return {
        "plain": plain,
        "streamed, with a checksum": parts,
        "long window": long,
        "incompressible": zstandard.compress(bytes(range(256)) * 3, level=1),
        "zeros": zstandard.compress(bytes(5_000_000)),
        "empty": zstandard.compress(b""),
        "small": zstandard.compress(b"a"),
        "two and a skippable one": plain + SKIPPABLE + parts,
    }


@pytest.mark.parametrize("name", list(frames()))
@pytest.mark.parametrize("piece", [1 << 20, 1000])
def test_whole_frames_are_whole(name: str, piece: int) -> None:
    assert not truncated(frames()[name], piece)


def test_byte_by_byte_only_the_frames_ends_are_ends() -> None:
    one, two = zstandard.compress(b"be me " * 40), zstandard.ZstdCompressor(write_checksum=True).compress(b"happy")
    data = one + SKIPPABLE[:8] + bytes(1000) + two
    ends = {0, len(one), len(one) + 1008, len(data)}
    whole = {length for length in range(len(data) + 1) if not truncated(data[:length], 1 << 20)}
    assert whole == ends


@given(st.integers(1, 5000), st.integers(0, 10**6))
def test_pieces_do_not_matter(piece: int, cut: int) -> None:
    data = frames()["streamed, with a checksum"] * 2
    cut = cut % len(data)
    assert truncated(data[:cut], piece) == (cut not in (0, len(data) // 2))


@given(st.binary(max_size=300))
def test_nothing_breaks_it(junk: bytes) -> None:
    watched = WatchedFile(io.BytesIO(zstandard.MAGIC_NUMBER.to_bytes(4, "little") + junk), zstd=True)
    while watched.read(7):
        pass
    assert watched.truncated in (True, False)


def test_junk_behind_a_frame_is_no_whole_file() -> None:
    assert truncated(zstandard.compress(TEXT) + b"ju", 1 << 20)
    assert truncated(zstandard.compress(TEXT) + b"junk and more of it", 1 << 20)


def test_other_files_are_only_counted() -> None:
    watched = WatchedFile(io.BytesIO(TEXT), zstd=False)
    assert watched.read(100) == TEXT[:100]
    assert watched.read() == TEXT[100:]
    assert (watched.bytes_read, watched.truncated) == (len(TEXT), False)
