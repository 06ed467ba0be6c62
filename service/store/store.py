"""The store as the service has it: started and stopped, handed rows, asked for pages.

`record` never waits and never raises; every other answer is a future, so that nobody's event loop waits for a
database. Which database it is, the settings say; where there is none, or none can be, the service goes on without.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from service.store.cursor import Cursor
from service.store.errors import StoreOffError, StoreUnavailableError
from service.store.records import (
    BoardOrder,
    BoardPage,
    Deletion,
    Erasure,
    GenerationRecord,
    Rating,
    RatingChange,
    SharingChange,
    StoredGeneration,
    WriteResult,
)
from service.store.writer import DROPPED, Observer, Outcome, Writer, WriterStats

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from service.settings import Settings
    from service.store.database import Database
    from service.store.sink import DatabaseSink

FILE_NAME: Final = "greentext.sqlite3"
OFF: Final = "none"
READS_WAITING: Final = 64
"""Questions that may wait for one of the threads that read; more are refused at once."""

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class StoreState(StrEnum):
    """Whether anything is kept."""

    OFF = "off"
    """By setting."""
    IDLE = "idle"
    """Not started yet, or stopped."""
    ON = "on"
    UNWRITABLE = "unwritable"
    """The data folder cannot be written, as in a read-only container."""


@dataclass(slots=True)
class _Lost:
    """Rows that came while there was nothing to keep them in."""

    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Store:
    """What the service keeps. Cheap to make: nothing is opened before `start`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = settings.database_url.get_secret_value() if settings.database_url is not None else None
        self._url = url
        self.state = StoreState.OFF if url == OFF else StoreState.IDLE
        self._observer: Observer | None = None
        self._lost = _Lost()
        self._writer: Writer | None = None
        self._sink: DatabaseSink | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._reads = threading.BoundedSemaphore(READS_WAITING)

    @staticmethod
    def check(settings: Settings) -> None:
        """Before any worker starts: raises StoreConfigError for a URL that cannot be used."""
        if settings.database_url is None or settings.database_url.get_secret_value() == OFF:
            return
        from service.store.database import parse_url  # noqa: PLC0415

        parse_url(settings.database_url.get_secret_value())

    def start(self, observer: Observer | None = None) -> None:
        """Begins to keep what it is handed. Whether the database can be reached shows later, and stops nobody.

        Raises:
            StoreConfigError: The database's URL cannot be used.
        """
        if self.state is not StoreState.IDLE:
            return
        # Heavy, and of no use to the process that only supervises the others.
        from service.store.database import READERS, Database, parse_url  # noqa: PLC0415
        from service.store.sink import DatabaseSink  # noqa: PLC0415

        self._observer = observer
        settings = self._settings
        if self._url is not None:
            url = parse_url(self._url)
        else:
            if not _is_writable(settings.data_dir):
                self.state = StoreState.UNWRITABLE
                return
            url = parse_url("sqlite:///file").set(database=str(settings.data_dir / FILE_NAME))
        database = Database(url)
        self._sink = DatabaseSink(
            database, store_prompts=settings.store_prompts, retention_days=settings.retention_days
        )
        self._writer = Writer(self._sink, capacity=settings.database_queue, observer=observer)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._writer.start()
        self.state = StoreState.ON
        logger.info("keeping generations in %s", database.place)

    def stop(self, within_s: float) -> WriterStats:
        """Saves what waits if that can be done `within_s`, and ends; answers the last account. Waits for that long."""
        if self._writer is None or self._readers is None:
            return self.stats
        self.state = StoreState.IDLE
        self._readers.shutdown(wait=False, cancel_futures=True)
        return self._writer.stop(within_s)

    @property
    def stats(self) -> WriterStats:
        """An account of everything that was handed in."""
        if self._writer is not None:
            return self._writer.stats
        lost = self._lost.count
        return WriterStats(lost, 0, 0, 0, {**dict.fromkeys(DROPPED, 0), Outcome.DATABASE: lost})

    def record(self, record: GenerationRecord) -> None:
        """Keeps a generation, sooner or later or not at all: never waits, never raises."""
        if self._writer is not None:
            self._writer.record(record)
        elif self.state is not StoreState.OFF:
            with self._lost.lock:
                self._lost.count += 1
            if self._observer is not None:
                self._observer.on_rows(record.kind, Outcome.DATABASE, 1)

    def rate(self, generation_id: str, session_id: str, rating: Rating | None) -> Future[WriteResult]:
        """Rates a generation, or takes a rating back. Raises StoreOffError; the future may raise StoreFullError."""
        return self._running().submit(
            RatingChange(generation_id=generation_id, session_id=session_id, rating=rating, at_s=time.time())
        )

    def share(self, generation_id: str, session_id: str, *, shared: bool) -> Future[WriteResult]:
        """Lets others see a session's own generation, or no longer. Raises as `rate`."""
        return self._running().submit(
            SharingChange(generation_id=generation_id, session_id=session_id, shared=shared, at_s=time.time())
        )

    def delete(self, generation_id: str, session_id: str) -> Future[WriteResult]:
        """Deletes a session's own generation. Raises as `rate`."""
        return self._running().submit(Deletion(generation_id=generation_id, session_id=session_id, at_s=time.time()))

    def erase(self, session_id: str) -> Future[WriteResult]:
        """Deletes all there is of a session. Raises as `rate`."""
        return self._running().submit(Erasure(session_id=session_id, at_s=time.time()))

    def find(self, generation_id: str, session_id: str | None) -> Future[StoredGeneration | None]:
        """A generation as a session sees it, saved or still waiting to be.

        Raises:
            StoreOffError: At once.
            StoreUnavailableError: At once, or from the future.
        """
        waiting = self._running().unsaved(generation_id)
        if waiting is not None:
            keeps_prompts = self._settings.store_prompts
            future: Future[StoredGeneration | None] = Future()
            future.set_result(
                StoredGeneration(
                    id=waiting.id,
                    text=waiting.text,
                    model=waiting.model,
                    bundle_sha256=waiting.bundle_sha256,
                    created_s=waiting.created_s,
                    finish_reason=waiting.finish_reason,
                    prompt=waiting.prompt if keeps_prompts else None,
                    seed=waiting.seed,
                    sampling=waiting.sampling if keeps_prompts else None,
                    shared=waiting.shared,
                    mine=session_id is not None and waiting.session_id == session_id,
                )
            )
            return future

        def ask(connection: Connection) -> StoredGeneration | None:
            from service.store.reads import find_generation  # noqa: PLC0415 - as in start

            return find_generation(connection, generation_id, session_id)

        return self._read(ask)

    def board(
        self, order: BoardOrder, *, limit: int, after: str | None = None, session_id: str | None = None
    ) -> Future[BoardPage]:
        """A page of the board as a session sees it. Raises as `find`, and CursorError at once."""
        self._running()
        cursor = None if after is None else Cursor.decode(after, order)

        def ask(connection: Connection) -> BoardPage:
            from service.store.reads import board_page  # noqa: PLC0415 - as in start

            return board_page(connection, order, limit, cursor, session_id)

        return self._read(ask)

    def _running(self) -> Writer:
        if self._writer is None:
            reason = "by setting" if self.state is StoreState.OFF else "for the data folder cannot be written"
            raise StoreOffError(f"nothing is kept here, {reason}")
        return self._writer

    def _read(self, ask: Callable[[Connection], Answer]) -> Future[Answer]:
        if self._sink is None or self._readers is None or self.state is not StoreState.ON:
            raise StoreUnavailableError("the store is starting or stopping")
        if not self._sink.is_ready:
            raise StoreUnavailableError("the database has not been reached")
        if not self._reads.acquire(blocking=False):
            raise StoreUnavailableError("too many questions wait for the database")
        try:
            future = self._readers.submit(_answer, self._sink.database, ask)
        except RuntimeError:
            self._reads.release()
            raise StoreUnavailableError("the store is stopping") from None
        future.add_done_callback(lambda _: self._reads.release())
        return future


def _answer(database: Database, ask: Callable[[Connection], Answer]) -> Answer:
    with database.reading() as connection:
        return ask(connection)


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if need be. Says in the log why not."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        logger.warning(
            "generations and ratings are not kept: %s cannot be written (%s); set GREENTEXT_DATA_DIR to a folder that "
            "can be, GREENTEXT_DATABASE_URL to a database, or to none",
            folder,
            error.strerror or type(error).__name__,
        )
        return False
