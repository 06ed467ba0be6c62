"""The best of each group of copies: equal files, and pictures whose perceptual hashes are near each other.

Screenshots of text are much alike: of 680 stories (`data/greentexts/starter.jsonl`) rendered 620 pixels wide in one
layout some differ in none of the 64 bits of the usual pHash. With 1,024 bits (32 x 32) the two most alike differ in
182. Copies of one picture differ in at most 16 bits when scaled (0.5 to 1.5) or saved as JPEG of quality 90, in up to
30 at quality 50, in up to 76 at half size and quality 40. Pictures that differ in one line only begin at 22 bits (one
story) and at 10 (three stories in one picture: 2.6 % of them up to 20), in one word only at 6.

The distance is set to 20, below nearly all that differ in a line: a copy that is missed costs half a second of OCR, and
`filters` finds it in the text; a story that is taken for another is lost. Cropped copies are not found here at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_HASH_WORDS: Final = 16
"""A hash is as many words of 64 bits."""


def hash_words(perceptual_hashes: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes of 256 hexadecimal digits as rows of 16 words. Raises ValueError if one is none."""
    rows = [bytes.fromhex(digits) for digits in perceptual_hashes]
    wrong = next(
        (digits for digits, row in zip(perceptual_hashes, rows, strict=True) if len(row) != _HASH_WORDS * 8), None
    )
    if wrong is not None:
        raise ValueError(f"a perceptual hash has {_HASH_WORDS * 16} hexadecimal digits, {wrong!r} has {len(wrong)}")
    return np.frombuffer(b"".join(rows), dtype=np.uint64).reshape(-1, _HASH_WORDS)


def distances(one: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Bits in which a hash (16 words) differs from each of others (n x 16 words)."""
    apart: NDArray[np.int64] = np.bitwise_count(others ^ one).sum(axis=1, dtype=np.int64)
    return apart


def copies(perceptual_hashes: Sequence[str], pixels: Sequence[int], distance: int) -> dict[int, tuple[int, int]]:
    """Of each picture that is a copy: the one to keep in its stead, and in how many bits they differ.

    Those with more pixels are kept, of equal ones the first. A copy is near to the kept one itself, not merely to
    another copy: chains of small differences do not join what is different. A negative distance finds nothing.
    """
    found: dict[int, tuple[int, int]] = {}
    words = hash_words(perceptual_hashes)
    kept = np.empty_like(words)
    kept_indices: list[int] = []
    for index in sorted(range(len(words)), key=lambda index: (-pixels[index], index)):
        if kept_indices and distance >= 0:
            apart = distances(words[index], kept[: len(kept_indices)])
            nearest = int(apart.argmin())
            if apart[nearest] <= distance:
                found[index] = (kept_indices[nearest], int(apart[nearest]))
                continue
        kept[len(kept_indices)] = words[index]
        kept_indices.append(index)
    return found
