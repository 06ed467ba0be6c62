"""Files of all kinds, hostile ones among them, to checked pictures."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, WebPImagePlugin

from data_pipeline.images.picture import HASH_BITS, PictureLimits, inspect, sniff
from data_pipeline.images.refusals import Reason, RefusedError
from tests.data_pipeline.picture_server import encoded, png_bomb, png_chunk, screenshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMITS = PictureLimits(max_pixels=2_000_000, max_side=10_000, min_width=160, min_height=40)
PAGE = screenshot(">be me\n>find a frog\n>it is a good frog")
FORMATS = {"PNG": {}, "JPEG": {"quality": 80}, "WEBP": {"quality": 80}, "GIF": {}}


def refusal(path: Path, content: bytes) -> RefusedError:
    path.write_bytes(content)
    with pytest.raises(RefusedError) as caught:
        inspect(path, LIMITS)
    return caught.value


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_of_each_format_passes_whatever_its_name(tmp_path: Path, kind: str) -> None:
    content = encoded(PAGE, kind, **FORMATS[kind])
    path = tmp_path / "picture.html"
    path.write_bytes(content)
    picture = inspect(path, LIMITS)
    assert (picture.format, picture.width, picture.height) == (kind, *PAGE.size)
    assert picture.bytes == len(content)
    assert picture.sha256 == hashlib.sha256(content).hexdigest()
    assert len(bytes.fromhex(picture.perceptual_hash)) * 8 == HASH_BITS
    assert picture.file_name.startswith(picture.sha256)


def test_all_kinds_of_webp_are_measured_before_they_are_decoded(tmp_path: Path) -> None:
    for number, options in enumerate(({"quality": 50}, {"lossless": True}, {"lossless": True, "exif": b"Exif\0\0"})):
        path = tmp_path / f"{number}.webp"
        path.write_bytes(encoded(PAGE, "WEBP", **options))
        picture = inspect(path, LIMITS)
        assert (picture.width, picture.height) == PAGE.size
        small = PictureLimits(max_pixels=PAGE.width * PAGE.height - 1, max_side=10_000, min_width=1, min_height=1)
        with pytest.raises(RefusedError) as caught:
            inspect(path, small)
        assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"", Reason.NOT_A_PICTURE, "empty"),
        (b"hello", Reason.NOT_A_PICTURE, "hello"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><html>", Reason.NOT_A_PICTURE, "HTML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.NOT_A_PICTURE, "SVG"),
        (b"BM" + bytes(60), Reason.OTHER_FORMAT, "BMP"),
        (b"II*\x00" + bytes(60), Reason.OTHER_FORMAT, "TIFF"),
        (b"\x00\x00\x00\x20ftypavif" + bytes(60), Reason.OTHER_FORMAT, "AVIF"),
        (b"\x00\x00\x00\x20ftypisom" + bytes(60), Reason.OTHER_FORMAT, "a video"),
        (b"%PDF-1.7", Reason.OTHER_FORMAT, "PDF"),
        (b"RIFF\x00\x00\x00\x00WAVE", Reason.NOT_A_PICTURE, "RIFF"),
        (b"\x89PNG\r\n\x1a\n", Reason.DAMAGED, ""),
        (b"\xff\xd8\xff", Reason.DAMAGED, ""),
        (b"GIF89a", Reason.DAMAGED, ""),
        (b"RIFF\x00\x00\x00\x00WEBPVP8X", Reason.DAMAGED, "size"),
    ],
)
def test_what_is_no_picture_says_what_it_is(tmp_path: Path, content: bytes, reason: Reason, detail: str) -> None:
    error = refusal(tmp_path / "file", content)
    assert error.reason is reason
    assert detail in error.detail


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_off_picture_is_damaged(tmp_path: Path, kind: str) -> None:
    content = encoded(PAGE, kind, **FORMATS[kind])
    assert refusal(tmp_path / "file", content[: len(content) * 2 // 3]).reason is Reason.DAMAGED


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_an_animation_is_refused(tmp_path: Path, kind: str) -> None:
    other = screenshot(">another frame\n>of the same story\n>be here")
    frames = encoded(PAGE, kind, save_all=True, append_images=[other], duration=100)
    assert refusal(tmp_path / "file", frames).reason is Reason.ANIMATED


def test_a_phone_s_jpeg_with_a_second_picture_behind_it_is_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(encoded(PAGE, "MPO", save_all=True, append_images=[PAGE]))
    assert inspect(path, LIMITS).format == "JPEG"


@pytest.mark.parametrize(
    ("size", "reason"),
    [((159, 40), Reason.TOO_SMALL), ((160, 39), Reason.TOO_SMALL), ((10_001, 40), Reason.TOO_LARGE),
     ((2000, 1001), Reason.TOO_LARGE)],
)  # fmt: skip
def test_sizes_beyond_the_limits_are_refused(tmp_path: Path, size: tuple[int, int], reason: Reason) -> None:
    error = refusal(tmp_path / "file", encoded(PAGE.resize(size)))
    assert error.reason is reason
    assert f"{size[0]} x {size[1]}" in error.detail


@pytest.mark.parametrize("size", [(160, 40), (2000, 1000)])
def test_sizes_at_the_limits_pass(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "file"
    path.write_bytes(encoded(PAGE.resize(size)))
    assert inspect(path, LIMITS).width == size[0]


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        pytest.fail("it is decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    monkeypatch.setattr(WebPImagePlugin._webp, "WebPAnimDecoder", decode)
    # 400 megapixels in 50 kB; a claim of more than a PNG may hold; and the largest WebP canvas.
    bombs = [png_bomb(20_000, 20_000)]
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0)
    bombs.append(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b""))
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff\xff\xff\xff"
    bombs.append(b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas)
    for bomb in bombs:
        assert len(bomb) < 100_000
        assert refusal(tmp_path / "file", bomb).reason is Reason.TOO_LARGE


def test_a_blank_picture_is_refused_and_dark_text_on_nothing_is_not_blank(tmp_path: Path) -> None:
    assert refusal(tmp_path / "file", encoded(Image.new("RGB", (300, 100), (240, 224, 214)))).reason is Reason.BLANK
    ink = PAGE.convert("L").point(lambda grey: 255 if grey < 200 else 0)
    page = Image.new("RGBA", PAGE.size, (0, 0, 0, 0))
    page.putalpha(ink)
    path = tmp_path / "file"
    path.write_bytes(encoded(page))
    assert inspect(path, LIMITS).width == PAGE.width


@pytest.mark.parametrize(("size", "size_bytes"), [((161, 81), 503), ((130, 60), 1048)])
def test_the_hosts_placeholders_are_known_by_their_shape(
    tmp_path: Path, size: tuple[int, int], size_bytes: int
) -> None:
    plain = encoded(Image.new("1", size, 1))
    end = len(plain) - 12
    padded = plain[:end] + png_chunk(b"tEXt", b"a\0".ljust(size_bytes - len(plain) - 12, b"x")) + plain[end:]
    assert len(padded) == size_bytes
    assert refusal(tmp_path / "file", padded).reason is Reason.DELETED
    assert refusal(tmp_path / "file", plain).reason is not Reason.DELETED


SEEDS = [encoded(PAGE.resize((200, 60)), kind, **options) for kind, options in FORMATS.items()]
SEEDS.append(encoded(PAGE.resize((200, 60)).quantize(8), "PNG"))
SEEDS.append(encoded(PAGE.resize((200, 60)), "GIF", save_all=True, append_images=[PAGE.resize((200, 60)).rotate(9)]))


@st.composite
def mutated(draw: Callable[..., int]) -> bytes:
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.one_of(st.integers(0, min(200, len(content) - 1)), st.integers(0, len(content) - 1)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            content[at] = draw(st.integers(0, 255))
        elif kind == 1 and len(content) > 100:
            del content[at : at + draw(st.integers(1, 50))]
        else:
            content[at:at] = draw(st.binary(max_size=20))
        if not content:
            break
    return bytes(content)


def without_palette() -> bytes:
    """A PNG of palette colours that says nothing of its palette: Pillow asserts where it should refuse."""
    content = encoded(PAGE.resize((200, 60)).quantize(8), "PNG")
    at = content.index(b"PLTE") - 4
    return content[:at] + content[at + 12 + int.from_bytes(content[at : at + 4], "big") :]


@settings(max_examples=300)
@example(content=without_palette())
@given(content=mutated())
def test_whatever_a_file_holds_it_is_a_picture_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content)
    try:
        picture = inspect(path, LIMITS)
    except RefusedError:
        pass
    else:
        # What passes, others can open.
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.size == (picture.width, picture.height)


@given(head=st.binary(max_size=64))
def test_sniffing_names_a_format_or_refuses(head: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert sniff(head) in FORMATS
