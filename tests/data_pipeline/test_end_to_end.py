"""Whole runs of `gtx-data run`: pictures from a server that misbehaves, and the project's sample where it is there."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from rapidfuzz.distance import Levenshtein

from data_pipeline.cli import main
from data_pipeline.dataset.rows import DatasetRow
from data_pipeline.rendered.page import Layout, PageSpec, render
from data_pipeline.rendered.themes import THEMES
from data_pipeline.rows import Source, TextRow
from data_pipeline.stage import Summary, read_rows, read_summary
from tests.data_pipeline.picture_server import Request, picture_server, png_bomb, starter_stories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.data_pipeline.picture_server import PictureServer

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("GTX_SHARED", ROOT.parent / "shared")) / "data"
SAMPLE = SHARED / "wholesomegreentext_submissions_sample.zst"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed"),
]


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with picture_server() as server:
        yield server


def pages(count: int) -> list[tuple[str, bytes]]:
    """Truths and pictures, in all themes and layouts in turn."""
    stories = starter_stories()[:200]
    random.Random(5).shuffle(stories)
    rendered = []
    for number in range(count):
        layout = list(Layout)[number % len(Layout)]
        spec = PageSpec(
            story=tuple(line.removeprefix(">") for line in stories[number].split("\n")),
            theme=list(THEMES)[number % len(THEMES)],
            layout=layout,
            font_px=26 if layout is Layout.PHONE else 15,
            family="phone" if layout is Layout.PHONE else "arial",
            seed=number,
        )
        page = render(spec)
        rendered.append((page.truth, page.content))
    return rendered


def submission(number: int, url: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"x{number}",
        "subreddit": "wholesomegreentext",
        "author": f"secret_user_{number}",
        "created_utc": 1_600_000_000 + number,
        "title": "a story",
        "selftext": "",
        "url": url,
        "score": 100,
        "over_18": False,
        "link_flair_text": "Greentext",
    } | fields


def dump(path: Path, submissions: list[dict[str, Any]]) -> Path:
    content = "".join(json.dumps(record) + "\n" for record in submissions).encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(content))
    return path


def trickle(content: bytes) -> Callable[[Request], None]:
    def answer(request: Request) -> None:
        request.send(f"HTTP/1.1 200 OK\r\ncontent-length: {len(content)}\r\n\r\n".encode())
        for start in range(0, len(content), 2000):
            request.send(content[start : start + 2000])

    return answer


def cut_off(content: bytes) -> Callable[[Request], None]:
    def answer(request: Request) -> None:
        request.send(
            f"HTTP/1.1 200 OK\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content[: len(content) // 2]
        )

    return answer


def fine(content: bytes) -> Callable[[Request], None]:
    return lambda request: request.answer(content)


def misbehave(server: PictureServer, contents: list[bytes]) -> list[str]:
    """An address for each picture, most of which have something the matter with them."""
    busy: Callable[[Request], None] = lambda request: request.answer(b"", 503)  # noqa: E731
    asked_to_wait: Callable[[Request], None] = lambda request: request.answer(b"", 429, retry_after=1)  # noqa: E731
    answers: list[tuple[Callable[[Request], None], ...]] = [
        (busy, busy, fine(contents[0])),
        (Request.reset, fine(contents[1])),
        (asked_to_wait, fine(contents[2])),
        (trickle(contents[3]),),
        (cut_off(contents[4]), fine(contents[4])),
    ]
    answers += [(fine(content),) for content in contents[5:]]
    return [server.in_turn(f"/{number}.png", *turns) for number, turns in enumerate(answers)]


def summaries_of(folder: Path) -> dict[str, Summary]:
    summaries = [read_summary(path.parent) for path in folder.glob("*/summary.json")]
    return {summary.stage: summary for summary in summaries if summary is not None}


def assert_documented(summaries: dict[str, Summary]) -> None:
    guide = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name, summary in summaries.items():
        section = re.split(r"^### ", guide.partition(f"### {name}: ")[2], maxsplit=1, flags=re.MULTILINE)[0]
        also = "### posts: " + guide.partition("### posts: ")[2] if name == "selftext" else ""
        for reason in summary.dropped:
            assert f"`{reason}`" in section + also, f"docs/data.md does not say what {name} means by {reason}"


def config(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_from_a_dump_and_a_host_that_misbehaves_to_a_dataset(server: PictureServer, tmp_path: Path) -> None:
    drawn = pages(7)
    urls = misbehave(server, [content for _, content in drawn])
    urls += [
        server.url("/gone.png"),
        server.serve("/html.png", b"<html>sign in to see this</html>", content_type="image/png"),
        server.serve("/bomb.png", png_bomb(20_000, 20_000)),
        server.serve("/again.png", drawn[5][1]),
    ]
    text = "\n\n".join(f"&gt;{line.removeprefix('>')}" for line in starter_stories()[300].split("\n"))
    records = [submission(number, url) for number, url in enumerate(urls)]
    records.append(submission(99, "https://www.reddit.com/r/wholesomegreentext/comments/x99/", selftext=text))
    mine = tmp_path / "mine.txt"
    mine.write_text("\n\n".join(starter_stories()[400:420]), encoding="utf-8")
    out = tmp_path / "out"
    path = config(
        tmp_path / "run.toml",
        f'folder = "{out}"',
        f'[dumps]\ninputs = "{dump(tmp_path / "dump.zst", records)}"',
        "[posts]\n[selftext]",
        "[images]\nprivate_addresses = true\nbackoff_s = 0.1\nhost_interval_s = 0.0",
        "[ocr]",
        f'[written]\ninputs = "{mine}"',
        "[filters]",
        '[dataset]\nname = "end to end"',
    )
    assert main(["run", path]) == 0
    summaries = summaries_of(out)
    stages = ["dumps", "posts", "selftext", "images", "ocr", "written", "filters", "dataset"]
    assert sorted(summaries) == sorted(stages)
    assert summaries["images"].kept == 7
    assert summaries["images"].dropped == {"gone": 1, "not_a_picture": 1, "too_large": 1, "duplicate": 1}
    rows = list(read_rows(out / "ocr", TextRow))
    truths = [truth for truth, _ in drawn]
    errors = [min(Levenshtein.normalized_distance(row.text, truth) for truth in truths) for row in rows]
    assert len(rows) >= 6
    assert sorted(errors)[len(errors) // 2] <= 0.02
    published = list(read_rows(out / "dataset", DatasetRow))
    assert {row.source for row in published} == {Source.WRITTEN, Source.REDDIT_TEXT, Source.REDDIT_OCR}
    assert len({row.text for row in published}) == len(published)
    assert_documented(summaries)
    for file in out.rglob("*"):
        assert file.is_dir() or b"secret_user" not in file.read_bytes(), file

    asked = len(server.requests)
    assert main(["run", path]) == 0
    assert len(server.requests) == asked


def test_a_folder_of_screenshots_becomes_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    drawn = pages(4)
    for number, (_, content) in enumerate(drawn):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(content)
    (tmp_path / "pictures" / "notes.txt").write_text("not_a_picture", encoding="utf-8")
    (tmp_path / "pictures" / "broken.png").write_bytes(drawn[0][1][:500])
    settings = [f"images.inputs={tmp_path / 'pictures'}", "dataset.validation=0", "dataset.test=0"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    assert main(["run", "screenshots", "--out", str(tmp_path / "out"), *arguments]) == 0
    summaries = summaries_of(tmp_path / "out")
    assert summaries["images"].kept == 4
    published = list(read_rows(tmp_path / "out" / "dataset", DatasetRow))
    assert len(published) >= 3
    assert all(row.source is Source.REDDIT_OCR for row in published)
    assert_documented(summaries)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample is not here")
def test_the_sample_becomes_a_dataset_without_the_internet(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = config(
        tmp_path / "run.toml",
        f'folder = "{out}"',
        f'[dumps]\ninputs = "{SAMPLE}"',
        "[posts]\n[selftext]",
        f'[images]\nafter = []\ninputs = "{SHARED / "screenshots"}"',
        "[ocr]",
        f'[written]\ninputs = "{ROOT / "data" / "greentexts" / "starter.jsonl"}"',
        "[filters]\n[dataset]",
    )
    assert main(["run", path]) == 0
    summaries = summaries_of(out)
    assert summaries["dumps"].kept == 2500
    assert summaries["posts"].kept > 500
    assert summaries["ocr"].kept == 1
    assert summaries["dataset"].kept > 600
    assert_documented(summaries)
