"""The parts of the findings: intervals, verdicts, swapped words, sessions of code, scores of single words."""

from __future__ import annotations

import contextlib
import doctest
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from training.corpus import CorpusError
from training.evaluate import hold_out, score_model
from training.evaluation.code_shape import looks_like_code
from training.evaluation.figures import Figure
from training.findings.code_sessions import code_session, without_prompts
from training.findings.intervals import over_seeds, over_seeds_and_texts, share_difference, share_of, t_quantile
from training.findings.scores import chance_after, outside, token_nats
from training.findings.verdicts import Verdict, judge
from training.findings.word_swaps import RARE_WORDS, WordLists, places_of, swap_words, word_lists
from training.tokenizer import encode_plain

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint

STORIES = [f"The {'happy ' * 5}fox saw {word} and {word} again. " * 6 for word in ("forest", "window", "garden")]


# --- intervals


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (30, 2.0423), (10_000, 1.9602)],
)
def test_t_quantile_is_that_of_the_tables(degrees: float, expected: float) -> None:
    assert t_quantile(degrees) == pytest.approx(expected, abs=2e-4)


def test_t_quantile_lies_between_those_of_whole_degrees() -> None:
    assert t_quantile(3) < t_quantile(2.5) < t_quantile(2)
    with pytest.raises(ValueError, match="degrees above 0"):
        t_quantile(0)


def test_an_interval_over_seeds_is_students() -> None:
    figure = over_seeds(np.array([1.0, 2.0, 3.0]))
    assert (figure.value, figure.low, figure.high) == pytest.approx((2.0, 2 - 2.48414, 2 + 2.48414), abs=1e-4)
    with pytest.raises(ValueError, match="at least two"):
        over_seeds(np.array([1.0]))


def test_an_interval_over_seeds_and_texts_by_hand() -> None:
    values = np.array([[1.0, 3.0], [2.0, 4.0]])  # seeds' means 2 and 3, texts' means 1.5 and 3.5
    figure = over_seeds_and_texts(values)
    variance = 0.5 / 2 + 2.0 / 2
    degrees = variance**2 / (0.25**2 + 1.0**2)
    assert figure.value == 2.5
    assert figure.high - figure.value == pytest.approx(t_quantile(degrees) * variance**0.5)


@pytest.mark.parametrize(("of_seeds", "of_texts"), [(1.0, 0.0), (0.0, 1.0), (0.5, 1.0), (0.0, 0.0)])
def test_intervals_over_seeds_and_texts_hold_the_truth_as_often_as_they_say(of_seeds: float, of_texts: float) -> None:
    rng, held = np.random.default_rng(3), 0
    for _ in range(300):
        seeds, texts = rng.normal(0, of_seeds, (4, 1)), rng.normal(0, of_texts, (1, 20))
        figure = over_seeds_and_texts(seeds + texts + rng.normal(0, 0.5, (4, 20)))
        held += figure.low <= 0 <= figure.high
    assert held >= 0.92 * 300


def test_seeds_that_agree_on_none_do_not_make_it_certain() -> None:
    none = np.zeros((3, 100), np.int64)
    assert share_of(none).low == 0
    assert 0.005 < share_of(none).high < 0.05
    difference = share_difference(none, none)
    assert difference.low < 0 < difference.high


def test_seeds_that_disagree_widen_a_share() -> None:
    apart = np.zeros((2, 100), np.int64)
    apart[0] = 1
    assert share_of(apart).low == 0.0
    assert share_of(apart).high == 1.0
    with pytest.raises(ValueError, match="pairs seeds"):
        share_difference(apart, apart[:1])


# --- verdicts


@pytest.mark.parametrize(
    ("low", "high", "expected", "verdict"),
    [
        (-0.30, -0.10, "lower", Verdict.SUPPORTED),
        (-0.30, -0.10, "higher", Verdict.NOT_SUPPORTED),
        (0.10, 0.30, "higher", Verdict.SUPPORTED),
        (0.10, 0.30, "lower", Verdict.NOT_SUPPORTED),
        (-0.10, 0.30, "lower", Verdict.UNDECIDED),
        (-0.10, 0.30, "higher", Verdict.UNDECIDED),
        (-0.005, 0.009, "lower", Verdict.NOT_SUPPORTED),
        (0.004, 0.009, "higher", Verdict.NOT_SUPPORTED),  # for certain, but nobody would care
        (0.004, 0.020, "higher", Verdict.SUPPORTED),
    ],
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, expected: str, verdict: Verdict) -> None:
    assert judge(Figure((low + high) / 2, low, high, 3), expected, 0.01) == verdict  # type: ignore[arg-type]


# --- swapped words


@pytest.fixture(scope="module")
def lists() -> WordLists:
    return WordLists(
        content=tuple(f"content{letter}" for letter in "abcdefghij"),
        rare=tuple(f"rare{letter}" for letter in "abcdefghij"),
        known=tuple(f"known{letter}" for letter in "abcdefgh"),
    )


def test_a_larger_share_holds_the_smaller_one(lists: WordLists) -> None:
    small, large = lists.swap(0.2, "rare", 7), lists.swap(0.6, "rare", 7)
    assert len(small) == 2
    assert len(large) == 6
    assert small.items() <= large.items()
    assert lists.swap(0.6, "known", 7).keys() == large.keys()
    assert len(set(large.values())) == 6, "two words became one"
    assert lists.swap(0.6, "rare", 8) != large


def test_too_few_words_to_swap_for_are_told_of(lists: WordLists) -> None:
    with pytest.raises(CorpusError, match="10 words are to be swapped for known ones, of which there are 8"):
        lists.swap(1.0, "known", 0)


def test_swapping_keeps_lines_words_marks_and_capitals() -> None:
    swapped = {"garden": "obelisk", "cake": "quartz"}
    text = '>be in the Garden\n>"cake, or no cake?"\n>gardener stays'
    assert swap_words(text, swapped) == '>be in the Obelisk\n>"quartz, or no quartz?"\n>gardener stays'


def test_words_are_chosen_by_what_stories_and_texts_have() -> None:
    texts = [">the blue gargoyle waves", ">the blue whale saw zirconia", ">zirconia and ibex", ">the ibex and blue"]
    told = [*STORIES, *(f"{word} " * 5 for word in ("purple", "orange"))]
    lists = word_lists([*told, " ".join(f"common{i} " for i in range(250)) * 3], texts)
    assert set(lists.content) == {"blue", "zirconia", "ibex"}, "in two texts, four letters, not a story's commonest"
    assert "ibex" not in lists.rare, "the texts have it"
    assert {"obelisk", "zephyr"} <= set(lists.rare)


def test_rare_words_that_stories_have_are_left_out() -> None:
    texts = [">be me"]
    assert "obelisk" in word_lists(STORIES, texts).rare
    assert "obelisk" not in word_lists([*STORIES, "the obelisk fell"], texts).rare


def test_the_list_of_rare_words_is_enough_and_plain() -> None:
    words = [w for line in RARE_WORDS.read_text().splitlines() if not line.startswith("#") for w in line.split()]
    assert len(words) == len(set(words)) > 800
    assert all(word.isascii() and word.islower() and word.isalpha() for word in words)


# --- sessions of code


def test_sessions_answer_what_python_answers() -> None:
    parser, runner, said = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False), io.StringIO()
    for number in range(150):
        test = parser.get_doctest(code_session(5, number) + "\n", {}, f"session {number}", None, 0)
        with contextlib.redirect_stdout(said):
            runner.run(test, out=said.write)
    assert runner.summarize(verbose=False).failed == 0, said.getvalue()


def test_sessions_look_like_code_differ_and_come_again() -> None:
    sessions = [code_session(5, number) for number in range(100)]
    assert all(looks_like_code(session) and session.startswith(">>> ") for session in sessions)
    assert len(set(sessions)) > 95
    assert code_session(5, 3) == sessions[3] != code_session(6, 3)
    assert ">>" not in "".join(without_prompts(session) for session in sessions)


# --- scores


def test_nats_of_tokens_add_up_to_the_score(tiny: Checkpoint) -> None:
    texts = [">be me\n>mom gives me a cake", ">be me"]
    held_out = hold_out(tiny, texts)
    nats = token_nats(tiny.model, held_out.documents)
    assert [len(one) for one in nats] == [len(document) - 1 for document in held_out.documents]
    assert sum(one.sum() for one in nats) == pytest.approx(score_model(tiny.model, held_out).nats, rel=1e-5)


def test_words_left_out_are_left_out_whole(tiny: Checkpoint) -> None:
    text = ">be me\n>mom gives me a cäke"
    places = places_of(text, {"mom": "x"})
    assert [text[start:end] for start, end in places] == ["mom"]
    mask, text_bytes = outside(tiny.tokenizer, text, places)
    [ids] = encode_plain(tiny.tokenizer, [text])
    assert text_bytes == len(text.encode()) - 3
    assert len(mask) == len(ids) + 1
    assert mask[-1], "the end of the text counts"
    left_out = "".join(tiny.tokenizer.decode([token]) for token, kept in zip(ids, mask[:-1], strict=True) if not kept)
    assert "mom" in left_out
    assert "give" not in left_out
    everything, all_bytes = outside(tiny.tokenizer, text, [])
    assert everything.all()
    assert all_bytes == len(text.encode())


def test_the_chance_of_a_token_after_another_is_the_models(tiny: Checkpoint) -> None:
    documents = [[0, 5, 6, 5], [0, 5]]
    chance, places = chance_after(tiny.model, documents, 5, 9)
    expected = []
    with torch.no_grad():
        for document in ([0, 5], [0, 5, 6, 5], [0, 5]):
            logits = tiny.model(input_ids=torch.tensor([document])).logits
            expected.append(float(logits[0, -1].softmax(-1)[9]))
    assert places == 3
    assert chance == pytest.approx(sum(expected) / 3, rel=1e-4)
    with pytest.raises(ValueError, match="none of the texts"):
        chance_after(tiny.model, documents, 77, 9)
