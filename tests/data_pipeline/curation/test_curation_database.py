from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest

from data_pipeline.curation import database as database_module
from data_pipeline.curation.database import FILE_NAME, MIGRATIONS, Database, migrations_in, statements
from data_pipeline.errors import StageError
from tests.data_pipeline.curation.desk import Person, bring_in, desk, text_of

if TYPE_CHECKING:
    from pathlib import Path


def only(folder: Path, count: int) -> Path:
    folder.mkdir()
    for path in migrations_in(MIGRATIONS)[:count]:
        shutil.copy(path, folder)
    return folder


def filled_at_version_1(path: Path, migrations: Path) -> None:
    """What the first version of the program would have left."""
    with contextlib.closing(Database(path, migrations=migrations)) as first, first.writing() as connection:
        for number in (1, 2):
            connection.execute(
                "INSERT INTO rows (key, source, kind, theme, origin, queue, imported_at_s, changed_at_s, excerpt, "
                "lines, warnings, problems) VALUES (?, 'written', '', '', '', 'todo', 1.0, 1.0, '>x', 4, '[]', 0)",
                (f"written:{number}",),
            )
            connection.execute(
                "INSERT INTO row_texts (row_id, text, imported_text, raw_text, imported_confidences, line_confidences, "
                "warning_details, unknown_words, problem_details, import_sha256, source_fields) "
                "VALUES (?, ?, ?, '', '[]', '[]', '[]', '[]', '[]', '', '')",
                (number, f"{text_of(number)} STRASSE", text_of(number)),
            )
            connection.execute(
                "INSERT INTO versions (row_id, version, at_s, person, action, text, queue, genre, genre_given, reason, "
                "note) VALUES (?, 0, 1.0, 'import', 'import', ?, 'todo', '', 0, '', '')",
                (number, text_of(number)),
            )


def test_a_database_of_version_1_is_brought_up_with_all_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    filled_at_version_1(folder / FILE_NAME, only(tmp_path / "first", 1))
    with sqlite3.connect(folder / FILE_NAME) as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (1,)
    connection.close()
    with desk(folder) as here:
        ann = here.person()
        assert ann.ids() == ["1", "2"]
        assert ann.ids(search="strasse") == ann.ids(search="straße") == ["1", "2"]
        assert ann.ids(search="number 2") == ["2"]
        assert ann.decided(ann.row("1"), "accept")["queue"] == "accepted"
        with here.database.reading() as connection:
            assert [row[0] for row in connection.execute("SELECT version FROM schema_version")] == list(
                range(1, len(migrations_in(MIGRATIONS)) + 1)
            )


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    folder = only(tmp_path / "broken", 1)
    filled_at_version_1(tmp_path / FILE_NAME, folder)
    (folder / "0002_half.sql").write_text(
        "CREATE TABLE half (x INTEGER);\nINSERT INTO absent VALUES (1);\n", encoding="utf-8"
    )
    with pytest.raises(StageError, match="no such table: absent"):
        Database(tmp_path / FILE_NAME, migrations=folder)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    with contextlib.closing(connection):
        assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (2,)


def test_databases_of_others_are_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    Database(path).close()
    connection = sqlite3.connect(path)
    with contextlib.closing(connection), connection:
        connection.execute("INSERT INTO schema_version VALUES (999)")
    with pytest.raises(StageError, match=r"written by a newer version \(999"):
        Database(path)
    other = tmp_path / "other.sqlite3"
    connection = sqlite3.connect(other)
    with contextlib.closing(connection), connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StageError, match="another program's tables"):
        Database(other)
    (tmp_path / "text.sqlite3").write_text("no database " * 100, encoding="utf-8")
    with pytest.raises(StageError, match="cannot be opened"):
        Database(tmp_path / "text.sqlite3")
    with pytest.raises(StageError, match="cannot be opened"):
        Database(tmp_path / "none" / FILE_NAME)


def test_migrations_are_numbered_without_a_gap(tmp_path: Path) -> None:
    folder = only(tmp_path / "gap", 1)
    (folder / "0003_x.sql").write_text("", encoding="utf-8")
    with pytest.raises(StageError, match="some are missing"):
        migrations_in(folder)
    with pytest.raises(StageError, match="within a statement"):
        list(statements("CREATE TABLE x (y"))
    assert len(list(statements("SELECT 1;\n-- a remark\nSELECT\n2;\n-- the end\n"))) == 2


def test_many_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def open_it() -> None:
        try:
            Database(tmp_path / FILE_NAME).close()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_new_file_that_another_is_about_to_write_to_is_waited_for(tmp_path: Path) -> None:
    # SQLite itself does not wait here, whatever its busy time-out is.
    path = tmp_path / FILE_NAME
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.3, other.execute, ["COMMIT"])
        end.start()
        Database(path).close()
        end.join()


def test_it_is_set_up_for_two_writers_and_power_cuts(tmp_path: Path) -> None:
    with contextlib.closing(Database(tmp_path / FILE_NAME)) as database, database.reading() as connection:
        settings = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_versions_only_grow(texts: Path) -> None:
    with contextlib.closing(Database(texts / FILE_NAME)) as database:
        for statement in ("UPDATE versions SET text = 'x'", "DELETE FROM versions"):
            with pytest.raises(sqlite3.IntegrityError, match="only grow"), database.writing() as connection:
                connection.execute(statement)


def test_a_busy_store_is_said_to_be_busy(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.1)
    blocker = sqlite3.connect(texts / FILE_NAME, isolation_level=None)
    with desk(texts) as here, contextlib.closing(blocker):
        ann = here.person()
        row = ann.row("1")
        blocker.execute("BEGIN IMMEDIATE")
        answer = ann.decide(row, "accept", request_id="again")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "store_busy"
        assert ann.row("1")["queue"] == "todo"  # reading goes on
        blocker.execute("ROLLBACK")
        assert ann.decide(row, "accept", request_id="again").status_code == 200


def test_readers_see_one_state(texts: Path) -> None:
    with desk(texts) as here:
        ann: Person = here.person()
        with here.database.reading() as connection:
            before = connection.execute("SELECT count(*) FROM versions").fetchone()[0]
            ann.decided(ann.row("1"), "accept")
            assert connection.execute("SELECT count(*) FROM versions").fetchone()[0] == before
        with here.database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM versions").fetchone()[0] == before + 1


def test_opening_judges_nothing(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.curation.states.judge", lambda _: pytest.fail("judged"))
    monkeypatch.setattr("greentext.content.judge", lambda _: pytest.fail("judged"))
    began_s = time.monotonic()
    with desk(texts) as here:
        assert len(here.person().ids()) == 20
    assert time.monotonic() - began_s < 5
    bring_in(texts, texts.parent / "in")  # nor does bringing in again what is there
