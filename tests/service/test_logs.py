"""The log as JSON, of a real server without traces."""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from service.engine.sampling_params import SamplingParams
from service.logs import CONTEXT, AccessLine, JsonFormatter, RequestContext
from service.request_summary import GenerationSummary, Phase, RequestSummary, TextSummary
from tests.service.conftest import ORIGIN, ROOT, Server, fake_server, stop_server
from tests.service.fake_model import NAME, TOKENS
from tests.service.observing import lines_of, observed_server, wait_for_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MADE_ID = re.compile(r"gt-[0-9a-f]{16}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ALWAYS = {"timestamp", "level", "logger", "message", "pid"}
SUMMARY = RequestSummary(
    request_id="gt-1",
    method="POST",
    route="/generate",
    started_s=1.0,
    ended_s=1.5,
    status=200,
    error=None,
    failed=False,
    client_gone=False,
    generation=GenerationSummary(
        "frog",
        SamplingParams(n=2),
        False,
        (
            TextSummary(4, 9, "end", (Phase("queue", 1.0, 1.25), Phase("prefill", 1.25, 1.3))),
            TextSummary(4, 8, "length", (Phase("queue", 1.0, 1.0), Phase("prefill", 1.0, 1.25))),
        ),
    ),
)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Server]:
    server = observed_server(tmp_path_factory.mktemp("logged"), bundle)
    server.wait_until_ready()
    yield server
    stop_server(server)
    lines_of(server)


@pytest.fixture
def client(logged: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=logged.url, timeout=30) as client:
        yield client


def access_line(server: Server, response: httpx.Response) -> dict[str, Any]:
    return wait_for_line(server, logger="bentoml.access", request_id=response.headers["x-request-id"])


def test_all_processes_write_objects_from_the_start(logged: Server) -> None:
    lines = lines_of(logged)
    for line in lines:
        assert line.keys() >= ALWAYS
        assert TIMESTAMP.fullmatch(line["timestamp"])
        assert line["level"] in ("debug", "info", "warning", "error", "critical")
    parent, worker = (
        next(line for line in lines if line["message"].startswith(words)) for words in ("Starting prod", "serving mod")
    )
    assert parent["pid"] == logged.process.pid != worker["pid"]


def test_a_requests_line_agrees_with_its_answer(logged: Server, client: httpx.Client) -> None:
    response = client.post("/generate", json={"prompt": "hi"})
    line = access_line(logged, response)
    timings = response.json()["timings"]
    assert line["request_id"] == response.json()["id"]
    assert {name: line[name] for name in ("queue_ms", "prefill_ms", "decode_ms")} == {
        name: timings[name] for name in ("queue_ms", "prefill_ms", "decode_ms")
    }
    assert timings["total_ms"] < line["duration_ms"] < timings["total_ms"] + 1000
    told = {name: line[name] for name in line.keys() - ALWAYS - timings.keys() - {"duration_ms", "request_id"}}
    assert told == {
        "method": "POST",
        "route": "/generate",
        "status": 200,
        "model": NAME,
        "prompt_tokens": 4,
        "completion_tokens": len(TOKENS),
        "finish_reason": "end",
    }
    assert (line["level"], line["message"]) == ("info", "POST /generate 200")


def test_every_answer_has_an_id_and_every_request_a_line(logged: Server, client: httpx.Client) -> None:
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    asked: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "POST", "/generate", {"json": {"max_new_tokens": 1}}),
        (200, "POST", "/generate_stream", {"json": {"max_new_tokens": 1}}),
        (200, "OPTIONS", "/generate", {"headers": preflight}),
        (400, "POST", "/generate", {"json": {"xyzzy": 1}}),
        (404, "GET", "/xyzzy", {}),
        (404, "POST", "/v1/completions", {"json": {"model": "xyzzy", "prompt": ""}}),
        (405, "GET", "/generate", {}),
        (413, "POST", "/generate", {"content": b" " * 70_000, "headers": {"content-type": "application/json"}}),
        (415, "POST", "/generate", {"content": b"{}"}),
        (500, "GET", "/boom?words=xyzzy", {"headers": {"origin": ORIGIN}}),
    ]
    for status, method, path, options in asked:
        response = client.request(method, path, **options)
        assert response.status_code == status
        assert MADE_ID.fullmatch(response.headers["x-request-id"])
        assert access_line(logged, response)["status"] == status
        if "headers" in options and "origin" in options["headers"]:
            assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "xyzzy" not in logged.log.read_text()


def raw(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "header",
    [
        b'x-request-id: sane-1\n{"level":"critical"}: evil',
        b"x-request-id: sane-1\r\n evil",
        b"x-request-id: evil\x0bevil",
        b"x-request-id: evil\x00evil",
        b"x-request-id: evil\xe2\x80\xa8evil",
        b'x-request-id: evil","level":"critical',
        b"x-request-id: " + b"evil" * 2500,
    ],
)
def test_no_header_gets_into_the_log(logged: Server, header: bytes) -> None:
    answer = raw(logged, b"GET /models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + header + b"\r\n\r\n")
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    found = re.search(r"^x-request-id: (.*)$", head, re.MULTILINE)
    if head.startswith("HTTP/1.1 200"):
        assert found is not None
        request_id = found[1].strip()
        assert request_id == "sane-1" or MADE_ID.fullmatch(request_id)
    else:  # it was no HTTP, and never got anywhere
        assert head.startswith("HTTP/1.1 400")
    assert "evil" not in logged.log.read_text()
    lines_of(logged)


def test_a_sane_id_is_kept(logged: Server, client: httpx.Client) -> None:
    response = client.get("/models", headers={"x-request-id": "frog.1_2-3"})
    assert response.headers["x-request-id"] == "frog.1_2-3"
    assert access_line(logged, response)["route"] == "/models"


def test_what_was_not_caught_has_its_stack_and_not_its_words(logged: Server, client: httpx.Client) -> None:
    request_id = client.get("/boom?words=xyzzy").headers["x-request-id"]
    line = wait_for_line(logged, level="error", request_id=request_id)
    assert line["exception"] == "ValueError"
    assert "observed_service.py" in line["stack"]
    assert "in boom" in line["stack"]
    assert "xyzzy" not in json.dumps(line)
    assert wait_for_line(logged, logger="bentoml.access", request_id=request_id)["error"] == "internal_error"


def test_any_line_of_a_request_has_its_id_and_stays_one(logged: Server, client: httpx.Client) -> None:
    request_id = client.get("/say").headers["x-request-id"]
    line = wait_for_line(logged, logger="service.observed", request_id=request_id)
    assert line["message"] == 'one\nline\r\n{"level": "critical"}'
    assert line["level"] == "warning"


def test_the_log_holds_nothing_that_clients_wrote(logged: Server, client: httpx.Client) -> None:
    headers = {"cookie": "gtx_session=xyzzy", "authorization": "Bearer xyzzy", "user-agent": "xyzzy"}
    for body in ({"prompt": "xyzzy"}, {"prompt": ["xyzzy"]}, {"model": "xyzzy"}, {"stop": ["xyzzy"]}):
        client.post("/generate", json=body, headers=headers)
    response = client.get("/generations/xyzzy?a=xyzzy", headers=headers)
    assert access_line(logged, response)["route"] == "/generations/{id}"
    log = logged.log.read_text()
    assert "xyzzy" not in log
    assert "we are friends" not in log


def test_a_client_that_leaves_is_told_of(logged: Server) -> None:
    body = {"max_new_tokens": 450, "min_new_tokens": 450}
    with httpx.stream("POST", f"{logged.url}/generate_stream", json=body, timeout=10) as response:
        next(response.iter_raw())
    line = access_line(logged, response)
    assert (line["client_gone"], line["finish_reason"], line["status"]) == (True, "abort", 200)


def test_the_web_servers_own_lines_are_objects_too(logged: Server) -> None:
    assert raw(logged, b"xyzzy\r\n\r\n").startswith(b"HTTP/1.1 400")
    told = [line["level"] for line in lines_of(logged) if line["message"] == "Invalid HTTP request received."]
    assert set(told) == {"warning"}


def test_without_traces_the_sdk_is_not_imported(client: httpx.Client, logged: Server) -> None:
    client.post("/generate", json={"max_new_tokens": 1})
    assert client.get("/modules").json() == []
    assert not any("trace_id" in line for line in lines_of(logged))


def test_a_server_that_cannot_start_says_so_as_an_object(tmp_path: Path, bundle: Path) -> None:
    broken = shutil.copytree(bundle, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"another")
    server = fake_server(tmp_path, broken, GREENTEXT_LOG_FORMAT="json")
    assert server.process.wait(60) == 1
    assert "model.onnx" in lines_of(server)[-1]["message"]


def test_whatever_a_process_dies_of_is_an_object() -> None:
    program = """
import logging, threading, warnings
from service.logs import configure
from service.settings import Settings
logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler())
configure(Settings(log_format="json", log_level="warning"))
logging.getLogger("bentoml").info("not wanted")
logging.getLogger("service.store").info("not wanted")
logging.getLogger("uvicorn.error").warning("wanted")
warnings.warn("a\\nwarning")
def fail():
    raise KeyError("in a thread")
thread = threading.Thread(target=fail, name="frog")
thread.start()
thread.join()
raise ValueError("at last")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    wanted, warning, in_thread, last = (json.loads(line) for line in done.stdout.splitlines())
    assert wanted["message"] == "wanted"
    assert (warning["logger"], warning["level"]) == ("py.warnings", "warning")
    assert in_thread["message"] == "uncaught KeyError in thread frog"
    assert (last["level"], last["exception"]) == ("critical", "ValueError")
    assert last["stack"].endswith("ValueError: at last")


def test_a_level_is_for_what_is_ours() -> None:
    program = """
import logging
from service.logs import configure
from service.settings import Settings
names = ("bentoml", "service.store", "urllib3", "uvicorn.access")
for level in (None, "debug", "error"):
    configure(Settings(log_level=level))
    print(*(logging.getLogger(name).getEffectiveLevel() for name in names))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["30 30 30 30", "10 10 30 30", "40 40 40 40"]


def test_several_texts_are_told_by_the_longest() -> None:
    assert AccessLine(SUMMARY).fields() == {
        "method": "POST",
        "route": "/generate",
        "status": 200,
        "duration_ms": 500.0,
        "model": "frog",
        "queue_ms": 250.0,
        "prefill_ms": 250.0,
        "prompt_tokens": 4,
        "completion_tokens": 17,
        "finish_reason": "end,length",
    }


def test_people_read_a_requests_line_as_text() -> None:
    assert str(AccessLine(SUMMARY)) == (
        "POST /generate 200 duration_ms=500.0 model=frog queue_ms=250.0 prefill_ms=250.0 "
        "prompt_tokens=4 completion_tokens=17 finish_reason=end,length request_id=gt-1"
    )


def test_whatever_a_message_holds_the_line_is_ascii_json() -> None:
    token = CONTEXT.set(RequestContext("gt-1", "0af7", "b7ad"))
    try:
        record = logging.LogRecord("a", logging.INFO, "", 0, "\ud800 🐸 \u2028 \x1b[31m %s", (float("nan"),), None)
        text = JsonFormatter().format(record)
    finally:
        CONTEXT.reset(token)
    assert text.isascii()
    assert text.isprintable()
    line = json.loads(text)
    assert line["message"] == "\ud800 🐸 \u2028 \x1b[31m nan"
    assert (line["request_id"], line["trace_id"], line["span_id"]) == ("gt-1", "0af7", "b7ad")


def test_a_stack_is_cut_so_that_a_pipe_keeps_its_line_whole() -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            raise ValueError('"at last"\n')
        dig_on(depth - 1)

    def dig_on(depth: int) -> None:
        # Of lines that are the same only three would be told.
        dig(depth)

    with pytest.raises(ValueError, match="at last") as caught:
        dig(60)
    record = logging.LogRecord("a", logging.ERROR, "", 0, "failed", None, caught._excinfo)
    text = JsonFormatter().format(record)
    assert 2000 < len(text) < 4096
    assert json.loads(text)["stack"].rstrip().endswith('"at last"')
