"""Looks at first letters again where reading alone cannot tell: has that `I` a dot, is that `C` a `c`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from data_pipeline.ocr.engine import ReadLine, Word
    from data_pipeline.ocr.ink import Floats

_UPRIGHT: Final = frozenset("Iil|1")
_TWO_SIZES: Final = frozenset("CcOoSsVvWwXxZz")
_OPENING: Final = "\"'([“‘"  # noqa: RUF001
INKED: Final = 0.3
SMALL: Final = 0.13
"""A small letter stands out at most that far above the others, of their height; a capital one by 0.38. A letter that
stands out may also be touched by a tall one, so no letter is made a capital."""
DOTTED: Final = 0.6
"""Ink between dot and stem, of the stem's: up to that there is a dot."""
SOLID: Final = 0.85
"""And from that there is none."""


def looked_at(line: ReadLine, cover: Floats, glyph_px: float) -> list[tuple[str, float]]:
    """The words of a line and their confidences; they begin with the letters that their shapes say.

    An upright stroke with a dot is an `i`; of letters that are alike in both cases, the lower is small.
    """
    x_line = _x_line(cover)
    return [(_begun_as_seen(word, cover, x_line, glyph_px), word.confidence) for word in line.words]


def _begun_as_seen(word: Word, cover: Floats, x_line: tuple[int, int] | None, glyph_px: float) -> str:
    text = word.text.lstrip(_OPENING)
    before, first, rest = word.text[: len(word.text) - len(text)], text[:1], text[1:]
    if before or not first:
        return word.text  # where the letter stands is not known
    glyph = _glyph(cover, word.left, glyph_px)
    if glyph is None:
        return word.text
    if first in _UPRIGHT and not rest[:1].isdigit():
        return _upright(first, rest, dotted=_is_dotted(glyph, x_line, glyph_px))
    if first in _TWO_SIZES and x_line is not None:
        return first.lower() + rest if _above_x_line(glyph, x_line) <= SMALL else word.text
    return word.text


def _upright(first: str, rest: str, *, dotted: bool | None) -> str:
    if dotted is None or (first == "l" and rest and not dotted):
        return first + rest
    if dotted:
        return f"i{rest}"
    return f"I{rest}" if first == "i" or not rest or rest.startswith("'") else first + rest


def _x_line(cover: Floats) -> tuple[int, int] | None:
    """The first and last row of the band in which small letters stand: where most of the ink is."""
    rows = cover.sum(axis=1)
    band = np.flatnonzero(rows >= 0.45 * rows.max())
    if not len(band) or cover.shape[1] < 6 * cover.shape[0]:
        return None  # of a few letters any may be tall
    return int(band[0]), int(band[-1])


def _glyph(cover: Floats, left: float, glyph_px: float) -> Floats | None:
    """The letter that begins at about a column, as far as it stands apart; None where there is none."""
    start = max(0, round(left - 0.25 * glyph_px))
    inked = np.flatnonzero((cover[:, start : round(left + 1.3 * glyph_px)] > INKED).any(axis=0)) + start
    if not len(inked):
        return None
    runs = np.split(inked, np.flatnonzero(np.diff(inked) > 1) + 1)
    run = min(runs, key=lambda run: abs(float(run[0]) - left))
    return cover[:, int(run[0]) : int(run[-1]) + 1]


def _above_x_line(glyph: Floats, x_line: tuple[int, int]) -> float:
    """How far a letter stands out above the small ones, of their height."""
    top = int(np.flatnonzero((glyph > INKED).any(axis=1))[0])
    return (x_line[0] - top) / (x_line[1] - x_line[0] + 1)


def _is_dotted(glyph: Floats, x_line: tuple[int, int] | None, glyph_px: float) -> bool | None:
    """Whether an upright stroke has a dot above it, or room for one that was lost; None where that cannot be seen."""
    if glyph.shape[1] > 0.5 * glyph_px:
        return None
    profile = glyph.max(axis=1)
    rows = np.flatnonzero(profile > INKED)
    top, height = int(rows[0]), int(rows[-1] - rows[0] + 1)
    if x_line is not None and _above_x_line(glyph, x_line) <= SMALL and height >= 0.5 * glyph_px:
        return True
    if height < 0.8 * glyph_px:
        return None
    stem = float(np.median(profile[top + height // 2 : top + height]))
    gap = float(profile[top + 1 : top + max(3, round(0.42 * height))].min()) / max(stem, 1e-6)
    return True if gap <= DOTTED else False if gap >= SOLID else None
