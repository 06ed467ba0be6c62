"""The SQLite file: connections, transactions, and migrations. Knows nothing of what the tables mean.

Write-ahead logging lets readers go on while one writes. `synchronous=FULL`: what was answered survives a power cut as
well as `kill -9`; people decide once in a few seconds, and a flush to the disk takes milliseconds.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data_pipeline.curation.errors import StoreBusyError
from data_pipeline.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME: Final = "curation.sqlite3"
BUSY_TIMEOUT_S: Final = 5.0
BUSY_PAUSE_S: Final = 0.01
MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Database:
    """A database file, brought to the newest version. Each thread has a connection of its own."""

    def __init__(self, path: Path, *, migrations: Path = MIGRATIONS) -> None:
        """Opens it, and makes it where it is missing.

        Raises:
            StageError: The file is no such database, is of a newer version, or cannot be opened.
        """
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        # SQLite lets writers wait by sleeping; threads of one process need not.
        self._one_writer = threading.Lock()
        try:
            self._migrate(migrations)
        except (sqlite3.DatabaseError, StoreBusyError) as error:
            self.close()
            raise StageError(f"{path} cannot be opened ({error}): is it what `gtx-data curate` wrote?") from error
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the database, whatever others write meanwhile. Raises StoreBusyError."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A change, whole on the disk when the `with` ends well, or not at all. Raises StoreBusyError."""
        with self._one_writer, self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def close(self) -> None:
        """Closes every thread's connection; call it when no thread works any more."""
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()
        self._local = threading.local()

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise _explained(error) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connections.append(connection)
            connection.row_factory = sqlite3.Row
            connection.create_function("casefold", 1, str.casefold, deterministic=True)
            _turn_to_log(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            self._local.connection = connection
        return connection

    def _migrate(self, folder: Path) -> None:
        steps = migrations_in(folder)
        with self.reading() as connection:
            version = self._version(connection)
        if version > len(steps):
            raise StageError(
                f"{self.path} was written by a newer version ({version}; this one knows {len(steps)}): update"
            )
        for number, path in enumerate(steps[version:], start=version + 1):
            with self.writing() as connection:
                if self._version(connection) >= number:
                    continue  # another process was faster
                if number == 1:
                    connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT")
                for statement in statements(path.read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))

    def _version(self, connection: sqlite3.Connection) -> int:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if "schema_version" in tables:
            version: int = connection.execute("SELECT max(version) FROM schema_version").fetchone()[0]
            return version
        if tables:
            raise StageError(f"{self.path} holds another program's tables: give another folder")
        return 0


def _turn_to_log(connection: sqlite3.Connection) -> None:
    """Switches to write-ahead logging, with patience.

    Of several that do it to a new file at once, SQLite lets one through and sends the others away without waiting,
    whatever the busy time-out is.
    """
    end_s = time.monotonic() + BUSY_TIMEOUT_S
    done = False
    while not done:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            done = True
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end_s:
                raise
            time.sleep(BUSY_PAUSE_S)


def migrations_in(folder: Path) -> list[Path]:
    """The files of a folder, `0001_….sql` first. Raises StageError where a number is missing."""
    paths = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    numbers = [int(path.name[:4]) for path in paths]
    if numbers != list(range(1, len(paths) + 1)):
        raise StageError(f"{folder} holds the migrations {numbers}: some are missing, install the program anew")
    return paths


def statements(script: str) -> Iterator[str]:
    """A script's statements one by one: `executescript` would commit before the first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.strip().startswith("--") for line in statement.splitlines()):
        raise StageError(f"a migration ends within a statement: {statement.strip()[:60]!r}")


def _explained(error: sqlite3.OperationalError) -> Exception:
    code = (error.sqlite_errorcode or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError("Another program is writing to the database: try again in a moment.")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
        return StoreBusyError(f"The database cannot be written ({error}): look at the disk, then try again.")
    return error
