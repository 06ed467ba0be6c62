import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greentext.content import Category, Finding, is_wholesome, judge
from greentext.content_classifier import WEIGHTS_FILE, default_classifier, load
from greentext.content_terms import TERMS_FILE, Terms, default_terms, read_sections

GROUPS = [
    *("gay", "lesbian", "trans", "bisexual", "queer", "female", "black", "white", "brown"),
    *("asian", "african", "indian", "chinese", "mexican", "arab", "irish", "russian", "polish"),
    *("german", "american", "jewish", "muslim", "christian", "hindu", "deaf", "blind", "autistic"),
    *("disabled", "homeless", "poor", "old", "fat", "immigrant", "refugee", "foreign", "turkish"),
    *("korean", "swedish", "buddhist", "catholic", "latino"),
]
DATA = Path(__file__).parent.parent.parent / "data"


def categories(line: str) -> set[str]:
    return {finding.category.value for finding in judge(f">{line}")}


def labelled(split: str) -> list[dict]:
    rows = [json.loads(line) for line in (DATA / "content_labelled.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == split]


@pytest.mark.parametrize(
    ("line", "category"),
    [
        ("he is a faggot", "slur"),
        ("she takes off her bra", "sexual"),
        ("he shoots the cashier in the head", "violent"),
        ("kill all muslims", "hateful"),
        ("i want to kill myself", "self_harm"),
        ("mail me at anon@example.com", "personal_data"),
        ("what the fuck", "profanity"),
    ],
)
def test_each_category_is_found(line: str, category: str) -> None:
    assert category in categories(line)


@pytest.mark.parametrize(
    "line",
    [
        "kill time with a book",
        "shoot hoops with dad",
        "die of laughter",
        "sex ed? no, i forgot my lunch",
        "killer whale waves at us",
        "want to die of embarrassment",
        "moby dick is a long book",
        "peacock in the cockpit drinks a cocktail",
        "scunthorpe, sussex and essex",
        "assume the class will pass",
        "chicken breast for the dog",
        "photo shoot with nana",
        "*hugs my cat*",
        "3-4 of us, 10/10, 100% fun, 24/7",
        "beat my high score",
        "dying my hair blue",
        "he is my best friend, and he is gay",
        "grandpa died, i wear his hat",
    ],
)
def test_what_only_looks_bad_is_wholesome(line: str) -> None:
    assert judge(f">{line}") == []


@pytest.mark.parametrize(
    ("spelled", "category"),
    [
        ("FUCK", "profanity"),
        ("fuuuuuck", "profanity"),
        ("f u c k", "profanity"),
        ("f.u.c.k", "profanity"),
        ("f**k", "profanity"),
        ("sh1tty", "profanity"),
        ("f@ggot", "slur"),
        ("ｆａｇｇｏｔ", "slur"),  # noqa: RUF001
        ("рussy", "sexual"),  # noqa: RUF001
        ("pörn", "sexual"),
        ("k i l l your self, kys", "self_harm"),
    ],
)
def test_disguises_are_seen_through(spelled: str, category: str) -> None:
    assert category in categories(f"anon says {spelled} to me")


# Frames other than those that the classifier learns, and some groups that it has never seen there.
@pytest.mark.parametrize(
    "frame",
    [
        "{} grandma teaches me to bake",
        "sit next to a {} kid on the bus, we share fries",
        "my teacher is {} and has the best stories",
        "two {} guys carry my couch up the stairs",
        "the {} family moves in, they bring soup",
    ],
)
def test_who_somebody_is_is_no_finding(frame: str) -> None:
    assert {group: found for group in GROUPS if (found := judge(">" + frame.format(group)))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "call me at 555-867-5309",
        "+44 20 7946 0018",
        "(212) 555-0147",
        "my number is 5558675309",
        "anon at example dot com",
        "joe [at] mail [dot] org",
        "i live at 742 Maple Street",
        "meet me at 12 oak lane",
        "Portland, OR 97205",
        "follow @some_anon",
        "thanks u/throwaway_cat",
        "add Anon#4821",
        "my insta is cat.lady.42",
        "see https://example.com/a",
        "www.example.org",
        "card 4111 1111 1111 1111",
        "078-05-1120",
        "ip is 93.184.216.34",
        "he is called John Smith",
        "tell emily davis",
        "Kevin O'Brien sits here",
        "James Kowalczyk waves",
    ],
)
def test_personal_data_is_found(line: str) -> None:
    assert "personal_data" in categories(line)


@pytest.mark.parametrize(
    "line",
    [
        "run 2 miles down the road",
        "12 ducks cross the street",
        "be me, 23, 5'9",
        "score is 21-17-9",
        "post 46970058",
        "127.0.0.1 is where the heart is",
        "version 2.0.1",
        "4111 1111 1111 1112 beans",
        "tom hanks and harry potter",
        "mark cooks, will bakes, grace eats",
        "John and Paul",
        "doctor Smith has a lollipop",
        "on 07/22/78 at 06:00:45",
        "meet @ five",
        "1 + 1 = 3",
    ],
)
def test_numbers_and_first_names_are_no_personal_data(line: str) -> None:
    assert "personal_data" not in categories(line)


def test_findings_say_where_and_what_and_who_spoke() -> None:
    findings = judge(">be me\n>call 555-867-5309\n>what the fuck")
    assert findings == [
        Finding(Category.PERSONAL_DATA, 2, "pattern", "555-867-5309"),
        Finding(Category.PROFANITY, 3, "terms", "fuck"),
    ]


def test_the_classifier_speaks_where_no_list_does() -> None:
    line = "those people are filthy, send every foreigner out of our country"
    (finding,) = judge(f">{line}")
    assert (finding.category, finding.judge, finding.words) == (Category.HATEFUL, "classifier", f">{line}")
    assert default_classifier().thresholds.min() <= finding.score < 1


@given(st.text())
def test_any_text_is_judged_line_by_line(text: str) -> None:
    findings = judge(text)
    assert is_wholesome(text) == (not findings)
    assert all(1 <= finding.line <= text.count("\n") + 1 for finding in findings)
    assert findings == [
        Finding(finding.category, number, finding.judge, finding.words, finding.score)
        for number, line in enumerate(text.split("\n"), start=1)
        for finding in judge(line)
    ]


@given(st.sampled_from([row["text"][1:] for row in labelled("train")]), st.sampled_from([str.upper, str.title]))
def test_capitals_hide_no_words(line: str, spell: Callable[[str], str]) -> None:
    assert {section for section, _ in default_terms().read(line).found} <= {
        section for section, _ in default_terms().read(spell(line)).found
    }


def test_harmless_phrases_hide_only_themselves() -> None:
    assert judge(">kill time") == []
    assert categories("kill time, then kill myself") == {"self_harm"}


def test_the_wholesome_corpus_is_wholesome() -> None:
    texts = [json.loads(line)["text"] for line in (DATA / "greentexts" / "starter.jsonl").read_text().splitlines()]
    found = [text for text in texts if not is_wholesome(text)]
    assert len(found) < 0.005 * len(texts), found


def test_held_out_lines_are_judged_as_well_as_documented() -> None:
    rows = labelled("test")
    found = [categories(row["text"][1:]) for row in rows]
    bad = [bool(got) for row, got in zip(rows, found, strict=True) if row["labels"]]
    good = [bool(got) for row, got in zip(rows, found, strict=True) if not row["labels"]]
    assert len(bad) > 100
    assert sum(bad) / len(bad) > 0.7
    assert sum(good) / len(good) < 0.06
    for category in Category:
        there = [row for row in rows if category in row["labels"]]
        hit = [row for row in there if category in categories(row["text"][1:])]
        assert len(hit) > 0.5 * len(there), category


def test_labelled_lines_are_distinct_and_named_after_categories() -> None:
    rows = labelled("train") + labelled("test")
    assert len(rows) >= 600
    assert len({row["text"] for row in rows}) == len(rows)
    assert {label for row in rows for label in row["labels"]} == {category.value for category in Category}


def test_a_text_takes_well_under_a_millisecond() -> None:
    lines = (DATA / "greentexts" / "starter.jsonl").read_text().splitlines()[:200]
    texts = [json.loads(line)["text"] for line in lines]
    judge(texts[0])
    rounds = []
    for _ in range(5):
        started = time.process_time()
        for text in texts:
            judge(text)
        rounds.append((time.process_time() - started) / len(texts))
    # 0.2 ms on a quiet machine.
    assert min(rounds) < 0.001


def test_it_loads_at_once_and_imports_little() -> None:
    code = (
        "import sys, numpy, time; started = time.process_time()\n"
        "import greentext.content as c; c.judge('>be me')\n"
        "print(time.process_time() - started, 'pydantic' in sys.modules, 'data_pipeline' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *imported = run.stdout.split()
    assert imported == ["False", "False"]
    assert float(seconds) < 0.3


def test_terms_belong_to_categories() -> None:
    sections = read_sections(TERMS_FILE.read_text(encoding="utf-8").splitlines())
    assert set(sections) == {
        "macros", "harmless", *(category.value for category in Category if category is not Category.PERSONAL_DATA)
    }  # fmt: skip


def test_terms_know_prefixes_suffixes_gaps_and_macros() -> None:
    terms = Terms(
        {
            "macros": ["{kind} = red blue", "{kind} = green"],
            "a": ["snail*", "*boot", "{kind} hat", "go .. home"],
            "harmless": ["blue hat day"],
        }
    )

    def found(line: str) -> list[str]:
        return [words for _, words in terms.read(line).found]

    assert found("snails in a moonboot") == ["snails", "moonboot"]
    assert found("green hat, grey hat, red hat") == ["green hat", "red hat"]
    assert found("blue hat day") == []
    assert found("go home, go all the way home, go a b c d home") == ["go home", "go all the way home"]
    assert terms.read("the blue hat day ends").words == ["the", "", "", "", "ends"]


@pytest.mark.parametrize(
    "sections", [{"a": ["{unknown} hat"]}, {"a": ["{unknown}"]}, {"a": ["hat* day"]}, {"a": ["hat {unknown}"]}]
)
def test_terms_that_cannot_be_are_refused(sections: dict) -> None:
    with pytest.raises(ValueError, match=r"macro|spell out"):
        Terms(sections)


def test_an_entry_outside_of_sections_is_refused() -> None:
    with pytest.raises(ValueError, match="in no section"):
        read_sections(["# comment", "lost"])


def test_weights_are_small_plain_and_checked(tmp_path: Path) -> None:
    import numpy as np

    assert WEIGHTS_FILE.stat().st_size < 200_000
    classifier = load(WEIGHTS_FILE)
    assert set(classifier.categories) == {"sexual", "violent", "hateful", "self_harm"}
    other = tmp_path / "other.npz"
    np.savez(
        other, categories=np.array(["sexual"]), weights=np.zeros((3, 1), np.int8), scales=1, biases=0, thresholds=1
    )
    with pytest.raises(ValueError, match="train_content"):
        load(other)
    np.savez(other, categories=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        load(other)


def test_lines_without_words_are_of_no_category() -> None:
    assert default_classifier().judge([[], [""], ["", ""]]) == []
    assert default_classifier().probabilities([]).shape == (0, 4)
    assert judge("") == judge("\n\n>\n>...") == []
