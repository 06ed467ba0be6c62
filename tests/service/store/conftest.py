from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.store.database import Database
from tests.service.store.places import Place, PostgresPlace, PostgresServer, SqlitePlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.store.store import Store


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests in which a SQLite file is locked need not wait as long as a service would."""
    monkeypatch.setitem(Database.__init__.__kwdefaults__, "busy_timeout_s", 0.5)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield server
    server.end()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = SqlitePlace(tmp_path_factory.mktemp("template"))
    place.migrate()
    return place.path


@pytest.fixture(scope="session")
def postgres_database(postgres: PostgresServer) -> str:
    postgres.new_database("filled")
    PostgresPlace(postgres, "filled").migrate()
    return "filled"


@pytest.fixture(scope="session")
def empty_postgres_database(postgres: PostgresServer) -> str:
    postgres.new_database("emptied")
    return "emptied"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database with the newest schema and no rows, of each kind."""
    if request.param == "sqlite":
        file = SqlitePlace(tmp_path, template=request.getfixturevalue("sqlite_template"))
        yield file
        file.bring_back()
    else:
        server = request.getfixturevalue("postgres")
        database = PostgresPlace(server, request.getfixturevalue("postgres_database"))
        yield database
        database.bring_back()
        database.clear()
        database.migrate()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database with nothing in it, of each kind."""
    if request.param == "sqlite":
        file = SqlitePlace(tmp_path)
        yield file
        file.bring_back()
    else:
        server = request.getfixturevalue("postgres")
        database = PostgresPlace(server, request.getfixturevalue("empty_postgres_database"))
        yield database
        database.bring_back()
        database.clear()


@pytest.fixture
def make_store(place: Place) -> Iterator[Callable[..., Store]]:
    """Stores over the place, ended with the test."""
    made: list[Store] = []

    def make(**changes: Any) -> Store:
        made.append(place.store(**changes))
        return made[-1]

    yield make
    for store in made:
        store.stop(2)


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()
