"""What tests of traces and logs need: a server that is to be observed, a collector, and the lines of a log."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.service.conftest import DEADLINE_S, ORIGIN, SLOTS, WAITING, Server, start_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

WITHIN_S = 10.0


def observed_server(directory: Path, bundle: Path, **environment: str) -> Server:
    settings = {
        "GREENTEXT_MODEL_DIR": str(bundle),
        "GREENTEXT_MODELS_DIR": str(bundle.parent),
        "GREENTEXT_MAX_SLOTS": str(SLOTS),
        "GREENTEXT_MAX_WAITING": str(WAITING),
        "GREENTEXT_DEADLINE_S": str(DEADLINE_S),
        "GREENTEXT_DRAIN_S": "0.3",
        "GREENTEXT_CORS_ORIGINS": ORIGIN,
        "GREENTEXT_LOG_FORMAT": "json",
        "GREENTEXT_ACCESS_LOG": "true",
    }
    target = "tests.service.observed_service:GreentextService"
    return start_server(directory, target, **{**settings, **environment})


def lines_of(server: Server) -> list[dict[str, Any]]:
    """The log so far: each line is an object, or this fails."""
    *whole, _ = server.log.read_text(encoding="utf-8").split("\n")
    lines = [json.loads(line) for line in whole]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def wait_for_line(server: Server, **fields: Any) -> dict[str, Any]:
    """The one line of the log that has these fields."""
    end = time.monotonic() + WITHIN_S
    while True:
        found = [line for line in lines_of(server) if fields.items() <= line.items()]
        if found:
            (line,) = found
            return line
        if time.monotonic() > end:
            pytest.fail(f"no line with {fields}:\n{server.log.read_text()}")
        time.sleep(0.02)


class Collector:
    """Takes OTLP over HTTP, as a collector does; can be slow, and can be away."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # The sender keeps its connection, and this thread would wait on it for ever.
            timeout: ClassVar[float] = 1.0

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(collector.delay_s)
                assert self.headers["content-type"] == "application/x-protobuf"
                collector.paths.add(self.path)
                collector.bodies.append(body)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        class Listener(ThreadingHTTPServer):
            block_on_close = False

            def handle_error(self, *_: Any) -> None:
                """The sender has given up."""

        self._server = Listener(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in tuple(self.bodies)]

    def spans(self, matches: Callable[[Span], bool]) -> list[Span]:
        return [
            span
            for request in self.requests()
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if matches(span)
        ]

    def resources(self) -> list[dict[str, Any]]:
        return [
            {pair.key: value_of(pair.value) for pair in resource.resource.attributes}
            for request in self.requests()
            for resource in request.resource_spans
        ]

    def trace(self, trace_id: str, *, within_s: float = WITHIN_S) -> Trace:
        """A trace, once the span of its request is there."""
        end = time.monotonic() + within_s
        while True:
            found = self.spans(lambda span: span.trace_id.hex() == trace_id)
            if any(span.kind == span.SPAN_KIND_SERVER for span in found):
                return Trace(found)
            if time.monotonic() > end:
                pytest.fail(f"no trace {trace_id} within {within_s} s")
            time.sleep(0.02)


class Trace:
    """The spans of one request."""

    def __init__(self, spans: list[Span]) -> None:
        (self.server,) = (span for span in spans if span.kind == span.SPAN_KIND_SERVER)
        self.children = [span for span in spans if span is not self.server]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.children if span.name == name]


def value_of(value: Any) -> Any:
    """What an OTLP value holds."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind)


def attributes_of(span: Span) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in span.attributes}


def took_ms(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
