"""Connections and transactions, without any table of ours."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from service.store.database import Database, parse_url
from service.store.errors import RowRefusedError, StoreConfigError, StoreUnavailableError
from tests.service.store.places import PASSWORD, QUOTED_PASSWORD, SqlitePlace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.store.places import Place


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:///a.sqlite3", "sqlite+pysqlite"),
        ("sqlite:////srv/a.sqlite3", "sqlite+pysqlite"),
        ("postgresql://u:p@h:5433/x", "postgresql+psycopg"),
        ("postgres://h/x", "postgresql+psycopg"),
        ("postgresql+psycopg://h/x?sslmode=require", "postgresql+psycopg"),
    ],
)
def test_urls_that_can_be_used(given: str, driver: str) -> None:
    assert parse_url(given).drivername == driver


@pytest.mark.parametrize(
    "given", ["", "x", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true", "mysql://h/x",
              "http://h/x", "postgresql://h:port/x"],
)  # fmt: skip
def test_urls_that_cannot(given: str) -> None:
    with pytest.raises(StoreConfigError, match="the database's URL"):
        parse_url(given)


def test_a_change_is_whole_or_not_at_all(empty_place: Place) -> None:
    database = empty_place.database()

    def change(*statements: str) -> None:
        with database.writing() as connection:
            for statement in statements:
                connection.execute(text(statement))

    change("CREATE TABLE t (i INTEGER PRIMARY KEY)")
    with pytest.raises(RowRefusedError):
        change("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)")
    with pytest.raises(StoreUnavailableError):
        change("INSERT INTO t VALUES (2)", "INSERT INTO nowhere VALUES (2)")
    assert empty_place.count("t") == 0
    database.close()


def test_who_reads_before_writing_does_not_lose_against_others(empty_place: Place) -> None:
    database = empty_place.database(busy_timeout_s=10)
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE t (i INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (0)"))
    began = threading.Event()
    faults: list[Exception] = []

    def add() -> None:
        began.set()
        try:
            with database.writing() as connection:
                connection.execute(text("UPDATE t SET i = i + 1"))
        except StoreUnavailableError as error:
            faults.append(error)

    other = threading.Thread(target=add)
    with database.writing() as connection:
        look = "SELECT i FROM t" if database.is_sqlite else "SELECT i FROM t FOR UPDATE"
        before = connection.execute(text(look)).scalar()
        other.start()
        began.wait()
        other.join(0.2)
        assert other.is_alive()
        connection.execute(text("UPDATE t SET i = :i"), {"i": (before or 0) + 10})
    other.join(10)
    assert faults == []
    assert empty_place.rows("SELECT i FROM t") == [(11,)]
    database.close()


def test_a_reader_cannot_write(empty_place: Place) -> None:
    if isinstance(empty_place, SqlitePlace):
        database = empty_place.database()
        with database.reading() as connection:
            connection.execute(text("CREATE TABLE t (i INTEGER)"))
        with database.reading() as connection, pytest.raises(OperationalError, match="no such table"):
            connection.execute(text("SELECT * FROM t"))
    else:
        database = empty_place.database()
        with pytest.raises(StoreUnavailableError, match="ReadOnly"), database.reading() as connection:
            connection.execute(text("CREATE TABLE t (i INTEGER)"))
    database.close()


@pytest.mark.parametrize("spelling", [PASSWORD, QUOTED_PASSWORD, "s3cret/%40p%3Ass%25word"])
def test_no_error_shows_a_password_in_any_spelling(spelling: str) -> None:
    database = Database(parse_url(f"postgresql://u:{QUOTED_PASSWORD}@h/x?sslpassword=0ther"))
    error = OperationalError("SELECT :p", {"p": "row"}, Exception(f"no way in with {spelling} or 0ther\nDETAIL: row"))
    told = ""
    try:
        with database.reading():
            pytest.fail("nothing is there")
    except StoreUnavailableError as caught:
        told = str(caught)
    for text_told in (told, database._reason(error)):
        assert not {"s3cret", "ss%", "0ther", "row", "DETAIL"} & set(text_told.split())
        assert "s3cret" not in text_told
        assert "0ther" not in text_told
    assert database._reason(error).endswith("no way in with *** or ***")
    database.close()


def test_a_file_in_a_folder_that_is_not_there_is_away(tmp_path: Path) -> None:
    database = Database(parse_url(f"sqlite:///{tmp_path}/no/a.sqlite3"))
    with pytest.raises(StoreUnavailableError, match="unable to open database file"), database.writing():
        pytest.fail("it was opened")
    database.close()


def test_a_connection_in_use_is_closed_when_it_is_no_longer(empty_place: Place) -> None:
    database = empty_place.database()
    opened: list[object] = []
    closed: list[object] = []
    event.listen(database.engine, "connect", lambda connection, _: opened.append(connection))
    event.listen(database.engine, "close", lambda connection, _: closed.append(connection))
    with database.reading() as outer:
        with database.reading():
            pass
        database.close()
        assert outer.execute(text("SELECT 1")).scalar() == 1
        with pytest.raises(StoreUnavailableError, match="closed"), database.reading():
            pytest.fail("it was opened again")
    assert len(opened) == len(closed) == 2


def test_a_new_file_that_another_is_about_to_write_to_is_waited_for(tmp_path: Path) -> None:
    # SQLite itself does not wait here, whatever its busy time-out is.
    path = tmp_path / "new.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.3, other.execute, ["COMMIT"])
        end.start()
        database = Database(parse_url(f"sqlite:///{path}"))
        with database.reading() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        database.close()
        end.join()
