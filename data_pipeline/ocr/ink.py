"""Where a screenshot has ink, in connected pieces, and what colour each piece has.

Promises pieces and colours, not meaning: what a line, a picture or a post is, is `layout`'s to say. A colour is judged
by the sum of a piece's differences from the paper, which neither smoothing nor JPEG's blurred colours change much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterator

Floats: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]
Pixels: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.bool_]

INK_DISTANCE: Final = 75.0
"""A pixel that far from its background, in RGB, is ink. The themes' backgrounds are at most 44 from each other; the
thinnest strokes of their green, half covered, are 90 from theirs."""
ALIKE: Final = 24.0
"""Papers nearer to each other than that, in RGB, are one, tinted."""
MAX_PAPERS: Final = 12
MAX_PIECES: Final = 200_000
"""With more it is noise: a page full of text has a tenth of that."""
OTHER_PAPER: Final = 0.12
"""Share of the plain tiles from which a colour unlike the commonest is paper all the same."""
LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as JPEG has it: the one channel that it keeps sharp."""

# The greens of quoted lines: Yotsuba, Yotsuba B and Photon (and the apps), and Tomorrow; each also as JPEG bleaches it.
_GREENS: Final = np.array([(120, 153, 34), (122, 152, 70), (181, 189, 104), (181, 186, 131)], np.float32)
# What else is on a page: text, names, subjects, links, quote links and notes of those themes.
_OTHERS: Final = np.array(
    [
        (0, 0, 0), (51, 51, 51), (128, 0, 0), (197, 200, 198), (255, 255, 255), (112, 112, 112), (17, 119, 67),
        (0, 74, 153), (204, 17, 5), (15, 12, 93), (178, 148, 187), (0, 0, 238), (52, 52, 92), (221, 0, 0),
        (95, 137, 172), (129, 162, 190), (255, 102, 0), (0, 34, 68),
    ],
    np.float32,
)  # fmt: skip
_MIN_COSINE: Final = 0.9


@dataclass(slots=True)
class Ink:
    """The pieces of ink of a page; piece `n` (from 0) has label `n + 1`."""

    rgb: Pixels
    """(height, width, 3)"""
    background: Pixels
    """(height, width, 3): the colour that each pixel would have without ink."""
    labels: NDArray[np.int32]
    """(height, width): 0 where there is no ink."""
    boxes: Integers
    """(pieces, 4): top, left, bottom, right; the latter two exclusive."""
    areas: Integers
    """(pieces,): pixels of ink."""
    greenish: Mask
    """(pieces,): whether its ink, taken by itself, is more like the green of quoted lines than like anything else."""

    @property
    def heights(self) -> Integers:
        """(pieces,)"""
        return self.boxes[:, 2] - self.boxes[:, 0]

    @property
    def widths(self) -> Integers:
        """(pieces,)"""
        return self.boxes[:, 3] - self.boxes[:, 1]


def find_ink(rgb: Pixels) -> Ink:
    """The ink of a page, (height, width, 3); none where there are more than `MAX_PIECES` pieces."""
    background = _background(rgb)
    difference = rgb.astype(np.int16)
    difference -= background
    mask = np.einsum("ijk,ijk->ij", difference, difference, dtype=np.int32) >= INK_DISTANCE**2
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), np.uint8), output=np.int32)
    if not 0 < count <= MAX_PIECES:
        nothing: Any = np.zeros(0, np.int64)
        return Ink(rgb, background, labels, nothing.reshape(0, 4), nothing, nothing.astype(bool))
    boxes = np.array(
        [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in ndimage.find_objects(labels)],
        np.int64,
    )
    inked = labels[mask] - 1
    areas = np.bincount(inked, minlength=count)
    sums = np.stack(
        [np.bincount(inked, weights=difference[..., channel][mask], minlength=count) for channel in range(3)], axis=1
    )
    below = np.stack(
        [np.bincount(inked, weights=background[..., channel][mask], minlength=count) for channel in range(3)], axis=1
    )
    greenish = greenness(sums.astype(np.float32), (below / areas[:, None]).astype(np.float32)) > 0
    return Ink(rgb, background, labels, boxes, areas, greenish)


def greenness(difference: Floats, background: Floats) -> Floats:
    """(n,): how much more differences (n, 3) from backgrounds (n, 3) point to the green of quoted lines than to others.

    Above 0 for green. Only the direction counts: a half covered pixel differs half as much, and points the same way. It
    is the difference of two cosines; between the themes' green and the nearest of their other colours lies 0.05.
    """
    length = np.linalg.norm(difference, axis=1) + 1e-6

    def nearness(colours: Floats) -> Floats:
        towards = colours[None] - background[:, None]
        cosines = np.einsum("nck,nk->nc", towards, difference)
        result: Floats = (cosines / (np.linalg.norm(towards, axis=2) + 1e-6) / length[:, None]).max(axis=1)
        return result

    green = nearness(_GREENS)
    result: Floats = np.where(green >= _MIN_COSINE, green - nearness(_OTHERS), -1.0)
    return result


def _background(rgb: Pixels) -> Pixels:
    """The colour of the paper at each pixel: that of its tile, or of a tile beside that is nearer and much alike.

    Tiles that a post's edge crosses have two papers. Text is never taken for paper: it is further from the tile's paper
    than papers are from each other.
    """
    height, width, _ = rgb.shape
    tile = int(np.clip(min(height, width) // 16, 16, 64))
    papers = _papers(rgb, tile)
    spread = np.repeat(np.repeat(papers.astype(np.uint8), tile, axis=0), tile, axis=1)[:height, :width].copy()
    for row, column, several in _crossed(papers):
        area = np.s_[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        spread[area] = several.astype(np.uint8)[_nearest_paper(rgb[area].astype(np.int16), several)]
    return spread


def _nearest_paper(pixels: NDArray[np.int16], papers: NDArray[np.int16]) -> Integers:
    """(height, width): which of the papers lies at each pixel. The paper around decides, for text is like none."""
    distances = np.stack([np.abs(pixels - paper).max(axis=2) for paper in papers])
    nearest = distances.argmin(axis=0)
    clear = distances.min(axis=0) <= 16
    shares = [
        ndimage.uniform_filter((clear & (nearest == index)).astype(np.float32), 9) for index in range(len(papers))
    ]
    result: Integers = np.where(clear, nearest, np.argmax(shares, axis=0))
    return result


def _papers(rgb: Pixels, tile: int) -> NDArray[np.int16]:
    """(rows, columns, 3): the paper of each tile: that of which it shows most.

    Where a tile shows none, for a picture covers it, it is that of the nearest tile.
    """
    height, width, _ = rgb.shape
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.pad(rgb, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), mode="edge")
    # Every other row and column will do.
    some = padded.reshape(rows, tile, columns, tile, 3)[:, ::2, :, 1::2].astype(np.int16)
    tiles = some.swapaxes(1, 2).reshape(rows, columns, -1, 3)
    medians: NDArray[np.int16] = np.stack([np.median(row, axis=1) for row in tiles]).astype(np.int16)
    plain = np.stack([_share(row, paper[:, None]) for row, paper in zip(tiles, medians, strict=True)])
    palette = _palette(medians[plain >= 0.9] if (plain >= 0.9).any() else medians[plain >= 0.5])
    if not len(palette):
        return medians
    shares = np.stack([[_share(row, paper) for row in tiles] for paper in palette], axis=2)
    best: NDArray[np.int16] = palette[shares.argmax(axis=2)]
    covered = shares.max(axis=2) < 0.15
    if not covered.any() or covered.all():
        return best
    row, column = ndimage.distance_transform_edt(covered, return_distances=False, return_indices=True)
    result: NDArray[np.int16] = best[row, column]
    return result


def _share(tiles: NDArray[np.int16], colour: NDArray[np.int16]) -> Floats:
    """(tiles,): the share of the pixels (tiles, pixels, 3) that have about that colour."""
    result: Floats = (np.abs(tiles - colour).max(axis=2) <= 14).mean(axis=1, dtype=np.float32)
    return result


def _palette(colours: NDArray[np.int16]) -> NDArray[np.int16]:
    """(papers, 3): the common colours among those of plain tiles, (n, 3), the commonest first, none like another.

    A theme's papers are alike. One that is not may be the paper of another theme, or a plain part of a picture, so it
    has to be seen often.
    """
    palette: list[NDArray[np.int16]] = []
    left = colours
    while len(left) and len(palette) < MAX_PAPERS:
        steps, counts = np.unique(left // 4, axis=0, return_counts=True)
        middle = steps[counts.argmax()] * 4 + 2
        near = np.linalg.norm((left - middle).astype(np.float32), axis=1) <= ALIKE / 2
        if not near.any():
            break
        paper = np.median(left[near], axis=0).astype(np.int16)
        alike = not palette or np.linalg.norm((paper - palette[0]).astype(np.float32)) < INK_DISTANCE
        if alike or near.sum() >= OTHER_PAPER * len(colours):
            palette.append(paper)
        left = left[~near]
    return np.array(palette, np.int16).reshape(-1, 3)


def _crossed(medians: NDArray[np.int16]) -> Iterator[tuple[int, int, NDArray[np.int16]]]:
    """Row, column and (n, 3) papers of each tile that has others of similar, but not the same, colour around it."""
    rows, columns, _ = medians.shape
    padded = np.pad(medians, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = np.stack([padded[dy : dy + rows, dx : dx + columns] for dy in range(3) for dx in range(3)], axis=2)
    distance = np.linalg.norm((around - medians[:, :, None]).astype(np.float32), axis=3)
    alike = (distance > 6.0) & (distance < INK_DISTANCE)
    for row, column in np.argwhere(alike.any(axis=2)):
        papers = np.concatenate([medians[row, column][None], around[row, column][alike[row, column]]])
        yield int(row), int(column), np.unique(papers, axis=0)


def cut(ink: Ink, pieces: Integers, row: int) -> Integers:
    """Cuts those of the pieces that stand in both at a row, which then begins the lower one; returns the new pieces."""
    boxes = ink.boxes[pieces]
    through = pieces[(row - boxes[:, 0] >= 2) & (boxes[:, 2] - row >= 2)]
    lower = []
    for piece in through:
        _, left, bottom, right = ink.boxes[piece]
        below = ink.labels[row:bottom, left:right]
        mask = below == piece + 1
        if not mask.any():
            continue
        label = len(ink.boxes) + 1
        below[mask] = label
        columns, lines = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        box = (row + lines[0], left + columns[0], row + lines[-1] + 1, left + columns[-1] + 1)
        ink.boxes = np.vstack([ink.boxes, np.array([box], np.int64)])
        ink.boxes[piece, 2] = row
        area = int(mask.sum())
        ink.areas = np.append(ink.areas, area)
        ink.areas[piece] -= area
        ink.greenish = np.append(ink.greenish, ink.greenish[piece])
        lower.append(label - 1)
    return np.array(lower, np.int64)
