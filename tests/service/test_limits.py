"""Bodies, content types, a full queue, and clients that leave, over a real server."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.service.conftest import BODY_BYTES, SLOTS, WAITING, Metrics, Server, wait_until_idle

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = {"content-type": "application/json"}
LONG = {"max_new_tokens": 300, "min_new_tokens": 300}
PATHS = ("/generate", "/generate_stream")


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def head(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("path", PATHS)
def test_a_body_at_the_limit_is_taken_and_one_above_is_not(client: httpx.Client, path: str) -> None:
    body = b'{"max_new_tokens": 1'.ljust(BODY_BYTES - 1) + b"}"
    assert client.post(path, content=body, headers=JSON).status_code == 200
    response = client.post(path, content=body + b" ", headers=JSON)
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "body_too_large"


@pytest.mark.parametrize("size", [2_000_000, 20_000_000])
def test_a_huge_body_is_refused_and_the_answer_gets_through(server: Server, size: int) -> None:
    """Even to a client that sends all before it reads."""
    with connect(server) as connection:
        connection.sendall(head("/generate", "Content-Type: application/json", f"Content-Length: {size}"))
        connection.sendall(b"x" * size)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close\r\n" in answer
    assert b"x-request-id: " in answer


def test_bytes_are_counted_as_they_come_whatever_their_number_is_said_to_be(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 1024

    assert client.post("/generate", content=chunks(), headers=JSON).status_code == 413


def test_a_body_in_pieces_is_taken(client: httpx.Client) -> None:
    response = client.post("/generate", content=iter([b'{"max_new', b'_tokens": ', b"1}"]), headers=JSON)
    assert response.status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_slow_body_is_not_waited_for(server: Server, path: str) -> None:
    with connect(server) as connection:
        started = time.monotonic()
        connection.sendall(head(path, "Content-Type: application/json", "Content-Length: 100") + b"{")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"type":"body_timeout"' in answer
    assert 0.9 < time.monotonic() - started < 4


def test_a_client_that_leaves_within_its_body_is_no_error(server: Server, client: httpx.Client) -> None:
    before = server.log.read_text()
    with connect(server) as connection:
        connection.sendall(head("/generate", "Content-Type: application/json", "Content-Length: 100") + b"{")
    time.sleep(0.1)
    assert client.post("/generate", json={"max_new_tokens": 1}).status_code == 200
    assert "Traceback" not in server.log.read_text().removeprefix(before)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"],
)
def test_json_is_taken_by_any_of_its_names(client: httpx.Client, content_type: str) -> None:
    response = client.post("/generate", content=b'{"max_new_tokens":1}', headers={"content-type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "text/json"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=str,
)
def test_anything_else_is_not(client: httpx.Client, headers: dict[str, str]) -> None:
    response = client.post("/generate", content=b"{}", headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["type"] == "unsupported_media_type"


def test_a_full_queue_is_told_at_once_and_for_how_long(server: Server, client: httpx.Client) -> None:
    with ThreadPoolExecutor(SLOTS + WAITING) as pool:
        busy = [
            pool.submit(httpx.post, f"{server.url}/generate", json=LONG, timeout=30) for _ in range(SLOTS + WAITING)
        ]
        time.sleep(0.3)
        metrics = Metrics(server)
        assert metrics.value("greentext_requests_running") == SLOTS
        assert metrics.value("greentext_requests_waiting") == WAITING
        for path in PATHS:
            response = client.post(path, json={})
            assert response.status_code == 429
            assert response.json()["error"]["type"] == "queue_full"
            assert int(response.headers["retry-after"]) >= 1
        # One that writes several texts is taken whole or not at all.
        for future in busy:
            future.result()
    wait_until_idle(server)
    assert client.post("/generate", json={"n": SLOTS + WAITING, "max_new_tokens": 2}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("n", [1, SLOTS + WAITING])
def test_a_client_that_leaves_frees_its_slots(server: Server, path: str, n: int) -> None:
    before = Metrics(server)
    body = json.dumps({**LONG, "n": n}).encode()
    with connect(server) as connection:
        connection.sendall(head(path, "Content-Type: application/json", f"Content-Length: {len(body)}") + body)
        end = time.monotonic() + 5
        while (running := Metrics(server).value("greentext_requests_running")) == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert running == min(n, SLOTS)
    wait_until_idle(server)
    name = "greentext_request_success_total"
    assert Metrics(server).value(name, finish_reason="abort") - before.value(name, finish_reason="abort") == n


def test_many_that_leave_leave_nothing_behind(server: Server, client: httpx.Client) -> None:
    body = json.dumps(LONG).encode()
    for turn in range(40):
        path = PATHS[turn % 2]
        with connect(server) as connection:
            connection.sendall(head(path, "Content-Type: application/json", f"Content-Length: {len(body)}") + body)
            time.sleep(0.002 * (turn % 5))
    wait_until_idle(server)
    assert client.post("/generate", json={}).status_code == 200
    assert Metrics(server).value("bentoml_service_request_in_progress") == 0
