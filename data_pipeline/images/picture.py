"""A file of unknown bytes to a checked picture with its hashes, or the reason why it is none.

What a file is, its first bytes say, never its name or a header. Its size is read and judged before anything is decoded,
then all of it is decoded once, so that what passes can be opened by everyone after us. Knows nothing of where the file
is from.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from data_pipeline.images.placeholders import placeholder_shape
from data_pipeline.images.refusals import Reason, RefusedError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

HEAD_BYTES: Final = 64
"""As many of a file's first bytes tell what it is."""
HASH_SIDE: Final = 32
HASH_BITS: Final = HASH_SIDE * HASH_SIDE
BLANK_CONTRAST: Final = 24
"""Of 255: below that nobody reads anything, and a perceptual hash is noise."""

_ENDINGS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
# The classes themselves rather than `Image.open`, which would judge sizes by a limit of its own, and would take a
# phone's JPEG with a second picture behind the first for an animated one.
_READERS: Final[dict[str, Any]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
_DECODING_ERRORS: Final = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
    RuntimeError, MemoryError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError, Warning,
)  # fmt: skip
"""What Pillow's readers raise over damaged files, as fuzzing them showed; a Warning where warnings are errors."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Sizes in pixels that a picture may have."""

    max_pixels: int
    max_side: int
    min_width: int
    min_height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a picture that passed."""

    format: str
    """`JPEG`, `PNG`, `WEBP` or `GIF`."""
    width: int
    height: int
    bytes: int
    sha256: str
    perceptual_hash: str
    """256 hexadecimal digits: a pHash of 32 x 32 bits, as `imagehash` computes and spells it."""

    @property
    def file_name(self) -> str:
        """By its content: two files of one name are the same."""
        return f"{self.sha256}.{_ENDINGS[self.format]}"


def sniff(head: bytes) -> str:
    """The format of a file by its first `HEAD_BYTES` bytes.

    Raises:
        RefusedError: It is none that we read; the detail says what it seems to be.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    for start, offset, name in _OTHERS:
        if head[offset:].startswith(start):
            raise RefusedError(Reason.OTHER_FORMAT, name)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<"):
        raise RefusedError(Reason.NOT_A_PICTURE, "SVG" if text.startswith(b"<svg") else "HTML or XML")
    raise RefusedError(Reason.NOT_A_PICTURE, "it is empty" if not head else f"it begins with {head[:12]!r}")


_OTHERS: Final = (
    (b"BM", 0, "BMP"),
    (b"II*\x00", 0, "TIFF"),
    (b"MM\x00*", 0, "TIFF"),
    (b"ftypavif", 4, "AVIF"),
    (b"ftypavis", 4, "AVIF"),
    (b"ftyphei", 4, "HEIC"),
    (b"ftypmif1", 4, "HEIF"),
    (b"ftyp", 4, "a video"),
    (b"\x1a\x45\xdf\xa3", 0, "a video"),
    (b"\xff\x0a", 0, "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", 0, "JPEG XL"),
    (b"%PDF", 0, "PDF"),
)


def inspect(path: Path, limits: PictureLimits) -> Picture:
    """Checks a file, all of it, and hashes it.

    Raises:
        RefusedError: It is no picture, or none that we take.
        OSError: The file cannot be read.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        kind = sniff(file.read(HEAD_BYTES))
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        if kind == "WEBP":
            # Its reader takes memory for the whole canvas at once.
            _check_size(*_webp_size(file.read(30)), size_bytes, limits)
            file.seek(0)
        image = _opened(kind, file)
        with image:
            _check_size(image.width, image.height, size_bytes, limits)
            perceptual_hash = _decoded_hash(image)
            return Picture(kind, image.width, image.height, size_bytes, sha256, perceptual_hash)


def _opened(kind: str, file: BinaryIO) -> Any:
    try:
        return _READERS[kind](file)
    except _DECODING_ERRORS as error:
        raise RefusedError(Reason.DAMAGED, _first_line(error)) from error


def _check_size(width: int, height: int, size_bytes: int, limits: PictureLimits) -> None:
    known = placeholder_shape(size_bytes, width, height)
    if known is not None:
        raise RefusedError(Reason.DELETED, known)
    shape = f"{width} x {height} pixels"
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise RefusedError(Reason.TOO_LARGE, shape)
    if width < limits.min_width or height < limits.min_height:
        raise RefusedError(Reason.TOO_SMALL, shape)


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height by a WebP's first 30 bytes (RFC 9649, sections 2.5 to 2.7)."""
    chunk = head[12:16]
    if chunk == b"VP8X" and len(head) == 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if chunk == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and len(head) == 30:
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise RefusedError(Reason.DAMAGED, "a WebP without a size")


def _decoded_hash(image: Any) -> str:
    try:
        if getattr(image, "is_animated", False):
            raise RefusedError(Reason.ANIMATED, f"{image.format}")
        grey = _on_white(image).convert("L")  # decodes all of it
        darkest, lightest = grey.getextrema()
    except _DECODING_ERRORS as error:
        raise RefusedError(Reason.DAMAGED, _first_line(error)) from error
    if lightest - darkest < BLANK_CONTRAST:
        raise RefusedError(Reason.BLANK, f"its greys are all within {darkest}..{lightest}")
    return perceptual_hash(grey)


def _on_white(image: Any) -> Any:
    """What a browser shows: dark text on nothing would else be dark on black."""
    if not image.has_transparency_data:
        return image
    over = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)


def perceptual_hash(image: Image.Image) -> str:
    """A pHash of `HASH_BITS` bits in hexadecimal: which of an image's low frequencies are above their median."""
    import imagehash  # noqa: PLC0415  brings SciPy

    return str(imagehash.phash(image, hash_size=HASH_SIDE))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).split("\n", 1)[0][:200]
