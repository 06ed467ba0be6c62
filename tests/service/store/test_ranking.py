"""Order and place on the board: the Wilson score's lower bound, and cursors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store.cursor import KEYS, Cursor
from service.store.errors import CursorError
from service.store.records import BoardOrder, new_generation_id
from service.store.wilson import Z, lower_bound

counts = st.integers(0, 10_000)


def test_known_values() -> None:
    # By hand from Wilson's formula: 1 of 1 is 1 / (1 + z²).
    assert lower_bound(1, 0) == pytest.approx(1 / (1 + Z * Z))
    # Newcombe (1998), Statistics in Medicine 17, 857-872, table I: 81 of 263, 15 of 148.
    assert lower_bound(81, 182) == pytest.approx(0.2553, abs=5e-5)
    assert lower_bound(15, 133) == pytest.approx(0.0624, abs=5e-5)


@given(counts, counts)
def test_it_is_below_the_share_and_no_less_than_nothing(good: int, bad: int) -> None:
    bound = lower_bound(good, bad)
    assert 0 <= bound <= (good / (good + bad) if good + bad else 0)
    assert bound < 1


@given(counts, counts)
def test_each_good_rating_lifts_and_each_bad_one_lowers(good: int, bad: int) -> None:
    assert lower_bound(good + 1, bad) > lower_bound(good, bad)
    assert lower_bound(good + 1, bad + 1) < lower_bound(good + 1, bad)


def test_it_is_the_share_at_which_so_many_good_ratings_begin_to_be_a_surprise() -> None:
    # What the interval is: at its lower end, the normal approximation puts the observed share at the 97.5 % quantile.
    for good, bad in [(3, 2), (40, 60), (9, 1)]:
        n, bound = good + bad, lower_bound(good, bad)
        assert (good / n - bound) / (bound * (1 - bound) / n) ** 0.5 == pytest.approx(Z)


finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200)


@given(st.sampled_from(BoardOrder), st.data())
def test_a_cursor_comes_back_as_it_was(order: BoardOrder, data: st.DataObject) -> None:
    keys = tuple(data.draw(st.lists(finite, min_size=KEYS[order], max_size=KEYS[order])))
    cursor = Cursor(order, keys, new_generation_id())
    assert Cursor.decode(cursor.encode(), order) == cursor
    for other in set(BoardOrder) - {order}:
        with pytest.raises(CursorError):
            Cursor.decode(cursor.encode(), other)


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))), st.sampled_from(BoardOrder))
def test_whatever_is_given_as_a_cursor_is_one_or_refused(text: str, order: BoardOrder) -> None:
    try:
        cursor = Cursor.decode(text, order)
    except CursorError:
        return
    assert Cursor.decode(cursor.encode(), order) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "", "W10", "bnVsbA", "x" * 1000, "WyJyZWNlbnQiLDFlOTk5LCJhIl0", "WyJyZWNlbnQiLHRydWUsImEiXQ",
        "WyJyZWNlbnQiLDEsMV0", "WyJyZWNlbnQiLDEsIlx1MDAwMCJd", "WyJyZWNlbnQiLDEsImEiLDFd", "🐸",
    ],
)  # fmt: skip
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError, match="`next` of a page in the order recent"):
        Cursor.decode(text, BoardOrder.RECENT)


def test_ids_are_all_different_and_fit_a_url() -> None:
    ids = {new_generation_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(i) == 22 and i.replace("-", "").replace("_", "").isalnum() for i in ids)
