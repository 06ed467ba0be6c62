"""The store behind the whole service: what is written is kept, rated, shown, deleted, and there after a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.service.conftest import fake_server, stop_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


def eventually(found: Callable[[], Any]) -> Any:
    """Writing goes on behind the answer."""
    until_s = time.monotonic() + 10
    while not (value := found()) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert value
    return value


def write(client: httpx.Client, **fields: Any) -> list[str]:
    return [text["id"] for text in client.post("/generate", json=fields).raise_for_status().json()["greentexts"]]


def test_what_is_written_is_kept_rated_shown_and_deleted(tmp_path: Path, bundle: Path) -> None:
    database = {"GREENTEXT_DATABASE_URL": f"sqlite:///{tmp_path / 'kept.sqlite3'}"}
    server = fake_server(tmp_path / "first", bundle, **database)
    try:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url) as client:
            eventually(lambda: client.get("/board").is_success)  # the database is made behind the start
            shared = write(client, share=True, n=2, seed=5)
            [private] = write(client, seed=6)
            board = eventually(lambda: client.get("/board").json()["greentexts"])
            assert {text["id"] for text in board} <= {*shared}
            eventually(lambda: client.get(f"/generations/{private}").is_success)
            assert not client.get(f"/generations/{private}").json()["shared"]
            rated = client.post("/ratings", json={"generation_id": shared[0], "rating": "good"}).json()
            assert (rated["rating"], rated["good"], rated["bad"]) == ("good", 1, 0)
            assert [text["id"] for text in client.get("/board?order=best").json()["greentexts"]] == [shared[0]]
            assert client.delete(f"/generations/{shared[1]}").status_code == 204
            eventually(lambda: client.get(f"/generations/{shared[1]}").status_code == 410)
            assert client.post("/ratings", json={"generation_id": shared[1], "rating": "bad"}).status_code == 410
            error = client.get("/generations/nothing-of-that-name").json()["error"]
            assert error["type"] == "not_found"
            assert 'greentext_store_rows_total{kind="generation",outcome="saved"}' in client.get("/metrics").text
    finally:
        stop_server(server)
    again = fake_server(tmp_path / "second", bundle, **database)
    try:
        again.wait_until_ready()
        with httpx.Client(base_url=again.url) as client:
            assert client.get("/board?order=best").json()["greentexts"][0]["id"] == shared[0]
            assert client.get(f"/generations/{private}").json()["id"] == private
    finally:
        stop_server(again)


def test_a_database_that_is_away_delays_nothing(tmp_path: Path, bundle: Path) -> None:
    server = fake_server(
        tmp_path / "server", bundle, GREENTEXT_DATABASE_URL="postgresql://nobody:secret@127.0.0.1:1/nothing"
    )
    try:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url) as client:
            assert len({name for _ in range(5) for name in write(client)}) == 5
            answer = client.get("/board")
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
    finally:
        stop_server(server)
    assert "secret" not in server.log.read_text(encoding="utf-8")
