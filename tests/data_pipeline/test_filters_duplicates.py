import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.filters.duplicates import DEFAULT_THRESHOLD, clusters, exact_key, shingles, similarity

STARTER = Path(__file__).parent.parent.parent / "data" / "greentexts" / "starter.jsonl"
TEXTS = [json.loads(line)["text"] for line in STARTER.read_text().splitlines()]


def misread(text: str, share: float, seed: int) -> str:
    """A text as a scanner reads it that gets a share of the letters wrong."""
    chance = random.Random(seed)
    return "".join(
        chance.choice("abcdefghijklmnopqrstuvwxyz") if letter.isalpha() and chance.random() < share else letter
        for letter in text
    )


def test_different_stories_are_never_joined() -> None:
    assert clusters(TEXTS) == list(range(len(TEXTS)))


def test_a_text_without_others_has_its_own_cluster() -> None:
    assert clusters([]) == []
    assert clusters(["anything"]) == [0]
    assert clusters(["", "", ">"]) == [0, 0, 2]


def test_copies_are_joined_under_the_lowest_index() -> None:
    copy = TEXTS[0].upper().replace("\n", " \n").replace(">", "> ") + "!!"
    assert exact_key(copy) == exact_key(TEXTS[0])
    assert clusters([TEXTS[1], TEXTS[0], TEXTS[2], copy, TEXTS[1]], 1.0) == [0, 1, 2, 1, 0]


def test_readings_of_one_screenshot_are_joined() -> None:
    again = [misread(text, 0.01, seed) for seed, text in enumerate(TEXTS)]
    found = clusters(TEXTS + again)
    joined = sum(found[at] == found[at + len(TEXTS)] for at in range(len(TEXTS)))
    assert joined > 0.98 * len(TEXTS)
    assert sorted(set(found)) == [at for at, cluster in enumerate(found) if cluster == at]


def test_a_text_that_lost_a_line_is_joined() -> None:
    shorter = [text.rpartition("\n")[0] for text in TEXTS]
    found = clusters(TEXTS + shorter)
    assert found[len(TEXTS) :] == found[: len(TEXTS)]


def test_a_chain_is_one_cluster() -> None:
    lines = [f">line {word} with words of its {word} own {word}" for word in "abcdefghijkl"]
    chain = ["\n".join(lines[start : start + 8]) for start in range(5)]
    assert similarity(chain[0], chain[4]) < DEFAULT_THRESHOLD < similarity(chain[0], chain[1])
    assert clusters(chain) == [0, 0, 0, 0, 0]


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_order(chance: random.Random) -> None:
    texts = TEXTS[:12] + [misread(text, 0.01, 5) for text in TEXTS[:8]] + [TEXTS[3], TEXTS[5].upper()]
    order = list(range(len(texts)))
    chance.shuffle(order)

    def groups(found: list[int], names: list[int]) -> set[frozenset[int]]:
        members: dict[int, set[int]] = {}
        for name, cluster in zip(names, found, strict=True):
            members.setdefault(cluster, set()).add(name)
        return {frozenset(group) for group in members.values()}

    shuffled = clusters([texts[at] for at in order])
    assert groups(shuffled, order) == groups(clusters(texts), list(range(len(texts))))
    assert all(cluster <= at and shuffled[cluster] == cluster for at, cluster in enumerate(shuffled))


@settings(max_examples=30)
@given(st.lists(st.text(alphabet="ab c\n>", max_size=20), max_size=12), st.sampled_from([0.4, 0.5, 0.8, 1.0]))
def test_clusters_are_what_similarity_connects(texts: list[str], threshold: float) -> None:
    expected = list(range(len(texts)))
    for _ in texts:
        for at, text in enumerate(texts):
            for other in range(len(texts)):
                if exact_key(text) == exact_key(texts[other]) or similarity(text, texts[other]) >= threshold:
                    expected[at] = min(expected[at], expected[other])
    assert clusters(texts, threshold) == expected


@given(st.text(), st.text())
def test_similarity_is_a_share_and_the_same_both_ways(first: str, second: str) -> None:
    assert 0 <= similarity(first, second) == similarity(second, first) <= 1
    assert similarity(first, first) == 1
    assert shingles(first)


@pytest.mark.parametrize("threshold", [0.0, 0.39, 1.01, float("nan")])
def test_thresholds_that_would_miss_pairs_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"from 0\.4 to 1"):
        clusters(["a"], threshold)


@pytest.mark.slow
def test_many_copies_of_one_text_take_no_longer_than_many_texts() -> None:
    copies = [TEXTS[0] + f"\n>ending {number}" for number in range(3000)]
    started = time.monotonic()
    assert set(clusters(copies)) == {0}
    assert time.monotonic() - started < 60
