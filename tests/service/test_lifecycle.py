"""Starting, stopping and failing, over real servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.service.conftest import ROOT, Server, fake_server, stop_server

if TYPE_CHECKING:
    from pathlib import Path


def run_with(environment: dict[str, str], directory: Path) -> str:
    """What a server says that cannot start."""
    done = subprocess.run(
        [sys.executable, "-c", "import service.service"],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(directory), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_bad_setting_stops_the_start_with_its_name(tmp_path: Path) -> None:
    message = run_with({"GREENTEXT_MAX_SLOTS": "x", "GREENTEXT_MAX_WAITING": "-1"}, tmp_path)
    assert "GREENTEXT_MAX_SLOTS" in message
    assert "GREENTEXT_MAX_WAITING" in message


def test_bentoml_sets_no_timer_for_a_request(tmp_path: Path) -> None:
    """Its timers outlive their requests, and fall due with an answer that is not ours."""
    program = (
        "from service.service import GreentextService as service\n"
        "print(*(entry.cls.__name__ for entry in service.to_asgi().inner.user_middleware))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    layers = done.stdout.split()
    assert "RunnerTrafficMetricsMiddleware" in layers
    assert not {"TimeoutMiddleware", "MaxConcurrencyMiddleware", "AccessLogMiddleware"} & set(layers)


def test_a_bundle_that_is_not_whole_stops_the_start(tmp_path: Path, bundle: Path) -> None:
    broken = shutil.copytree(bundle, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"another")
    server = fake_server(tmp_path, broken)
    assert server.process.wait(60) == 1
    log = server.log.read_text()
    assert "model.onnx" in log
    assert "Traceback" not in log


def stream_lines(server: Server, body: dict[str, Any], on_first: Any) -> str:
    text = ""
    with (
        httpx.Client(timeout=30) as client,
        client.stream("POST", f"{server.url}/generate_stream", json=body) as response,
    ):
        for part in response.iter_text():
            if not text:
                on_first()
            text += part
    return text


@pytest.mark.slow
def test_what_runs_may_end_and_what_takes_too_long_is_told(tmp_path: Path, bundle: Path) -> None:
    server = fake_server(tmp_path, bundle, GREENTEXT_DRAIN_S="1", GREENTEXT_DEADLINE_S="60", FAKE_STEP_S="0.01")
    server.wait_until_ready()

    def stop() -> None:
        server.process.send_signal(signal.SIGTERM)

    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(stream_lines, server, {"max_new_tokens": 500, "min_new_tokens": 500}, lambda: None)
        time.sleep(0.3)
        short = pool.submit(stream_lines, server, {"max_new_tokens": 30}, stop)
        assert short.result().split("\n\n")[-2].startswith("event: end")
        last = long.result().split("\n\n")[-2]
    assert last.startswith('event: error\ndata: {"error":{"type":"unavailable"')
    server.process.wait(10)
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_while_it_drains_new_requests_are_refused_at_once(tmp_path: Path, bundle: Path) -> None:
    server = fake_server(tmp_path, bundle, GREENTEXT_DRAIN_S="20", GREENTEXT_DEADLINE_S="60", FAKE_STEP_S="0.01")
    server.wait_until_ready()
    met: list[httpx.Response] = []

    def stop_and_ask() -> None:
        server.process.send_signal(signal.SIGTERM)
        with httpx.Client(timeout=5) as kept:
            while not met or met[-1].status_code != 503:
                met.append(kept.get(f"{server.url}/readyz"))
            # On a new connection, and on one that was there before.
            met.extend([httpx.post(f"{server.url}/generate", json={}, timeout=5)])
            met.extend([kept.post(f"{server.url}/generate", json={})])
            met.append(httpx.get(f"{server.url}/livez", timeout=5))

    written = stream_lines(server, {"max_new_tokens": 300, "min_new_tokens": 300}, stop_and_ask)
    assert written.split("\n\n")[-2].startswith("event: end")
    *_, new, old, alive = met
    for refused in (new, old):
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "unavailable")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
    assert alive.status_code == 200
    assert server.process.wait(10) == 0


@pytest.mark.slow
def test_an_engine_that_dies_is_told_to_all(tmp_path: Path, bundle: Path) -> None:
    # So slow that both requests are there when it dies, on a busy machine too.
    server = fake_server(tmp_path, bundle, FAKE_STEPS="100", FAKE_STEP_S="0.02", GREENTEXT_DEADLINE_S="60")
    server.wait_until_ready()
    request = {"max_new_tokens": 500, "min_new_tokens": 500}
    with ThreadPoolExecutor(2) as pool:
        stream = pool.submit(stream_lines, server, request, lambda: None)
        plain = pool.submit(httpx.post, f"{server.url}/generate", json=request, timeout=30)
        assert stream.result().split("\n\n")[-2].startswith('event: error\ndata: {"error":{"type":"internal_error"')
        assert plain.result().status_code == 500
    assert httpx.get(f"{server.url}/livez").status_code == 503
    assert httpx.get(f"{server.url}/readyz").status_code == 503
    assert httpx.post(f"{server.url}/generate", json={}).status_code == 503
    assert "the fake model has done its steps" in server.log.read_text()
    stop_server(server)


@pytest.mark.slow
def test_a_client_that_does_not_read_does_not_hold_a_server_that_stops(tmp_path: Path, bundle: Path) -> None:
    server = fake_server(
        tmp_path, bundle, GREENTEXT_DRAIN_S="0.5", GREENTEXT_DEADLINE_S="60", GREENTEXT_PING_INTERVAL_S="60",
        FAKE_STEP_S="0.0005",
    )  # fmt: skip
    server.wait_until_ready()
    body = json.dumps({"max_new_tokens": 500, "min_new_tokens": 500, "n": 8, "logprobs": 20}).encode()
    request = (
        b"POST /generate_stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request)
        time.sleep(3)
        stop_server(server, within_s=15)
    assert "have not taken their answers" in server.log.read_text()
