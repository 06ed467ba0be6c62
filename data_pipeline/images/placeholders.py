"""What hosts show in place of a deleted picture.

Imgur redirects to `removed.png`, 161x81 pixels in 503 bytes whose MD5 is also its ETag (HoverHell/RedditImageGrab#50,
ubershmekel/redditp#52). Reddit answers with 130x60 pixels in 1,048 bytes, the same ones always, mostly but not always
under a status 404 (ccrama/Slide's descendants test against them). Both files carry no date and have not changed in a
decade. Further ones can be named by their perceptual hash: `ImagesSettings.placeholders`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httpx

_BY_SHAPE: Final = {
    (503, 161, 81): "imgur's picture for removed ones",
    (1048, 130, 60): "reddit's picture for deleted ones",
}
"""By bytes, width and height."""
IMGUR_MD5: Final = "d835884373f4d6c8f24742ceabe74946"
LARGEST_BYTES: Final = max(size for size, _, _ in _BY_SHAPE)


def placeholder_address(url: httpx.URL, etag: str = "") -> str | None:
    """What a placeholder is, by where a download ended and the ETag it came with; None for others."""
    host = url.host.lower()
    if (host == "imgur.com" or host.endswith(".imgur.com")) and url.path == "/removed.png":
        return f"redirected to {url}"
    return _BY_SHAPE[503, 161, 81] if etag.removeprefix("W/").strip('"') == IMGUR_MD5 else None


def placeholder_shape(size_bytes: int, width: int, height: int) -> str | None:
    """What a placeholder is, by its file's size and its own; None for others."""
    return _BY_SHAPE.get((size_bytes, width, height))
