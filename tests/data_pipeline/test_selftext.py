"""The stage `selftext`: greentexts that were posted as text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline import dumps
from data_pipeline.rows import Source, Submission, TextRow
from data_pipeline.selftext import SelftextJudge, SelftextSettings, greentext_of, plain_text, run
from data_pipeline.stage import Drop, read_rows
from data_pipeline.submissions import from_record
from greentext.text import normalise

SAMPLE = (
    Path(os.environ.get("GTX_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    / "data"
    / "wholesomegreentext_submissions_sample.zst"
)
STORY = ">be me\n>find a dog\n>dog finds me"


def submission(text: str, **fields: Any) -> Submission:
    return from_record({"id": "a", "subreddit": "s", "created_utc": 1, "title": "t", "author": "x", "score": 5,
                        "selftext": text, **fields})  # fmt: skip


def text_of(text: str, **settings: Any) -> str:
    """The greentext of a self-post; empty where it is none."""
    row = SelftextJudge(SelftextSettings(**settings))(submission(text))
    return row.text if isinstance(row, TextRow) else ""


@pytest.mark.parametrize(
    "text",
    [
        STORY,
        "&gt;be me\n&gt;find a dog\n&gt;dog finds me",
        "&amp;gt;be me\n&amp;gt;find a dog\n&amp;gt;dog finds me",
        "\\&gt;be me\n\n\\&gt;find a dog\n\n\\&gt;dog finds me",
        "\\>be me  \n\\>find a dog  \n\\>dog finds me",
        "&gt; be me.\n\n&gt; find a dog\n\n&gt; dog finds me".replace("me.", "me"),
        "&amp;#x200B;\n\n&gt;be me\n\n&amp;#x200B;\n\n&gt;find a dog\n\n&gt;dog finds me\n\n&amp;nbsp;",
        ">be me\n>find a **dog**\n>dog *finds* ~~you~~ me".replace("~~you~~ ", ""),
        ">be me\n>find a [dog](https://i.redd.it/abc.png)\n>dog finds me https://example.com/x_y_z",
        ">be me\n>find a dog\n>dog finds me\n\n---\n\n# \n***",
        ">be me\n>find a dog\n>dog finds me\n\nEdit: thanks for the gold, kind stranger",
        ">be me\n>find a dog\n>dog finds me\n**EDIT 2:** RIP my inbox\n>not part of it",
        "My story:\n\n>be me\n>find a dog\n>dog finds me",
        "be me\nfind a dog\ndog finds me",
        "Be me\n\nfind a dog\n\ndog finds me\n\nedit: typo".replace("Be", "be"),
        "- be me\n- find a dog\n- dog finds me",
        "Here goes\n\nbe me\n\nfind a dog\n\ndog finds me",
    ],
)
def test_every_spelling_of_a_greentext_is_taken(text: str) -> None:
    assert text_of(text) == STORY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I'll need someone who knows CSS. Send your applications!", "no_greentext"),
        (">be me\n>find a dog", "no_greentext"),
        ("https://i.redd.it/abc.png", "no_greentext"),
        ("be me\nfind a dog\n" + "and then a very long line of prose follows " * 6, "no_greentext"),
        ("I like it when they are me.\nbe nice\nbe good\nbe there", "no_greentext"),
        (">>1234\n>>5678\n>>9012", "no_greentext"),
        (STORY + "\n\n" + "and this is what I think about all of it " * 4, "mostly_talk"),
        ("[removed]", "removed"),
        ("[deleted]", "deleted"),
    ],
)
def test_what_is_no_greentext_is_dropped_under_its_reason(text: str, reason: str) -> None:
    drop = SelftextJudge(SelftextSettings())(submission(text))
    assert isinstance(drop, Drop)
    assert drop.reason == reason


def test_settings_choose() -> None:
    assert text_of("be me\nfind a dog\ndog finds me", unmarked=False) == ""
    assert text_of(STORY, min_lines=4) == ""
    assert text_of(">be me\n>find a dog", min_lines=2) == ">be me\n>find a dog"
    assert text_of(STORY + "\n\n" + "talk " * 30, min_share=0.1) == STORY
    assert text_of(STORY, min_score=6) == ""


def test_words_keep_their_marks() -> None:
    text = "&gt;mfw no *gf\n&gt;a snake_case is 5*3*2\n&gt;i.e. \\*sobs\\* ¯\\\\_(ツ)_/¯\n&gt;score: 1 > 0 &amp; 2 < 3"
    assert text_of(text) == ">mfw no *gf\n>a snake_case is 5*3*2\n>i.e. *sobs* ¯\\_(ツ)_/¯\n>score: 1 > 0 & 2 < 3"


def test_a_row_says_where_it_is_from(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    rows = [
        submission(STORY, id="abc"),
        submission("", id="abd"),
        submission("  \n", id="abe"),
        submission("talk", id="abf"),
    ]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    summary = run([path], tmp_path / "out", SelftextSettings())
    assert list(read_rows(tmp_path / "out", TextRow)) == [
        TextRow(id="reddit-text:abc", text=STORY, source=Source.REDDIT_TEXT, origin="abc")
    ]
    assert (summary.kept, summary.dropped, summary.counted) == (1, {"no_greentext": 1}, {"no_text": 2})
    assert json.loads((tmp_path / "out" / "dropped.jsonl").read_text())["row"]["id"] == "abf"


lines = st.lists(
    st.one_of(st.text(max_size=40), st.sampled_from([">be me", "&gt;ok", "be me", "Edit:", "---", ">", "[a](b)"]))
)


@given(lines.map("\n".join), st.booleans())
def test_whatever_is_taken_is_a_canonical_greentext(text: str, unmarked: bool) -> None:
    taken = text_of(text, unmarked=unmarked)
    assert normalise(taken) == taken
    assert not taken or all(line.startswith(">") for line in taken.split("\n"))


@given(st.text(alphabet="*_~[]()\\>#-` ab\n", max_size=200))
def test_markdown_of_any_shape_is_undone_in_time(text: str) -> None:
    greentext_of(plain_text(text), unmarked=True)


@pytest.mark.timeout(20)
def test_hostile_markdown_takes_no_time() -> None:
    for piece in ("*", "**a", "[", "[a](", "\\", "_a_", "~~", "(a ", "&amp;", "&", "> ", "- ", "edit", "* * "):
        plain_text(piece * (40_000 // len(piece)))


@pytest.mark.skipif(not SAMPLE.exists(), reason="needs the sample dump")
def test_the_real_sample_has_its_greentexts(tmp_path: Path) -> None:
    dumps.run([SAMPLE], tmp_path / "dumps", dumps.DumpsSettings(workers=1))
    run([tmp_path / "dumps"], tmp_path / "out", SelftextSettings(min_score=0, unwanted_flairs=()))
    found = {row.origin: row.text for row in read_rows(tmp_path / "out", TextRow)}
    assert {"78zueu", "8vdq5t", "8nvzmr", "7xeoon", "bgkjv8"} <= set(found)
    assert all(normalise(text) == text and text.count("\n") >= 2 for text in found.values())
