"""Tells by shape whether a line begins with `>`.

The marker is the one sign that a story's lines cannot do without, and the one that OCR, which expects words, reads
worst. So it is looked for as what it is, two strokes that meet on the right, and cut off before the line is read.
Knows no letters: where a damaged marker is missed, `repair` looks at what was read instead.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

if TYPE_CHECKING:
    from data_pipeline.ocr.ink import Floats

INKED: Final = 0.25
"""A column covered that much somewhere has ink."""
GLYPH_PX: Final = 12
"""Lines are compared in this size: large enough for strokes, small enough to be quick."""
MIN_MATCH: Final = 0.78
"""Correlation with the best template. Of 1,500 heads of lines at 11 to 36 px and JPEG 35 to 95, 98 % of those with a
marker reach it, and 0.3 % of the others."""
# Of a capital letter's height: Arial and Roboto have narrow markers, DejaVu and Verdana wide ones.
_WIDTHS: Final = (0.5, 0.58, 0.66, 0.75, 0.83, 0.92, 1.0)
_HEIGHTS_TO_WIDTH: Final = (0.7, 0.85, 1.0, 1.15)
_STROKES: Final = (0.1, 0.17)


def marker_match(line: Floats, glyph_px: float) -> tuple[float, int]:
    """How much the head of a line looks like a marker, from -1 to 1, and the column where the marker would end."""
    inked = np.flatnonzero((line > INKED).any(axis=0))
    if not len(inked):
        return -1.0, 0
    first, factor = int(inked[0]), GLYPH_PX / glyph_px
    rows = np.flatnonzero((line > INKED).any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    head = line[:, first : first + round(1.6 * glyph_px)]
    size = (max(1, round(head.shape[1] * factor)), max(1, round(head.shape[0] * factor)))
    small = np.asarray(
        Image.fromarray(head).resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC)
    )
    # Room to slide in: a template has a column of paper on each side, and rows of paper above and below.
    small = np.pad(small, ((3, 3), (2, 14)))
    best, end = -1.0, 0
    for template, width in _templates():
        if template.shape[0] > small.shape[0]:
            continue
        windows = sliding_window_view(small[:, : template.shape[1] + 2], template.shape)
        flat = windows.reshape(-1, template.size)
        centred = flat - flat.mean(axis=1, keepdims=True)
        scores = centred @ template.ravel() / (np.linalg.norm(centred, axis=1) + 1e-6)
        # A marker stands in the middle of its line; quotation marks, which have two strokes as well, hang at the top.
        middle = ((np.arange(windows.shape[0]) + template.shape[0] / 2 - 3) / factor - top) / (bottom - top)
        scores[np.repeat((middle < 0.3) | (middle > 0.8), windows.shape[1])] = -1.0
        index = int(scores.argmax())
        if scores[index] > best:
            column = index % windows.shape[1]
            best, end = float(scores[index]), column + 1 + width - 2
    tip = first + round(end / factor)
    return best, _cut(line, first, tip, glyph_px)


def _cut(line: Floats, first: int, tip: int, glyph_px: float) -> int:
    """The column to cut at: the first without ink behind the marker's strokes, or that with the least about its tip."""
    high = min(line.shape[1], round(tip + 0.15 * glyph_px) + 1)
    least = first + round(0.4 * glyph_px)
    clear = np.flatnonzero(line[:, least:high].sum(axis=0) < 0.15)
    if len(clear):
        return least + int(clear[0])
    low = max(1, round(tip - 0.12 * glyph_px))
    if low >= high:
        return int(min(tip, line.shape[1]))
    away = np.abs(np.arange(low, high) - tip) / glyph_px
    return low + int(np.argmin(line[:, low:high].sum(axis=0) + 2.0 * away))


def without_marker(line: Floats, end: int) -> Floats:
    """A line from the column where its marker ends."""
    line = line[:, end:]
    inked = np.flatnonzero((line > INKED).any(axis=0))
    return line[:, max(0, int(inked[0]) - 2) :] if len(inked) else line[:, :0]


@functools.cache
def _templates() -> tuple[tuple[Floats, int], ...]:
    """Markers of several shapes, centred and of length 1, and how wide each is."""
    templates = []
    for part in _WIDTHS:
        width = round(part * GLYPH_PX)
        for aspect in _HEIGHTS_TO_WIDTH:
            height = round(width * aspect)
            for stroke in _STROKES:
                drawn = _drawn(width, height, stroke * GLYPH_PX)
                centred = drawn - drawn.mean()
                templates.append((centred / np.float32(np.linalg.norm(centred)), width))
    return tuple(templates)


def _drawn(width: int, height: int, stroke: float) -> Floats:
    """(height + 2, width + 2): two strokes from the left corners to the middle of the right edge."""
    y, x = np.mgrid[0 : height + 2, 0 : width + 2].astype(np.float32)
    tip_x, tip_y = width + 0.5 - stroke / 2, (height + 1) / 2
    distance = np.full(x.shape, np.inf, np.float32)
    for corner_y in (0.5 + stroke / 2, height + 0.5 - stroke / 2):
        corner_x = 0.5 + stroke / 2
        dx, dy = tip_x - corner_x, tip_y - corner_y
        along = np.clip(((x - corner_x) * dx + (y - corner_y) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        distance = np.minimum(distance, np.hypot(x - corner_x - along * dx, y - corner_y - along * dy))
    result: Floats = np.clip(stroke / 2 + 0.5 - distance, 0.0, 1.0).astype(np.float32)
    return result
