from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.dataset.rows import Split
from data_pipeline.dataset.splits import assign, cluster_names, split_of

SHARES = {"validation": 0.1, "test": 0.2}
THRESHOLD = 0.5

texts_and_clusters = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 8)), max_size=40, unique_by=lambda p: p[0]
)


def places(texts: list[str], cluster_of: list[int], known: dict[str, Split] | None = None) -> dict[str, Split | None]:
    splits = assign(texts, cluster_of, known=known or {}, threshold=THRESHOLD, **SHARES)
    return dict(zip(texts, splits, strict=True))


def unpack(pairs: list[tuple[int, int]]) -> tuple[list[str], list[int]]:
    return [f">be {number}" for number, _ in pairs], [cluster for _, cluster in pairs]


@given(texts_and_clusters, st.randoms(use_true_random=False))
def test_a_cluster_is_in_one_split_whatever_the_order(pairs: list[tuple[int, int]], random: object) -> None:
    texts, cluster_of = unpack(pairs)
    before = places(texts, cluster_of)
    for cluster in set(cluster_of):
        assert len({before[text] for text, other in zip(texts, cluster_of, strict=True) if other == cluster}) == 1
    random.shuffle(pairs)  # type: ignore[attr-defined]
    assert places(*unpack(pairs)) == before


@given(texts_and_clusters, st.integers(10**7, 10**8), st.integers(0, 8))
def test_no_text_leaves_train_as_texts_are_added(pairs: list[tuple[int, int]], number: int, cluster: int) -> None:
    order = [Split.TRAIN, Split.VALIDATION, Split.TEST]
    texts, cluster_of = unpack(pairs)
    before = places(texts, cluster_of)
    after = places([*texts, f">be {number}"], [*cluster_of, cluster])
    for text, old in before.items():
        assert old is not None
        new = after[text]
        assert new is not None
        assert order.index(new) <= order.index(old)


@given(texts_and_clusters, st.data())
def test_what_was_assigned_before_stays_and_nothing_straddles(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    texts, cluster_of = unpack(pairs)
    known = {text: data.draw(st.sampled_from(list(Split))) for text in texts if data.draw(st.booleans())}
    after = places(texts, cluster_of, known)
    for text, split in known.items():
        assert after[text] == split
    for cluster in set(cluster_of):
        members = [text for text, other in zip(texts, cluster_of, strict=True) if other == cluster]
        settled = {known[text] for text in members if text in known}
        newcomers = {after[text] for text in members if text not in known}
        if len(settled) > 1:
            assert newcomers <= {None}
        elif settled:
            assert newcomers <= settled


def test_known_texts_that_a_lower_threshold_joins_are_not_all_kept() -> None:
    first = ">be me\n>go to the shop to buy some bread\n>see a very small dog\n>take it home"
    second = ">be me\n>go to the shop to buy some bread\n>see a very small cat\n>take it home"
    known = {first: Split.TRAIN, second: Split.TEST}
    assert places([first, second], [0, 0], known) == {first: None, second: Split.TEST}


def test_shares_are_what_was_asked_for() -> None:
    counts = Counter(split_of(f">be me\n>number {number}", **SHARES) for number in range(20_000))
    assert counts[Split.TEST] / 20_000 == pytest.approx(0.2, abs=0.01)
    assert counts[Split.VALIDATION] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert {split_of(f">{number}", validation=0, test=0) for number in range(100)} == {Split.TRAIN}


def test_case_spaces_and_marks_do_not_move_a_text() -> None:
    for number in range(50):
        plain = split_of(f">be me {number}\n>go home", **SHARES)
        assert split_of(f"> Be me, {number}!\n\n>GO   home...", **SHARES) is plain


@given(texts_and_clusters)
def test_a_clusters_name_is_its_members_and_not_their_orders(pairs: list[tuple[int, int]]) -> None:
    texts, cluster_of = unpack(pairs)
    names = dict(zip(texts, cluster_names(texts, cluster_of), strict=True))
    turned = dict(zip(texts[::-1], cluster_names(texts[::-1], cluster_of[::-1]), strict=True))
    assert names == turned
    assert len(set(names.values())) == len(set(cluster_of))
