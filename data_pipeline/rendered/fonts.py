"""Finds the fonts that pages are drawn in among those of the system."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Final

from PIL import ImageFont

FOLDERS: Final = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
FAMILIES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    # 4chan asks for arial, helvetica, sans-serif: Liberation Sans has the same widths, DejaVu Sans is what is left.
    "arial": (
        ("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"),
        ("Arial.ttf", "Arial Bold.ttf"),
        ("arial.ttf", "arialbd.ttf"),
    ),
    "dejavu": (("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),),
    # What Android and iOS show; Liberation Sans stands in where neither is installed.
    "phone": (
        ("Roboto-Regular.ttf", "Roboto-Bold.ttf"),
        ("Helvetica.ttf", "Helvetica-Bold.ttf"),
        ("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"),
    ),
}


class FontsMissingError(Exception):
    """No font to draw with; the message says what to install."""


@functools.cache
def _files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for parent, _, names in sorted(os.walk(Path(folder).expanduser())):
            for name in names:
                found.setdefault(name, Path(parent) / name)
    return found


@functools.lru_cache(maxsize=64)
def font(family: str, size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """A font in a size.

    Raises:
        FontsMissingError: None of the family's fonts is installed.
    """
    for regular, heavy in FAMILIES[family]:
        path = _files().get(heavy if bold else regular)
        if path is not None:
            # The other engine kerns, but is not in every build of Pillow: pages must not depend on it.
            return ImageFont.truetype(path, size_px, layout_engine=ImageFont.Layout.BASIC)
    names = ", ".join(regular for regular, _ in FAMILIES[family])
    raise FontsMissingError(
        f"none of {names} is installed: on Debian and Ubuntu, apt-get install fonts-liberation fonts-dejavu-core"
    )
