"""From a picture of a page to the story that it tells: lines with their confidences.

Promises to leave out what is not story (heads of posts, `File:` lines, links, replies), and to have each line of the
story as one, however the page broke it. What it does not promise is the story's end where the page shows none.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from data_pipeline.ocr import repair
from data_pipeline.ocr.engine import ReadLine, Word, read_lines
from data_pipeline.ocr.glyphs import looked_at
from data_pipeline.ocr.ink import find_ink
from data_pipeline.ocr.layout import crop, find_posts
from data_pipeline.ocr.marker import INKED, MIN_MATCH, marker_match, without_marker

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_pipeline.ocr.ink import Floats, Ink, Pixels
    from data_pipeline.ocr.layout import Line, Page

Limit: TypeAlias = "Callable[[float], AbstractContextManager[Any]]"
READ_GLYPH_PX: Final = 24.0
"""Capital letters are brought to that height before they are read: the best of 16, 20, 24, 28 and 32 as measured."""
SECOND_GLYPH_PX: Final = 32.0
"""And to that for a second opinion, where the first was unsure."""
UNSURE: Final = 0.9
UNSURE_WORD: Final = 0.8
"""Below that a word is told to people who check."""
LIKELY_MATCH: Final = 0.45
"""What begins so where a line must begin is a marker, however damaged."""
HALF_LIKELY_MATCH: Final = 0.73
"""The same where a line may begin, or just as well go on."""
SECOND_MATCH: Final = 0.88
"""Two markers quote another post; that is rare, and no `t` may be taken for one."""
MAX_LINES: Final = 400
"""Of a page; a greentext that is worth having is a tenth of that."""


@dataclass(frozen=True, slots=True)
class StoryLine:
    """A line of the story, without its marker."""

    text: str
    confidence: float
    """Tesseract's, from 0 to 1."""
    unsure: tuple[tuple[str, float], ...] = ()
    """Words of the text of which Tesseract was unsure, each with its confidence."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read on a page."""

    lines: tuple[StoryLine, ...]
    raw_text: str
    """Line by line as they stand on the page, before anything was repaired."""


@dataclass(slots=True)
class _Strip:
    """A line as it stands on the page, on its way to be read."""

    post: int
    begins: bool
    """Whether a line of the story begins here; otherwise it goes on from above."""
    markers: int
    cover: Floats


def read_page(rgb: Pixels, timeout_s: float, *, limited: Limit = nullcontext) -> Reading:
    """The story of a page, (height, width, 3). No lines where there is none.

    `timeout_s` is for all of it: Tesseract is killed when it is over, and `limited` is to end what comes before.

    Raises:
        EngineError: Tesseract is missing, took too long or gave up.
    """
    began_s = time.monotonic()
    with limited(timeout_s):
        ink = find_ink(rgb)
        page = find_posts(ink)
        strips = [strip for number, post in enumerate(page.posts) for strip in _strips(ink, page, number, post)]
        strips = strips[:MAX_LINES]
    if not strips:
        return Reading((), "")
    read = _read(strips, page.glyph_px, began_s + timeout_s)
    raw = "\n".join(">" * strip.markers + line.text for strip, line in zip(strips, read, strict=True))
    return Reading(_story(strips, read, page.glyph_px), raw)


def _strips(ink: Ink, page: Page, number: int, post: tuple[Line, ...]) -> list[_Strip]:
    """The lines of a post, with what is known of their beginnings.

    A line that goes on from the one above had no room there: its first word would have passed the right edge. So where
    there was room, a line begins, and what stands there is a marker.
    """
    right = max(line.right for line in post)
    strips: list[_Strip] = []
    above: Line | None = None
    for line in post:
        cover = crop(ink, line)
        match, end = marker_match(cover, page.glyph_px)
        spare_px = right - above.right - _first_word_px(cover, page.glyph_px) if above else right
        room = spare_px > 1.5 * page.glyph_px
        likely = LIKELY_MATCH if room else HALF_LIKELY_MATCH if spare_px > 0 else MIN_MATCH
        marked = match >= (likely if page.green else MIN_MATCH)
        begins = marked or (room and page.green)
        if not page.green and not begins and (room or not strips):
            above = None
            continue  # no colour, no marker, no line above: not story
        markers = 0
        while marked and markers < 3:
            markers += 1
            cover = without_marker(cover, end)
            match, end = marker_match(cover, page.glyph_px)
            marked = match >= SECOND_MATCH
        strips.append(_Strip(number, begins, markers, cover))
        above = line
    return strips


def _first_word_px(cover: Floats, glyph_px: float) -> float:
    """How wide the first word of a line is, with the space before it."""
    columns = np.flatnonzero((cover > INKED).any(axis=0))
    if not len(columns):
        return 0.0
    spaces = np.flatnonzero(np.diff(columns) > 0.42 * glyph_px)
    last = columns[spaces[0]] if len(spaces) else columns[-1]
    return float(last - columns[0] + 0.4 * glyph_px)


def _read(strips: list[_Strip], glyph_px: float, ends_s: float) -> list[ReadLine]:
    """Reads the lines, and again in another size those of which the first reading was unsure."""
    scale = READ_GLYPH_PX / glyph_px
    read = read_lines([strip.cover for strip in strips], [scale] * len(strips), ends_s - time.monotonic())
    unsure = [index for index, line in enumerate(read) if line.confidence < UNSURE or repair.strange_words(line.text)]
    scale = SECOND_GLYPH_PX / glyph_px
    again = read_lines([strips[index].cover for index in unsure], [scale] * len(unsure), ends_s - time.monotonic())
    for index, line in zip(unsure, again, strict=True):
        if _plausibility(line) > _plausibility(read[index]):
            read[index] = line
    return _with_ages(strips, read, glyph_px, ends_s)


def _with_ages(strips: list[_Strip], read: list[ReadLine], glyph_px: float, ends_s: float) -> list[ReadLine]:
    """Reads `be 8` for `bes`: many a story opens so, and a digit alone looks like a letter."""
    ages = {
        index: cover
        for index, line in enumerate(read)
        if strips[index].begins and repair.is_age(line.text)
        for cover in [_last_glyph(strips[index].cover, glyph_px)]
        if cover is not None
    }
    scales = [READ_GLYPH_PX / glyph_px] * len(ages)
    digits = read_lines(list(ages.values()), scales, ends_s - time.monotonic(), digits=True)
    for index, digit in zip(ages, digits, strict=True):
        if digit.text.isdigit():
            sure = min(digit.confidence, read[index].confidence)
            read[index] = ReadLine((Word("be", read[index].confidence, 0.0), Word(digit.text, sure, 0.0)))
    return read


def _last_glyph(cover: Floats, glyph_px: float) -> Floats | None:
    """The last letter of a line; None where it does not stand apart."""
    columns = np.flatnonzero((cover > INKED).any(axis=0))
    gaps = np.flatnonzero(np.diff(columns) > 0.25 * glyph_px)
    if not len(gaps):
        return None
    return cover[:, max(0, int(columns[gaps[-1] + 1]) - 2) :]


def _plausibility(line: ReadLine) -> tuple[int, float]:
    """Of two readings, that with fewer words that are none, then the surer."""
    return -repair.strange_words(line.text) if line.words else -1000, line.confidence


def _story(strips: list[_Strip], read: list[ReadLine], glyph_px: float) -> tuple[StoryLine, ...]:
    """The post that tells most, and those below that go on with it."""
    posts: dict[int, list[StoryLine]] = {}
    for strip, line in zip(strips, read, strict=True):
        if repair.is_interface(line.text):
            continue
        seen = looked_at(line, strip.cover, glyph_px)
        text, marked = repair.line_text(repair.words_text(seen), marked=strip.markers > 0, begins=strip.begins)
        if strip.markers > 1:
            text = ">" * (strip.markers - 1) + text  # it quotes another post, and is dropped for that
        post = posts.setdefault(strip.post, [])
        told_line = StoryLine(text, line.confidence, tuple(word for word in seen if word[1] < UNSURE_WORD))
        if post and not strip.begins and not marked:
            post[-1] = _longer(post[-1], told_line)
        else:
            post.append(told_line)
    told = {
        number: [line for line in post if line.text and not line.text.startswith(">")] for number, post in posts.items()
    }
    story = repair.main_story([[line.text for line in post] for post in told.values()])
    chosen = [line for number in story for line in list(told.values())[number]]
    texts = repair.story_texts([line.text for line in chosen])
    return tuple(
        StoryLine(text, line.confidence, _still_in(text, line.unsure))
        for text, line in zip(texts, chosen, strict=True)
        if text
    )


def _still_in(text: str, unsure: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    """Those words that the text has, as it has them: repairs may have changed one, or taken it away."""
    there = {word.lower(): word for word in repair.words_in(text)}
    found = []
    for word, confidence in unsure:
        read = (part for form in (word, repair.words_text([(word, confidence)])) for part in repair.words_in(form))
        spelled = next((there[part.lower()] for part in read if part.lower() in there), None)
        if spelled is not None:
            found.append((spelled, confidence))
    return tuple(found)


def _longer(line: StoryLine, rest: StoryLine) -> StoryLine:
    letters, others = len(line.text), len(rest.text)
    if not letters + others:
        return line
    confidence = (letters * line.confidence + others * rest.confidence) / (letters + others)
    return StoryLine(f"{line.text} {rest.text}".strip(), confidence, line.unsure + rest.unsure)
