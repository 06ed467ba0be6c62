"""Copies are found, and different stories are never taken for copies."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_pipeline.images.duplicates import copies, distances, hash_words
from data_pipeline.images.picture import perceptual_hash
from data_pipeline.images.settings import DEFAULT_DISTANCE
from tests.data_pipeline.picture_server import encoded, screenshot, starter_stories

if TYPE_CHECKING:
    from collections.abc import Callable

STORIES = random.Random(5).sample(starter_stories(), 60)
PAGES = [screenshot(text) for text in STORIES]


def apart(one: Image.Image, other: Image.Image) -> int:
    words = hash_words([perceptual_hash(one), perceptual_hash(other)])
    return int(distances(words[0], words[1:])[0])


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality)))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def test_screenshots_that_differ_in_their_text_only_are_far_apart() -> None:
    words = hash_words([perceptual_hash(page) for page in PAGES])
    nearest = min(int(np.delete(distances(row, words), index).min()) for index, row in enumerate(words))
    assert nearest > 5 * DEFAULT_DISTANCE


@pytest.mark.parametrize(
    "copy",
    [lambda page: as_jpeg(page, 90), lambda page: as_jpeg(page, 75), lambda page: scaled(page, 0.5),
     lambda page: scaled(page, 1.5), lambda page: as_jpeg(scaled(page, 0.75), 90)],
    ids=["jpeg 90", "jpeg 75", "half", "larger", "smaller jpeg"],
)  # fmt: skip
def test_copies_of_a_screenshot_are_near(copy: Callable[[Image.Image], Image.Image]) -> None:
    assert max(apart(page, copy(page)) for page in PAGES[:20]) <= DEFAULT_DISTANCE


def test_another_last_line_makes_another_picture() -> None:
    for page, text, other in zip(PAGES[:20], STORIES, STORIES[1:], strict=False):
        changed = "\n".join([*text.split("\n")[:-1], other.split("\n")[-1]])
        assert apart(page, screenshot(changed)) > DEFAULT_DISTANCE


def flipped(rng: random.Random, bits: int) -> str:
    value = 0
    for bit in rng.sample(range(1024), bits):
        value |= 1 << bit
    return f"{value:0256x}"


@given(seed=st.integers(0, 2**32), bits=st.lists(st.integers(0, 40), max_size=25), distance=st.integers(-1, 60))
def test_copies_are_near_what_is_kept_and_what_is_kept_is_not_near_each_other(
    seed: int, bits: list[int], distance: int
) -> None:
    rng = random.Random(seed)
    hashes = [flipped(rng, count) for count in bits]
    pixels = [rng.randrange(3) for _ in bits]
    found = copies(hashes, pixels, distance)
    words = hash_words(hashes)
    kept = [index for index in range(len(bits)) if index not in found]
    for copy, (of, differ) in found.items():
        assert of in kept
        assert differ == int(distances(words[copy], words[of : of + 1])[0]) <= distance
        assert (pixels[of], -of) > (pixels[copy], -copy)
    for index in kept:
        others = [other for other in kept if other != index]
        assert all(distances(words[index], words[others]) > distance)


def test_of_copies_the_largest_is_kept_and_of_equal_ones_the_first() -> None:
    same = [flipped(random.Random(1), 7)] * 4
    assert copies(same, [5, 9, 9, 5], 0) == {0: (1, 0), 2: (1, 0), 3: (1, 0)}
    assert copies(same, [5, 5, 5, 5], -1) == {}


@pytest.mark.parametrize("digits", ["", "ff" * 127, "xy" * 128])
def test_what_is_no_hash_is_named(digits: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        hash_words([digits])
