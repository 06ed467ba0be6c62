"""A database: connections, transactions, and what their errors mean. Knows nothing of the tables.

SQLite runs with a write-ahead log, so that readers and a writer of several processes do not wait for each other, and
with `synchronous=NORMAL`: a killed process loses nothing, a power cut perhaps the last moments, neither the file.
PostgreSQL is spoken to through psycopg; a connection that has gone is noticed before it is used, and none may hang.

No error that leaves here holds a password, a statement's parameters, or what a row holds.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NotSupportedError, SQLAlchemyError

from service.store.errors import RowRefusedError, StoreConfigError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

READERS: Final = 4
"""Threads that read; with the writer's, as many connections are open at most."""

CONNECT_TIMEOUT_S: Final = 5
BUSY_TIMEOUT_S: Final = 5.0
BUSY_PAUSE_S: Final = 0.01
POOL_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 2.0
WRITE_TIMEOUT_S: Final = 15.0
MIGRATION_TIMEOUT_S: Final = 3600.0
LOCK_TIMEOUT_S: Final = 5.0
STALE_AFTER_S: Final = 1800
MAX_REASON_CHARACTERS: Final = 200
SQLITE_STEPS_PER_LOOK: Final = 2000

POSTGRESQL_CONNECT: Final = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "application_name": "greentext",
    # A peer that has vanished without a word is given up within seconds, not within the system's hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

_WRITES: Final = "greentext_writes"


def parse_url(text: str) -> URL:
    """A database's URL, with the driver that this program has. Raises StoreConfigError; the message tells no secret."""
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise StoreConfigError(f"the database's URL cannot be read: {_WHAT_CAN_BE}") from None
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreConfigError(f"the database's URL names another kind of database: {_WHAT_CAN_BE}")
    if not url.database or url.database == ":memory:" or "mode=memory" in text:
        raise StoreConfigError("the database's URL names no file: give sqlite:///FILE, for threads share it")
    return url.set(drivername="sqlite+pysqlite")


_WHAT_CAN_BE: Final = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME (quote special characters as %40)"


class Database:
    """One database. Its connections may be used from several threads, one at a time each."""

    def __init__(self, url: URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Connects to nothing yet. `busy_timeout_s`: how long a SQLite file may be locked by others."""
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._secrets = _secrets(url)
        self._lock = threading.Lock()
        self._users = 0
        self._closed = False
        host = url.host or url.query.get("host", "localhost")
        self.place = f"SQLite, {url.database}" if self.is_sqlite else f"PostgreSQL, {url.database} at {host}"
        """For logs."""
        given: dict[str, Any]
        if self.is_sqlite:
            given = {"timeout": busy_timeout_s, "check_same_thread": False}
        else:
            given = {name: value for name, value in POSTGRESQL_CONNECT.items() if name not in url.query}
        self.engine: Engine = create_engine(
            url,
            connect_args=given,
            hide_parameters=True,
            pool_size=READERS + 1,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_S,
            pool_pre_ping=not self.is_sqlite,
            pool_recycle=STALE_AFTER_S,
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", functools.partial(_prepare_sqlite, busy_timeout_s=busy_timeout_s))
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextlib.contextmanager
    def writing(self, *, timeout_s: float = WRITE_TIMEOUT_S) -> Iterator[Connection]:
        """A change, whole when the `with` ends well, or not at all; a statement may take `timeout_s` in PostgreSQL.

        Raises:
            StoreUnavailableError: The database is away; whether the change was made is not known.
            RowRefusedError: It does not take what it was given.
        """
        writer = self.engine.execution_options(**{_WRITES: True})
        with self._using(), writer.begin() as connection:
            if not self.is_sqlite:
                _limit_postgresql(connection, timeout_s)
            yield connection

    @contextlib.contextmanager
    def reading(self, *, timeout_s: float | None = READ_TIMEOUT_S) -> Iterator[Connection]:
        """One state of the database. Raises StoreUnavailableError, also when a statement takes longer."""
        with self._using(), self.engine.connect() as connection, contextlib.ExitStack() as limits:
            if not self.is_sqlite:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                if timeout_s is not None:
                    _limit_postgresql(connection, timeout_s)
            elif timeout_s is not None:
                limits.enter_context(_limited_sqlite(connection, timeout_s))
            yield connection

    def close(self) -> None:
        """Closes all connections, each as soon as nobody uses any; there are no new ones."""
        with self._lock:
            self._closed = True
            in_use = self._users > 0
        if not in_use:
            self.engine.dispose()

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Counts who is at work, and says what errors mean."""
        with self._lock:
            if self._closed:
                raise StoreUnavailableError(f"{self.place}: closed")
            self._users += 1
        try:
            yield
        except (IntegrityError, DataError, NotSupportedError) as error:
            raise RowRefusedError(_kind(error)) from None
        except SQLAlchemyError as error:
            raise StoreUnavailableError(self._reason(error)) from None
        finally:
            if self._leave():
                self.engine.dispose()

    def _leave(self) -> bool:
        """One is at work less; whether that was the last of a closed database."""
        with self._lock:
            self._users -= 1
            return self._closed and self._users == 0

    def _reason(self, error: SQLAlchemyError) -> str:
        original = error.orig if isinstance(error, DBAPIError) else None
        # Later lines are details, and may quote a row.
        lines = str(original or error).strip().splitlines() or [""]
        reason = lines[0]
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        return f"{self.place}: {_kind(error)}: {reason[:MAX_REASON_CHARACTERS]}"


def _kind(error: SQLAlchemyError) -> str:
    original = error.orig if isinstance(error, DBAPIError) else None
    return type(original or error).__name__


def _secrets(url: URL) -> list[str]:
    """What must never be shown, in each spelling that a message could have; the longest first."""
    hidden = {str(url.password)} if url.password else set()
    for name, value in url.query.items():
        if "password" in name.lower() or "key" in name.lower():
            hidden |= {value} if isinstance(value, str) else set(value)
    spelled = {spelling for secret in hidden if secret for spelling in (secret, quote(secret), quote_plus(secret))}
    return sorted(spelled, key=len, reverse=True)


def _prepare_sqlite(connection: DBAPIConnection, _record: object, *, busy_timeout_s: float) -> None:
    # The driver would begin transactions by rules of its own; _begin_sqlite begins them.
    connection.isolation_level = None
    cursor = connection.cursor()
    end_s = time.monotonic() + busy_timeout_s
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # Of several that turn a new file to the log at once, SQLite lets one do it and sends the others away
            # without waiting, whatever its busy time-out is.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end_s:
                raise
            time.sleep(BUSY_PAUSE_S)
    for pragma in ("synchronous = NORMAL", "foreign_keys = ON", "trusted_schema = OFF"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading and then writes fails at once where another has written in between.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def _limited_sqlite(connection: Connection, timeout_s: float) -> Iterator[None]:
    """Statements end with an error once the time is up."""
    driver: Any = connection.connection.driver_connection
    end_s = time.monotonic() + timeout_s
    driver.set_progress_handler(lambda: time.monotonic() > end_s, SQLITE_STEPS_PER_LOOK)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


def _limit_postgresql(connection: Connection, timeout_s: float) -> None:
    # For this transaction only: behind a pooler the connection may be somebody else's the next moment.
    connection.exec_driver_sql(
        f"SET LOCAL statement_timeout = {round(timeout_s * 1000)}; "
        f"SET LOCAL lock_timeout = {round(LOCK_TIMEOUT_S * 1000)}"
    )
