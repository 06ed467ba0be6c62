"""Draws a thread with a story in it, and knows what of it a reader is to find."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from PIL import Image

from data_pipeline.rendered.canvas import Canvas, Smoothing
from data_pipeline.rendered.fonts import font
from data_pipeline.rendered.themes import THEMES

if TYPE_CHECKING:
    from data_pipeline.rendered.themes import Colour, Theme

CSS_FONT_PX: Final = 13.3333
"""10pt, the size of 4chan's texts at 96 dots an inch; margins scale with the text."""
LINE_HEIGHT: Final = 1.15
_COMMENTS: Final = (
    "this made my day, anon",
    "Based.",
    "I am not crying, you are crying",
    "who is cutting onions in here?",
    "thanks for sharing",
    "My dog does this too. Best thing about coming home after work.",
)
_SUBJECTS: Final = ("Cozy thread", "Feels good stories", "Good things that happened", "Comfy general #42", "")


class Layout(StrEnum):
    """What the page shows."""

    OPENING = "opening post"
    REPLY = "reply"
    THUMBNAIL = "thumbnail"
    PHONE = "phone"
    THREAD = "thread"
    CONTINUED = "continued"


@dataclass(frozen=True, slots=True)
class PageSpec:
    """All that a page depends on."""

    story: tuple[str, ...]
    """Its lines, without markers."""
    theme: str = "yotsuba"
    layout: Layout = Layout.REPLY
    font_px: int = 13
    """Of the finished picture."""
    family: str = "arial"
    smoothing: Smoothing = Smoothing.GREY
    rescaled: float = 1.0
    """The page is drawn in `font_px / rescaled` and then brought to size, as sites do with pictures."""
    jpeg_quality: int | None = None
    """None: PNG."""
    generations: int = 1
    """How often it was saved as JPEG."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page and its truth."""

    spec: PageSpec
    content: bytes
    """The file: PNG or JPEG."""
    truth: str
    """The story in canonical form."""

    @property
    def ending(self) -> str:
        """Of the file's name."""
        return ".png" if self.spec.jpeg_quality is None else ".jpg"


def render(spec: PageSpec) -> Rendered:
    """Draws a page.

    Raises:
        FontsMissingError: There is no font to draw with.
    """
    image = _Page(spec).draw()
    if spec.rescaled != 1.0:
        size = (round(image.width * spec.rescaled), round(image.height * spec.rescaled))
        image = image.resize(size, Image.Resampling.BICUBIC)
    truth = "\n".join(f">{line}" for line in spec.story)
    if spec.jpeg_quality is None:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return Rendered(spec, buffer.getvalue(), truth)
    buffer = io.BytesIO()
    for _ in range(max(1, spec.generations)):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=spec.jpeg_quality)
        image = Image.open(buffer)
    return Rendered(spec, buffer.getvalue(), truth)


class _Page:
    """A page while it is drawn: `y` is where the next thing goes."""

    def __init__(self, spec: PageSpec) -> None:
        self.spec = spec
        self.random = random.Random(spec.seed)
        self.theme: Theme = THEMES[spec.theme]
        self.size_px = max(6, round(spec.font_px / spec.rescaled))
        self.unit = self.size_px / CSS_FONT_PX
        phone = spec.layout is Layout.PHONE
        self.font = font(spec.family, self.size_px)
        self.bold = font(spec.family, self.size_px, bold=True)
        self.small = font(spec.family, max(6, round(self.size_px * 0.8)))
        self.line_px = self.size_px * (LINE_HEIGHT * (1.1 if phone else 1.0))
        css_width = self.random.randint(300, 420) if phone else self.random.randint(360, 820)
        self.width = round(css_width * self.unit)
        background = self.theme.post if phone or spec.layout is Layout.REPLY else self.theme.page
        self.canvas = Canvas(self.width, round(4000 * self.unit) + 400, background, spec.smoothing)
        self.y = self.random.uniform(2, 10) * self.unit
        self.number = self.random.randint(10_000_000, 99_999_999)

    def draw(self) -> Image.Image:
        story, layout = self.spec.story, self.spec.layout
        if layout is Layout.PHONE:
            self._phone_post(story)
        elif layout is Layout.OPENING:
            self._interface("[Return] [Catalog] [Bottom]")
            self._file_line(6 * self.unit)
            self._post(story, picture=True, boxed=False)
        elif layout is Layout.THUMBNAIL:
            self._post(story, picture=True, boxed=True)
        elif layout is Layout.REPLY:
            self._post(story, picture=False, boxed=True)
        elif layout is Layout.CONTINUED:
            half = max(1, len(story) // 2)
            self._post(story[:half], picture=self.random.random() < 0.5, boxed=True)
            self._post(story[half:], picture=False, boxed=True, answers=self.number)
        else:
            self._file_line(6 * self.unit)
            self._post(story, picture=True, boxed=False)
            for _ in range(self.random.randint(1, 3)):
                quote = self.random.choice(story) if self.random.random() < 0.6 else None
                self._post((), picture=False, boxed=True, answers=self.number, quote=quote)
        bottom = round(self.y + self.random.uniform(4, 14) * self.unit)
        return self.canvas.image.crop((0, 0, self.width, bottom))

    def _date(self) -> str:
        r = self.random
        day = r.choice(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
        date = f"{r.randint(1, 12):02}/{r.randint(1, 28):02}/{r.randint(10, 24)}({day})"
        return f"{date}{r.randint(0, 23):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}"

    def _interface(self, text: str) -> None:
        self.canvas.text(6 * self.unit, self._baseline(), text, self.font, self.theme.link)
        self.y += self.line_px * 1.5

    def _baseline(self, height: float | None = None) -> float:
        """Where a line of text stands whose box begins at `y`."""
        ascent, descent = self.font.getmetrics()
        return self.y + ((height or self.line_px) - ascent - descent) / 2 + ascent

    def _file_line(self, x: float) -> None:
        r, unit = self.random, self.unit
        name = r.choice(
            (f"{r.randint(10**12, 10**13)}.jpg", "comfy_frog.png", "Screenshot_2018-07-22.png", "IMG_0412.JPG")
        )
        x = self.canvas.text(x, self._baseline(), "File: ", self.small, self.theme.text)
        x = self.canvas.text(x, self._baseline(), name, self.small, self.theme.link)
        size = f" ({r.randint(9, 900)} KB, {r.randint(200, 1999)}x{r.randint(200, 1999)})"
        self.canvas.text(x, self._baseline(), size, self.small, self.theme.text)
        self.y += self.line_px + 2 * unit

    def _head(self, x: float) -> None:
        """Name, date and number of a post on a desktop."""
        theme, space = self.theme, 4 * self.unit
        box = 10 * self.unit
        middle = self.y + self.line_px / 2
        self.canvas.box((x, middle - box / 2, x + box, middle + box / 2), (255, 255, 255), theme.faint)
        x += box + space
        subject = self.random.choice(_SUBJECTS)
        if subject and self.random.random() < 0.4:
            x = self.canvas.text(x, self._baseline(), subject, self.bold, theme.subject) + space
        x = self.canvas.text(x, self._baseline(), "Anonymous", self.bold, theme.poster) + space
        x = self.canvas.text(x, self._baseline(), self._date(), self.font, theme.text) + space
        x = self.canvas.text(x, self._baseline(), f"No.{self.number}", self.font, theme.text) + space
        if self.random.random() < 0.4:
            self.canvas.text(x, self._baseline(), f">>{self.number + 12}", self.small, theme.quote_link)
        self.number += self.random.randint(1, 400)
        self.y += self.line_px + 4 * self.unit

    def _post(
        self,
        story: tuple[str, ...],
        *,
        picture: bool,
        boxed: bool,
        answers: int | None = None,
        quote: str | None = None,
    ) -> None:
        unit, theme = self.unit, self.theme
        left = (28 if boxed else 6) * unit
        if boxed:
            self.canvas.text(6 * unit, self._baseline(), ">>", self.font, theme.border)
            top = self.y
            # Drawn again when its height is known: what is inside must lie on it.
            state, number = self.random.getstate(), self.number
            self._inside(left, story, picture=picture, answers=answers, quote=quote)
            bottom = self.y
            self.canvas.box((20 * unit, top, self.width - 3 * unit, bottom), theme.post, theme.border)
            self.random.setstate(state)
            self.number, self.y = number, top
        self._inside(left, story, picture=picture, answers=answers, quote=quote)
        self.y += 6 * unit

    def _inside(
        self, left: float, story: tuple[str, ...], *, picture: bool, answers: int | None, quote: str | None
    ) -> None:
        unit, theme = self.unit, self.theme
        self.y += 4 * unit
        self._head(left)
        picture_right, picture_bottom = left, self.y
        if picture:
            if self.spec.layout is Layout.THUMBNAIL:
                self._file_line(left)
            picture_right, picture_bottom = self._thumbnail(
                left, 125 if self.spec.layout is not Layout.OPENING else 200
            )
        self.y += 8 * unit
        if answers is not None:
            self._paragraph(f">>{answers}", theme.quote_link, left, picture_right, picture_bottom)
        if quote is not None:
            self._paragraph(f">{quote}", theme.quote, left, picture_right, picture_bottom)
        for line in story:
            self._paragraph(f">{line}", theme.quote, left, picture_right, picture_bottom)
        if not story:
            self._paragraph(self.random.choice(_COMMENTS), theme.text, left, picture_right, picture_bottom)
        self.y = max(self.y, picture_bottom) + 6 * unit

    def _thumbnail(self, left: float, longest_css: int) -> tuple[float, float]:
        width = round(self.random.randint(longest_css * 6 // 10, longest_css) * self.unit)
        height = round(self.random.randint(longest_css * 6 // 10, longest_css) * self.unit)
        self.canvas.picture(left + 4 * self.unit, self.y + 2 * self.unit, width, height, self.random)
        return left + width + 24 * self.unit, self.y + height + 4 * self.unit

    def _phone_post(self, story: tuple[str, ...]) -> None:
        """As 4chan's page and its apps show a post on a phone: a band on top, the picture on the left."""
        unit, theme, canvas = self.unit, self.theme, self.canvas
        left = self.random.uniform(6, 14) * unit
        band = self.line_px * 2.3
        self.y = 0.0
        canvas.box((0, 0, self.width, band), theme.header, theme.border)
        self.y = self.line_px * 0.1
        dots = left + 2 * unit
        for number in range(3):
            y = self.y + (4 + 5 * number) * unit
            self.canvas.box((dots, y, dots + 2 * unit, y + 2 * unit), theme.link, None)
        canvas.text(left + 10 * unit, self._baseline(), "Anonymous", self.bold, theme.poster)
        posted = f"{self._date()} No.{self.number}"
        small = self.small
        canvas.text(self.width - canvas.length(posted, small) - 4 * unit, self._baseline(), posted, small, theme.text)
        self.y += self.line_px
        canvas.text(left + 10 * unit, self._baseline(), self.random.choice(_SUBJECTS), self.bold, theme.subject)
        self.y = band + 8 * unit
        right, bottom = left, self.y
        if self.random.random() < 0.6:
            right, bottom = self._thumbnail(left, 125)
            note = f"{self.random.randint(9, 900)} KB {self.random.choice(('JPG', 'PNG'))}"
            canvas.text(left + 24 * unit, bottom + self.line_px * 0.8, note, small, theme.faint)
            bottom += self.line_px * 1.2
        for line in story:
            self._paragraph(f">{line}", theme.quote, left, right, bottom)
        self.y = max(self.y, bottom) + 6 * unit
        if self.random.random() < 0.5:
            canvas.box((0, self.y, self.width, self.y), theme.border, None)
            self.y += 4 * unit
            self._interface(f"{self.random.randint(2, 80)} Replies / {self.random.randint(1, 20)} Images")

    def _paragraph(self, text: str, colour: Colour, left: float, picture_right: float, picture_bottom: float) -> None:
        """A line of a post, broken where it reaches the edge, beside the picture as long as that lasts."""
        words, right = text.split(" "), self.width - 8 * self.unit
        while words:
            x = picture_right if self.y < picture_bottom else left
            count = 1
            while count < len(words) and x + self.canvas.length(" ".join(words[: count + 1]), self.font) <= right:
                count += 1
            self.canvas.text(x, self._baseline(), " ".join(words[:count]), self.font, colour)
            self.y += self.line_px
            words = words[count:]
