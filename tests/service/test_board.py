"""The store behind the whole service: what is written is kept, rated, shown, deleted, and there after a restart."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from tests.service.conftest import Metrics, Server, fake_server, stop_server, wait_until_idle

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
            kept = client.get(f"/generations/{shared[1]}").json()
            asked = {"prompt": kept["prompt"], "seed": kept["seed"], **kept["sampling"]}
            again = client.post("/generate", json=asked).raise_for_status().json()
            assert (again["greentexts"][0]["text"], again["greentexts"][0]["seed"]) == (kept["text"], 6)
            assert again["model_edition"] == kept["model_edition"]
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


def test_what_nobody_waited_for_is_not_kept(tmp_path: Path, bundle: Path) -> None:
    file = tmp_path / "kept.sqlite3"
    server = fake_server(
        tmp_path / "server", bundle, GREENTEXT_DATABASE_URL=f"sqlite:///{file}", GREENTEXT_DEADLINE_S="30"
    )
    try:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url) as client:
            for body in ({"n": 2}, {"n": 1, "prompt": "left"}):
                long = {"max_new_tokens": 450, "min_new_tokens": 450, "share": True, **body}
                with client.stream("POST", "/generate_stream", json=long) as response:
                    assert next(response.iter_text()).startswith("event: token")
                # Here the client has left in mid-stream.
            wait_until_idle(server)
            aborted = Metrics(server).value("greentext_request_success_total", finish_reason="abort")
            assert aborted == 3
            with client.stream("POST", "/generate_stream", json={"prompt": "stayed"}) as response:
                *_, end = response.read().decode().rstrip("\n").split("\n\n")
            assert end.startswith("event: end")
            [stayed] = json.loads(end.partition("data: ")[2])["greentexts"]
    finally:
        stop_server(server)  # which saves what there is to save
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT id, prompt FROM generations").fetchall() == [(stayed["id"], ">stayed")]


def worker_of(server: Server, response: httpx.Response) -> int:
    """The process that holds the other end of the connection over which an answer came."""
    _, port = response.extensions["network_stream"].get_extra_info("client_addr")
    workers = psutil.Process(server.process.pid).children(recursive=True)
    [found] = [
        worker.pid
        for worker in workers
        for connection in worker.net_connections("tcp4")
        if connection.raddr and connection.raddr.port == port and connection.laddr.port == server.port
    ]
    return found


def test_what_one_worker_wrote_is_rated_and_shared_through_the_other(tmp_path: Path, bundle: Path) -> None:
    server = fake_server(
        tmp_path / "server",
        bundle,
        GREENTEXT_DATABASE_URL=f"sqlite:///{tmp_path / 'kept.sqlite3'}",
        GREENTEXT_WORKERS="2",
        FAKE_STEP_S="0.0005",
    )
    clients: dict[int, httpx.Client] = {}
    try:
        server.wait_until_ready()
        until_s = time.monotonic() + 60
        while len(clients) < 2 and time.monotonic() < until_s:
            client = httpx.Client(base_url=server.url, timeout=30)
            if client.get("/readyz").status_code == 200:
                response = client.get("/models")
                if clients.setdefault(worker_of(server, response), client) is client:
                    eventually(lambda client=client: client.get("/board").is_success)
                    continue
            client.close()
        writer, other = clients.values()
        other.cookies = writer.cookies  # one person, two connections
        for turn in range(10):
            [text] = write(writer)
            if turn % 2:
                rated = other.post("/ratings", json={"generation_id": text, "rating": "good"})
                assert (rated.status_code, rated.json()["good"]) == (200, 1)
            shared = other.patch(f"/generations/{text}", json={"shared": True})
            assert (shared.status_code, shared.json()["on_board"]) == (200, True)
            assert writer.get("/board?limit=1").json()["greentexts"][0]["id"] == text
            assert not writer.patch(f"/generations/{text}", json={"shared": False}).json()["on_board"]
            assert other.get("/board").json()["greentexts"] == []
        assert len({worker_of(server, client.get("/models")) for client in (writer, other)}) == 2
    finally:
        for client in clients.values():
            client.close()
        stop_server(server)


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
