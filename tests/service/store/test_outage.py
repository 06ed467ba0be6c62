"""The database goes away and comes back; processes are killed, start together, and write together."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.settings import Settings, SettingsError
from service.store.errors import StoreConfigError, StoreOffError, StoreUnavailableError
from service.store.records import BoardOrder, Rating, Verdict
from service.store.store import Store, StoreState
from service.store.writer import Outcome
from tests.service.store.places import PASSWORD, QUOTED_PASSWORD, SqlitePlace, record, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.service.store.places import Place, PostgresServer

ROOT = Path(__file__).resolve().parents[3]
WITHIN_S = 20.0

# A process that saves generations, tells the id of each that is saved, and never ends by itself.
WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from tests.service.store.places import record
from service.settings import Settings
from service.store.store import Store

store = Store(Settings.model_validate({{"database_url": {url!r}}}))
store.start()
count = int(sys.argv[1])
sent = []
while True:
    if count and len(sent) == count:
        break
    sent.append(record(session_id="s%d" % (len(sent) % 5)).id)
    store.record(record(id=sent[-1], session_id="s%d" % (len(sent) % 5)))
    if len(sent) % 50 == 0:
        time.sleep(0.002)
        print(store.stats.saved, flush=True)
print(store.stop(20).saved, flush=True)
"""


def start_writer(place: Place, count: int) -> subprocess.Popen[str]:
    script = WRITER.format(root=str(ROOT), url=place.url)
    return subprocess.Popen([sys.executable, "-c", script, str(count)], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_thousand_generations_while_the_database_goes_and_comes_back(
    store: Store, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    took_s = []

    def hand_in(count: int) -> list[str]:
        ids = []
        for _ in range(count):
            one = record(session_id="s1")
            began_s = time.perf_counter()
            store.record(one)
            took_s.append(time.perf_counter() - began_s)
            ids.append(one.id)
            time.sleep(0.0005)
        return ids

    ids = hand_in(300)
    place.take_away()
    ids += hand_in(400)
    rating = store.rate(ids[-1], "s2", Rating.GOOD)
    wait_for(lambda: store.stats.away)
    found = store.find(ids[-1], "s1").result(WITHIN_S)
    assert found is not None  # from the queue
    assert not rating.done()
    place.bring_back()
    ids += hand_in(300)
    wait_for(lambda: store.stats.pending == 0, WITHIN_S)
    stats = store.stats
    assert (stats.recorded, stats.saved, sum(stats.dropped.values())) == (1001, 1001, 0)
    assert {row.id for row in place.rows("SELECT id FROM generations")} == set(ids)
    assert rating.result(WITHIN_S).verdict is Verdict.DONE
    assert statistics.median(took_s) < 0.001
    assert "is away" in caplog.text
    assert PASSWORD not in caplog.text
    assert QUOTED_PASSWORD not in caplog.text


def test_what_the_queue_could_not_hold_is_counted(make_store: Callable[..., Store], place: Place) -> None:
    store = make_store(database_queue=100)
    wait_for(lambda: store._sink and store._sink.is_ready)
    place.take_away()
    for _ in range(250):
        store.record(record())
    place.bring_back()
    wait_for(lambda: store.stats.pending == 0, WITHIN_S)
    stats = store.stats
    assert stats.saved == place.count("generations") >= 100
    assert stats.saved + stats.dropped[Outcome.QUEUE_FULL] == 250


def test_a_service_starts_without_its_database(empty_place: Place) -> None:
    empty_place.take_away()
    store = empty_place.store()
    one = record()
    store.record(one)
    with pytest.raises(StoreUnavailableError):
        store.board(BoardOrder.RECENT, limit=1)
    empty_place.bring_back()
    wait_for(lambda: store.stats.saved == 1, WITHIN_S)
    page = store.board(BoardOrder.RECENT, limit=1).result(WITHIN_S)
    assert [generation.id for generation in page.generations] == [one.id]
    store.stop(2)


def test_a_database_that_was_made_anew_gets_its_tables_again(store: Store, place: Place) -> None:
    store.record(record())
    wait_for(lambda: store.stats.pending == 0)
    for table in ("ratings", "generations", "sessions", "greentext_schema"):
        place.change(f"DROP TABLE {table}")
    store.record(record())
    wait_for(lambda: store.stats.saved == 2, WITHIN_S)
    assert place.count("generations") == 1


def test_a_database_on_no_reachable_host_delays_nothing() -> None:
    # An address for documentation: nothing answers there.
    store = Store(Settings.model_validate({"database_url": f"postgresql://u:{QUOTED_PASSWORD}@192.0.2.1/x"}))
    store.start()
    began_s = time.perf_counter()
    for _ in range(100):
        store.record(record())
    assert time.perf_counter() - began_s < 0.5
    stats = store.stop(0.2)
    assert time.perf_counter() - began_s < 5
    assert stats.dropped[Outcome.STOPPING] == 100


@pytest.mark.slow
def test_processes_start_and_write_together_and_one_that_is_killed_harms_nobody(empty_place: Place) -> None:
    place = empty_place
    killed, other = start_writer(place, 0), start_writer(place, 400)
    assert killed.stdout is not None
    told = 0
    for line in killed.stdout:
        told = int(line)
        if told >= 600:
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    output, _ = other.communicate(timeout=60)
    assert int(output.splitlines()[-1]) == 400
    # What it said was saved is there, and whole; the next goes on where it ended.
    rows = place.count("generations")
    assert rows >= told + 400
    assert place.count("sessions") == 5
    if isinstance(place, SqlitePlace):
        connection = sqlite3.connect(place.path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
    store = place.store()
    store.record(record())
    assert store.stop(WITHIN_S).saved == 1
    assert place.count("generations") == rows + 1


def test_a_folder_that_cannot_be_written_is_told_once_and_rows_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    store = Store(Settings(data_dir=tmp_path / "file" / "data"))
    store.start()
    store.start()
    for _ in range(3):
        store.record(record())
    assert store.state is StoreState.UNWRITABLE
    assert (store.stats.recorded, store.stats.dropped[Outcome.DATABASE]) == (3, 3)
    assert caplog.text.count("GREENTEXT_DATA_DIR") == 1
    with pytest.raises(StoreOffError):
        store.board(BoardOrder.RECENT, limit=1)
    store.stop(1)


def test_a_read_only_container_goes_on_without_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("service.store.store.tempfile.TemporaryFile", refuse)
    monkeypatch.chdir(tmp_path)
    store = Store(Settings())
    store.start()
    store.record(record())
    assert (store.state, store.stats.recorded) == (StoreState.UNWRITABLE, 1)
    assert "runs/service cannot be written (Read-only file system)" in caplog.text


def test_a_store_can_be_off() -> None:
    store = Store(Settings.model_validate({"database_url": "none"}))
    store.start()
    store.record(record())
    assert (store.state, store.stats.recorded) == (StoreState.OFF, 0)
    with pytest.raises(StoreOffError, match="by setting"):
        store.rate("x", "s", Rating.GOOD)
    store.stop(1)


def test_without_a_url_there_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    store = Store(Settings(data_dir=tmp_path / "a" / "b"))
    store.start()
    store.record(record())
    assert store.stop(WITHIN_S).saved == 1
    assert (tmp_path / "a" / "b" / "greentext.sqlite3").is_file()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0


def test_nothing_heavy_is_loaded_before_a_store_starts() -> None:
    script = (
        "import sys\nfrom service.settings import Settings\nfrom service.store.store import Store\n"
        "Store(Settings()); print(sorted({'sqlalchemy', 'alembic', 'psycopg', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "[]"


class TestSecrets:
    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://u:{QUOTED_PASSWORD}@localhost:port/x",
            f"postgresql://u:{PASSWORD}@localhost/x",
            f"mysql://u:{QUOTED_PASSWORD}@localhost/x",
            f"postgresql://u:{QUOTED_PASSWORD}@localhost:99999999/x",
            "sqlite:///:memory:",
            "postgresql://[::1/x",
        ],
    )
    def test_a_url_that_cannot_be_used_is_refused_without_its_password(
        self, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        told = ""
        try:
            store = Store(Settings.from_environment({"GREENTEXT_DATABASE_URL": url}))
            store.start()
        except (SettingsError, StoreConfigError) as error:
            told = f"{error} {error.__cause__}"
        else:
            # It can be read; that nothing is there shows later.
            store.record(record())
            wait_for(lambda: store.stats.away)
            store.stop(0.1)
        told += caplog.text
        assert told
        assert not any(secret in told for secret in ("s3cret", "ss%word", "ss%25word"))

    def test_a_wrong_password_is_reported_and_not_shown(
        self, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        wrong = postgres.url("postgres").replace("s3cret", "wr0ng")
        store = Store(Settings.model_validate({"database_url": wrong}))
        store.start()
        store.record(record())
        wait_for(lambda: store.stats.away)
        store.stop(0.1)
        assert "password authentication failed" in caplog.text
        assert "wr0ng" not in caplog.text
        assert "wr0ng" not in repr(store._settings)

    def test_a_row_that_the_database_refuses_is_not_shown(
        self, store: Store, place: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        bad = record(finish_reason=None, text=">nobody may read this")
        good = record()
        store.record(bad)
        store.record(good)
        wait_for(lambda: store.stats.pending == 0)
        assert store.stats.dropped[Outcome.DATABASE] == 1
        assert place.rows("SELECT id FROM generations") == [(good.id,)]
        assert "nobody may read" not in caplog.text
