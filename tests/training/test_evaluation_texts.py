from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from training.evaluation.code_shape import code_marks, looks_like_code
from training.evaluation.diversity import bleu, distinct, first_words, self_bleu
from training.evaluation.novelty import novelty
from training.evaluation.text_checks import check, details, rates
from training.evaluation.text_sets import common_sizes, details_of, figures_of, text_sets

STARTER = Path(__file__).resolve().parents[2] / "data" / "greentexts" / "starter.jsonl"
GOOD = ">be me\n>find a red ball\n>give it back\n>thank you, says the girl"


# ---------------------------------------------------------------------------------------------- BLEU


def test_bleu_by_hand() -> None:
    # 5 of 6 words, 3 of 5 pairs, 1 of 4 triples match, no four; as long as its reference.
    hypothesis, reference = ["the", "cat", "sat", "on", "the", "mat"], ["the", "cat", "is", "on", "the", "mat"]
    wanted = (5 / 6 * 3 / 5 * 1 / 4 * 0.1 / 3) ** 0.25
    assert bleu(hypothesis, [reference]) == pytest.approx(wanted)


def test_bleu_clips_and_counts_over_references() -> None:
    # Papineni et al. (2002), example 2: seven times "the" counts twice.
    the = ["the"] * 7
    references = [["the", "cat", "is", "on", "the", "mat"], ["there", "is", "a", "cat", "on", "the", "mat"]]
    wanted = (2 / 7 * 0.1 / 6 * 0.1 / 5 * 0.1 / 4) ** 0.25
    assert bleu(the, references) == pytest.approx(wanted)


def test_bleu_of_a_short_text_is_cut_by_its_length() -> None:
    reference = ["a", "b", "c", "d", "e", "f", "g", "h"]
    assert bleu(reference[:4], [reference]) == pytest.approx(math.exp(1 - 8 / 4))
    assert bleu(reference, [reference]) == pytest.approx(1.0)
    assert bleu([], [reference]) == 0.0
    assert bleu(["x"], [reference]) == 0.0


def test_self_bleu_is_the_mean_bleu_of_each_with_all_others() -> None:
    rng = random.Random(4)
    texts = [[rng.choice("abcdef") for _ in range(rng.randint(1, 14))] for _ in range(30)]
    texts += [texts[0], ["z"], ["a", "b"]]
    each = [bleu(text, texts[:place] + texts[place + 1 :]) for place, text in enumerate(texts)]
    found = self_bleu(texts)
    assert found.value == pytest.approx(sum(each) / len(each), abs=1e-12)
    assert found.low < found.value < found.high


def test_self_bleu_of_copies_is_one_and_of_strangers_nothing() -> None:
    assert self_bleu([list("abcde")] * 3).value == pytest.approx(1.0)
    assert self_bleu([list("abcde"), list("fghij")]).value == 0.0
    with pytest.raises(ValueError, match="compares texts"):
        self_bleu([list("abcde")])


# ------------------------------------------------------------------------------------------ distinct


def test_distinct_counts_within_texts() -> None:
    texts = [["a", "b", "a"], ["b", "a"]]
    assert distinct(texts, 1).value == pytest.approx(2 / 5)
    assert distinct(texts, 2).value == pytest.approx(2 / 3)  # (a, b), (b, a), (b, a); none over the gap
    with pytest.raises(ValueError, match="no text has 4 words"):
        distinct(texts, 4)


def test_distinct_intervals_grow_with_texts_that_differ() -> None:
    alike = distinct([["a", "b", "c"]] * 10, 1)
    mixed = distinct([["a", "a", "a"], ["b", "c", "d"]] * 5 + [["x", "y", "z"]], 1)
    assert alike.high - alike.low < mixed.high - mixed.low


def test_equal_sizes_are_cut_to_the_word() -> None:
    assert first_words([["a", "b"], ["c", "d"], ["e"]], 3) == [["a", "b"], ["c"]]
    assert first_words([["a"]], 5) == [["a"]]


# ------------------------------------------------------------------------------------------- novelty


def test_runs_are_found_wherever_they_stand_and_end_with_a_text() -> None:
    training = ["the dog ran home and slept", "a cat", "we ate the last"]
    inside, over, none = novelty(["oh the DOG ran,\n>home now", "a cat we ate", "zebra"], training)
    assert (inside.longest_run, inside.run, inside.copied) == (4, "the dog ran home", False)
    assert over.longest_run == 2
    assert (none.longest_run, none.run) == (0, "")


def test_copies_are_copies_however_spelled() -> None:
    [copied, longer] = novelty([">Be me\n>Eat soup!", ">be me\n>eat soup twice"], [">be me\n>eat soup"])
    assert copied.copied
    assert copied.longest_run == 4
    assert not longer.copied


def _runs(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def test_runs_are_the_longest_that_brute_force_finds() -> None:
    rng = random.Random(0)
    for _ in range(150):
        letters = "abcd"[: rng.randint(1, 4)]
        texts, training = (
            [" ".join(rng.choices(letters, k=rng.randint(0, 9))) for _ in range(rng.randint(1, 6))] for _ in range(2)
        )
        for text, found in zip(texts, novelty(texts, training), strict=True):
            known = {run for one in training for run in _runs(one)}
            wanted = max((len(run) for run in _runs(text) & known), default=0)
            assert found.longest_run == wanted, (text, training)
            assert not found.run or tuple(found.run.split()) in known


def test_the_training_set_is_read_once() -> None:
    assert novelty(["a b"], iter(["x a b y"]))[0].longest_run == 2


# ---------------------------------------------------------------------------------------------- code


@pytest.mark.parametrize(
    "text",
    [
        ">>> import os",
        ">>> x\n3",
        ">import numpy as np\n>np.zeros(3)",
        ">from os import path",
        ">def f(x):\n>    return x",
        ">for x in range(3):\n>    print(x)",
        ">print('hi')",
        ">add(1, 2)\n>3",
        ">x = [1, 2]\n>x[0] == 1",
        ">class Dog:\n>    pass",
        ">result = my_dict.get('a')",
        ">if (a) { return b; }\n>}",
        ">#include <stdio.h>",
        ">    total = 0\n>    total += 1",
        ">Traceback (most recent call last):",
    ],
)
def test_code_looks_like_code(text: str) -> None:
    assert looks_like_code(text), code_marks(text)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        ">mfw 2 + 2 = 4",
        ">be me (8)\n>mom (she is nice) says hi",
        ">for a while in the park: nothing\n>if only\n>while we wait",
        ">import day at the shop\n>return the book",
        ">she says: else what?\n>from mom",
        ">tfw no soup -> sad",
        ">print is too small\n>class is over",
        ">try again",
        '>they yell: "goal!"\n>score is 3',
        "",
    ],
)
def test_greentexts_do_not(text: str) -> None:
    assert not looks_like_code(text), code_marks(text)


def test_no_greentext_of_ours_looks_like_code() -> None:
    texts = [json.loads(line)["text"] for line in STARTER.read_text(encoding="utf-8").splitlines()]
    assert [text for text in texts if looks_like_code(text)] == []


# -------------------------------------------------------------------------------------------- checks


def test_checks_see_what_is_wrong() -> None:
    good, bare, rude = check(GOOD), check("once upon a time"), check(">be me\n>kill yourself\n>shit happens")
    assert (good.problems, good.thanks, good.simple, good.flags, good.code) == ((), True, True, (), False)
    assert "line_without_marker" in bare.problems
    assert not bare.thanks
    assert rude.flags
    figures = rates([good, bare, rude])
    assert figures["valid_shape"].value == pytest.approx(2 / 3)
    assert figures["thanks_ending"].value == pytest.approx(1 / 3)
    assert figures["content_flags"].value == pytest.approx(1 / 3)
    assert details([good, bare])["problems"]["line_without_marker"] == 1


def test_sets_are_measured_at_the_same_size() -> None:
    texts = [f">be me\n>word{number} and {number}\n>the end of it" for number in range(12)]
    many, few = text_sets([texts, texts[:3]], [texts[0]])
    sizes = common_sizes([many, few])
    assert sizes.texts == 3
    ours, theirs = figures_of(many, sizes)[0], figures_of(few, sizes)[0]
    for name in ("distinct_1", "distinct_2", "distinct_3", "self_bleu_4"):
        assert ours[name].value == pytest.approx(theirs[name].value)
    assert ours["exact_copies"].value == pytest.approx(1 / 12)
    assert theirs["exact_copies"].value == pytest.approx(1 / 3)
    assert ours["repeated"].value == 0
    assert details_of(many)["longest_shared_runs"][str(many.checks[0].words)] == 1


def test_a_set_of_empty_texts_has_no_diversity_and_says_so() -> None:
    [empty] = text_sets([["", ""]], ["a b"])
    figures, notes = figures_of(empty, common_sizes([empty]))
    assert figures["valid_shape"].value == 0
    assert "distinct_1" not in figures
    assert any("self-BLEU" in note for note in notes)
