import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greentext.vocabulary import (
    FOLDER,
    INTERNET_WORDS_FILE,
    STORY_WORDS_FILE,
    Vocabulary,
    default_vocabulary,
    is_simple,
    read_words,
    unknown_words,
    words_of,
)

SMALL = Vocabulary(
    frozenset(
        [
            "dog",
            "cake",
            "hat",
            "bake",
            "run",
            "carry",
            "whistle",
            "old",
            "happy",
            "box",
            "glass",
            "can",
            "will",
            "do",
            "it",
            "play",
            "slippers",
            "be",
        ]
    )
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (">be me\n>Mom's CAKE", ["be", "me", "mom's", "cake"]),
        (">she says 'hello'", ["she", "says", "hello"]),
        (">runnin' late", ["runnin'", "late"]),
        (">two-day trip, and/or nap", ["two", "day", "trip", "and", "or", "nap"]),
        (">it’s 3am :D <3 xD", ["it's", "3am"]),  # noqa: RUF001
        (">thank you 🐌", ["thank", "you"]),
        (">>> ...", []),
    ],
)
def test_words_are_lower_case_and_without_what_is_around_them(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    "word",
    [
        *("dog", "dogs", "dog's", "dogs'", "boxes", "glasses", "carries", "cakes"),
        *("baked", "baking", "carried", "whistling", "running", "older", "oldest", "happiest", "happier"),
        *("can't", "don't", "it'll", "it'd", "runnin'", "slipper"),
        *("7", "3rd", "90s", "5am", "10k", "1000", "dooooo", "haaaappy", "caaake"),
    ],
)
def test_rules_lead_to_words_that_are_known(word: str) -> None:
    assert word in SMALL


@pytest.mark.parametrize(
    "word",
    ["zebra", "zebra's", "cats", "ing", "ed", "bed", "ring", "7up", "dogg", "glas", "qqqq", "won't", "it'x", "'"],
)
def test_rules_lead_nowhere_else(word: str) -> None:
    assert word not in SMALL


def test_unknown_words_come_once_and_in_order() -> None:
    assert SMALL.unknown_words(">quiz the dog\n>dog likes the quiz") == ["quiz", "the", "likes"]


def test_the_known_share_counts_every_occurrence() -> None:
    assert SMALL.known_share(">dog dog quiz quiz") == 0.5
    assert SMALL.known_share(">...") == 0.0


def test_a_text_without_words_is_not_simple() -> None:
    assert not is_simple(">...")
    assert not is_simple("")


def test_greentexts_in_simple_words_are_simple() -> None:
    assert is_simple(">be me\n>lose my yellow boot\n>dog brings it back\n>mfw it's not my boot\n>thanks, doggo")
    assert unknown_words(">be me\n>mortgage amortisation is opaque") == ["mortgage", "amortisation", "opaque"]


@given(st.text())
def test_any_text_is_judged_and_judged_the_same_in_capitals(text: str) -> None:
    unknown = unknown_words(text)
    assert len(unknown) == len(set(unknown)) <= len(words_of(text))
    assert is_simple(text) == (not unknown and bool(words_of(text)))


@given(st.sampled_from(sorted(default_vocabulary().words)))
def test_every_listed_word_is_simple_alone_capitalised_and_as_an_owner(word: str) -> None:
    assert is_simple(f">{word}")
    assert is_simple(f">{word.upper()}")
    if "'" not in word:
        assert is_simple(f">{word}'s hat")


def test_the_lists_are_lower_case_and_small() -> None:
    for name in (STORY_WORDS_FILE, INTERNET_WORDS_FILE):
        words = read_words(FOLDER / name)
        assert all(word == word.lower() for word in words)
        assert (FOLDER / name).stat().st_size < 150_000
    assert len(read_words(FOLDER / STORY_WORDS_FILE)) > 5000


def test_importing_it_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, greentext.vocabulary as v; v.is_simple('>dog')\n"
        "print('numpy' in sys.modules, 'pydantic' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
