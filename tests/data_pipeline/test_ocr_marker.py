"""Markers told by shape, from 11 pixels in JPEG 35 up."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw

from data_pipeline.ocr.marker import MIN_MATCH, marker_match, without_marker
from data_pipeline.rendered.fonts import font

WORDS = (
    "be me", "find a frog", "thunder so loud", "so mad", "rain falls", "yes", "2 cats", "Dad says", "The end",
    "very cozy",
    "Knock knock", "just a box", "x marks it", "fries", "wife smiles", "i am", "Zzz", "(no)", "7 pm", "good night",
)  # fmt: skip


def drawn(text: str, size_px: int, family: str, quality: int) -> Any:
    """A line as the reader sees it: 0 where there is paper to 1 where there is ink."""
    face = font(family, size_px)
    image = Image.new("RGB", (int(face.getlength(text)) + 16, 2 * size_px), (240, 224, 214))
    ImageDraw.Draw(image).text((6, round(1.4 * size_px)), text, (120, 153, 34), face, anchor="ls")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    luma = np.asarray(Image.open(buffer).convert("L")).astype(np.float32)
    cover = np.clip((np.median(luma) - luma) / 92, 0, 1)
    return np.where(cover < 0.12, 0, cover).astype(np.float32)


@pytest.mark.parametrize("size_px", [11, 13, 18, 36])
@pytest.mark.parametrize("family", ["arial", "dejavu"])
def test_lines_with_a_marker_are_told_from_those_without(family: str, size_px: int) -> None:
    found = {True: 0, False: 0}
    for number, words in enumerate(WORDS):
        quality = (90, 65, 35)[number % 3]
        for marked in (True, False):
            match, _ = marker_match(drawn(f">{words}" if marked else words, size_px, family, quality), 0.74 * size_px)
            found[marked] += match >= MIN_MATCH
    # The smallest are damaged; where a line must begin, less is enough for the page.
    assert found[True] >= (12 if size_px == 11 else len(WORDS) - 2)
    assert found[False] <= 1


def test_what_opens_a_quotation_is_no_marker() -> None:
    for size_px in (11, 13, 18, 36):
        match, _ = marker_match(drawn('"yes" she says', size_px, "arial", 80), 0.74 * size_px)
        assert match < MIN_MATCH


@pytest.mark.parametrize("size_px", [13, 24])
@pytest.mark.parametrize("words", ["be me", "i am here", '"yes" she says', "jump", "thunder"])
def test_the_marker_is_cut_off_and_nothing_else(words: str, size_px: int) -> None:
    alone = drawn(words, size_px, "arial", 95)
    line = drawn(f">{words}", size_px, "arial", 95)
    match, end = marker_match(line, 0.74 * size_px)
    assert match >= MIN_MATCH
    rest = without_marker(line, end)
    assert rest.sum() == pytest.approx(alone.sum(), rel=0.05)


@settings(max_examples=60)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=50),
        elements=st.floats(0, 1, width=32),
    ),
    st.floats(3, 60),
)
def test_whatever_ink_there_is_the_answer_is_within_the_line(line: Any, glyph_px: float) -> None:
    match, end = marker_match(line, glyph_px)
    assert -1.0 <= match <= 1.0001
    assert 0 <= end <= line.shape[1]
    assert without_marker(line, end).shape[0] == line.shape[0]


def test_no_ink_is_no_marker() -> None:
    assert marker_match(np.zeros((10, 30), np.float32), 8.0) == (-1.0, 0)


def test_noise_is_seldom_a_marker() -> None:
    numbers = random.Random(1)
    found = 0
    for _ in range(100):
        noise = np.random.default_rng(numbers.getrandbits(32)).random((16, 60), np.float32)
        found += marker_match(noise, 10.0)[0] >= MIN_MATCH
    assert found <= 1
