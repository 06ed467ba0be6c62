"""Dumps as they come: whole, broken, hostile, and in every format that is in use."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline import dump_blocks
from data_pipeline.dump_blocks import (
    Block,
    BombError,
    BrokenDumpError,
    DumpError,
    NotADumpError,
    check_dump,
    read_blocks,
)
from data_pipeline.stage import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINES = [json.dumps({"id": f"{n:x}", "title": f"Anon № {n}" * (n % 7), "score": n}).encode() for n in range(3000)]
LIMITS: dict[str, Any] = {"max_line_bytes": 20_000, "max_ratio": 100.0}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_blocks, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(dump_blocks, "_READ_BYTES", 999)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read(path: Path, **limits: Any) -> list[Block]:
    return list(read_blocks(path, **{**LIMITS, **limits}))


def lines_of(blocks: list[Block]) -> list[bytes]:
    return b"".join(block.lines for block in blocks).split(b"\n")


@pytest.mark.parametrize("ending", [b"\n", b""])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_come_whole_and_in_order(tmp_path: Path, ending: bytes, packed: bool) -> None:
    text = b"\n".join(LINES) + ending
    data = zstandard.compress(text) if packed else text
    blocks = read(write(tmp_path / "RS", data))
    assert b"".join(block.lines for block in blocks) == text
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert all(text[block.offset :].startswith(block.lines) for block in blocks)
    assert all(block.lines.endswith(b"\n") for block in blocks[:-1] if block.lines)
    assert sum(block.text_bytes for block in blocks) == len(text)
    assert blocks[-1].bytes_read == len(data)
    assert max(len(block.lines) for block in blocks) < 10_000 + max(map(len, LINES))


def test_blocks_are_the_same_however_the_text_is_packed(tmp_path: Path) -> None:
    text = b"\n".join(LINES)
    half = len(text) // 3
    frames = (
        zstandard.compress(text[:half]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(text[half:], level=19)
    )
    plain = read(write(tmp_path / "a.ndjson", text))
    for name, data in (("b.zst", zstandard.compress(text)), ("c.zst", frames), ("d.json", text)):
        packed = read(write(tmp_path / name, data))
        assert [(b.number, b.offset, b.lines) for b in packed] == [(b.number, b.offset, b.lines) for b in plain]


def test_a_long_window_is_read(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = stream.compress(b"\n".join(LINES)) + stream.flush()
    assert zstandard.get_frame_parameters(data).window_size == 1 << 31
    assert lines_of(read(write(tmp_path / "RS.zst", data))) == LINES


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_array_is_read_element_by_element(tmp_path: Path, packed: bool, indent: int | None, wrapped: bool) -> None:
    records = [json.loads(line) for line in LINES]
    what: Any = {"data": records, "metadata": {"total": 3}} if wrapped else records
    text = b"\xef\xbb\xbf" + json.dumps(what, indent=indent, ensure_ascii=False).encode() + b"\n"
    blocks = read(write(tmp_path / "RS.json", zstandard.compress(text) if packed else text))
    lines = b"".join(block.lines for block in blocks).splitlines()
    assert [json.loads(line) for line in lines] == records


@given(
    st.lists(st.integers() | st.text() | st.lists(st.text(), max_size=2) | st.none() | st.booleans()),
    st.integers(1, 40),
)
def test_arrays_of_anything_are_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], block: int
) -> None:
    path = write(tmp_path_factory.mktemp("array") / "a.json", json.dumps(values, ensure_ascii=False).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dump_blocks, "BLOCK_BYTES", block)
        patch.setattr(dump_blocks, "_READ_BYTES", block)
        lines = b"".join(each.lines for each in read(path)).splitlines()
    assert [json.loads(line) for line in lines] == values


@given(st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")), max_size=30), st.integers(1, 50))
def test_any_lines_come_through_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block: int
) -> None:
    text = b"{\n" + b"\n".join(lines)
    path = write(tmp_path_factory.mktemp("lines") / "a.ndjson", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dump_blocks, "BLOCK_BYTES", block)
        patch.setattr(dump_blocks, "_READ_BYTES", min(block, 7))
        blocks = read(path, max_line_bytes=40)
    whole = [line for line in text.split(b"\n") if len(line) <= 40 - block]
    came = lines_of(blocks)
    assert [line for line in came if len(line) <= 40 - block and line] == [line for line in whole if line]
    assert sum(b.too_long for b in blocks) + len([line for line in came if line]) == len(
        [x for x in text.split(b"\n") if x]
    )
    assert all(text[b.offset :].startswith(b.lines) for b in blocks)


def test_a_long_line_is_skipped_and_counted_between_its_neighbours(tmp_path: Path) -> None:
    lines = [b'{"a": 1}', b'{"b": "%s"}' % (b"x" * 300_000), b'{"c": 1}', b"y" * 50_000, b"z" * 50_000]
    blocks = read(write(tmp_path / "RS.ndjson", b"\n".join(lines)))
    came = [line for line in lines_of(blocks) if line]
    assert came == [lines[0], lines[2]]
    assert sum(block.too_long for block in blocks) == 3


def test_a_file_that_breaks_off_says_so_after_what_there_is(tmp_path: Path) -> None:
    data = zstandard.compress(b"\n".join(LINES))
    path = write(tmp_path / "RS.zst", data[: len(data) * 2 // 3])
    with pytest.raises(BrokenDumpError, match=r"breaks off at byte .*--accept-broken") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, StageError)
    came = lines_of(list(read_until_broken(path)))
    assert len(came) > 100
    assert came[:-1] == LINES[: len(came) - 1]


def read_until_broken(path: Path) -> Iterator[Block]:
    try:
        yield from read_blocks(path, **LIMITS)
    except BrokenDumpError:
        return


@given(st.data())
def test_no_cut_of_a_compressed_file_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = zstandard.compress(b"\n".join(LINES[:300]))
    cut = data.draw(st.integers(1, len(whole) - 1))
    path = write(tmp_path_factory.mktemp("cut") / "RS.zst", whole[:cut])
    with pytest.raises(DumpError, match="fetch it again"):
        read(path)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_damage_is_an_error_with_a_name_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, place: int, by: int
) -> None:
    whole = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(b"\n".join(LINES)))
    # Behind the first five bytes: without its magic it is another file, and without its flags one without a checksum.
    whole[5 + place % (len(whole) - 5)] ^= by
    path = write(tmp_path_factory.mktemp("damage") / "RS.zst", bytes(whole))
    try:
        came = lines_of(read(path))
    except DumpError:
        return
    assert came == LINES  # a few bits of a frame mean nothing


def test_a_damaged_frame_gives_what_stands_before_it(tmp_path: Path) -> None:
    good = zstandard.compress(b"\n".join(LINES) + b"\n")
    path = write(tmp_path / "RS.zst", good + b"junk and more junk")
    came = lines_of(list(read_until_broken(path)))
    assert came[:-1] == LINES[: len(came) - 1]
    assert sum(map(len, LINES)) - sum(map(len, came)) < 999
    with pytest.raises(BrokenDumpError, match="is damaged"):
        read(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (zstandard.compress(b""), "is empty"),
        (b"\x28\xb5\x2f", "fetch it again"),
        (gzip.compress(b"{}"), "is gzip: unpack"),
        (bz2.compress(b"{}"), "is bzip2: unpack"),
        (lzma.compress(b"{}"), "is xz: unpack"),
        (zstandard.compress(gzip.compress(b"{}")), "is gzip: unpack"),
        (b"PK\x03\x04....", "is zip"),
        ("{}".encode("utf-16"), "is UTF-16"),
    ],
)
def test_what_is_no_dump_is_refused_at_once(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "RS_2020-01.zst", data)
    with pytest.raises(DumpError, match=message) as caught:
        check_dump(path)
    assert "RS_2020-01.zst" in str(caught.value)
    with pytest.raises(DumpError, match=message):
        read(path)


def test_a_window_beyond_bounds_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "RS.zst", b"\x28\xb5\x2f\xfd\x00\xff" + bytes(100))
    with pytest.raises(BrokenDumpError, match="too much memory"):
        read(path)


def test_folders_pipes_and_nothing_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(NotADumpError, match="is no file"):
            check_dump(path)
    with pytest.raises(NotADumpError, match="cannot be read: No such file"):
        check_dump(tmp_path / "none.zst")


def collect(blocks: list[Block], path: Path) -> None:
    for block in read_blocks(path, **LIMITS):
        blocks.append(block)  # noqa: PERF402  # kept though the next one fails


def test_a_bomb_is_refused_before_it_unfolds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_blocks, "BOMB_BYTES", 100_000)
    for filling in (b"\0", b"\n", b'{"a": 1}\n'):
        path = write(tmp_path / "bomb.zst", zstandard.compress(filling * 5_000_000))
        blocks: list[Block] = []
        with pytest.raises(BombError, match=r"more than 100 times its size \(--max-ratio\)"):
            collect(blocks, path)
        assert sum(block.text_bytes for block in blocks) < 2_000_000


def test_a_line_without_end_is_a_bomb_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_blocks, "BOMB_LINE_BYTES", 1_000_000)
    with pytest.raises(BombError, match="line of more than 1,000,000 bytes"):
        read(write(tmp_path / "RS.ndjson", b"{" + os.urandom(3_000_000).replace(b"\n", b"")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'[{"a": 1}, {"b": ', "does not end its array"),
        (b'[{"a": 1}', "does not end its array"),
        (b"[", "does not end its array"),
        (b'[{"a": 1}, nonsense, {"b": 1}]', "does not end its array"),
        (b'[{"a": 1}]\n{"b": 2}', "goes on after its array"),
        (b'[{"a": "%s"}]' % (b"x" * 50_000), "does not end within 20,000 bytes"),
        (b"[" * 100_000, "does not end within 20,000 bytes"),
    ],
)
def test_a_broken_array_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    path = write(tmp_path / "RS.json", text)
    with pytest.raises(BrokenDumpError, match=message):
        read(path)
    assert b"".join(block.lines for block in read_until_broken(path)) in (b'{"a": 1}\n', b"")


def test_bytes_that_are_no_text_come_through_an_array_as_they_are(tmp_path: Path) -> None:
    text = b'[{"a": "\xff\xfe"}, {"b": "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"}]'
    for size in range(1, 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dump_blocks, "BLOCK_BYTES", size)
            patch.setattr(dump_blocks, "_READ_BYTES", size)
            lines = b"".join(block.lines for block in read(write(tmp_path / "a.json", text))).splitlines()
        assert lines == [b'{"a": "\xff\xfe"}', b'{"b": "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"}']
