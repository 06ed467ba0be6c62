"""Pages drawn with their truth."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipeline.rendered import (
    THEMES,
    FontsMissingError,
    Layout,
    PageSpec,
    Smoothing,
    fonts,
    page_specs,
    read_stories,
    read_truths,
    render,
    write_testset,
)
from greentext.text import normalise

if TYPE_CHECKING:
    from data_pipeline.rendered.themes import Colour

STARTER = Path(__file__).parents[2] / "data" / "greentexts" / "starter.jsonl"
STORY = ("be me", "find a frog", "it is a good frog and it sits on my hat while we walk home in the rain")


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def share_of(rgb: np.ndarray, colour: Colour) -> float:
    return float((np.abs(rgb - np.array(colour)).max(axis=2) <= 2).mean())


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("theme", THEMES)
def test_every_page_shows_its_story_in_its_theme_s_colours(theme: str, layout: Layout) -> None:
    page = render(PageSpec(STORY, theme, layout, font_px=20, seed=3))
    rgb = pixels(page.content)
    assert page.truth == ">be me\n>find a frog\n>" + STORY[2]
    assert share_of(rgb, THEMES[theme].quote) > 0.002
    papers = share_of(rgb, THEMES[theme].post) + share_of(rgb, THEMES[theme].page)
    assert papers > 0.3


@pytest.mark.parametrize("smoothing", Smoothing)
def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(smoothing: Smoothing) -> None:
    spec = PageSpec(STORY, layout=Layout.THREAD, smoothing=smoothing, jpeg_quality=60, seed=5)
    assert render(spec).content == render(spec).content
    other = PageSpec(STORY, layout=Layout.THREAD, smoothing=smoothing, jpeg_quality=60, seed=6)
    assert render(spec).content != render(other).content


@pytest.mark.parametrize("rescaled", [1.0, 0.67])
@pytest.mark.parametrize("font_px", [12, 24])
def test_text_is_as_large_as_asked_also_when_the_picture_was_rescaled(font_px: int, rescaled: float) -> None:
    def height(lines: int) -> int:
        spec = PageSpec(("HHHH",) * lines, layout=Layout.PHONE, font_px=font_px, rescaled=rescaled, seed=7)
        return pixels(render(spec).content).shape[0]

    # Ten lines more, each 1.15 times as high as the text, and a tenth more on phones.
    assert (height(40) - height(30)) / 10 == pytest.approx(font_px * 1.15 * 1.1, rel=0.06)


def test_jpeg_pages_are_damaged_as_asked() -> None:
    clean = pixels(render(PageSpec(STORY, seed=2)).content)
    errors = []
    for quality in (92, 65, 35):
        page = render(PageSpec(STORY, seed=2, jpeg_quality=quality))
        assert (page.content[:3], page.ending) == (b"\xff\xd8\xff", ".jpg")
        errors.append(np.abs(pixels(page.content) - clean).mean())
    assert errors == sorted(errors)
    assert errors[0] < errors[2]


@settings(max_examples=25)
@given(
    story=st.lists(st.text("abc de", min_size=1, max_size=300).filter(str.strip), min_size=1, max_size=12),
    layout=st.sampled_from(list(Layout)),
    seed=st.integers(0, 2**32),
)
def test_whatever_the_story_it_fits_on_its_page(story: list[str], layout: Layout, seed: int) -> None:
    lines = tuple(" ".join(line.split()) for line in story)
    page = render(PageSpec(lines, layout=layout, font_px=10, seed=seed))
    assert normalise(page.truth) == page.truth
    rgb = pixels(page.content)
    # Nothing is cut off: below the last line there is paper.
    assert np.ptp(rgb[-2:, 1:-1].reshape(-1, 3), axis=0).max() < 200


def test_a_set_has_every_theme_in_every_layout_and_is_read_back(tmp_path: Path) -> None:
    specs = list(page_specs(read_stories(STARTER), 24, seed=1))
    assert {(spec.theme, spec.layout) for spec in specs} == set(itertools.product(THEMES, Layout))
    assert write_testset(iter(specs[:4]), tmp_path) == 4
    truths = read_truths(tmp_path)
    assert [truth.text for truth in truths] == ["\n".join(f">{line}" for line in spec.story) for spec in specs[:4]]
    assert all((tmp_path / truth.file).exists() for truth in truths)
    assert {name for truth in truths for name in truth.attributes} >= {"theme", "layout", "size", "quality"}
    again = list(page_specs(read_stories(STARTER), 24, seed=1))
    assert again == specs
    assert list(page_specs(read_stories(STARTER), 24, seed=2)) != specs


def test_pictures_with_their_truth_beside_them_are_a_set_too(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "a.truth.txt").write_text(">be me\n", encoding="utf-8")
    (tmp_path / "b.jpg").write_bytes(b"")
    assert [(truth.file, truth.text) for truth in read_truths(tmp_path)] == [("a.jpg", ">be me")]


def test_a_damaged_set_and_damaged_stories_are_named(tmp_path: Path) -> None:
    (tmp_path / "truths.jsonl").write_text('{"file": 1', encoding="utf-8")
    with pytest.raises(ValueError, match="jsonl is damaged"):
        read_truths(tmp_path)
    stories = tmp_path / "stories.jsonl"
    stories.write_text('{"text": ">be me"}\n["no text"]\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 2"):
        read_stories(stories)


def test_without_fonts_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fonts, "FOLDERS", (str(tmp_path),))
    fonts._files.cache_clear()
    fonts.font.cache_clear()
    try:
        with pytest.raises(FontsMissingError, match="apt-get install fonts-liberation"):
            render(PageSpec(STORY))
    finally:
        fonts._files.cache_clear()
        fonts.font.cache_clear()


def test_the_script_writes_a_set(tmp_path: Path) -> None:
    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "data_pipeline.rendered", *arguments]
        return subprocess.run(command, cwd=STARTER.parents[2], capture_output=True, text=True, check=False)

    done = script(str(tmp_path), "--pages", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read_truths(tmp_path)) == 2
    bad = script(str(tmp_path), "--stories", str(tmp_path / "none"))
    assert bad.returncode == 1
    assert "none" in bad.stderr
    assert "Traceback" not in bad.stderr
