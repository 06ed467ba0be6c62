"""Databases for tests: SQLite files, and a real PostgreSQL that is started for them. Both can be taken away."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from service.settings import Settings
from service.store.database import Database, parse_url
from service.store.migrate import migrate
from service.store.records import GenerationRecord, new_generation_id
from service.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD = "s3cret/@p:ss%word"
QUOTED_PASSWORD = "s3cret%2F%40p%3Ass%25word"
TEXT = ">be me\n>find a frog\n>we are friends now"
FLAGGED = ">be me\n>kill them all"


def wait_for(condition: Callable[[], Any], within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come to pass"
        time.sleep(0.005)


def record(**changes: Any) -> GenerationRecord:
    given: dict[str, Any] = {
        "id": new_generation_id(),
        "created_s": time.time(),
        "model": "fake-thanks",
        "bundle_sha256": "0" * 64,
        "prompt": ">be me",
        "text": TEXT,
        "seed": 7,
        "sampling": {"temperature": 0.8, "stop": ["frog"]},
        "finish_reason": "end",
        "prompt_tokens": 4,
        "completion_tokens": 20,
        "queue_s": 0.001,
        "prefill_s": 0.002,
        "decode_s": 0.1,
        "total_s": 0.103,
        "shared": True,
    }
    return GenerationRecord(**{**given, **changes})


class Place(ABC):
    """Where a database is; the same for each kind of database."""

    url: str

    @abstractmethod
    def take_away(self) -> None:
        """From now on it cannot be written, until `bring_back`."""

    @abstractmethod
    def bring_back(self) -> None: ...

    def database(self, **options: Any) -> Database:
        return Database(parse_url(self.url), **options)

    def settings(self, **changes: Any) -> Settings:
        return Settings.model_validate({"database_url": self.url, "retention_days": 0, **changes})

    def migrate(self) -> None:
        database = self.database()
        migrate(database)
        database.close()

    def store(self, **changes: Any) -> Store:
        store = Store(self.settings(**changes))
        store.start()
        return store

    def rows(self, statement: str, **values: Any) -> list[Any]:
        database = self.database()
        try:
            with database.reading() as connection:
                return list(connection.execute(text(statement), values).all())
        finally:
            database.close()

    def change(self, statement: str, **values: Any) -> None:
        database = self.database()
        try:
            with database.writing() as connection:
                connection.execute(text(statement), values)
        finally:
            database.close()

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - tables of ours


class SqlitePlace(Place):
    """A file; taken away by another connection that holds its lock."""

    def __init__(self, folder: Path, *, template: Path | None = None) -> None:
        self.path = folder / "greentext.sqlite3"
        if template is not None:
            shutil.copyfile(template, self.path)
        self.url = f"sqlite:///{self.path}"
        self._blocker: sqlite3.Connection | None = None

    def take_away(self) -> None:
        self._blocker = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._blocker.execute("BEGIN EXCLUSIVE")

    def bring_back(self) -> None:
        if self._blocker is not None:
            self._blocker.execute("ROLLBACK")
            self._blocker.close()
            self._blocker = None


class PostgresServer:
    """A PostgreSQL server of our own, on a socket that nobody else knows."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gtx-pg-"))
        self._programs = programs_folder()
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            # It refuses to run as root.
            entry = pwd.getpwnam("nobody")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            self._user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        password = self.folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        password.chmod(0o644)
        self._run(
            "initdb", "-D", "data", "-U", "greentext", "-A", "scram-sha-256", "--pwfile", "password", "--no-sync",
            "-E", "UTF8", "--locale=C",
        )  # fmt: skip
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C"},
            stdout=(output := (self.folder / "output").open("ab")),
            stderr=output,
            check=False,
            timeout=60,
            **self._user,
        )
        output.close()
        assert done.returncode == 0, (self.folder / "output").read_text()

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def end(self) -> None:
        pid = self.folder / "data" / "postmaster.pid"
        if pid.exists():
            os.kill(int(pid.read_text().splitlines()[0]), signal.SIGQUIT)
            wait_for(lambda: not pid.exists())
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://greentext:{QUOTED_PASSWORD}@/{database}?host={self.folder}"

    def new_database(self, name: str) -> None:
        database = Database(parse_url(self.url("postgres")))
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        database.close()


class PostgresPlace(Place):
    """A database; taken away with the whole server."""

    def __init__(self, server: PostgresServer, database: str) -> None:
        self._server = server
        self.url = server.url(database)
        self._is_away = False

    def clear(self) -> None:
        """Takes all tables away: a database for each test would be 900 files each."""
        self.change("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def take_away(self) -> None:
        self._server.stop()
        self._is_away = True

    def bring_back(self) -> None:
        if self._is_away:
            self._server.start()
            self._is_away = False


def programs_folder() -> Path:
    """Where PostgreSQL's server programs are. Raises FileNotFoundError."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += [Path(path) for path in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]  # noqa: PTH207
    for folder in folders:
        if all((folder / program).is_file() for program in ("initdb", "pg_ctl", "postgres")):
            return folder
    raise FileNotFoundError("PostgreSQL's initdb, pg_ctl and postgres are not installed here")
