"""What is kept and what is shown, the same on both databases."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.store.errors import StoreUnavailableError
from service.store.reads import board_query
from service.store.records import BoardOrder, Rating, Verdict
from service.store.schema import metadata
from service.store.sink import DAY_S, TOMBSTONE_S, UPKEEP_ROWS, DatabaseSink
from service.store.store import READS_WAITING
from service.store.wilson import lower_bound
from tests.service.store.places import FLAGGED, TEXT, Place, record, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.store.records import GenerationRecord
    from service.store.store import Store

WITHIN_S = 10.0


def save(store: Store, *records: GenerationRecord) -> None:
    for one in records:
        store.record(one)
    wait_for(lambda: store.stats.pending == 0)


def pages(store: Store, order: BoardOrder, limit: int, session_id: str | None = None) -> list[list[str]]:
    found, after = [], None
    while True:
        page = store.board(order, limit=limit, after=after, session_id=session_id).result(WITHIN_S)
        found.append([generation.id for generation in page.generations])
        after = page.next_cursor
        if after is None:
            return found


def test_a_generation_is_kept_with_all_there_is_to_it(store: Store, place: Place) -> None:
    one = record(session_id="s1", seed=2**63 - 1)
    save(store, one)
    row = place.rows("SELECT * FROM generations")[0]._asdict()
    sampling = row.pop("sampling")
    findings = row.pop("findings")
    assert (json.loads(sampling) if isinstance(sampling, str) else sampling) == one.sampling
    assert findings in ([], "[]")
    assert row == {
        "id": one.id, "created_s": one.created_s, "model": one.model, "bundle_sha256": one.bundle_sha256,
        "prompt": one.prompt, "text": one.text, "seed": one.seed, "finish_reason": "end", "prompt_tokens": 4,
        "completion_tokens": 20, "queue_s": 0.001, "prefill_s": 0.002, "decode_s": 0.1, "total_s": 0.103,
        "session_id": "s1", "shared": True, "shared_changed_s": None, "deleted_s": None, "on_board": True, "good": 0,
        "bad": 0, "score": 0.0,
    }  # fmt: skip
    assert place.rows("SELECT id, created_s, last_seen_s FROM sessions") == [("s1", one.created_s, one.created_s)]


def test_no_table_has_room_for_an_address_or_a_browsers_name() -> None:
    columns = {column.name for table in metadata.tables.values() for column in table.columns}
    assert not {name for name in columns if "ip" in name.split("_") or "addr" in name or "agent" in name}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (">a\0b", ">a\N{REPLACEMENT CHARACTER}b"),
        (">half \ud83d of a pair", ">half ? of a pair"),
        (">🐸 ok", ">🐸 ok"),
        ("", ""),
    ],
)
def test_any_text_can_be_kept(store: Store, given: str, kept: str) -> None:
    one = record(text=given, prompt=given, shared=False, seed=2**64, sampling={"stop": ["a\0"]}, model="m\0")
    save(store, one)
    assert store.stats.saved == 1
    found = store.find(one.id, None).result(WITHIN_S)
    assert found is not None
    assert found.text == kept


def test_a_text_can_be_found_before_it_is_saved(store: Store, place: Place) -> None:
    wait_for(lambda: store._sink and store._sink.is_ready)
    one = record(session_id="s1")
    store.record(one)
    found = store.find(one.id, "s1").result(WITHIN_S)
    assert found is not None
    assert (found.text, found.mine, found.on_board) == (TEXT, True, False)
    assert store.find("nothing", None).result(WITHIN_S) is None


class TestRatings:
    def test_a_rating_is_one_for_each_session_and_can_change(self, store: Store, place: Place) -> None:
        one = record()
        store.record(one)  # and is not saved yet
        first = store.rate(one.id, "s1", Rating.GOOD).result(WITHIN_S)
        assert (first.verdict, first.good, first.bad) == (Verdict.DONE, 1, 0)
        changes = [
            ("s1", Rating.GOOD), ("s2", Rating.BAD), ("s1", Rating.BAD), ("s2", None), ("s2", None), ("s3", None),
        ]  # fmt: skip
        told = [store.rate(one.id, session, rating).result(WITHIN_S) for session, rating in changes]
        assert [(one.good, one.bad) for one in told] == [(1, 0), (1, 1), (0, 2), (0, 1), (0, 1), (0, 1)]
        assert place.rows("SELECT session_id, rating FROM ratings") == [("s1", "bad")]
        assert place.rows("SELECT good, bad, score FROM generations") == [(0, 1, 0.0)]

    def test_a_generation_that_does_not_exist_cannot_be_rated(self, store: Store, place: Place) -> None:
        assert store.rate("nothing", "s1", Rating.GOOD).result(WITHIN_S).verdict is Verdict.UNKNOWN
        assert place.count("sessions") == 0
        assert (store.stats.refused, store.stats.saved) == (1, 0)

    def test_a_rating_waits_for_a_generation_that_another_process_saves(self, make_store: Callable[..., Store]) -> None:
        here, there = make_store(), make_store()
        one = record()
        future = here.rate(one.id, "s1", Rating.GOOD)
        time.sleep(0.1)
        there.record(one)
        assert future.result(WITHIN_S).verdict is Verdict.DONE

    def test_many_sessions_rate_at_once_from_several_processes(
        self, make_store: Callable[..., Store], place: Place
    ) -> None:
        stores = [make_store(), make_store(), make_store()]
        texts = [record() for _ in range(3)]
        save(stores[0], *texts)

        def rate(session: int) -> None:
            rating = Rating.GOOD if session % 3 else Rating.BAD
            order = texts if session % 2 else texts[::-1]
            futures = [stores[(session + i) % 3].rate(one.id, f"s{session}", rating) for i, one in enumerate(order)]
            for future in futures:
                assert future.result(30).verdict is Verdict.DONE

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(rate, range(48)))
        assert place.rows("SELECT good, bad FROM generations") == [(32, 16)] * 3
        assert place.count("ratings") == 144

    def test_an_older_rating_that_comes_late_changes_nothing(self, store: Store, place: Place) -> None:
        one = record()
        save(store, one)
        store.rate(one.id, "s1", Rating.GOOD).result(WITHIN_S)
        place.change("UPDATE ratings SET updated_s = :later", later=time.time() + 60)
        late = store.rate(one.id, "s1", Rating.BAD).result(WITHIN_S)
        assert (late.good, late.bad) == (1, 0)


class TestBoard:
    def test_pages_hold_each_text_once_in_order(self, store: Store) -> None:
        texts = [record(created_s=1000.0 + i // 2) for i in range(11)]  # some at the same time
        save(store, *texts)
        found = pages(store, BoardOrder.RECENT, 3)
        assert [len(page) for page in found] == [3, 3, 3, 2]
        newest_first = sorted(texts, key=lambda one: (one.created_s, one.id.encode()), reverse=True)
        assert [i for page in found for i in page] == [one.id for one in newest_first]
        assert pages(store, BoardOrder.RECENT, 11) == [[one.id for one in newest_first]]

    def test_a_cursor_stays_where_it_is_while_texts_arrive(self, store: Store) -> None:
        texts = [record(created_s=1000.0 + i) for i in range(10)]
        save(store, *texts)
        seen, after = [], None
        while True:
            page = store.board(BoardOrder.RECENT, limit=2, after=after).result(WITHIN_S)
            seen += [generation.id for generation in page.generations]
            after = page.next_cursor
            if after is None:
                break
            save(store, record(), record())
        assert seen == [one.id for one in reversed(texts)]

    def test_the_best_are_those_that_are_good_beyond_doubt(self, store: Store) -> None:
        texts = {(good, bad): record() for good, bad in [(0, 0), (0, 3), (1, 0), (3, 0), (5, 1), (2, 2)]}
        save(store, *texts.values())
        for (good, bad), one in texts.items():
            for i in range(good + bad):
                store.rate(one.id, f"s{i}", Rating.GOOD if i < good else Rating.BAD).result(WITHIN_S)
        order = [(3, 0), (5, 1), (1, 0), (2, 2)]
        assert order == sorted(order, key=lambda counts: lower_bound(*counts), reverse=True)
        for limit in (1, 2, 10):
            found = [i for page in pages(store, BoardOrder.BEST, limit) for i in page]
            assert found == [texts[counts].id for counts in order]

    def test_each_session_sees_its_own_ratings(self, store: Store) -> None:
        one = record(session_id="s1")
        save(store, one)
        store.rate(one.id, "s2", Rating.BAD).result(WITHIN_S)
        seen = {}
        for session in ("s1", "s2", None):
            page = store.board(BoardOrder.RECENT, limit=5, session_id=session).result(WITHIN_S)
            seen[session] = [(found.your_rating, found.mine, found.bad) for found in page.generations]
        assert seen == {"s1": [(None, True, 1)], "s2": [(Rating.BAD, False, 1)], None: [(None, False, 1)]}

    def test_what_is_flagged_or_not_shared_or_empty_or_long_is_never_on_it(self, store: Store, place: Place) -> None:
        hidden = [
            record(text=FLAGGED), record(shared=False), record(text=">mail me at a.b@example.org"),
            record(text=" \n"), record(text=">a\n" * 2000),
        ]  # fmt: skip
        shown = record()
        save(store, *hidden, shown)
        for one in (*hidden, shown):
            store.rate(one.id, "s1", Rating.GOOD).result(WITHIN_S)
        for order in BoardOrder:
            assert pages(store, order, 10) == [[shown.id]]
        (findings,) = place.rows("SELECT findings FROM generations WHERE id = :id", id=hidden[0].id)[0]
        assert findings in (["violent"], '["violent"]')

    @pytest.mark.parametrize("order", list(BoardOrder))
    def test_a_page_is_read_off_an_index(self, store: Store, place: Place, order: BoardOrder) -> None:
        save(store, *(record(created_s=1000.0 + i) for i in range(50)))
        cursor = store.board(BoardOrder.RECENT, limit=2).result(WITHIN_S).next_cursor
        assert cursor is not None
        database = place.database()
        query = board_query(order, 10, None).compile(database.engine, compile_kwargs={"literal_binds": True})
        with database.reading() as connection:
            if database.is_sqlite:
                plan = connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
                assert f"USING INDEX ix_generations_board_{order.value}" in str(plan)
            else:
                # With so few rows it would rather read them all.
                connection.execute(text("SET LOCAL enable_seqscan = off"))
                connection.execute(text("SET LOCAL enable_bitmapscan = off"))
                plan = connection.execute(text(f"EXPLAIN {query}")).all()
                assert f"Index Scan Backward using ix_generations_board_{order.value}" in str(plan)
        database.close()
        assert "TEMP B-TREE" not in str(plan)
        assert "Sort" not in str(plan)


class TestDeletion:
    def test_a_session_deletes_its_own_text_and_its_ratings_go_too(self, store: Store, place: Place) -> None:
        one, other = record(session_id="s1"), record(session_id=None)
        save(store, one, other)
        store.rate(one.id, "s2", Rating.GOOD).result(WITHIN_S)
        verdicts = [
            store.delete(i, session).result(WITHIN_S).verdict
            for i, session in [(one.id, "s2"), (other.id, "s1"), ("nothing", "s1"), (one.id, "s1"), (one.id, "s1")]
        ]
        assert verdicts == ["not_yours", "not_yours", "unknown", "done", "deleted"]
        assert pages(store, BoardOrder.RECENT, 5) == [[other.id]]
        assert pages(store, BoardOrder.BEST, 5) == [[]]
        found = store.find(one.id, "s1").result(WITHIN_S)
        assert found is not None
        assert (found.deleted, found.text) == (True, "")
        assert store.rate(one.id, "s2", Rating.GOOD).result(WITHIN_S).verdict is Verdict.DELETED
        assert place.count("ratings") == 0
        left = place.rows("SELECT text, prompt, sampling, session_id FROM generations WHERE id = :id", id=one.id)
        assert left == [("", None, None, None)]

    def test_a_session_is_erased_with_all_that_is_its_own(self, store: Store, place: Place) -> None:
        mine = [record(session_id="mine-of-all") for _ in range(3)]
        theirs = [record(session_id="another") for _ in range(3)]
        save(store, *mine, *theirs)
        for one in (*mine, *theirs):
            for session in ("mine-of-all", "another"):
                store.rate(one.id, session, Rating.GOOD).result(WITHIN_S)
        assert store.erase("mine-of-all").result(WITHIN_S).verdict is Verdict.DONE
        assert place.rows("SELECT id FROM sessions") == [("another",)]
        assert place.rows("SELECT count(*), count(deleted_s), sum(good) FROM generations") == [(6, 3, 3)]
        assert place.rows("SELECT DISTINCT session_id FROM ratings") == [("another",)]
        assert "mine-of-all" not in str(place.rows("SELECT * FROM generations"))
        assert store.erase("mine-of-all").result(WITHIN_S).verdict is Verdict.DONE

    def test_what_is_too_old_goes_in_small_pieces(self, store: Store, place: Place) -> None:
        now_s = time.time()
        old = [record(created_s=now_s - 3 * DAY_S, session_id=f"s{i}") for i in range(UPKEEP_ROWS + 20)]
        new = record(session_id="s0")
        save(store, *old, new)
        store.rate(old[1].id, "s0", Rating.GOOD).result(WITHIN_S)
        sink = DatabaseSink(place.database(), retention_days=2)
        assert sink.upkeep() is True
        assert place.count("generations") == 21
        assert sink.upkeep() is False
        sink.close()
        assert place.rows("SELECT id FROM generations") == [(new.id,)]
        assert (place.count("ratings"), place.rows("SELECT id FROM sessions")) == (0, [("s0",)])

    def test_without_a_limit_all_is_kept_but_traces_of_what_was_deleted(self, store: Store, place: Place) -> None:
        old = record(created_s=1.0, session_id="s1")
        gone = record(created_s=1.0, session_id="s1")
        save(store, old, gone)
        store.delete(gone.id, "s1").result(WITHIN_S)
        sink = DatabaseSink(place.database())
        assert sink.upkeep() is False
        assert place.count("generations") == 2
        place.change("UPDATE generations SET deleted_s = deleted_s - :s WHERE id = :id", s=TOMBSTONE_S + 1, id=gone.id)
        assert sink.upkeep() is False
        sink.close()
        assert place.rows("SELECT id FROM generations") == [(old.id,)]


def test_prompts_are_not_kept_where_that_is_not_wanted(make_store: Callable[..., Store], place: Place) -> None:
    store = make_store(store_prompts=False)
    private, shared = record(shared=False), record()
    save(store, private, shared)
    kept = {row.id: row for row in place.rows("SELECT id, prompt, text, sampling FROM generations")}
    assert (kept[private.id].prompt, kept[shared.id].prompt) == (None, None)
    assert (kept[private.id].text, kept[shared.id].text) == (TEXT.removeprefix(">be me"), TEXT)
    assert "frog" not in str(kept[private.id].sampling)


def test_questions_do_not_pile_up(store: Store) -> None:
    wait_for(lambda: store._sink and store._sink.is_ready)
    go = threading.Event()

    def ask(_: object) -> bool:
        return go.wait(WITHIN_S)

    waiting = [store._read(ask) for _ in range(READS_WAITING)]
    with pytest.raises(StoreUnavailableError, match="too many"):
        store.find("nothing", None)
    go.set()
    assert all(future.result(WITHIN_S) for future in waiting)
    wait_for(lambda: store._reads.acquire(blocking=False))
    store._reads.release()
    assert store.find("nothing", None).result(WITHIN_S) is None


def test_a_question_that_takes_too_long_is_broken_off(store: Store, place: Place) -> None:
    wait_for(lambda: store._sink and store._sink.is_ready)
    database = place.database()
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT max(i) FROM n"
    )
    began_s = time.monotonic()
    with pytest.raises(StoreUnavailableError), database.reading(timeout_s=0.1) as connection:
        connection.execute(text(endless))
    assert time.monotonic() - began_s < 2
    database.close()
