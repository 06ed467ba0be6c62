"""A bounded queue and the one thread that empties it, in batches, into a sink that may be away for long.

Handing in never waits and never fails. Every write that is handed in is accounted for at every moment:

    recorded = saved + refused + dropped + pending

`refused` are changes to generations that do not exist, or not for who asks; `dropped` is counted by reason. While the
sink is away the thread tries again and again, and what comes meanwhile waits; when the queue is full, the newest is
dropped. Writes are saved in the order in which they came, but for a change to a generation that is not there yet:
another process may be about to save it, so the change waits a moment before it is refused.

Knows no database: a `Sink` saves, and says by its errors whether to try again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from service.store.errors import RowRefusedError, StoreFullError, StoreUnavailableError
from service.store.records import GenerationRecord, Verdict, Write, WriteResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BATCH_ROWS: Final = 200
BATCH_WAIT_S: Final = 0.05
"""How long the first row of a batch waits for others, unless somebody waits for it."""
RETRY_S: Final = 0.1
MAX_RETRY_S: Final = 5.0
LAST_RETRIES_S: Final = 0.05
GRACE_S: Final = 1.0
UPKEEP_S: Final = 60.0
REMIND_S: Final = 60.0
"""How often the log says that the database is still away."""
LOOK_S: Final = 1.0
"""How often the number of rows that wait is told while nothing can be saved."""

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of a write."""

    SAVED = "saved"
    REFUSED = "refused"
    """A change to a generation that is not there, or not the session's."""
    QUEUE_FULL = "queue_full"
    DATABASE = "database"
    """The database would not take the row, or there is none."""
    STOPPING = "stopping"
    """It was not saved before the service ended."""


DROPPED: Final = (Outcome.QUEUE_FULL, Outcome.DATABASE, Outcome.STOPPING)


class Sink(Protocol):
    """Where writes go. Called from one thread."""

    def write(self, batch: Sequence[Write]) -> list[WriteResult]:
        """Saves all, in order, or none; answers what became of each. The same batch may come twice.

        Raises:
            StoreUnavailableError: Not now.
            RowRefusedError: One of them can never be saved.
        """

    def upkeep(self) -> bool:
        """Does a small piece of what is to be done besides; answers whether there is more. Raises as `write` does."""

    def close(self) -> None:
        """There is nothing more to come."""


class Observer(Protocol):
    """Is told what becomes of writes, from several threads; must be quick."""

    def on_rows(self, kind: str, outcome: Outcome, count: int) -> None:
        """So many writes of a kind have come to this end."""

    def on_pending(self, count: int) -> None:
        """So many wait."""

    def on_error(self, at_s: float) -> None:
        """The sink has failed."""


@dataclass(slots=True, eq=False)
class _Entry:
    write: Write
    future: Future[WriteResult] | None = None
    wait_until_s: float = 0.0
    """Until when a generation that it names may still turn up; 0 before it has been looked for."""

    def answer(self, result: WriteResult) -> None:
        if self.future is not None and self.future.set_running_or_notify_cancel():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        if self.future is not None and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class WriterStats:
    """An account of all writes, taken at one moment. `pending` is counted where they wait, not calculated."""

    recorded: int
    saved: int
    refused: int
    pending: int
    dropped: dict[Outcome, int] = field(default_factory=dict)
    last_error_age_s: float | None = None
    away: bool = False


class Writer:
    """The queue and its thread."""

    def __init__(
        self,
        sink: Sink,
        *,
        capacity: int,
        observer: Observer | None = None,
        grace_s: float = GRACE_S,
        max_retry_s: float = MAX_RETRY_S,
    ) -> None:
        """`capacity`: writes that may wait. `grace_s`: how long a change waits for the generation that it names."""
        self._sink = sink
        self._capacity = capacity
        self._observer = observer
        self._grace_s = grace_s
        self._max_retry_s = max_retry_s
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        # All that follows is read and changed under the lock, which nobody holds for longer than that takes.
        self._changed = threading.Condition()
        self._queue: deque[_Entry] = deque()
        self._waiting: list[_Entry] = []
        self._in_hand: set[_Entry] = set()
        self._unsaved: dict[str, GenerationRecord] = {}
        self._awaited = False
        self._recorded = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._stop_by_s: float | None = None
        self._closed = False
        self._error_at_s: float | None = None
        self._away = False
        self._reminded_s = 0.0

    def start(self) -> None:
        """Begins to save."""
        self._thread.start()

    def record(self, write: Write) -> None:
        """Hands in a write: never waits, never raises."""
        self._hand_in(_Entry(write))

    def submit(self, write: Write) -> Future[WriteResult]:
        """Hands in a write; the future knows what became of it, or raises StoreFullError or RowRefusedError."""
        future: Future[WriteResult] = Future()
        entry = _Entry(write, future)
        if (outcome := self._hand_in(entry)) is not None:
            stopping = outcome is Outcome.STOPPING
            entry.fail(StoreFullError("the service is stopping" if stopping else "too many rows wait to be saved"))
        return future

    def unsaved(self, generation_id: str) -> GenerationRecord | None:
        """A generation that was handed in and not saved yet."""
        return self._unsaved.get(generation_id)

    @property
    def stats(self) -> WriterStats:
        """The account, now."""
        with self._changed:
            return WriterStats(
                recorded=self._recorded,
                saved=self._outcomes[Outcome.SAVED],
                refused=self._outcomes[Outcome.REFUSED],
                pending=self._pending(),
                dropped={reason: self._outcomes[reason] for reason in DROPPED},
                last_error_age_s=None if self._error_at_s is None else time.monotonic() - self._error_at_s,
                away=self._away,
            )

    def stop(self, within_s: float) -> WriterStats:
        """Takes no more, saves what waits if that can be done `within_s`, drops the rest; answers the last account."""
        with self._changed:
            self._stop_by_s = time.monotonic() + within_s
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(within_s + LAST_RETRIES_S)
        with self._changed:
            # A thread that still hangs in the database finds nothing to account for any more.
            self._closed = True
            left = [*self._in_hand, *self._waiting, *self._queue]
        self._settle([(entry, Outcome.STOPPING) for entry in left])
        for entry in left:
            entry.fail(StoreFullError("the service is stopping"))
        if left:
            logger.warning("stopped with %d rows unsaved", len(left))
        self._tell_pending()
        return self.stats

    def _is_worth_a_batch(self) -> bool:
        return self._awaited or len(self._queue) >= BATCH_ROWS or self._stop_by_s is not None

    def _pending(self) -> int:
        return len(self._queue) + len(self._waiting) + len(self._in_hand)

    def _hand_in(self, entry: _Entry) -> Outcome | None:
        with self._changed:
            self._recorded += 1
            if self._stop_by_s is None and self._pending() < self._capacity:
                self._queue.append(entry)
                if isinstance(entry.write, GenerationRecord):
                    self._unsaved[entry.write.id] = entry.write
                self._awaited = self._awaited or entry.future is not None
                # The thread sleeps until there is a first row, and then until there is enough.
                if len(self._queue) == 1 or self._is_worth_a_batch():
                    self._changed.notify_all()
                return None
            outcome = Outcome.QUEUE_FULL if self._stop_by_s is None else Outcome.STOPPING
            self._outcomes[outcome] += 1
        if self._observer is not None:
            self._observer.on_rows(entry.write.kind, outcome, 1)
        return outcome

    def _run(self) -> None:
        upkeep_at_s, retry_s = time.monotonic(), RETRY_S
        while (batch := self._next_batch(upkeep_at_s)) is not None:
            if batch:
                self._save(batch)
                self._tell_pending()
            if self._stop_by_s is None and time.monotonic() >= upkeep_at_s:
                more = self._keep_up()
                wait_s = retry_s if more is None else 0.0 if more else UPKEEP_S
                retry_s = min(2 * retry_s, self._max_retry_s) if more is None else RETRY_S
                upkeep_at_s = time.monotonic() + wait_s
        self._sink.close()

    def _next_batch(self, upkeep_at_s: float) -> list[_Entry] | None:
        """What is to be saved now; an empty list when it is time for upkeep, None when all is done."""
        with self._changed:
            while not self._queue and self._stop_by_s is None:
                wait_s = LAST_RETRIES_S if self._waiting else upkeep_at_s - time.monotonic()
                if wait_s <= 0 or (not self._changed.wait(wait_s) and self._waiting):
                    break
            if self._queue:
                self._changed.wait_for(self._is_worth_a_batch, BATCH_WAIT_S)
                self._awaited = False
            if self._stop_by_s is not None and (time.monotonic() >= self._stop_by_s or not self._pending()):
                return None
            batch = self._waiting
            self._waiting = []
            batch += [self._queue.popleft() for _ in range(min(BATCH_ROWS, len(self._queue)))]
            self._in_hand.update(batch)
            return batch

    def _save(self, batch: list[_Entry]) -> None:
        """Saves a batch, however long it takes; when the service stops before, stop() accounts for what is in hand."""
        retry_s = RETRY_S
        while self._stop_by_s is None or time.monotonic() < self._stop_by_s:
            try:
                results = self._sink.write([entry.write for entry in batch])
            except StoreUnavailableError as error:
                self._failed(error)
                if not self._pause(retry_s):
                    return
                retry_s = min(2 * retry_s, self._max_retry_s)
            except Exception as error:  # noqa: BLE001 - one bad row, or a fault of ours, must not end the thread
                if len(batch) == 1:
                    self._drop(batch[0], error)
                else:
                    for entry in batch:
                        self._save([entry])
                return
            else:
                self._succeeded()
                self._finish(batch, results)
                return

    def _finish(self, batch: list[_Entry], results: list[WriteResult]) -> None:
        now_s = time.monotonic()
        done: list[tuple[_Entry, WriteResult]] = []
        with self._changed:
            for entry, result in zip(batch, results, strict=True):
                if result.verdict is Verdict.UNKNOWN and not self._closed and self._stop_by_s is None:
                    entry.wait_until_s = entry.wait_until_s or now_s + self._grace(now_s)
                    if now_s < entry.wait_until_s:
                        self._in_hand.discard(entry)
                        self._waiting.append(entry)
                        continue
                done.append((entry, result))
        settled = self._settle(
            (entry, Outcome.SAVED if result.verdict is Verdict.DONE else Outcome.REFUSED) for entry, result in done
        )
        for entry, result in done:
            if entry in settled:
                entry.answer(result)

    def _grace(self, now_s: float) -> float:
        """How long a generation may take to turn up: other processes may still be waiting for another try."""
        was_away = self._error_at_s is not None and now_s - self._error_at_s < 2 * self._max_retry_s
        return self._grace_s + self._max_retry_s if was_away else self._grace_s

    def _drop(self, entry: _Entry, error: Exception) -> None:
        # Not the error's words: they may quote the row.
        logger.error("a %s cannot be saved (%s)", entry.write.kind, type(error).__name__)
        self._note_error()
        if self._settle([(entry, Outcome.DATABASE)]):
            entry.fail(error if isinstance(error, RowRefusedError) else RowRefusedError(type(error).__name__))

    def _settle(self, ended: Iterable[tuple[_Entry, Outcome]]) -> set[_Entry]:
        """Moves writes from pending to their outcome and answers which; what stop() has accounted for stays there."""
        told: Counter[tuple[str, Outcome]] = Counter()
        settled: set[_Entry] = set()
        with self._changed:
            for entry, outcome in ended:
                if self._closed and outcome is not Outcome.STOPPING:
                    continue
                self._in_hand.discard(entry)
                if isinstance(entry.write, GenerationRecord):
                    self._unsaved.pop(entry.write.id, None)
                self._outcomes[outcome] += 1
                told[entry.write.kind, outcome] += 1
                settled.add(entry)
            if self._closed:
                self._in_hand.clear()
                self._waiting.clear()
                self._queue.clear()
        if self._observer is not None:
            for (kind, outcome), count in told.items():
                self._observer.on_rows(kind, outcome, count)
        return settled

    def _keep_up(self) -> bool | None:
        """Whether there is more to do; None, if the sink is away."""
        try:
            more = self._sink.upkeep()
        except StoreUnavailableError as error:
            self._failed(error)
            return None
        except Exception as error:  # noqa: BLE001 - as in _save
            logger.error("upkeep failed (%s)", type(error).__name__)  # noqa: TRY400 - its words may quote a row
            self._note_error()
            return False
        self._succeeded()
        return more

    def _failed(self, error: StoreUnavailableError) -> None:
        self._note_error()
        now_s = time.monotonic()
        if not self._away or now_s - self._reminded_s > REMIND_S:
            self._reminded_s = now_s
            logger.warning("the database is away, %d rows wait: %s", self.stats.pending, error)
        self._away = True
        self._tell_pending()

    def _succeeded(self) -> None:
        if self._away:
            self._away = False
            logger.warning("the database is back, %d rows wait", self.stats.pending)

    def _note_error(self) -> None:
        self._error_at_s = time.monotonic()
        if self._observer is not None:
            self._observer.on_error(time.time())

    def _tell_pending(self) -> None:
        if self._observer is not None:
            self._observer.on_pending(self.stats.pending)

    def _pause(self, retry_s: float) -> bool:
        """Waits before another try, not to the second together with other processes; False when time is up."""
        end_s = time.monotonic() + retry_s * random.uniform(0.5, 1.0)
        while self._stop_by_s is None and (left_s := end_s - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._stop_by_s is not None, min(left_s, LOOK_S))
            self._tell_pending()
        if self._stop_by_s is None:
            return True
        time.sleep(LAST_RETRIES_S)
        return not self._closed and time.monotonic() < self._stop_by_s
