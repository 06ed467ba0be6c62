"""Deals page specs from stories so that every theme, layout, size and quality comes up, and writes them with truths."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from data_pipeline.rendered.canvas import Smoothing
from data_pipeline.rendered.page import Layout, PageSpec, render
from data_pipeline.rendered.themes import THEMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TRUTHS: Final = "truths.jsonl"
FONT_SIZES_PX: Final = (11, 12, 13, 15, 18, 24)
PHONE_FONT_SIZES_PX: Final = (20, 26, 36)
JPEG_QUALITIES: Final = (None, 92, 80, 65, 50, 35)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a page of a written set."""

    file: str
    text: str
    attributes: dict[str, str]
    """What its figures are grouped by: theme, layout, size, quality, …"""


def read_stories(path: Path) -> list[tuple[str, ...]]:
    """The lines, without markers, of each text of a JSON Lines file with `text`.

    Raises:
        ValueError: A line is no such object.
        OSError: It cannot be read.
    """
    stories = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            text: str = orjson.loads(line)["text"]
            stories.append(tuple(part.removeprefix(">") for part in text.split("\n")))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{path}, line {number}, is no object with a "text"') from error
    return stories


def page_specs(stories: Sequence[tuple[str, ...]], pages: int, seed: int = 0) -> Iterator[PageSpec]:
    """The specs of a set. Themes and layouts take turns, so that each combination comes up equally often."""
    themes, layouts = list(THEMES), list(Layout)
    for number in range(pages):
        r = random.Random(f"{seed}/{number}")
        layout = layouts[number % len(layouts)]
        phone = layout is Layout.PHONE
        quality = r.choice(JPEG_QUALITIES)
        yield PageSpec(
            story=_voiced(r.choice(stories), r),
            theme=themes[(number // len(layouts)) % len(themes)],
            layout=layout,
            font_px=r.choice(PHONE_FONT_SIZES_PX if phone else FONT_SIZES_PX),
            family="phone" if phone else r.choice(("arial", "arial", "dejavu")),
            smoothing=Smoothing.GREY if phone else r.choice(list(Smoothing)),
            rescaled=r.choice((1.0, 1.0, 0.67, 0.8)),
            jpeg_quality=quality,
            generations=1 if quality is None else r.choice((1, 1, 2)),
            seed=r.getrandbits(32),
        )


def _voiced(story: tuple[str, ...], r: random.Random) -> tuple[str, ...]:
    """The story as one of several people would type it: in longer lines, or with the capitals that grammar wants."""
    if r.random() < 0.3 and len(story) >= 6:
        pairs = zip(story[1:-1:2], story[2:-1:2], strict=False)
        story = (story[0], *(f"{one} and {other}" for one, other in pairs), story[-1])
    if r.random() < 0.6:
        return story
    lines = []
    for line in story:
        words = [word.capitalize() if word == "i" or word.startswith("i'") else word for word in line.split(" ")]
        joined = " ".join(words)
        lines.append(joined[:1].upper() + joined[1:])
    return tuple(lines)


def write_testset(specs: Iterator[PageSpec], folder: Path) -> int:
    """Draws the pages into a folder, with `truths.jsonl`, and returns how many there are.

    Raises:
        FontsMissingError: There is no font to draw with.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truths = []
    for number, spec in enumerate(specs):
        page = render(spec)
        name = f"{number:05}{page.ending}"
        (folder / name).write_bytes(page.content)
        truths.append(Truth(name, page.truth, _attributes(spec)))
    (folder / TRUTHS).write_bytes(b"".join(orjson.dumps(asdict(truth)) + b"\n" for truth in truths))
    return len(truths)


def read_truths(folder: Path) -> list[Truth]:
    """What is known of the pages in a folder: of a written set, and of pictures with a `NAME.truth.txt` beside them.

    Raises:
        ValueError: `truths.jsonl` is damaged.
        OSError: It cannot be read.
    """
    path = folder / TRUTHS
    truths = []
    if path.exists():
        try:
            truths = [Truth(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: write the set again") from error
    for picture in sorted(folder.iterdir()):
        beside = picture.with_name(f"{picture.stem}.truth.txt")
        if picture != beside and picture.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") and beside.exists():
            truths.append(Truth(picture.name, beside.read_text(encoding="utf-8").strip(), {"theme": "real"}))
    return truths


def _attributes(spec: PageSpec) -> dict[str, str]:
    quality = "PNG" if spec.jpeg_quality is None else f"JPEG {spec.jpeg_quality}"
    attributes: dict[str, Any] = {
        "theme": spec.theme,
        "layout": spec.layout.value,
        "size": f"{spec.font_px:02} px",
        "quality": quality,
        "smoothing": spec.smoothing.value,
        "family": spec.family,
    }
    return attributes
