"""Reading answers: every form that models use, every place to cut one off, and texts made to break a parser."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_pipeline.synthesis import read_answer
from data_pipeline.synthesis.lenient_json import MAX_DEPTH, read
from data_pipeline.synthesis.reading import MAX_CHARACTERS
from greentext.text import is_greentext, parse

SHARED = Path(os.environ.get("GTX_SHARED", Path(__file__).parents[3] / "shared"))
SAMPLE = SHARED / "data" / "gpt35_response_sample.json"

TEXTS = [
    ">be me\n>mom's hat is on the dog\n>\"it's his now\", she says\n>he bows",
    '>late for the bus\n>driver waits: "take your time"\n>[whole bus claps]\n>thank you, driver',
    ">be 7\n>lose a tooth, a coin, and {again} the tooth\n>tooth fairy leaves a map",
]
LINES = [text.split("\n") for text in TEXTS]
ARRAY = json.dumps(TEXTS)


def single_quoted(texts: list[str]) -> str:
    """As a model writes it that has heard of Python: nothing inside is escaped but line ends."""
    return "[" + ", ".join("'" + text.replace("\n", "\\n") + "'" for text in texts) + "]"


@pytest.mark.parametrize(
    ("content", "repairs"),
    [
        (json.dumps({"greentexts": TEXTS}), set()),
        (ARRAY, set()),
        (json.dumps({str(number): text for number, text in enumerate(TEXTS)}, indent="\t"), set()),
        (json.dumps({"greentexts": [{"id": 1, "title": "A hat", "text": text} for text in TEXTS]}), set()),
        (json.dumps({"greentexts": [{"lines": lines} for lines in LINES]}), set()),
        (json.dumps(LINES), set()),
        (json.dumps(json.dumps(TEXTS)), set()),
        ("\n".join(json.dumps({"greentext": text}) for text in TEXTS), set()),
        (f"```json\n{ARRAY}\n```", {"code_fence"}),
        (f"```\n{ARRAY}", {"code_fence"}),
        (f"Sure, here they are:\n\n{ARRAY}", {"text_around"}),
        (f"{ARRAY}\n\nTell me if you want more!", {"text_around"}),
        (repr({"greentexts": TEXTS}), {"quotes"}),
        (single_quoted(TEXTS), {"quotes"}),
        (ARRAY.replace("\\n", "\n"), {"line_ends"}),
        (ARRAY.replace('\\"', '"'), {"quotes"}),
        (ARRAY[:-1] + ",]", set()),
        (ARRAY.replace('", "', '"\n"'), None),
        (ARRAY[:-1] + "}", {"brackets"}),
        (ARRAY[:-1], {"cut_off"}),
        (json.dumps([text.replace("\n", "\\n") for text in TEXTS]), {"escaped_line_ends"}),
        (json.dumps([text.replace("\n", " ") for text in TEXTS]), {"one_line"}),
        (json.dumps([text.replace("\n>", "\n") for text in TEXTS]), {"markers"}),
        (json.dumps([text.replace(">", "") for text in TEXTS]), {"markers"}),
        (json.dumps([text.replace(">be", ">Be") for text in TEXTS]), {"be_case"}),
        (json.dumps([f"Greentext {n}:\n{text}" for n, text in enumerate(TEXTS, 1)]), set()),
        ("\n\n".join(TEXTS), {"prose"}),
        ("Here you go [enjoy]:\n\n" + "\n\n".join(TEXTS) + "\n\nThat was fun.", {"prose"}),
        ("\n".join(f"{n}. {text}" for n, text in enumerate(TEXTS, 1)), {"prose"}),
        ("\n".join(f"**Greentext {n}**\n{text}" for n, text in enumerate(TEXTS, 1)), {"prose"}),
        ("\n---\n".join(TEXTS), {"prose"}),
    ],
)
def test_all_forms_hold_the_same_texts(content: str, repairs: set[str] | None) -> None:
    reading = read_answer(content)
    assert reading.texts == TEXTS
    assert reading.rejected == []
    if repairs is not None:
        assert repairs - {"be_case"} <= set(reading.repairs)
        assert bool(repairs) == bool(reading.repairs)


def test_prose_with_blank_lines_everywhere_is_one_text() -> None:
    assert read_answer(TEXTS[0].replace("\n", "\n\n")).texts == [TEXTS[0]]


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample of a real answer is not here")
def test_a_real_answer() -> None:
    reading = read_answer(SAMPLE.read_text(encoding="utf-8"))
    assert len(reading.texts) == 25
    assert reading.rejected == []
    assert reading.repairs == {"be_case": 3}
    assert reading.texts[0].startswith(">be me\n>Wearing a shirt")


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample of a real answer is not here")
def test_a_real_answer_cut_off_anywhere() -> None:
    content = SAMPLE.read_text(encoding="utf-8")
    whole = read_answer(content).texts
    for end in range(0, len(content), 7):
        texts = read_answer(content[:end], complete=False).texts
        assert texts == whole[: len(texts)], end
        # Nothing is lost either: every string whose closing quote is there.
        assert len(texts) >= content[:end].count('",\n'), end


@given(st.data())
def test_what_is_cut_off_keeps_its_whole_texts_and_nothing_else(data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([ARRAY, json.dumps({"greentexts": TEXTS}), repr(TEXTS), "\n\n".join(TEXTS)]))
    end = data.draw(st.integers(0, len(content)))
    reading = read_answer(content[:end], complete=False)
    assert reading.texts == TEXTS[: len(reading.texts)]


def test_prose_that_is_cut_off_loses_its_last_text_because_nobody_knows_whether_it_is_whole() -> None:
    reading = read_answer("\n\n".join(TEXTS), complete=False)
    assert reading.texts == TEXTS[:2]
    assert [reason for reason, _ in reading.rejected] == ["cut_off"]


def test_the_beginning_of_the_text_that_was_cut_off_is_set_aside() -> None:
    reading = read_answer(ARRAY[:-20])
    assert reading.texts == TEXTS[:2]
    assert [reason for reason, _ in reading.rejected] == ["cut_off"]
    assert reading.rejected[0][1].startswith(">be 7")


@pytest.mark.parametrize(
    "content",
    ["", " ", "null", "17", '"hm"', "[]", "{}", "[[], {}]", "I would rather not.", '{"greentexts": []}', "```"],
)
def test_answers_without_greentexts(content: str) -> None:
    assert read_answer(content).texts == []


def test_a_single_line_is_no_greentext_and_is_set_aside() -> None:
    reading = read_answer(json.dumps({"greentexts": [">be me", *TEXTS]}))
    assert reading.texts == TEXTS
    assert reading.rejected == [("not_a_greentext", ">be me")]


WORDS = st.from_regex(r"[a-zA-Z0-9'\",:;.!?\[\]{}()\\/-]{1,8}", fullmatch=True).filter(
    lambda word: word not in ("Be", "BE")
)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=2, max_size=6), st.booleans())
def test_valid_json_gives_the_texts_to_the_letter(lines: list[str], ascii_only: bool) -> None:
    text = "\n".join(f">{line}" for line in lines)
    assume(is_canonical(text))
    assert read_answer(json.dumps({"greentexts": [text]}, ensure_ascii=ascii_only)).texts == [text]


def is_canonical(text: str) -> bool:
    return is_greentext(text) and str(parse(text)) == text


@given(st.one_of(st.text(), st.text(alphabet="[]{}\"'“”:,\\n >`u1b"), st.binary().map(lambda b: b.decode("latin-1"))))
def test_no_text_makes_it_raise_and_every_text_is_canonical(content: str) -> None:
    for complete in (True, False):
        for text in read_answer(content, complete=complete).texts:
            assert str(parse(text)) == text


SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)))
def test_the_lenient_reader_agrees_with_the_strict_one_on_valid_json(value: object) -> None:
    """As far as both have a value: strings with quotes before punctuation are where leniency has its price."""
    if not isinstance(value, dict | list):
        value = [value]
    content = json.dumps(value)
    loose = read(content)
    assume(not loose.repairs)
    assert json.dumps(loose.value).encode("utf-16", "surrogatepass") == content.encode("utf-16", "surrogatepass")


def test_halves_of_surrogate_pairs_are_joined_and_lone_ones_harmless() -> None:
    assert read(r'["\ud83d\ude00"').value == ["😀"]
    read_answer(r'[">be me\n>\ud83d"').texts[0].encode()


@pytest.mark.parametrize(
    "piece",
    [
        *("[", "{", '"', "'", "\\", '{"a":', "[[", '",', '" ,', '"," ', "“", '">be me\\n>eat",', "> ", "\n>", "1. >"),
        *(
            "```",
            "``` ",
            '"' + " " * 1000,
            '"' + "\n" * 1000,
            "{'a': '" + ">" * 50,
            "\\u12",
            "x\n\n\n",
            "# # ",
            "1",
            '"a" ',
        ),
    ],
)
def test_hostile_answers_take_time_in_proportion(piece: str) -> None:
    content = (piece * (MAX_CHARACTERS // len(piece) + 1))[: MAX_CHARACTERS - 20]
    started_s = time.process_time()
    for start in ('["', ">a\n"):
        read_answer(f"{start}{content} x")
    assert time.process_time() - started_s < 5


def test_nesting_is_bounded() -> None:
    value = read("[" * 100_000 + '"x"').value
    for _ in range(MAX_DEPTH - 1):
        (value,) = value
    assert value == ["x"]
