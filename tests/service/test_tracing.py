"""Traces, from a real server to a real receiver of OTLP over HTTP."""

from __future__ import annotations

import json
import logging
import secrets
import signal
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from service.request_summary import RequestSummary, text_summary
from service.tracing import Tracing, TracingConfigError, is_wanted
from tests.service.conftest import SLOTS, WAITING, Metrics, Server, stop_server, wait_until_idle
from tests.service.fake_model import NAME, TOKENS
from tests.service.observing import Collector, Trace, attributes_of, observed_server, took_ms, wait_for_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

UNSET, ERROR = 0, 2
PHASES = ["queue", "prefill", "decode"]
LONG = {"max_new_tokens": 450, "min_new_tokens": 450}
ROUNDING_MS = 0.0011


def tracing_environment(collector: Collector) -> dict[str, str]:
    return {
        "OTEL_SDK_DISABLED": "false",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, bundle: Path, collector: Collector) -> Iterator[Server]:
    server = observed_server(tmp_path_factory.mktemp("traced"), bundle, **tracing_environment(collector))
    server.wait_until_ready()
    yield server
    stop_server(server)


@pytest.fixture
def client(traced: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=traced.url, timeout=30) as client:
        yield client


class Caller:
    """Has a span of its own."""

    def __init__(self, flags: str = "01") -> None:
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{flags}"}


def check_phases(trace: Trace, spans: list[Span]) -> None:
    """Each begins where the one before ended, all within the request, below its span."""
    at = trace.server.start_time_unix_nano
    for span in spans:
        assert span.parent_span_id == trace.server.span_id
        assert at <= span.start_time_unix_nano <= span.end_time_unix_nano
        at = span.end_time_unix_nano
    assert at <= trace.server.end_time_unix_nano
    for before, span in pairwise(spans):
        assert before.end_time_unix_nano == span.start_time_unix_nano


def check_timings(trace: Trace, timings: dict[str, float]) -> None:
    for name in PHASES:
        longest_ms = max(took_ms(span) for span in trace.named(name))
        assert longest_ms == pytest.approx(timings[f"{name}_ms"], abs=ROUNDING_MS)


def test_a_request_has_a_span_below_its_callers_and_three_below_its_own(
    client: httpx.Client, collector: Collector
) -> None:
    caller = Caller()
    asked_ns = time.time_ns()
    response = client.post("/generate", json={"prompt": "xyzzy"}, headers=caller.headers)
    answered_ns = time.time_ns()
    trace = collector.trace(caller.trace_id)
    server = trace.server
    assert collector.paths == {"/v1/traces"}
    assert server.name == "POST /generate"
    assert server.parent_span_id.hex() == caller.span_id
    assert asked_ns <= server.start_time_unix_nano < answered_ns
    # The answer may be read before the server has put its pen down.
    assert took_ms(server) < (answered_ns - asked_ns) / 1e6 + 100
    assert server.status.code == UNSET
    assert [span.name for span in trace.children] == PHASES
    check_phases(trace, trace.children)
    check_timings(trace, response.json()["timings"])
    assert attributes_of(server) == {
        "http.request.method": "POST",
        "http.route": "/generate",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/generate",
        "greentext.request_id": response.headers["x-request-id"],
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "wholesome-greentext",
        "gen_ai.request.model": NAME,
        "gen_ai.request.max_tokens": 96,
        "gen_ai.request.stream": False,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": len(TOKENS),
        "gen_ai.response.finish_reasons": ["end"],
    }
    assert [attributes_of(span) for span in trace.children] == [
        {},
        {"gen_ai.usage.input_tokens": 7},
        {"gen_ai.usage.output_tokens": len(TOKENS), "gen_ai.response.finish_reasons": ["end"]},
    ]
    for body in collector.bodies:
        assert b"xyzzy" not in body
        assert b"frog" not in body


def test_each_text_of_a_request_has_its_own_three(client: httpx.Client, collector: Collector) -> None:
    caller = Caller()
    # More than there are slots: the last ones wait for the first.
    body = {"n": SLOTS + 2, "max_new_tokens": 8}
    response = client.post("/generate", json=body, headers=caller.headers)
    trace = collector.trace(caller.trace_id)
    texts: dict[int, list[Span]] = {}
    for span in trace.children:
        texts.setdefault(attributes_of(span)["greentext.text.index"], []).append(span)
    assert sorted(texts) == list(range(SLOTS + 2))
    for spans in texts.values():
        assert [span.name for span in spans] == PHASES
        check_phases(trace, spans)
    check_timings(trace, response.json()["timings"])
    longest_queue_ms = max(took_ms(span) for span in trace.named("queue"))
    assert longest_queue_ms > max(took_ms(span) for span in trace.named("decode"))
    attributes = attributes_of(trace.server)
    assert attributes["gen_ai.request.choice.count"] == SLOTS + 2
    assert attributes["gen_ai.response.finish_reasons"] == ["length"] * (SLOTS + 2)
    assert attributes["gen_ai.usage.input_tokens"] == response.json()["usage"]["prompt_tokens"]
    assert attributes["gen_ai.usage.output_tokens"] == 8 * (SLOTS + 2)


@pytest.mark.parametrize(
    ("path", "body", "operation"),
    [
        ("/v1/completions", {"model": NAME, "prompt": ["a", "b"]}, "text_completion"),
        ("/v1/chat/completions", {"model": NAME, "messages": [{"role": "user", "content": "a"}]}, "chat"),
        ("/models/{model}", {"inputs": "a"}, "text_completion"),
    ],
)
def test_every_dialect_has_traces(
    client: httpx.Client, collector: Collector, path: str, body: dict[str, Any], operation: str
) -> None:
    caller = Caller()
    assert client.post(path.format(model=NAME), json=body, headers=caller.headers).status_code == 200
    trace = collector.trace(caller.trace_id)
    assert trace.server.name == f"POST {path}"
    attributes = attributes_of(trace.server)
    assert attributes["gen_ai.operation.name"] == operation
    assert attributes["http.route"] == path
    assert attributes.get("url.path") == (None if "{" in path else path)
    assert {span.name for span in trace.children} == set(PHASES)


def test_a_stream_has_a_trace(client: httpx.Client, collector: Collector) -> None:
    caller = Caller()
    response = client.post("/generate_stream", json={}, headers=caller.headers)
    event, data = response.text.split("\n\n")[-2].split("\ndata: ")
    assert event == "event: end"
    trace = collector.trace(caller.trace_id)
    check_phases(trace, trace.children)
    check_timings(trace, json.loads(data)["timings"])
    assert attributes_of(trace.server)["gen_ai.request.stream"] is True
    assert trace.server.status.code == UNSET


@pytest.mark.parametrize("traceparent", [None, "", "00-0-0-01", f"00-{'0' * 32}-{'0' * 16}-01", "x" * 10_000])
def test_without_a_caller_that_has_one_a_trace_begins(
    client: httpx.Client, traced: Server, collector: Collector, traceparent: str | None
) -> None:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    response = client.post("/generate", json={"max_new_tokens": 1}, headers=headers)
    line = wait_for_line(traced, logger="bentoml.access", request_id=response.headers["x-request-id"])
    trace = collector.trace(line["trace_id"])
    assert trace.server.parent_span_id == b""
    assert trace.server.span_id.hex() == line["span_id"]


def test_a_caller_that_samples_nothing_leaves_nothing(
    client: httpx.Client, traced: Server, collector: Collector
) -> None:
    caller = Caller(flags="00")
    response = client.post("/generate", json={"max_new_tokens": 1}, headers=caller.headers)
    line = wait_for_line(traced, logger="bentoml.access", request_id=response.headers["x-request-id"])
    assert line["trace_id"] == caller.trace_id
    later = Caller()
    client.get("/models", headers=later.headers)
    collector.trace(later.trace_id)
    assert collector.spans(lambda span: span.trace_id.hex() == caller.trace_id) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "name", "error"),
    [
        ("POST", "/generate", 415, "POST /generate", "unsupported_media_type"),
        ("GET", "/generate", 405, "GET /generate", "method_not_allowed"),
        ("GET", "/xyzzy", 404, "GET", "not_found"),
        ("GET", "/generations/xyzzy", 404, "GET /generations/{id}", "not_found"),
        ("GET", "/models", 200, "GET /models", None),
        ("PROPFIND", "/models", 405, "HTTP /models", "method_not_allowed"),
    ],
)
def test_what_is_no_fault_of_ours_is_no_error(
    client: httpx.Client, collector: Collector, method: str, path: str, status: int, name: str, error: str | None
) -> None:
    caller = Caller()
    assert client.request(method, path, headers=caller.headers).status_code == status
    trace = collector.trace(caller.trace_id)
    assert (trace.server.name, trace.server.status.code, trace.children) == (name, UNSET, [])
    attributes = attributes_of(trace.server)
    assert attributes["http.response.status_code"] == status
    assert attributes["http.request.method"] == ("_OTHER" if method == "PROPFIND" else method)
    assert attributes.get("greentext.error") == error
    assert "error.type" not in attributes
    assert not any("xyzzy" in str(value) for value in attributes.values())


def test_a_request_that_finds_no_room_has_no_phases(client: httpx.Client, traced: Server, collector: Collector) -> None:
    wait_until_idle(traced)
    caller = Caller()
    with ThreadPoolExecutor(1) as pool:
        full = pool.submit(client.post, "/generate", json={**LONG, "n": SLOTS + WAITING})
        end = time.monotonic() + 10
        while Metrics(traced).value("greentext_requests_running") < SLOTS and time.monotonic() < end:
            time.sleep(0.01)
        assert httpx.post(f"{traced.url}/generate", json={}, headers=caller.headers).status_code == 429
        assert full.result().status_code == 200
    trace = collector.trace(caller.trace_id)
    assert (trace.server.status.code, trace.children) == (UNSET, [])
    attributes = attributes_of(trace.server)
    assert (attributes["http.response.status_code"], attributes["greentext.error"]) == (429, "queue_full")


def test_a_text_that_the_deadline_cuts_is_no_error(client: httpx.Client, collector: Collector) -> None:
    caller = Caller()
    response = client.post("/generate_stream", json=LONG, headers=caller.headers)
    assert '"finish_reason":"deadline"' in response.text
    trace = collector.trace(caller.trace_id)
    assert trace.server.status.code == UNSET
    assert attributes_of(trace.server)["gen_ai.response.finish_reasons"] == ["deadline"]
    check_phases(trace, trace.children)


def test_a_fault_of_ours_is_an_error_without_its_words(client: httpx.Client, collector: Collector) -> None:
    caller = Caller()
    assert client.get("/boom?words=xyzzy", headers=caller.headers).status_code == 500
    span = collector.trace(caller.trace_id).server
    assert (span.status.code, span.status.message) == (ERROR, "internal_error")
    attributes = attributes_of(span)
    assert (attributes["error.type"], attributes["http.response.status_code"]) == ("internal_error", 500)
    assert not any(b"xyzzy" in body for body in collector.bodies)


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_client_that_leaves_ends_its_spans(traced: Server, collector: Collector, path: str) -> None:
    caller = Caller()
    url = traced.url + path
    with (
        suppress(httpx.ReadTimeout),
        httpx.stream("POST", url, json=LONG, headers=caller.headers, timeout=0.3) as answer,
    ):
        next(answer.iter_raw())
    trace = collector.trace(caller.trace_id)
    check_phases(trace, trace.children)
    assert [span.name for span in trace.children] == PHASES
    assert trace.server.status.code == UNSET
    attributes = attributes_of(trace.server)
    assert attributes["greentext.client_gone"] is True
    assert attributes["gen_ai.response.finish_reasons"] == ["abort"]
    assert 0 < attributes["gen_ai.usage.output_tokens"] < LONG["max_new_tokens"]


def latency_ms(client: httpx.Client, requests: int) -> float:
    took: list[float] = []
    for _ in range(requests):
        started_s = time.perf_counter()
        assert client.post("/generate", json={"max_new_tokens": 4}).status_code == 200
        took.append((time.perf_counter() - started_s) * 1000)
    return statistics.median(took)


def test_a_collector_that_is_away_or_slow_delays_nobody(
    client: httpx.Client, traced: Server, collector: Collector
) -> None:
    usual_ms = latency_ms(client, 15)
    collector.close()
    try:
        away_ms = latency_ms(client, 40)
        # Long enough for several batches to be given up.
        time.sleep(2.5)
        away_ms = max(away_ms, latency_ms(client, 15))
    finally:
        collector.open()
    collector.delay_s = 0.8
    try:
        slow_ms = latency_ms(client, 40)
    finally:
        collector.delay_s = 0.0
    # Whoever waited for the collector would wait for 800 ms or more.
    assert max(away_ms, slow_ms) < usual_ms + 200
    complaints = [line for line in traced.log.read_text().splitlines() if '"message":"traces: ' in line]
    assert len(complaints) == 1
    assert json.loads(complaints[0])["level"] == "warning"
    caller = Caller()
    client.get("/models", headers=caller.headers)
    assert collector.trace(caller.trace_id).server.name == "GET /models"


@pytest.mark.slow
def test_each_worker_sends_its_own_and_the_last_before_it_ends(tmp_path: Path, bundle: Path) -> None:
    collector = Collector()
    environment = {
        **tracing_environment(collector),
        # Nothing is sent until something has to be.
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        "OTEL_SERVICE_NAME": "frogs",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=pond",
    }
    server = observed_server(tmp_path, bundle, GREENTEXT_WORKERS="2", GREENTEXT_DEADLINE_S="60", **environment)
    try:
        server.wait_until_ready()
        pids: set[int] = set()
        end = time.monotonic() + 30
        while len(pids) < 2 and time.monotonic() < end:
            response = httpx.get(f"{server.url}/models", timeout=10)
            line = wait_for_line(server, logger="bentoml.access", request_id=response.headers["x-request-id"])
            pids.add(line["pid"])
        assert len(pids) == 2
        caller = Caller()
        with httpx.stream(
            "POST", f"{server.url}/generate_stream", json=LONG, headers=caller.headers, timeout=30
        ) as stream:
            events = stream.iter_text()
            next(events)
            assert collector.bodies == []
            server.process.send_signal(signal.SIGTERM)
            last = list(events)[-1]
        assert "event: error" in last
        server.process.wait(20)
        resources = collector.resources()
        assert {(one["service.name"], one["deployment.environment.name"]) for one in resources} == {("frogs", "pond")}
        assert len({one["service.instance.id"] for one in resources}) == 2
        # The stream had begun with a 200, and ended in an error.
        trace = collector.trace(caller.trace_id, within_s=0)
        assert (trace.server.status.code, trace.server.status.message) == (ERROR, "unavailable")
        assert attributes_of(trace.server)["http.response.status_code"] == 200
        check_phases(trace, trace.children)
    finally:
        collector.close()
        if server.process.poll() is None:
            stop_server(server)


def test_a_collector_that_hangs_does_not_hold_a_server_that_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    collector.delay_s = 2.0
    for name, value in tracing_environment(collector).items():
        monkeypatch.setenv(name, value)
    tracing = Tracing()
    assert tracing.begin("GET", "http", {}, time.perf_counter()) is None
    tracing.start()
    started_s = time.perf_counter()
    span = tracing.begin("GET", "http", {}, started_s)
    assert span is not None
    span.end(RequestSummary("id", "GET", None, started_s, started_s + 1, 200, None, False, False, None))
    started_s = time.perf_counter()
    tracing.stop(0.3)
    assert 0.25 < time.perf_counter() - started_s < 1.5
    tracing.stop(0.3)
    collector.close()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "a"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
        ({"OTEL_SDK_DISABLED": "True", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            True,
        ),
    ],
)
def test_opentelemetrys_own_variables_say_whether(environment: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environment) is wanted
    assert (Tracing.from_environment(environment) is not None) is wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ],
)
def test_what_is_not_known_here_is_named(name: str, value: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", name: value}
    with pytest.raises(TracingConfigError, match=name):
        is_wanted(environment)
    assert Tracing.from_environment(environment) is None


def test_a_bad_setting_of_the_sdk_costs_the_traces_not_the_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    tracing = Tracing()
    tracing.start()
    assert tracing.begin("GET", "http", {}, time.perf_counter()) is None
    assert "no traces are sent: max_queue_size" in caplog.text
    tracing.stop(0.1)


def test_what_the_sdk_has_to_say_is_said_seldom_and_without_keys(caplog: pytest.LogCaptureFixture) -> None:
    from service.spans import _Seldom

    library = logging.getLogger("tests.service.seldom")
    library.propagate = False
    library.addHandler(_Seldom())
    for _ in range(3):
        library.warning("no way to %s", "http://collector/v1/traces?key=xyzzy now")
    (record,) = caplog.records
    assert record.getMessage() == "traces: no way to http://collector/v1/traces?... now (said once in 60 s)"


def test_phases_of_a_text_that_the_engine_is_still_at() -> None:
    from types import SimpleNamespace

    def phases(**times: float) -> list[tuple[str, float, float]]:
        given = {"started_s": 0.0, "first_token_s": 0.0, "finished_s": 0.0, **times}
        sequence: Any = SimpleNamespace(prompt_ids=[1], output_ids=[], finish_reason=None, arrived_s=1.0, **given)
        summary = text_summary(sequence, now_s=5.0)
        assert summary.finish_reason == "abort"
        return [(phase.name, phase.start_s, phase.end_s) for phase in summary.phases]

    assert phases() == [("queue", 1.0, 5.0)]
    assert phases(started_s=2.0) == [("queue", 1.0, 2.0), ("prefill", 2.0, 5.0)]
    assert phases(started_s=2.0, first_token_s=3.0)[1:] == [("prefill", 2.0, 3.0), ("decode", 3.0, 5.0)]
    assert phases(started_s=2.0, first_token_s=3.0, finished_s=4.0)[-1] == ("decode", 3.0, 4.0)
    # It went on after the request was over.
    assert phases(started_s=6.0) == [("queue", 1.0, 5.0), ("prefill", 5.0, 5.0)]
