"""A sheet to draw on from top to bottom: text as a screen smooths it, boxes, and made-up pictures."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    import random

    from PIL.ImageFont import FreeTypeFont

    from data_pipeline.rendered.themes import Colour


class Smoothing(StrEnum):
    """How a screen draws the edges of glyphs."""

    GREY = "grey"
    SUBPIXEL = "subpixel"


# A pixel's three stripes, red to blue, each blurred over its neighbours as FreeType's default LCD filter does.
_LCD_FILTER: Final = np.array([0x08, 0x4D, 0x56, 0x4D, 0x08]) / 0x100


class Canvas:
    """A picture being drawn. Lengths are pixels."""

    def __init__(self, width: int, height: int, colour: Colour, smoothing: Smoothing) -> None:
        """A sheet in one colour; it is cut to what is used at the end."""
        self.image = Image.new("RGB", (width, height), colour)
        self.draw = ImageDraw.Draw(self.image)
        self.smoothing = smoothing

    def text(self, x: float, baseline: float, text: str, font: FreeTypeFont, colour: Colour) -> float:
        """Draws a text and returns where it ends."""
        x0, y0 = round(x), round(baseline)
        if self.smoothing is Smoothing.GREY:
            self.draw.text((x0, y0), text, colour, font, anchor="ls")
        else:
            self._subpixel_text(x0, y0, text, font, colour)
        return x0 + self.length(text, font)

    def length(self, text: str, font: FreeTypeFont) -> float:
        """How far a text goes."""
        if self.smoothing is Smoothing.GREY:
            return font.getlength(text)
        return font.font_variant(size=font.size * 3).getlength(text) / 3

    def _subpixel_text(self, x0: int, baseline: int, text: str, font: FreeTypeFont, colour: Colour) -> None:
        """As `text`, with each third of a pixel covered for itself: the stripes of a pixel are its three colours."""
        large = font.font_variant(size=font.size * 3)
        ascent, descent = font.getmetrics()
        width, height = round(large.getlength(text) / 3) + 5, ascent + descent
        mask = Image.new("L", (width * 3, height * 3))
        ImageDraw.Draw(mask).text((6, ascent * 3), text, 255, large, anchor="ls")
        stripes = np.asarray(mask, np.float32).reshape(height, 3, width * 3).mean(axis=1) / 255
        blurred = np.apply_along_axis(np.convolve, 1, stripes, _LCD_FILTER, mode="same")
        cover = blurred.reshape(height, width, 3)
        left, top = x0 - 2, baseline - ascent
        box = (left, top, left + width, top + height)
        below = np.asarray(self.image.crop(box), np.float32)
        mixed = below + (np.array(colour, np.float32) - below) * cover
        self.image.paste(Image.fromarray(np.rint(mixed).astype(np.uint8)), box)

    def box(self, box: tuple[float, float, float, float], fill: Colour, border: Colour | None) -> None:
        """A filled rectangle: left, top, right and bottom, the edges inclusive."""
        left, top, right, bottom = map(round, box)
        self.draw.rectangle((left, top, right, bottom), fill, border)

    def picture(self, left: float, top: float, width: int, height: int, random: random.Random) -> None:
        """A thumbnail: noise, shapes (some as green as the text), and now and then writing of its own."""
        noise = np.random.default_rng(random.getrandbits(32))
        coarse = noise.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for _ in range(random.randint(3, 9)):
            x, y = random.randint(0, width), random.randint(0, height)
            w, h = random.randint(8, width // 2), random.randint(8, height // 2)
            colour: Any = random.choice(
                ((96, 136, 72), (120, 153, 34), (74, 110, 40), (160, 82, 45), (235, 235, 235), (20, 20, 20))
            )
            shape = random.choice((draw.ellipse, draw.rectangle))
            shape((x, y, x + w, y + h), fill=colour, outline=(10, 10, 10))
        if random.random() < 0.3:
            image = image.filter(ImageFilter.GaussianBlur(1.2))
        self.image.paste(image, (round(left), round(top)))
