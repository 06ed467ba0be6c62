"""From nothing, and from each revision with data, to the schema of the models; by one process at a time."""

from __future__ import annotations

import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from service.store import schema
from service.store.errors import SchemaTooNewError
from service.store.migrate import FOLDER, LOCK_KEY, VERSION_TABLE, migrate, scripts
from service.store.wilson import lower_bound
from tests.service.store.places import FLAGGED, TEXT, Place, record, wait_for

HEAD = scripts().get_current_head()


def differences(place: Place) -> list[object]:
    database = place.database()
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        found = compare_metadata(context, schema.metadata)
    database.close()
    return list(found)


def test_the_models_are_what_the_migrations_make(empty_place: Place) -> None:
    empty_place.migrate()
    assert differences(empty_place) == []
    assert empty_place.rows(f"SELECT version_num FROM {VERSION_TABLE}") == [(HEAD,)]  # noqa: S608


def test_the_comparison_would_find_a_difference(empty_place: Place) -> None:
    empty_place.migrate()
    empty_place.change("DROP INDEX ix_ratings_session")
    empty_place.change("ALTER TABLE ratings ADD COLUMN note TEXT")
    assert len(differences(empty_place)) == 2


def test_partial_indexes_have_their_conditions(empty_place: Place) -> None:
    # What compare_metadata does not look at.
    empty_place.migrate()
    database = empty_place.database()
    if database.is_sqlite:
        found = empty_place.rows("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%WHERE%'")
    else:
        found = empty_place.rows("SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%WHERE%'")
    database.close()
    conditions = {name: re.sub(r"[()]", "", sql.partition("WHERE")[2]).strip() for name, sql in found}
    on_board = "on_board = 1" if database.is_sqlite else "on_board"
    assert conditions == {
        "ix_generations_board_best": on_board,
        "ix_generations_board_recent": on_board,
        "ix_generations_deleted": "deleted_s IS NOT NULL",
    }


def test_a_database_of_the_first_revision_keeps_its_rows(empty_place: Place) -> None:
    database = empty_place.database()
    migrate(database, to="0001")
    database.close()
    kept, flagged, private = record(text=TEXT), record(text=FLAGGED), record(shared=False)
    for one in (kept, flagged, private):
        empty_place.change(
            "INSERT INTO generations (id, created_s, model, bundle_sha256, prompt, text, seed, sampling, finish_reason,"
            " prompt_tokens, completion_tokens, queue_s, prefill_s, decode_s, total_s, shared) VALUES (:id, 1.5, 'm',"
            " 'x', '', :text, 1, '{}', 'end', 1, 2, 0, 0, 0, 0, :shared)",
            id=one.id,
            text=one.text,
            shared=one.shared,
        )
    for i in range(5):
        empty_place.change("INSERT INTO sessions VALUES (:id, 1, 2)", id=f"s{i}")
        empty_place.change(
            "INSERT INTO ratings VALUES (:id, :session, :rating, 1, 2)",
            id=kept.id,
            session=f"s{i}",
            rating="bad" if i == 0 else "good",
        )
    store = empty_place.store()  # upgrades by itself
    store.record(record())
    wait_for(lambda: store.stats.saved == 1)
    store.stop(1)
    rows = {row.id: row for row in empty_place.rows("SELECT * FROM generations WHERE created_s = 1.5")}
    assert (rows[kept.id].good, rows[kept.id].bad, rows[kept.id].on_board) == (4, 1, True)
    assert rows[kept.id].score == pytest.approx(lower_bound(4, 1))
    assert (rows[flagged.id].on_board, rows[private.id].on_board) == (False, False)
    assert "violent" in str(rows[flagged.id].findings)
    assert rows[private.id].findings is None
    assert {row.shared_changed_s for row in rows.values()} == {None}
    assert differences(empty_place) == []


def test_several_that_start_at_once_do_it_once(empty_place: Place) -> None:
    databases = [empty_place.database(busy_timeout_s=5) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, databases))
    for database in databases:
        database.close()
    assert empty_place.rows(f"SELECT version_num FROM {VERSION_TABLE}") == [(HEAD,)]  # noqa: S608


def test_a_process_waits_while_another_one_migrates(empty_place: Place) -> None:
    database, other = empty_place.database(busy_timeout_s=10), empty_place.database()
    waiting = threading.Thread(target=migrate, args=[database])
    with other.writing() as connection:
        if not other.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(10)
    database.close()
    other.close()
    assert differences(empty_place) == []


def test_a_newer_schema_is_refused_and_left_alone(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.change(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608
    database = place.database()
    with pytest.raises(SchemaTooNewError, match=rf"9999, and this program knows {HEAD} .* update the service"):
        migrate(database)
    database.close()
    store = place.store()
    store.record(record())
    wait_for(lambda: store.stats.away)
    store.stop(0.1)
    assert "update the service" in caplog.text
    assert place.count("generations") == 0


def test_a_migration_that_fails_leaves_nothing_behind(empty_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    database = empty_place.database()
    with monkeypatch.context() as patch:
        patch.setattr("alembic.operations.Operations.add_column", fail)
        patch.setattr("alembic.op.add_column", fail, raising=False)
        with pytest.raises(RuntimeError):
            migrate(database)
    migrate(database)
    database.close()
    assert differences(empty_place) == []


def test_revisions_are_one_row_and_their_files_are_named_after_them() -> None:
    revisions = [script.revision for script in scripts().walk_revisions()][::-1]
    assert revisions == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    files = sorted(path.name for path in (FOLDER / "versions").glob("r*.py"))
    assert [name[1:5] for name in files] == revisions


def test_the_log_tells_of_a_migration_once(empty_place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        empty_place.migrate()
    assert [entry.name for entry in caplog.records] == ["service.store.migrate"]
    assert f"has the schema {HEAD} now" in caplog.text
