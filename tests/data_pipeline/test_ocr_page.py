"""Pages of all kinds to their stories, by a real Tesseract."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from rapidfuzz.distance import Levenshtein

from data_pipeline.ocr.engine import EngineTimeoutError, one_thread
from data_pipeline.ocr.ink import find_ink
from data_pipeline.ocr.layout import find_posts
from data_pipeline.ocr.page import UNSURE_WORD, Reading, read_page
from data_pipeline.ocr.repair import words_in
from data_pipeline.rendered import THEMES, Layout, PageSpec, Smoothing, render
from data_pipeline.rendered.fonts import font

REAL = Path(__file__).parents[3] / "shared" / "data" / "screenshots"
STORY = (
    "be me",
    "walk home in the rain after a long day at work",
    "small frog sits on my door step and does not want to leave",
    'he says "good evening"',
    "i make him a cup of tea",
    "thank you, frog",
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    one_thread()


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def text(reading: Reading) -> str:
    return "\n".join(f">{line.text}" for line in reading.lines)


def error_rate(spec: PageSpec) -> float:
    page = render(spec)
    return Levenshtein.distance(text(read_page(pixels(page.content), 60)), page.truth) / len(page.truth)


@pytest.mark.skipif(not REAL.exists(), reason="the real screenshot is not here")
def test_the_real_screenshot_is_read_without_an_error() -> None:
    path = next(REAL.glob("*.jpg"))
    truth = path.with_name(f"{path.stem}.truth.txt").read_text(encoding="utf-8").strip()
    reading = read_page(np.asarray(Image.open(path).convert("RGB")), 60)
    assert Levenshtein.distance(text(reading), truth) / len(truth) <= 0.01
    assert len(reading.lines) == len(truth.split("\n"))
    assert all(line.confidence > 0.8 for line in reading.lines)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("layout", [Layout.OPENING, Layout.THUMBNAIL, Layout.PHONE, Layout.THREAD])
def test_every_theme_is_read_in_every_layout(theme: str, layout: Layout) -> None:
    size = 26 if layout is Layout.PHONE else 16
    assert error_rate(PageSpec(STORY, theme, layout, font_px=size, jpeg_quality=80, seed=5)) <= 0.02


@pytest.mark.parametrize("smoothing", Smoothing)
@pytest.mark.parametrize("quality", [None, 50])
def test_ordinary_text_is_read_with_either_smoothing(smoothing: Smoothing, quality: int | None) -> None:
    assert error_rate(PageSpec(STORY, font_px=13, smoothing=smoothing, jpeg_quality=quality, seed=4)) <= 0.03


def test_words_that_tesseract_was_unsure_of_are_told_and_stand_in_their_lines() -> None:
    hard = render(PageSpec(STORY, font_px=11, jpeg_quality=35, seed=2))
    easy = render(PageSpec(STORY, font_px=20, seed=2))
    unsure = [line for line in read_page(pixels(hard.content), 60).lines if line.unsure]
    assert unsure, "small letters in a damaged picture leave doubts"
    for line in unsure:
        for word, confidence in line.unsure:
            assert word in words_in(line.text)
            assert 0 <= confidence < UNSURE_WORD
    assert sum(len(line.unsure) for line in read_page(pixels(easy.content), 60).lines) <= 1


def test_a_story_in_two_posts_is_one() -> None:
    assert error_rate(PageSpec(STORY, layout=Layout.CONTINUED, font_px=18, seed=9)) <= 0.01


def test_broken_lines_are_joined_and_others_are_not() -> None:
    page = render(PageSpec(STORY, layout=Layout.PHONE, font_px=30, seed=12))
    reading = read_page(pixels(page.content), 60)
    assert [line.text for line in reading.lines] == list(STORY)
    assert len(reading.raw_text.split("\n")) > len(STORY)


def test_replies_that_quote_the_story_are_left_out() -> None:
    for seed in range(3):
        page = render(PageSpec(STORY, layout=Layout.THREAD, font_px=18, seed=seed))
        assert len(read_page(pixels(page.content), 60).lines) == len(STORY)


@pytest.mark.parametrize("age", ["5", "6", "8", "9"])
def test_an_age_is_a_number(age: str) -> None:
    page = render(PageSpec((f"be {age}", "afraid of thunder", "grandpa laughs"), font_px=13, jpeg_quality=80, seed=2))
    assert read_page(pixels(page.content), 60).lines[0].text == f"be {age}"


def test_a_grey_copy_is_read_by_its_markers() -> None:
    page = render(PageSpec(STORY, "yotsuba-b", Layout.REPLY, font_px=18, seed=4))
    grey = np.asarray(Image.open(io.BytesIO(page.content)).convert("L").convert("RGB"))
    reading = read_page(grey, 60)
    assert Levenshtein.distance(text(reading), page.truth) / len(page.truth) <= 0.02


def test_lines_that_quote_another_post_are_dropped() -> None:
    image = Image.new("RGB", (500, 130), THEMES["yotsuba"].post)
    for number, line in enumerate((">be me at home", ">>be somebody else", ">find a good frog", ">we are happy")):
        ImageDraw.Draw(image).text((12, 10 + 28 * number), line, THEMES["yotsuba"].quote, font("arial", 20))
    reading = read_page(np.asarray(image), 60)
    assert [line.text for line in reading.lines] == ["be me at home", "find a good frog", "we are happy"]


@pytest.mark.parametrize(
    "rgb",
    [
        np.full((200, 300, 3), 255, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((3000, 2, 3), np.uint8),
        np.random.default_rng(1).integers(0, 256, (150, 150, 3), np.uint8),
        np.tile(np.array([[[240, 224, 214], [120, 153, 34]]], np.uint8), (60, 60, 1)),
    ],
    ids=["white", "one pixel", "a thread", "noise", "stripes"],
)
def test_a_picture_without_a_story_has_none(rgb: Any) -> None:
    assert len(read_page(rgb, 60).lines) <= 1


def test_text_in_other_colours_is_no_story() -> None:
    image = Image.new("RGB", (500, 130), (255, 255, 255))
    for number, colour in enumerate(((0, 0, 0), (128, 0, 0), (17, 119, 67), (0, 0, 238))):
        ImageDraw.Draw(image).text((12, 10 + 28 * number), "this is what somebody says", colour, font("arial", 20))
    assert read_page(np.asarray(image), 60).lines == ()


def test_a_green_picture_beside_the_story_is_none_of_it() -> None:
    page = render(PageSpec(STORY, layout=Layout.REPLY, font_px=16, seed=4))
    image = Image.open(io.BytesIO(page.content)).convert("RGB")
    wide = Image.new("RGB", (image.width + 200, image.height), THEMES["yotsuba"].post)
    wide.paste(image, (0, 0))
    ImageDraw.Draw(wide).ellipse((image.width + 20, 10, image.width + 180, 130), fill=(120, 153, 34))
    posts = find_posts(find_ink(np.asarray(wide))).posts
    assert all(line.right < image.width for post in posts for line in post)


def test_no_time_is_a_timeout() -> None:
    page = render(PageSpec(STORY, seed=4))
    with pytest.raises(EngineTimeoutError):
        read_page(pixels(page.content), 0.001)
