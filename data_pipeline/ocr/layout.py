"""From pieces of ink to the lines of a story: what is a picture, what is a line, which post tells the story.

A quoted line is green, and on these boards each green line begins with `>` or goes on from the one above. So the story
is found by colour, whatever stands around it: heads of posts, `File:` lines, links and replies are of other colours,
and thumbnails are too large. Where a page has no green at all (a grey copy), every line is taken, and markers alone
tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from data_pipeline.ocr.ink import LUMA, cut, greenness

if TYPE_CHECKING:
    from data_pipeline.ocr.ink import Floats, Ink, Integers, Mask

MIN_GLYPH_PX: Final = 4
MAX_GLYPH_PX: Final = 160
PICTURE_PX: Final = 48
"""A piece as wide and as high as that is a picture, unless it is a frame around things."""
GREEN: Final = -0.006
"""Lines greener than that (`ink.greenness`) are green: in JPEG 35 Tomorrow's green has 0.000, and its text -0.018."""
DOUBTFUL: Final = -0.013
"""Lines less green than that are not green, whatever lines stand around them."""
MIN_GREEN_PIECES: Final = 8
"""With fewer green pieces than these a page has no green text: a line has three letters."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it stands on the page."""

    top: int
    left: int
    bottom: int
    right: int
    pieces: tuple[int, ...]
    greenness: float
    """About 0 and above where it is green (`ink.greenness`)."""

    @property
    def height(self) -> int:
        """In pixels, from its highest to its lowest ink."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Page:
    """The lines of a page that may be story, post by post, from top to bottom."""

    posts: tuple[tuple[Line, ...], ...]
    glyph_px: float
    """About the height of a capital letter."""
    green: bool
    """Whether lines were told apart by colour."""


def find_posts(ink: Ink) -> Page:
    """The lines that may be story. No post at all where there is no text."""
    pictures = _pictures(ink)
    free = ~_inside(ink, pictures)
    plausible = free & (ink.heights >= MIN_GLYPH_PX) & (ink.heights <= MAX_GLYPH_PX) & (ink.widths <= 25 * ink.heights)
    in_green = plausible & ink.greenish
    green = int(in_green.sum()) >= MIN_GREEN_PIECES
    glyph_px = _glyph_height(ink, in_green if green else plausible)
    if not glyph_px:
        return Page((), 0.0, green=green)
    lines = find_lines(ink, free, glyph_px)
    in_story = _in_green(lines, glyph_px) if green else [True] * len(lines)
    story = [line for line, chosen in zip(lines, in_story, strict=True) if chosen]
    others = [line for line, chosen in zip(lines, in_story, strict=True) if not chosen]
    return Page(_posts(story, others, glyph_px), glyph_px, green=green)


def _pictures(ink: Ink) -> Integers:
    """The pieces that are pictures: large both ways, and filled. A frame around a post is large and empty."""
    large = (ink.heights >= PICTURE_PX) & (ink.widths >= PICTURE_PX)
    filled = ink.areas >= 0.2 * ink.heights * ink.widths
    result: Integers = np.flatnonzero(large & filled)
    return result


def _inside(ink: Ink, pictures: Integers) -> Mask:
    """(pieces,): whether a piece is, or lies in, a picture."""
    top, left, bottom, right = ink.boxes.T
    middle_y, middle_x = (top + bottom) / 2, (left + right) / 2
    inside = np.zeros(len(ink.boxes), np.bool_)
    for picture in pictures:
        box = ink.boxes[picture]
        inside |= (middle_y >= box[0]) & (middle_y <= box[2]) & (middle_x >= box[1]) & (middle_x <= box[3])
    return inside


def _glyph_height(ink: Ink, pieces: Mask) -> float:
    """About the height of a capital letter, from pieces most of which are letters; 0 where there are none."""
    heights = ink.heights[pieces]
    if not len(heights):
        return 0.0
    heights = heights[heights >= 0.4 * np.percentile(heights, 90)]  # without dots, commas and specks
    return float(np.percentile(heights, 75))


def find_lines(ink: Ink, free: Mask, glyph_px: float) -> list[Line]:
    """All lines of text, from top to bottom."""
    heights, widths = ink.heights, ink.widths
    rules = (widths > 4 * glyph_px) & (heights < 0.35 * glyph_px)
    bars = (heights > 1.6 * glyph_px) & (widths < 0.12 * glyph_px)
    # Letters, and letters of several lines that touch; not the patches of a picture, which are full.
    single = heights <= 1.6 * glyph_px
    several = (heights <= 4 * glyph_px) & (ink.areas <= 0.4 * heights * widths)
    glyphs = free & (single | several) & ~rules & ~bars
    mask = np.concatenate([[False], glyphs])[ink.labels]
    # Letters and words grow together sideways; what is still apart is apart on the page.
    reach = max(3, round(0.9 * glyph_px)) | 1
    grown = ndimage.maximum_filter1d(mask.view(np.uint8), reach, axis=1)
    strips, count = ndimage.label(grown, output=np.int32)
    if not count:
        return []
    # A piece is in one strip: that of any of its pixels.
    strip_of = np.zeros(len(ink.boxes) + 1, np.int64)
    strip_of[ink.labels[mask]] = strips[mask]
    members = np.flatnonzero(strip_of[1:])
    order = members[np.argsort(strip_of[members + 1], kind="stable")]
    bounds = np.flatnonzero(np.diff(strip_of[order + 1])) + 1
    lines = [_line(ink, part) for pieces in np.split(order, bounds) for part in _apart(ink, pieces, glyph_px)]
    # Also the tails that were cut from a line, however many side by side.
    specks = [line for line in lines if line.height < 0.5 * glyph_px]
    text = [line for line in lines if line not in specks]
    return _with_specks(ink, _joined(ink, text, glyph_px), specks, glyph_px)


def _with_specks(ink: Ink, lines: list[Line], specks: list[Line], glyph_px: float) -> list[Line]:
    """The lines, with the dots, quotation marks and commas that stand too high or low to have grown into them."""
    added: dict[int, list[int]] = {}
    for speck in specks:
        x, y = (speck.left + speck.right) / 2, (speck.top + speck.bottom) / 2
        for index, line in enumerate(lines):
            beside = line.left - 0.6 * glyph_px <= x <= line.right + 0.6 * glyph_px
            if beside and line.top - 0.4 * glyph_px <= y <= line.bottom + 0.15 * glyph_px:
                added.setdefault(index, []).extend(speck.pieces)
                break
    return [
        _line(ink, np.array(sorted((*line.pieces, *added[index])))) if index in added else line
        for index, line in enumerate(lines)
    ]


def _apart(ink: Ink, pieces: Integers, glyph_px: float) -> list[Integers]:
    """The lines of a strip: where lines stand close, a tail touches the letter below it, and both became one strip."""
    top, bottom = int(ink.boxes[pieces, 0].min()), int(ink.boxes[pieces, 2].max())
    if bottom - top < 1.75 * glyph_px:
        return [pieces]
    left, right = int(ink.boxes[pieces, 1].min()), int(ink.boxes[pieces, 3].max())
    profile = np.isin(ink.labels[top:bottom, left:right], pieces + 1).sum(axis=1)
    margin = max(2, round(0.6 * glyph_px))
    inner = profile[margin:-margin]
    if not len(inner):
        return [pieces]
    row = top + margin + int(inner.argmin())
    if inner.min() > 0.35 * profile.mean():
        return [pieces]
    pieces = np.concatenate([pieces, cut(ink, pieces, row)])
    middle = ink.boxes[pieces][:, ::2].mean(axis=1)
    upper, lower = pieces[middle < row], pieces[middle >= row]
    if not len(upper) or not len(lower):
        return [pieces]
    return [*_apart(ink, upper, glyph_px), *_apart(ink, lower, glyph_px)]


def _line(ink: Ink, pieces: Integers) -> Line:
    boxes = ink.boxes[pieces]
    top, left = boxes[:, :2].min(axis=0).tolist()
    bottom, right = boxes[:, 2:].max(axis=0).tolist()
    return Line(top, left, bottom, right, tuple(pieces.tolist()), _greenness(ink, pieces, (top, left, bottom, right)))


def _greenness(ink: Ink, pieces: Integers, box: tuple[int, int, int, int]) -> float:
    """By all its ink, with the fringes into which JPEG spreads its colour."""
    top, left, bottom, right = box
    fringe = max(2, (bottom - top) // 4)
    area = np.s_[max(0, top - fringe) : bottom + fringe, max(0, left - fringe) : right + fringe]
    own = np.isin(ink.labels[area], pieces + 1)
    near = ndimage.binary_dilation(own, iterations=fringe)
    rgb = ink.rgb[area].astype(np.float32)
    background = np.median(ink.background[area][own], axis=0).astype(np.float32)
    difference = (rgb[near & (ink.labels[area] == 0) | own] - background).sum(axis=0)
    return float(greenness(difference[None].astype(np.float32), background[None].astype(np.float32))[0])


def _in_green(lines: list[Line], glyph_px: float) -> list[bool]:
    """Which lines are green, by themselves or by the company they keep: JPEG bleaches the green of some."""
    green = [line.greenness > GREEN for line in lines]
    for index, line in enumerate(lines):
        if not green[index] and line.greenness > DOUBTFUL:
            green[index] = any(
                other.greenness > GREEN
                and abs(other.left - line.left) <= 0.5 * glyph_px
                and max(other.top - line.bottom, line.top - other.bottom) <= glyph_px
                for other in lines
            )
    return green


def _joined(ink: Ink, lines: list[Line], glyph_px: float) -> list[Line]:
    """Parts side by side become one line: quotation marks stand off, and some spaces are wide."""
    joined: list[Line] = []
    for line in sorted(lines, key=lambda line: (line.left, line.top)):
        for index, other in enumerate(joined):
            overlap = min(line.bottom, other.bottom) - max(line.top, other.top)
            near = line.left - other.right <= 1.5 * glyph_px
            if (
                near
                and (line.greenness > GREEN) == (other.greenness > GREEN)
                and overlap >= 0.5 * min(line.height, other.height)
            ):
                joined[index] = _line(ink, np.array(sorted((*other.pieces, *line.pieces))))
                break
        else:
            joined.append(line)
    return sorted((line for line in joined if line.height >= 0.4 * glyph_px), key=lambda line: (line.top, line.left))


def _posts(story: list[Line], others: list[Line], glyph_px: float) -> tuple[tuple[Line, ...], ...]:
    """Lines with other text between them, or far from each other, are of different posts."""
    posts: list[list[Line]] = []
    for line in story:
        if posts and not _parted(posts[-1][-1], line, others, glyph_px):
            posts[-1].append(line)
        else:
            posts.append([line])
    return tuple(tuple(post) for post in posts if not _is_quotation(post, others, glyph_px))


def _parted(above: Line, below: Line, others: list[Line], glyph_px: float) -> bool:
    gap = below.top - above.bottom
    if gap > 6 * glyph_px:
        return True
    return gap > 0.8 * glyph_px and any(
        above.bottom <= (other.top + other.bottom) / 2 <= below.top and other.right - other.left > 2 * glyph_px
        for other in others
    )


def _is_quotation(post: list[Line], others: list[Line], glyph_px: float) -> bool:
    """Whether a post only quotes a line or two and then says something about it in another colour."""
    last = post[-1]
    return len(post) <= 2 and any(
        other.right - other.left > 2 * glyph_px
        and 0 <= other.top - last.bottom <= 0.9 * glyph_px
        and abs(other.left - post[0].left) <= glyph_px
        for other in others
    )


def crop(ink: Ink, line: Line) -> Floats:
    """A line alone, (height, width): 0 where there is no ink to 1 where all is."""
    margin = 2
    top, left = max(0, line.top - margin), max(0, line.left - margin)
    area = np.s_[top : line.bottom + margin, left : line.right + margin]
    own = np.isin(ink.labels[area], np.array(line.pieces) + 1)
    near = ndimage.binary_dilation(own, iterations=margin)
    luma = ink.rgb[area] @ LUMA
    around = luma[~near]
    paper = float(np.median(around)) if len(around) else float(np.median(ink.background[area] @ LUMA))
    full = float(np.percentile(np.abs(luma[own] - paper), 90)) if own.any() else 1.0
    dark = 1.0 if float((luma[own] - paper).sum()) > 0 else -1.0
    cover = np.where(near, np.clip((luma - paper) * dark / max(full, 1.0), 0.0, 1.0), 0.0)
    result: Floats = cover.astype(np.float32)
    return result
