"""The queue, the thread and the account, over sinks that fail as they are told."""

from __future__ import annotations

import logging
import random
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.store.errors import RowRefusedError, StoreFullError, StoreUnavailableError
from service.store.records import Rating, RatingChange, Verdict, Write, WriteResult
from service.store.writer import BATCH_ROWS, Outcome, Writer, WriterStats
from tests.service.store.places import record, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest


class FakeSink:
    """Keeps what it is given, if `fault` has nothing against it."""

    def __init__(self, fault: Callable[[Sequence[Write]], None] = lambda _: None) -> None:
        self.fault = fault
        self.saved: list[Write] = []
        self.batches: list[int] = []
        self.closed = False
        self.away = False

    def write(self, batch: Sequence[Write]) -> list[WriteResult]:
        if self.away:
            raise StoreUnavailableError("away")
        self.fault(batch)
        self.saved += batch
        self.batches.append(len(batch))
        ids = {write.id for write in self.saved if write.kind == "generation"}
        return [
            WriteResult(Verdict.DONE if write.kind == "generation" or write.generation_id in ids else Verdict.UNKNOWN)
            for write in batch
            if write.kind != "erasure"
        ]

    def upkeep(self) -> bool:
        if self.away:
            raise StoreUnavailableError("away")
        return False

    def close(self) -> None:
        self.closed = True


class Counts:
    """An observer that adds up."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.pending: list[int] = []
        self.errors = 0
        self.lock = threading.Lock()

    def on_rows(self, kind: str, outcome: Outcome, count: int) -> None:
        with self.lock:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count

    def on_pending(self, count: int) -> None:
        self.pending.append(count)

    def on_error(self, at_s: float) -> None:
        self.errors += 1


def started(sink: FakeSink, **options: Any) -> Writer:
    writer = Writer(sink, **{"capacity": 1000, "grace_s": 0.1, "max_retry_s": 0.1, **options})
    writer.start()
    return writer


def accounted(stats: WriterStats) -> bool:
    return stats.recorded == stats.saved + stats.refused + stats.pending + sum(stats.dropped.values())


def rating(generation_id: str, value: Rating | None = Rating.GOOD) -> RatingChange:
    return RatingChange(generation_id=generation_id, session_id="s", rating=value, at_s=1.0)


def test_rows_are_saved_in_order_and_in_batches() -> None:
    sink = FakeSink()
    writer = started(sink)
    rows = [record() for _ in range(450)]
    for row in rows:
        writer.record(row)
    stats = writer.stop(5)
    assert sink.saved == rows
    assert len(sink.batches) <= 4
    assert max(sink.batches) == BATCH_ROWS
    assert (stats.saved, stats.recorded, stats.pending, sink.closed) == (450, 450, 0, True)


def test_a_single_row_is_saved_soon() -> None:
    sink = FakeSink()
    writer = started(sink)
    began_s = time.monotonic()
    writer.record(record())
    wait_for(lambda: writer.stats.saved == 1)
    assert time.monotonic() - began_s < 3.0
    writer.stop(1)


def test_when_the_queue_is_full_the_newest_are_dropped_and_counted() -> None:
    sink, counts = FakeSink(), Counts()
    sink.away = True
    writer = started(sink, capacity=10, observer=counts)
    rows = [record() for _ in range(25)]
    for row in rows:
        writer.record(row)
    assert writer.stats.pending == 10
    assert writer.stats.dropped[Outcome.QUEUE_FULL] == 15
    assert isinstance(writer.submit(rating("x")).exception(1), StoreFullError)
    sink.away = False
    wait_for(lambda: writer.stats.saved == 10)
    assert sink.saved == rows[:10]
    writer.stop(1)
    assert counts.outcomes == {Outcome.SAVED: 10, Outcome.QUEUE_FULL: 16}
    assert counts.errors > 0
    assert counts.pending[-1] == 0


def test_a_row_that_cannot_be_saved_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    rows = [record(text=f">secret words {i}") for i in range(7)]
    bad = {rows[2].id: RowRefusedError("DataError"), rows[5].id: OverflowError(rows[5].text)}

    def fault(batch: Sequence[Write]) -> None:
        for write in batch:
            if write.kind == "generation" and write.id in bad:
                raise bad[write.id]

    sink = FakeSink(fault)
    writer = started(sink)
    for row in rows:
        writer.record(row)
    future = writer.submit(rating(rows[0].id))
    stats = writer.stop(5)
    assert [write for write in sink.saved if write.kind == "generation"] == [row for row in rows if row.id not in bad]
    assert future.result(1).verdict is Verdict.DONE
    assert (stats.saved, stats.dropped[Outcome.DATABASE]) == (6, 2)
    assert accounted(stats)
    assert "secret" not in caplog.text
    assert "DataError" not in caplog.text or "RowRefusedError" in caplog.text


def test_a_rating_that_cannot_be_saved_says_so() -> None:
    def fault(batch: Sequence[Write]) -> None:
        raise ValueError("what it held")

    writer = started(FakeSink(fault))
    error = writer.submit(rating("x")).exception(5)
    assert isinstance(error, RowRefusedError)
    assert "held" not in str(error)
    writer.stop(1)


def test_a_change_to_what_never_comes_is_refused_after_a_while() -> None:
    sink = FakeSink()
    writer = started(sink, grace_s=0.2)
    began_s = time.monotonic()
    result = writer.submit(rating("nothing")).result(5)
    assert result.verdict is Verdict.UNKNOWN
    assert time.monotonic() - began_s >= 0.2
    late = record()
    waiting = writer.submit(rating(late.id))
    time.sleep(0.05)
    writer.record(late)
    assert waiting.result(5).verdict is Verdict.DONE
    stats = writer.stop(1)
    assert (stats.saved, stats.refused) == (2, 1)


def test_a_stop_saves_what_waits_and_takes_no_more() -> None:
    sink, counts = FakeSink(), Counts()
    writer = Writer(sink, capacity=1000, observer=counts)
    rows = [record() for _ in range(300)]
    for row in rows:
        writer.record(row)
    writer.start()
    stats = writer.stop(5)
    assert (stats.saved, stats.pending) == (300, 0)
    writer.record(record())
    assert writer.stats.dropped[Outcome.STOPPING] == 1
    assert isinstance(writer.submit(rating("x")).exception(1), StoreFullError)
    assert accounted(writer.stats)


def test_a_stop_ends_in_time_while_the_database_is_away_and_counts_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = FakeSink()
    sink.away = True
    writer = started(sink)
    for _ in range(300):
        writer.record(record())
    future = writer.submit(rating("x"))
    began_s = time.monotonic()
    stats = writer.stop(0.3)
    assert time.monotonic() - began_s < 3.0
    assert stats.dropped[Outcome.STOPPING] == 301
    assert accounted(stats)
    assert isinstance(future.exception(0), StoreFullError)
    assert "301 rows unsaved" in caplog.text


def test_a_stop_does_not_wait_for_a_database_that_hangs_and_nothing_is_counted_twice() -> None:
    go, hangs = threading.Event(), threading.Event()

    def fault(batch: Sequence[Write]) -> None:
        hangs.set()
        go.wait(10)

    sink = FakeSink(fault)
    writer = started(sink)
    for _ in range(5):
        writer.record(record())
    future = writer.submit(rating("x"))
    hangs.wait(5)
    stats = writer.stop(0.1)
    assert stats.dropped[Outcome.STOPPING] == 6
    go.set()
    writer._thread.join(5)
    assert writer.stats.saved == 0
    assert accounted(writer.stats)
    assert isinstance(future.exception(0), StoreFullError)


def test_a_writer_that_was_never_started_accounts_for_its_rows_too() -> None:
    writer = Writer(FakeSink(), capacity=2)
    for _ in range(3):
        writer.record(record())
    stats = writer.stop(1)
    assert (stats.dropped[Outcome.STOPPING], stats.dropped[Outcome.QUEUE_FULL]) == (2, 1)


def test_the_log_says_once_that_the_database_is_away_and_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sink = FakeSink()
    sink.away = True
    writer = started(sink)
    writer.record(record())
    time.sleep(0.4)
    assert writer.stats.away
    sink.away = False
    wait_for(lambda: writer.stats.saved == 1)
    writer.stop(1)
    assert caplog.text.count("is away") == 1
    assert caplog.text.count("is back") == 1
    assert writer.stats.last_error_age_s is not None


def test_handing_in_takes_no_time_while_the_database_hangs() -> None:
    go = threading.Event()
    writer = started(FakeSink(lambda _: (go.wait(10), None)[1]), capacity=5000)
    took_s = []
    for _ in range(2000):
        row = record()
        began_s = time.perf_counter()
        writer.record(row)
        took_s.append(time.perf_counter() - began_s)
    go.set()
    writer.stop(5)
    assert statistics.median(took_s) < 0.001


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    capacity=st.integers(1, 60),
    steps=st.lists(
        st.sampled_from(["generation", "rating", "unknown", "away", "back", "bad", "wait"]), min_size=1, max_size=120
    ),
    stop_s=st.sampled_from([0.0, 0.02, 2.0]),
)
def test_every_row_is_accounted_for_at_every_moment(seed: int, capacity: int, steps: list[str], stop_s: float) -> None:
    chance = random.Random(seed)
    bad: set[str] = set()

    def fault(batch: Sequence[Write]) -> None:
        if chance.random() < 0.1:
            raise StoreUnavailableError("for once")
        if any(write.kind == "generation" and write.id in bad for write in batch):
            raise RowRefusedError("DataError")

    sink, counts = FakeSink(fault), Counts()
    writer = started(sink, capacity=capacity, grace_s=0.02, max_retry_s=0.01, observer=counts)
    futures, generations, handed_in = [], ["none"], 0
    for step in steps:
        if step in ("away", "back"):
            sink.away = step == "away"
        elif step == "wait":
            time.sleep(0.002)
        elif step in ("generation", "bad"):
            row = record()
            generations.append(row.id)
            if step == "bad":
                bad.add(row.id)
            writer.record(row)
            handed_in += 1
        else:
            futures.append(writer.submit(rating(generations[-1] if step == "rating" else "unknown")))
            handed_in += 1
        stats = writer.stats
        assert accounted(stats)
        assert stats.recorded == handed_in
        assert stats.pending <= capacity
    stats = writer.stop(stop_s)
    writer._thread.join(5)
    assert writer.stats == stats or writer.stats.last_error_age_s is not None
    stats = writer.stats
    assert accounted(stats)
    assert stats.pending == 0
    saved = [write for write in sink.saved if write.kind == "generation"]
    assert len({write.id for write in saved}) == len(saved)
    assert all(future.done() for future in futures)
    told = {Outcome.SAVED: stats.saved, Outcome.REFUSED: stats.refused, **stats.dropped}
    assert counts.outcomes == {outcome: count for outcome, count in told.items() if count}
