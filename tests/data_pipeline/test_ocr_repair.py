"""What OCR gets wrong in letters, and what must be left alone."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_pipeline.ocr.repair import is_age, is_interface, line_text, main_story, story_texts, strange_words, words_text
from greentext.text import normalise

STARTER = Path(__file__).parents[2] / "data" / "greentexts" / "starter.jsonl"
STORIES = [orjson.loads(line)["text"].replace(">", "").split("\n") for line in STARTER.read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("read", "right"),
    [
        ("go back | say", "go back I say"),
        ("and |'m happy", "and I'm happy"),
        ("the bal| rolls", "the ball rolls"),
        ("show everyone in the moming", "show everyone in the morning"),
        ("my fnends laugh", "my friends laugh"),
        ("he tn the garden", "he in the garden"),
        ("go back In the house", "go back in the house"),
        ("the dog sitson the chair", "the dog sits on the chair"),
        ("they dug.a path", "they dug a path"),
        ("iiis a good day", "it is a good day"),
        ("be7", "be 7"),
        ("“good morning”", '"good morning"'),
    ],
)
def test_misread_letters_are_put_right(read: str, right: str) -> None:
    assert story_texts([words_text([(word, 0.6) for word in read.split()])]) == [right]


@pytest.mark.parametrize(
    "line",
    [
        "feelscozyman", "go to imgur.com", "my PC is a 486", "it's 3am", "kek", "tfw no gf", "In the garden", "Is it?",
        "Ill in bed", "moms", 'she says "no"', "a mfw", "Ivan the cat", "1999", "the dogs' house",
    ],
)  # fmt: skip
def test_what_is_right_is_left_alone(line: str) -> None:
    assert story_texts([words_text([(word, 0.95) for word in line.split()])]) == [line]


def test_stories_that_were_read_well_are_left_alone() -> None:
    for story in STORIES:
        read = [words_text([(word, 0.95) for word in line.split()]) for line in story]
        assert story_texts(read) == story


def test_a_word_that_is_in_no_vocabulary_is_kept_where_nothing_like_it_is() -> None:
    assert words_text([("zyzzyva", 0.3), ("bepis", 0.3)]) == "zyzzyva bepis"


def test_who_writes_a_small_i_writes_it_everywhere() -> None:
    assert story_texts(["i run", "and i fall", "then I'm up"]) == ["i run", "and i fall", "then i'm up"]
    assert story_texts(["I run", "and I fall", "then i go"]) == ["I run", "and I fall", "then I go"]
    assert story_texts(["I run", "then i go"]) == ["I run", "then i go"]


@given(st.lists(st.text(max_size=60), max_size=8))
@example(["> >>x", "|", "'", "\\ a"])
def test_whatever_was_read_each_line_stays_one_line_in_canonical_form(lines: list[str]) -> None:
    texts = story_texts(lines)
    assert len(texts) == len(lines)
    for text in texts:
        assert not text or normalise(f">{text}") == f">{text}"


@pytest.mark.parametrize("mark", [">", "}", "»", "]", "> ", "\u203a"])
def test_a_marker_that_was_read_as_something_else_is_one(mark: str) -> None:
    assert line_text(f"{mark}be me", marked=False, begins=True) == ("be me", True)
    assert line_text(f"{mark}be me", marked=False, begins=False) == ("be me", True)


def test_a_letter_is_a_marker_only_where_a_line_must_begin() -> None:
    assert line_text("a be me", marked=False, begins=True) == ("be me", True)
    assert line_text("a be me", marked=False, begins=False) == ("a be me", False)
    assert line_text("a bee flies", marked=False, begins=True) == ("a bee flies", True)
    assert line_text("yellow tea", marked=False, begins=False) == ("yellow tea", False)


def test_of_several_posts_the_longest_tells_the_story_and_others_go_on_with_it() -> None:
    story = ["be me", "find a frog", "take it home"]
    more = ["frog likes it here", "we eat soup"]
    assert main_story([]) == []
    assert main_story([story]) == [0]
    assert main_story([story, more]) == [0, 1]
    assert main_story([["see this"], story]) == [1]
    assert main_story([story, ["find a frog"]]) == [0]
    assert main_story([["find a frog", "take it home"], [*more, "and sleep", "so well"]]) == [0, 1]
    assert main_story([story, ["be cat", "sleep"]]) == [0]


@pytest.mark.parametrize(
    "line",
    [
        "Anonymous 07/22/18(Sun)06:00:45 No.46970058", "File: frog.jpg (15 KB, 720x498)", "15 KB JPG", ">>46970058",
        "12 Replies / 3 Images", "[Return] [Catalog]",
    ],
)  # fmt: skip
def test_what_the_page_says_is_no_story(line: str) -> None:
    assert is_interface(line)


def test_stories_are_not_taken_for_what_the_page_says() -> None:
    assert not [line for story in STORIES for line in story if is_interface(line)]


@pytest.mark.parametrize(
    ("read", "age"), [("bes", True), ("be S", True), ("be me", False), ("bee", False), ("be", False)]
)
def test_a_digit_that_was_read_as_a_letter_is_suspected(read: str, age: bool) -> None:
    assert is_age(read) == age


def test_what_was_run_together_is_parted_however_sure_tesseract_was() -> None:
    assert words_text([("itis", 0.96), ("good", 0.96)]) == "it is good"


def test_strange_words_are_counted() -> None:
    assert strange_words("the dog sits on a chair") == 0
    assert strange_words("tbe dog sjts on a chair") == 2
